"""The way through the porch, as an agent and an operator go it."""

from tests.api.house import LEAD, redemption, word


async def test_an_intent_becomes_a_warrant_and_an_execution(home):
    made = await home.intent()

    assert made["decision"]["standing"]["outcome"] == "allow"
    assert made["links"]["self"] == f"/v1/intents/{made['intent']['intent_id']}"
    shown = await home.call("bot", "GET", made["links"]["warrant"])
    assert shown.json()["warrant"] == made["warrant"]

    started = await home.call("bot", "POST", "/v1/executions", redemption(made["warrant"]))
    assert started.status_code == 201
    assert started.json()["state"] == "started"
    id_ = started.json()["execution_id"]
    assert started.headers["location"] == f"/v1/executions/{id_}"

    beat = await home.call("bot", "POST", f"/v1/executions/{id_}/heartbeat", {})
    assert beat.json() == {"verdict": "continue"}
    seen = await home.call(
        "mesh-watch", "POST", f"/v1/executions/{id_}/observations", {"phase": "after", "facts": {"notes": 1}}
    )
    assert seen.status_code == 201
    assert seen.json()["verification"]["verdict"] == "conforming"
    said = await home.call("bot", "POST", f"/v1/executions/{id_}/report", {"outcome": "succeeded", "facts": {}})
    assert said.status_code == 201
    assert (await home.call("bot", "GET", f"/v1/executions/{id_}")).json()["state"] == "succeeded"


async def test_an_operator_approves_what_waits_for_them(home):
    made = await home.intent(action="note.ask")
    assert made["warrant"] is None
    waiting = (await home.call(LEAD, "GET", "/v1/approvals?state=pending")).json()["items"]
    assert [item["intent"] for item in waiting] == [made["intent"]]

    given = word(waiting[0], LEAD, "lead-1", home.house.now())
    answer = await home.call(LEAD, "POST", made["links"]["approvals"], given)

    assert answer.status_code == 201, answer.text
    assert answer.json()["warrant"]["issuer"] == {"type": "operator", "id": "lead-1"}
    assert (await home.call(LEAD, "GET", "/v1/approvals")).json()["items"] == []
    whole = (await home.call("bot", "GET", made["links"]["self"])).json()
    assert whole["state"] == "warranted"
    assert whole["warrant"] == answer.json()["warrant"]
    assert [given["operator"] for given in whole["approvals"]] == ["lead-1"]


async def test_a_second_word_on_what_is_decided_is_a_conflict(home):
    made = await home.intent(action="note.ask")
    given = word(made, LEAD, "lead-1", home.house.now())
    await home.call(LEAD, "POST", made["links"]["approvals"], given)

    again = await home.call(LEAD, "POST", made["links"]["approvals"], given)

    assert again.status_code == 409
    assert again.json()["code"] == "intent.state"


async def test_the_chain_and_its_proofs_are_shown(home):
    made = await home.intent()
    chain = (await home.call("bot", "GET", made["links"]["chain"])).json()
    assert [step["kind"] for step in chain["steps"]] == ["intent", "decision", "warrant"]
    index = chain["steps"][1]["index"]

    proof = await home.call("bot", "GET", f"/v1/entries/{index}/proof")
    by_index = await home.call("bot", "GET", f"/v1/decisions/{index}")
    by_leaf = await home.call("bot", "GET", f"/v1/decisions/{chain['steps'][1]['leaf']}")

    assert proof.json()["leaf"] == chain["steps"][1]["leaf"]
    assert by_index.json() == by_leaf.json()
    assert by_index.json()["kind"] == "decision"


async def test_what_a_person_ends_stays_ended(home):
    made = await home.intent(action="note.ask")
    gone = await home.call("bot", "POST", made["links"]["self"] + "/cancel", {"reason": "not needed"})
    assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
    assert "not needed" in gone.json()["because"]
    assert (await home.call("bot", "POST", made["links"]["self"] + "/cancel")).status_code == 409

    live = await home.intent()
    revoked = await home.call(LEAD, "POST", live["links"]["warrant"] + "/revoke", {"reason": "enough"})
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    used = await home.call("bot", "POST", "/v1/executions", redemption(live["warrant"]))
    assert used.status_code == 403
    assert used.json()["reasons"][0]["code"] == "admission.no"


