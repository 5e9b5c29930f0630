"""Handing a bundle in: every way to smuggle one is refused with its own code, and the old one goes on answering."""

import base64
import json
import secrets
import threading

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Unavailable
from magistrate.core.signature import signer_from_seed
from tests.api import real
from tests.api.house import LEAD, bare, begin
from tests.policy.trees import MANIFEST, packed

STRANGER = signer_from_seed(b"x" * 32)
POLICY = """package policies.notes

governs := {"note.write"}

"""


def files(sequence=2, **changed):
    """The small bundle's files under another sequence, with some of them changed; `None` leaves one out."""
    manifest = {**MANIFEST, "revision": str(sequence), "metadata": {"contract": 1, "sequence": sequence}}
    made = {f"/magistrate/{name}/{name}.rego": text.encode() for name, text in real.REGO.items()}
    made |= {"/data.json": json.dumps(real.DATA).encode(), "/.manifest": json.dumps(manifest).encode()}
    return {name: raw for name, raw in {**made, **changed}.items() if raw is not None}


def other(sequence=2, **changed):
    return packed(files(sequence, **changed))


def with_roots(roots):
    return json.dumps(
        {**MANIFEST, "revision": "2", "metadata": {"contract": 1, "sequence": 2}, "roots": roots}
    ).encode()


def note(rule):
    """A bundle with a policy of its own that says this."""
    return other(**{"/policies/notes/notes.rego": (POLICY + rule).encode()})


SMUGGLED = {
    "no archive": (b"not a bundle", "bundle.archive"),
    "truncated": (other()[:-40], "bundle.archive"),
    "edited": (other()[:200] + b"\x00" + other()[201:], "bundle.archive"),
    "a second digest at a known sequence": (other(1, **{"/tiers.rego": None, "/magistrate/x.rego": b"package magistrate.x\n"}), "bundle.sequence_taken"),
    "roots that take the rule before OPA": (other(**{"/.manifest": with_roots(["magistrate", "system/authz"])}), "bundle.roots"),
    "roots that take everything": (other(**{"/.manifest": with_roots([""])}), "bundle.roots"),
    "a builtin that reads the clock": (note("_x if time.now_ns() > 0\n"), "gate.builtin"),
    "a builtin that throws dice": (note('_x if rand.intn("a", 2) == 1\n'), "gate.builtin"),
    "a builtin that asks the network": (note('_x if http.send({"method": "GET", "url": "http://a"})\n'), "gate.builtin"),
    "a builtin that knows the time zone": (note('_x if time.weekday(0) == "Monday"\n'), "gate.builtin"),
    "a rule outside the vocabulary": (note('denies contains "x" if input.x\n'), "gate.public_rule"),
    "a denial that never denies": (note("deny := false if input.x\n"), "gate.partial_set"),
    "a rule without a reason": (note('deny contains "x" if input.x\n'), "gate.metadata"),
    "a test": (other(**{"/magistrate/x_test.rego": b"package x\n"}), "bundle.file"),
    "a policy that governs nothing known": (other(**{"/policies/notes/notes.rego": b'package policies.notes\n\ngoverns := {"no.such"}\n'}), "gate.governs"),
    "a look at what is not of the bundle": (note("_x if data.system.authz.allow\n"), "gate.data"),
    "Rego that does not compile": (note("_x if nothing(\n"), "gate.compile"),
}  # fmt: skip


def body(raw, **more):
    return {"file": base64.b64encode(raw).decode(), **more}


async def still_answers(home):
    """The bundle in force goes on deciding, and is what it was."""
    answer = await home.intent()
    return answer["decision"]["bundle"] == real.digest() and answer["decision"]["standing"]["outcome"] == "allow"


@pytest.mark.parametrize("how", SMUGGLED)
async def test_what_is_smuggled_is_refused_with_its_own_code(tmp_path, how):
    raw, code = SMUGGLED[how]
    async with real.opened(tmp_path) as home:
        answer = await home.call(LEAD, "POST", "/v1/bundles", body(raw))

        assert answer.status_code in (400, 409), answer.text
        assert answer.json()["code"] == code, answer.text
        shown = (await home.call("ada", "GET", "/v1/bundles")).json()["items"]
        assert [row["digest"] for row in shown] == [real.digest()]
        assert await still_answers(home)


