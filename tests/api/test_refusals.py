"""What the porch refuses: strangers, foreign eyes, bad bytes. Nothing of it is recorded."""

import re

import pytest

from magistrate.api.app import ENDPOINTS
from tests.api.house import DIGEST, LEAD, URL, proposal, redemption

OPEN = {"/livez", "/readyz", "/metrics", "/v1/setup"}


def filled(path: str, id_: str = "int-nobody") -> str:
    return re.sub(r"{[^}]*}", id_, path)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer mk_" + "x" * 43}, {"authorization": "Basic eDp5"}])
async def test_a_stranger_gets_nowhere_and_leaves_no_trace(home, headers):
    before = home.size, home.house.store.commits
    for endpoint in ENDPOINTS:
        if endpoint.path in OPEN:
            continue
        answer = await home.http.request(
            endpoint.method,
            filled(endpoint.path),
            content=b"{}" if endpoint.body else b"",
            headers={"content-type": "application/json", **headers},
        )
        assert answer.status_code == 401, endpoint.path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (home.size, home.house.store.commits) == before
    assert home.table.asked == []


async def test_before_genesis_only_health_and_setup_answer(unset):
    for endpoint in ENDPOINTS:
        answer = await unset.http.request(endpoint.method, filled(endpoint.path), content=b"{}")
        if endpoint.path in ("/livez", "/readyz", "/v1/setup"):
            assert answer.json().get("code") != "setup.required" or endpoint.path == "/readyz"
            continue
        assert answer.status_code == 503, endpoint.path
        assert answer.json()["code"] == "setup.required"
        assert answer.json()["hint"].startswith("magistrate operators setup")
        assert answer.headers["retry-after"]
    assert unset.size == 0


async def test_a_foreign_thing_and_an_unknown_one_look_alike(home):
    made = await home.execution("other")
    foreign = {
        "intents": made["intent_id"],
        "warrants": made["warrant_id"],
        "executions": made["execution_id"],
        "entries": str(home.size - 1),
        "decisions": str(home.house.store.entries(kind="decision")[0].index),
        "agents": "other",
        "alerts": "alr-gate.disarmed-gate",
    }
    unknown = {
        "intents": "int-0",
        "warrants": "wrt-0",
        "executions": "exe-0",
        "entries": "999999",
        "decisions": "999999",
        "agents": "nobody",
        "alerts": "alr-none",
    }
    checked = 0
    for endpoint in ENDPOINTS:
        kind = endpoint.path.split("/")[2] if endpoint.path.count("/") > 1 else ""
        if kind not in foreign or "{" not in endpoint.path:
            continue
        body = {"outcome": "succeeded"} if endpoint.path.endswith("report") else {}
        body = {"phase": "after", "facts": {}} if endpoint.path.endswith("observations") else body
        body = {"finding": "x"} if endpoint.path.endswith("reconcile") else body
        sent = body if endpoint.body else None
        answers = [
            await home.call("bot", endpoint.method, filled(endpoint.path, ids[kind]), sent)
            for ids in (foreign, unknown)
        ]
        assert [a.status_code for a in answers] == [404, 404], endpoint.path
        assert answers[0].content == answers[1].content, endpoint.path
        assert answers[0].headers.keys() == answers[1].headers.keys()
        checked += 1
    assert checked >= 15
    assert home.table.asked.count("access") == 0  # and the time OPA takes tells nothing either


async def test_lists_hold_only_what_is_the_callers(home):
    await home.execution("other")
    mine = await home.execution("bot")
    for path, name in (("intents", "intent_id"), ("executions", "execution_id")):
        items = (await home.call("bot", "GET", f"/v1/{path}")).json()["items"]
        assert [item[name] for item in items] == [mine[name]]
    warrants = (await home.call("bot", "GET", "/v1/warrants")).json()["items"]
    assert [item["warrant"]["warrant_id"] for item in warrants] == [mine["warrant_id"]]
    assert [item["id"] for item in (await home.call("bot", "GET", "/v1/agents")).json()["items"]] == ["bot"]
    assert len((await home.call("ada", "GET", "/v1/intents")).json()["items"]) == 2