async def test_halting_and_quarantine(home):
    started = await home.execution()
    halting = await home.call(LEAD, "POST", f"/v1/executions/{started['execution_id']}/halt", {"reason": "stop"})
    assert (halting.status_code, halting.json()["state"]) == (202, "halting")
    beat = await home.call("bot", "POST", f"/v1/executions/{started['execution_id']}/heartbeat")
    assert beat.json()["verdict"] == "halt"

    taken = await home.call(LEAD, "POST", "/v1/agents/bot/quarantine", {"reason": "odd"})
    assert (taken.status_code, taken.json()["state"]) == (200, "quarantined")
    assert "credential" not in taken.json()


async def test_lists_go_on_where_they_stopped(home):
    ids = [(await home.intent())["intent"]["intent_id"] for _ in range(5)]

    first = (await home.call("bot", "GET", "/v1/intents?limit=2")).json()
    second = (await home.call("bot", "GET", f"/v1/intents?limit=3&cursor={first['next_cursor']}")).json()

    assert [item["intent_id"] for item in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    denied = (await home.call("bot", "GET", "/v1/intents?state=denied")).json()
    assert denied["items"] == []


async def test_a_list_of_few_among_many_is_read_bit_by_bit(home, monkeypatch):
    monkeypatch.setattr("magistrate.api.lists.STEP", 2)
    monkeypatch.setattr("magistrate.api.lists.LOOKED_AT", 4)
    wanted = []
    for n in range(11):
        made = await home.intent(action="note.ask")
        if n % 5:  # the lead has spoken on most: they wait for somebody else
            spoken = {**home.house.store.row("intents", made["intent"]["intent_id"]).data}
            spoken["standing"] = {**spoken["standing"], "wanted": []}
            await _rewrite(home, made["intent"]["intent_id"], spoken)
        else:
            wanted.append(made["intent"]["intent_id"])

    found, cursor, pages = [], "", 0
    while cursor is not None:
        answer = await home.call(LEAD, "GET", "/v1/approvals" + (f"?cursor={cursor}" if cursor else ""))
        found += [item["intent"]["intent_id"] for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        pages += 1

    assert found == wanted
    assert pages > 1


async def _rewrite(home, id_, data):
    row = home.house.store.row("intents", id_)
    await home.house.commit(
        lambda txn: txn.layer.put("intents", id_, state=row.state, owner=row.owner, due=row.due, data=data)
    )


async def test_each_list_answers_in_one_shape(home):
    await home.execution()
    kinds = ("intents", "warrants", "executions", "agents", "operators", "observers", "auditors", "alerts", "keys")
    for path in (*kinds, "bundles", "approvals"):
        answer = await home.call(LEAD, "GET", f"/v1/{path}")
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json().keys() == {"items", "next_cursor"}, path
    watching = (await home.call(LEAD, "GET", "/v1/observers")).json()["items"]
    assert {a["id"]: a["type"] for a in watching} == {"ada": "auditor", "mesh-watch": "observer"}
    assert [a["id"] for a in (await home.call(LEAD, "GET", "/v1/auditors")).json()["items"]] == ["ada"]


async def test_a_bundle_is_its_bytes_and_its_name(home):
    digest = (await home.call("ada", "GET", "/v1/bundles")).json()["items"][0]["digest"]
    whole = await home.call("ada", "GET", f"/v1/bundles/{digest}")
    assert whole.content == b"the bundle's bytes"
    kept = await home.call("ada", "GET", f"/v1/bundles/{digest}", if_none_match=whole.headers["etag"])
    assert (kept.status_code, kept.content) == (304, b"")
    assert (await home.call("ada", "GET", "/v1/bundles/sha256:" + "0" * 64)).status_code == 404


async def test_status_checkpoint_and_description(home):
    status = (await home.call("ada", "GET", "/v1/status")).json()
    assert (status["gate"], status["demo"]) == ("armed", False)
    note = (await home.call("ada", "GET", "/checkpoint")).text
    assert note.startswith(f"{home.house.origin}\n{home.size}\n")
    said = (await home.call("ada", "GET", "/openapi.json")).json()
    assert said["openapi"] == "3.1.0"


async def test_an_alert_is_acknowledged_once(home):
    await home.append("alert", "alr-x", "open", {"code": "x.y", "about": "gate", "detail": "", "by": ""})
    seen = await home.call(LEAD, "POST", "/v1/alerts/alr-x/ack", {})
    assert (seen.json()["state"], seen.json()["by"]) == ("acked", "lead-1")
    assert (await home.call(LEAD, "POST", "/v1/alerts/alr-x/ack")).status_code == 409
    assert (await home.call(LEAD, "POST", "/v1/alerts/alr-y/ack")).status_code == 404


async def test_only_the_unknown_is_reconciled(home):
    made = await home.execution()
    here = f"/v1/executions/{made['execution_id']}/reconcile"
    early = await home.call(LEAD, "POST", here, {"finding": "it was done"})
    assert (early.status_code, early.json()["code"]) == (409, "execution.state")
    await home.call("bot", "POST", here.replace("reconcile", "report"), {"outcome": "unknown"})
    done = await home.call(LEAD, "POST", here, {"finding": "it was done"})
    assert (done.status_code, done.json()["state"]) == (200, "reconciled")
    assert (await home.call(LEAD, "POST", here, {})).status_code == 400


async def test_an_operator_hears_that_a_thing_does_not_exist(home):
    for path in ("intents/int-0", "warrants/wrt-0", "executions/exe-0", "decisions/999", "entries/999/proof"):
        answer = await home.call(LEAD, "GET", f"/v1/{path}")
        assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), path


async def test_only_a_decision_is_shown_as_one(home):
    made = await home.intent()
    steps = (await home.call("bot", "GET", made["links"]["chain"])).json()["steps"]
    for name in (steps[0]["index"], steps[0]["leaf"], "sha256:" + "0" * 64, "first", "-1", "007"):
        assert (await home.call("bot", "GET", f"/v1/decisions/{name}")).status_code == 404, name


async def test_a_decision_is_found_by_its_digest_however_old_it_is(home):
    first = await home.intent()
    for _ in range(40):
        await home.intent()
    last = await home.intent("other")
    for made, who, foreign in ((first, "bot", "other"), (last, "other", "bot")):
        digest = made["decision"]["decision_digest"]
        for asker in (who, "ada", LEAD):
            found = (await home.call(asker, "GET", f"/v1/decisions/{digest}")).json()
            assert (found["kind"], found["body"]["decision_digest"]) == ("decision", digest)
            assert f'"{made["intent"]["intent_id"]}"' in found["header"]
        assert (await home.call(foreign, "GET", f"/v1/decisions/{digest}")).status_code == 404


async def test_a_decision_of_an_earlier_round_is_found_by_its_digest_too(home):
    made = await home.intent(action="note.ask")
    was = home.table.answers["decision"]

    def stricter(question):
        said = was(question)
        return {**said, "terms": {**said["terms"], "tier": "T1"}}

    home.table.answers["decision"] = stricter
    given = word(made, LEAD, "lead-1", home.house.now())
    await home.call(LEAD, "POST", made["links"]["approvals"], given)
    now = (await home.call("bot", "GET", made["links"]["self"])).json()["decision"]
    before = made["decision"]
    assert now["decision_digest"] != before["decision_digest"]
    for one in (before, now):
        found = (await home.call("bot", "GET", f"/v1/decisions/{one['decision_digest']}")).json()
        assert found["body"]["terms"]["tier"] == one["terms"]["tier"]


async def test_a_denial_is_taken_when_opa_is_silent(home):
    made = await home.intent(action="note.ask")
    home.table.silent = True
    given = word(made, LEAD, "lead-1", home.house.now(), verdict="deny")
    answer = await home.call(LEAD, "POST", made["links"]["approvals"], given, idempotency_key="deny-12345678")
    assert answer.status_code == 201
    assert answer.json()["decision"]["standing"]["outcome"] == "deny"
    explained = {reason["code"] for reason in answer.json()["decision"]["standing"]["reasons"]}
    assert explained
    assert explained <= answer.json()["links"].keys()
    yes = await home.call(LEAD, "POST", made["links"]["approvals"], word(made, LEAD, "lead-1", home.house.now()))
    assert yes.status_code == 409