async def test_a_bundle_handed_in_is_on_record_with_its_author_and_decides_nothing(tmp_path):
    async with real.opened(tmp_path) as home:
        raw = other()
        built = {"tests": 3, "cases": 1, "canaries": 0, "covered": 9, "lines": 9}

        answer = await home.call(LEAD, "POST", "/v1/bundles", body(raw, built=built, reason="a new one"))

        assert answer.status_code == 201, answer.text
        said = answer.json()
        assert (said["digest"], said["state"], said["author"]) == (canonical.digest(raw), "archived", "lead-1")
        assert said["built"] == built
        again = await home.call(LEAD, "POST", "/v1/bundles", body(raw))
        assert again.json() == said
        fetched = await home.call("ada", "GET", f"/v1/bundles/{said['digest']}")
        assert fetched.content == raw
        told = (await home.call("ada", "GET", f"/v1/bundles/{said['digest']}/changes")).json()
        assert told["against"] == real.digest()
        assert set(told["changes"]) == {"engine", "actions", "targets", "rows", "data", "more"}
        assert not any(told["changes"].values())
        assert await still_answers(home)


async def test_an_acceptance_names_the_one_who_gives_it(tmp_path):
    async with real.opened(tmp_path) as home:
        digest = (await home.call(LEAD, "POST", "/v1/bundles", body(other()))).json()["digest"]
        said = {"against": real.digest(), "codes": ["refunds.large"], "reason": "agreed"}

        answer = await home.call(LEAD, "POST", f"/v1/bundles/{digest}/acceptances", said)

        assert answer.status_code == 201, answer.text
        assert answer.json()["accepted"] == [{**said, "by": "lead-1"}]
        for spoilt, code in (({**said, "codes": []}, "bundle.accept"), ({**said, "against": "x"}, "input.shape")):
            refused = await home.call(LEAD, "POST", f"/v1/bundles/{digest}/acceptances", spoilt)
            assert (refused.status_code, refused.json()["code"]) == (400, code)
        unknown = "sha256:" + "0" * 64
        absent = await home.call(LEAD, "POST", f"/v1/bundles/{unknown}/acceptances", said)
        assert absent.status_code == 404


async def test_nobody_unknown_hands_a_bundle_in(tmp_path):
    async with real.opened(tmp_path) as home:
        size = home.house.store.size
        for who in ("", STRANGER):
            answer = await home.call(who, "POST", "/v1/bundles", body(other()))
            assert answer.status_code == 401
        unsigned = home.signed(LEAD, "POST", "/v1/bundles", canonical.canonical(body(other())))
        swapped = await home.http.post(
            "/v1/bundles",
            content=canonical.canonical(body(other(3))),
            headers={"content-type": "application/json", **unsigned},
        )
        assert swapped.status_code == 401
        assert home.house.store.size == size


async def test_who_may_not_hands_nothing_in_and_the_refusal_is_on_record(tmp_path):
    async with bare(tmp_path) as home:
        await begin(home)
        home.table.answers["access"] = lambda _: {
            "allowed": False,
            "reason": {"code": "access.verb", "title": "no", "remedy": "", "policy": "magistrate.access"},
        }
        for path in ("/v1/bundles", "/v1/bundles/x/acceptances"):
            size = home.size
            answer = await home.call("bot", "POST", path, body(b"x"))
            assert (answer.status_code, answer.json()["code"]) == (403, "access.verb")
            assert home.size == size + 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"file": "not base64!"}, "bundle.encoding"),
        ({}, "input.shape"),
        ({"file": "", "author": "somebody"}, "input.shape"),
        ({"file": "", "built": {"tests": -1, "cases": 0, "canaries": 0, "covered": 0, "lines": 0}}, "input.shape"),
    ],
)
async def test_what_is_no_bundle_is_refused_before_it_is_looked_at(tmp_path, said, code):
    async with real.opened(tmp_path) as home:
        answer = await home.call(LEAD, "POST", "/v1/bundles", said)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_bundle_may_be_larger_than_any_other_body_and_has_an_end(tmp_path):
    async with bare(tmp_path) as home:
        await begin(home)
        large = {"file": base64.b64encode(secrets.token_bytes(4 * 1024 * 1024)).decode()}
        answer = await home.call(LEAD, "POST", "/v1/bundles", large)
        assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")
        elsewhere = await home.call(LEAD, "POST", "/v1/intents", {"file": "a" * 70_000})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (413, "input.too_large")