async def test_an_agent_sees_the_alerts_about_what_it_runs(home):
    verdict = {"verdict": "deviating", "containment": [], "reasons": []}
    deviation = {"code": "x.y", "pointer": "", "expected": "1", "observed": "2", "severity": "notice", "source": ""}
    home.table.answers["verification"] = lambda _: {**verdict, "deviations": [deviation]}
    mine, theirs = await home.execution("bot"), await home.execution("other")
    for made, who in ((mine, "bot"), (theirs, "other")):
        path = f"/v1/executions/{made['execution_id']}/report"
        await home.call(who, "POST", path, {"outcome": "succeeded"})
    seen = (await home.call("bot", "GET", "/v1/alerts")).json()["items"]
    assert [a["about"] for a in seen] == [mine["execution_id"]]
    assert len((await home.call(LEAD, "GET", "/v1/alerts?state=open")).json()["items"]) == 2


async def test_only_the_holder_beats_and_reports(home):
    made = await home.execution("bot")
    here = f"/v1/executions/{made['execution_id']}"
    for who in ("other", "mesh-watch", "ada", LEAD):
        for path, body in (("/heartbeat", {}), ("/report", {"outcome": "succeeded"})):
            answer = await home.call(who, "POST", here + path, body)
            assert answer.json()["code"] == "execution.unknown", who
    for who in ("bot", "other", "ada", LEAD):
        answer = await home.call(who, "POST", here + "/observations", {"phase": "after", "facts": {}})
        assert answer.json()["code"] == "execution.unknown", who


async def test_a_warrant_is_of_no_use_to_another(home):
    warrant = (await home.intent("bot"))["warrant"]
    for presented, status in ((warrant["warrant_id"], 404), (warrant, 403)):
        answer = await home.call("other", "POST", "/v1/executions", {"warrant": presented, "call": warrant["scope"]})
        assert answer.status_code == status
    assert home.house.store.row("warrants", warrant["warrant_id"]).data["uses_left"] == 2


async def test_a_forged_warrant_is_the_callers_fault(home):
    warrant = (await home.intent("bot"))["warrant"]
    wider = {**warrant, "uses": 9}
    answer = await home.call("bot", "POST", "/v1/executions", {"warrant": wider, "call": warrant["scope"]})
    assert answer.status_code == 400
    assert "signature" in answer.json()["code"]


async def test_what_rego_refuses_is_told_in_its_own_words(home):
    made = await home.intent("bot")
    answer = await home.call("ada", "POST", made["links"]["warrant"] + "/revoke")
    assert answer.status_code == 403
    assert answer.json()["reasons"] == [
        {"code": "access.no", "title": "Because", "remedy": "", "policy": "policies.test"}
    ]
    assert answer.json()["links"] == {"access.no": "docs/reasons.md#access-no"}
    assert (await home.call("mesh-watch", "GET", "/v1/intents")).status_code == 403


async def test_an_observer_learns_not_even_whether_a_thing_exists(home):
    made = await home.intent("bot")
    known = await home.call("mesh-watch", "GET", made["links"]["self"])
    unknown = await home.call("mesh-watch", "GET", "/v1/intents/int-0")
    assert known.content == unknown.content


async def test_without_opa_nothing_is_permitted_and_narrowing_still_works(home):
    made = await home.intent("bot")
    home.table.silent = True
    asked = await home.call("bot", "POST", "/v1/intents", proposal())
    assert (asked.status_code, asked.json()["code"]) == (503, "opa.timeout")
    assert asked.headers["retry-after"]
    assert (await home.call(LEAD, "GET", "/v1/intents")).status_code == 503
    revoked = await home.call(LEAD, "POST", made["links"]["warrant"] + "/revoke")
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")


NOT_A_BODY = {
    "nothing": (b"", "input.empty"),
    "not JSON": (b"{", "input.syntax"),
    "trailing": (b"{} {}", "input.syntax"),
    "not an object": (b"[]", "input.shape"),
    "twice": (b'{"action":"a","action":"b","target":"wall","parameters":{}}', "input.duplicate_key"),
    "NaN": (b'{"action":"note.write","target":"wall","parameters":{"n":NaN}}', "input.number"),
    "Infinity": (b'{"action":"note.write","target":"wall","parameters":{"n":-Infinity}}', "input.number"),
    "too big": (b'{"action":"note.write","target":"wall","parameters":{"n":9007199254740993}}', "input.number"),
    "too big, spelt small": (b'{"action":"note.write","target":"wall","parameters":{"n":1e400}}', "input.number"),
    "half a pair": (b'{"action":"note.write","target":"wall","parameters":{"n":"\\ud800"}}', "input.surrogate"),
    "not UTF-8": (b'{"action":"\xff"}', "input.encoding"),
    "a mark": (b"\xef\xbb\xbf{}", "input.encoding"),
    "too deep": (
        b'{"action":"note.write","target":"wall","parameters":{"n":' + b"[" * 40 + b"]" * 40 + b"}}",
        "input.too_deep",
    ),
    "missing": (b'{"action":"note.write","target":"wall"}', "input.shape"),
    "unknown": (b'{"action":"note.write","target":"wall","parameters":{},"uses":9}', "input.shape"),
    "wrong type": (b'{"action":"note.write","target":"wall","parameters":[]}', "input.shape"),
    "no identifier": (b'{"action":"a b","target":"wall","parameters":{}}', "input.shape"),
}