READS = {
    "its file": ("GET", "/v1/bundles/{}", None),
    "its changes": ("GET", "/v1/bundles/{}/changes", None),
    "its impact": ("GET", "/v1/bundles/{}/impact", None),
    "a replay": ("POST", "/v1/replays", {"bundle": "{}", "limit": 1}),
    "a pull": ("GET", "/opa/v1/bundles/active.tar.gz", None),
}


@pytest.mark.parametrize("what", READS)
async def test_a_bundle_is_read_beside_the_requests_not_before_them(tmp_path, what):
    method, path, sent = READS[what]
    async with real.opened(tmp_path) as home:
        digest = (await home.call(LEAD, "POST", "/v1/bundles", body(other()))).json()["digest"]
        sidecars, threads = home.house.sidecars, []
        parsed = sidecars.archive._parsed
        sidecars.archive._parsed = lambda *given: (threads.append(threading.current_thread()), parsed(*given))[1]
        sidecars._loaded.cache_clear()

        answer = await home.call(LEAD, method, path.format(digest), sent and {**sent, "bundle": digest})

        assert answer.status_code in (200, 201), answer.text
        assert threads
        assert threading.main_thread() not in threads


KEY = "key-12345678"


async def test_a_bundle_handed_in_again_under_its_key_is_answered_with_the_same_bytes(tmp_path):
    async with real.opened(tmp_path) as home:
        first = await home.call(LEAD, "POST", "/v1/bundles", body(other()), idempotency_key=KEY)
        digest, size = first.json()["digest"], home.size
        said = {"against": real.digest(), "codes": ["refunds.large"], "reason": "agreed"}
        await home.call(LEAD, "POST", f"/v1/bundles/{digest}/acceptances", said)

        again = await home.call(LEAD, "POST", "/v1/bundles", body(other()), idempotency_key=KEY)
        refused = await home.call(LEAD, "POST", "/v1/bundles", body(other(3)), idempotency_key=KEY)

        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency.mismatch")
        assert home.house.store.row("bundles", canonical.digest(other(3))) is None
        assert home.size == size + 1, "one acceptance and nothing else"


async def test_a_key_is_spent_on_a_bundle_that_was_known_already(tmp_path):
    async with real.opened(tmp_path) as home:
        await home.call(LEAD, "POST", "/v1/bundles", body(other()))
        known = await home.call(LEAD, "POST", "/v1/bundles", body(other()), idempotency_key=KEY)
        size = home.size
        refused = await home.call(LEAD, "POST", "/v1/bundles", body(other(3)), idempotency_key=KEY)
        assert known.status_code == 201
        assert (refused.status_code, refused.json()["code"], home.size) == (409, "idempotency.mismatch", size)


async def test_an_acceptance_sent_again_under_its_key_is_on_record_once(tmp_path):
    async with real.opened(tmp_path) as home:
        digest = (await home.call(LEAD, "POST", "/v1/bundles", body(other()))).json()["digest"]
        path, said = f"/v1/bundles/{digest}/acceptances", {"against": real.digest(), "codes": ["refunds.large"]}

        first = await home.call(LEAD, "POST", path, said, idempotency_key=KEY)
        size = home.size
        again = await home.call(LEAD, "POST", path, said, idempotency_key=KEY)
        refused = await home.call(LEAD, "POST", path, {**said, "codes": ["refunds.any"]}, idempotency_key=KEY)

        assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (201, first.content, "true")
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency.mismatch")
        assert home.size == size
        assert len(again.json()["accepted"]) == 1


@pytest.mark.parametrize("path", ["/v1/bundles", "/v1/bundles/{}/acceptances"])
async def test_a_failure_is_not_kept_under_a_key(tmp_path, path, monkeypatch):
    async with real.opened(tmp_path) as home:
        digest = (await home.call(LEAD, "POST", "/v1/bundles", body(other()))).json()["digest"]
        said = body(other()) if path == "/v1/bundles" else {"against": real.digest(), "codes": ["refunds.large"]}
        commit, failed = home.house.store.commit, []

        async def full(*given):
            failed.append(given)
            raise Unavailable("store.full", "no room")

        monkeypatch.setattr(home.house.store, "commit", full)
        no = await home.call(LEAD, "POST", path.format(digest), said, idempotency_key=KEY)
        monkeypatch.setattr(home.house.store, "commit", commit)
        yes = await home.call(LEAD, "POST", path.format(digest), said, idempotency_key=KEY)

        assert (no.status_code, yes.status_code) == (503, 201)
        assert "idempotency-replayed" not in yes.headers