@pytest.mark.parametrize("name", NOT_A_BODY)
async def test_bad_bytes_are_refused_before_anything_is_asked(home, name):
    raw, code = NOT_A_BODY[name]
    before = home.size
    answer = await home.call("bot", "POST", "/v1/intents", raw)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (home.size, home.table.asked) == (before, [])


@pytest.mark.parametrize("where", ["length", "chunks"])
async def test_a_body_over_the_cap_is_not_read(home, where):
    read = 0

    async def chunks():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 1024

    headers = {"authorization": f"Bearer {home.keys['bot']}", "content-type": "application/json"}
    content = b" " * (64 * 1024 + 1) if where == "length" else chunks()
    answer = await home.http.post("/v1/intents", content=content, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")
    assert answer.headers["connection"] == "close"
    assert read <= 66


async def test_the_cap_itself_is_read(home):
    filler = proposal(reason="x" * 1000)
    raw = str(filler).replace("'", '"').encode().ljust(64 * 1024)
    assert (await home.call("bot", "POST", "/v1/intents", raw)).status_code == 201


@pytest.mark.parametrize(
    "said", ["", "text/plain", "application/json; charset=utf-16", "application/jsonx", "application/json, text/plain"]
)
async def test_only_json_is_taken_for_json(home, said):
    answer = await home.call("bot", "POST", "/v1/intents", proposal(), content_type=said)
    assert (answer.status_code, answer.json()["code"]) == (400, "input.content_type")


@pytest.mark.parametrize(
    "said", ["application/json", "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"']
)
async def test_json_is_taken_however_it_is_spelt(home, said):
    assert (await home.call("bot", "POST", "/v1/intents", proposal(), content_type=said)).status_code == 201


async def test_a_compressed_body_is_not_taken(home):
    answer = await home.call("bot", "POST", "/v1/intents", proposal(), content_encoding="gzip")
    assert answer.json()["code"] == "input.encoding"


async def test_two_readings_of_one_request_are_none(home):
    twice = [
        ("authorization", f"Bearer {home.keys['bot']}"),
        ("authorization", f"Bearer {home.keys['other']}"),
    ]
    answer = await home.http.get("/v1/intents", headers=twice)
    assert (answer.status_code, answer.json()["code"]) == (400, "input.header")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "localhost", "127.0.0.1:8420.evil.example", ""])
async def test_another_host_name_does_not_lead_here(home, host):
    for path in ("/v1/intents", "/livez", "/v1/setup"):
        answer = await home.call("bot", "GET", path, host=host)
        assert answer.status_code in (421, 405), (path, host)
    assert (await home.call("bot", "GET", "/v1/intents", host=host)).json()["code"] == "input.host"


@pytest.mark.parametrize("host", ["localhost:8420", "LOCALHOST:8420", "[::1]:8420"])
async def test_the_usual_names_of_this_machine_lead_here(home, host):
    assert (await home.call("bot", "GET", "/v1/intents", host=host)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", "limit=ten", "limit=", "limit=1&limit=2"),
        *("cursor=!", "cursor=aW50", "cursor=", "state=lost", "state=live&state=spent", "owner=other"),
    ],
)
async def test_a_query_is_read_strictly(home, query):
    answer = await home.call("bot", "GET", f"/v1/warrants?{query}")
    if query == "cursor=aW50":  # a cursor is an id: this one is before everything
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json()["code"]) == (400, "input.query")


async def test_unknown_paths_and_methods_are_problems_too(home):
    for method, path, status, code in (
        ("GET", "/v1/nothing", 404, "route.unknown"),
        ("GET", "/docs", 404, "route.unknown"),
        ("GET", "/v1/intents/", 404, "route.unknown"),
        ("DELETE", "/v1/intents", 405, "route.method"),
        ("PUT", "/v1/setup", 405, "route.method"),
    ):
        answer = await home.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
        assert answer.headers["content-type"] == "application/problem+json"


async def test_every_answer_carries_an_id_and_its_headers(home):
    for who, path in (("bot", "/v1/intents"), ("", "/v1/intents"), ("", "/nowhere"), ("", "/livez")):
        mine = await home.call(who, "GET", path, x_request_id="order 66")
        assert mine.headers["x-request-id"] == "order 66"
        for sent in ("x" * 129, b"caf\xe9", " "):
            theirs = await home.call(who, "GET", path, **{"x-request-id": sent})
            assert theirs.headers["x-request-id"].startswith("req-")
        assert mine.headers["cache-control"] == "no-store"
        assert mine.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in mine.headers["content-security-policy"]


async def test_a_fault_is_no_stack_trace(home, caplog):
    home.table.answers["decision"] = lambda _: 1 / 0
    answer = await home.call("bot", "POST", "/v1/intents", proposal(), x_request_id="mine")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "Zero" not in answer.text
    assert "mine" in answer.json()["detail"]
    assert "ZeroDivisionError" in caplog.text  # it is in the log


async def test_what_is_broken_here_is_not_blamed_on_the_caller(home):
    wider = {**home.table.answers["decision"]({"intent": {"action": "note.write"}, "approvals": []})}
    wider["standing"] = {**wider["standing"], "issue": {**wider["standing"]["issue"], "ttl": 10**6}}
    home.table.answers["decision"] = lambda _: wider
    answer = await home.call("bot", "POST", "/v1/intents", proposal())
    assert answer.status_code in (201, 500)
    assert answer.json().get("warrant") is None


async def test_failures_are_counted_with_closed_labels(home):
    await home.call("", "GET", "/v1/intents")
    await home.call("bot", "POST", "/v1/intents", b"{")
    await home.http.request("BREW", "/v1/coffee")
    text = (await home.http.get("/metrics")).text
    assert 'magistrate_unauthenticated_total{kind="credential"} 1' in text
    assert "magistrate_malformed_total 1" in text
    assert 'magistrate_requests_total{method="other",route="unknown",status="404"} 1' in text
    assert "coffee" not in text
    assert "magistrate_gate_armed 1" in text


async def test_metrics_are_for_this_machine_or_for_those_who_may(home):
    far = {"x-forwarded-for": "203.0.113.9"}
    assert (await home.http.get("/metrics", headers=far)).status_code == 401
    assert (await home.call("mesh-watch", "GET", "/metrics", **far)).status_code == 403
    assert (await home.call("ada", "GET", "/metrics", **far)).status_code == 200


async def test_ready_says_why_not(home):
    assert (await home.http.get("/readyz")).json()["ready"] is True
    home.wall[0] -= 3600
    answer = await home.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["clock"] == "clock.behind"
    assert (await home.http.get("/livez")).status_code == 200
    refused = await home.call("bot", "POST", "/v1/intents", proposal())
    assert (refused.status_code, refused.json()["code"]) == (503, "clock.behind")


async def test_not_ready_when_opa_has_not_answered_lately(home):
    home.wall[0] += 16
    answer = await home.http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "opa.silent")
    assert answer.json()["checks"]["gate"] == "ok"


async def test_not_ready_before_genesis(unset):
    answer = await unset.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["setup"] == "setup.required"


async def test_no_path_leads_out_of_the_bundles(home):
    for name in ("..%2f..%2fledger.db", "%2e%2e", DIGEST + "%00", "sha256:" + "B" * 64):
        answer = await home.call("ada", "GET", f"/v1/bundles/{name}")
        assert answer.status_code == 404, name


async def test_an_agent_cannot_approve_its_own(home):
    made = await home.intent("bot", "note.ask")
    answer = await home.call("bot", "POST", made["links"]["approvals"], {"statement": "", "proof": {}})
    assert answer.status_code == 400
    assert (await home.call("bot", "GET", made["links"]["self"])).json()["state"] == "waiting"


async def test_redemption_wants_exactly_a_warrant_and_a_call(home):
    warrant = (await home.intent())["warrant"]
    whole = redemption(warrant)
    for body in (
        {},
        {"warrant": whole["warrant"]},
        {**whole, "more": 1},
        {**whole, "warrant": 7},
        {**whole, "call": 7},
    ):
        answer = await home.call("bot", "POST", "/v1/executions", body)
        assert answer.status_code == 400, body
    assert URL
