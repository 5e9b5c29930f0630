"""An intent comes in: what may not, does not; what OPA does not answer is denied and on record."""

import asyncio

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Absent, Conflict, Malformed, NoAnswer, Unavailable
from magistrate.engine import arming, gateway
from magistrate.engine.installation import Principal, Word
from tests.support import fake_opa as fake
from tests.support.fake_opa import envelope, failing, provenance, result, saying
from tests.support.world import CASCADE, DEPLOY, RESTART, SQL, code, refund

SHAPELESS = {
    "hangs": (fake.hang, "opa.timeout"),
    "one byte at a time": (fake.drip, "opa.timeout"),
    "closes": (fake.close, "opa.cut_short"),
    "cut short": (fake.cut_body, "opa.cut_short"),
    "500": (failing({"code": "internal_error", "message": "x"}), "opa.eval_error"),
    "204": (saying(b"", status="204 No Content"), "opa.status"),
    "{}": (saying(b"{}"), "opa.bundle"),
    "null": (result(b"null"), "opa.null"),
    "undefined": (saying(envelope(result=...)), "opa.undefined"),
    "another type": (result(b'"allow"'), "opa.not_an_object"),
    "a field missing": (result(b'{"terms":{}}'), "opa.answer_shape"),
    "a warning": (saying(envelope(warning={"code": "x", "message": "y"})), "opa.warning"),
    "another bundle": (saying(envelope(provenance=provenance(bundles={}))), "opa.bundle"),
    "not UTF-8": (saying(envelope().replace("é".encode(), b"\xe9")), "opa.not_utf8"),
    "too large": (fake.huge, "opa.too_large"),
    "not HTTP": (fake.garbage, "opa.not_http"),
}


class Speaking:
    """The sidecars of a house whose OPA is a fake."""

    def __init__(self, real, sidecar):
        self._real, self._sidecar = real, sidecar

    async def of(self, _):
        return self._sidecar

    def __getattr__(self, name):
        return getattr(self._real, name)


@pytest.mark.parametrize("how", SHAPELESS)
async def test_what_is_no_answer_is_a_denial_on_record(shared, how):
    way, said = SHAPELESS[how]
    size = shared.size
    real = shared.house.sidecars
    async with fake.fake_opa(deadline=0.3) as (opa, sidecar):
        opa.misbehave(way)
        shared.house.sidecars = Speaking(real, sidecar)
        with pytest.raises(NoAnswer) as no:
            await shared.propose(RESTART)
        shared.house.sidecars = real

    assert no.value.code == said
    assert shared.kinds(size) == ["intent", "refusal"]
    entered, refused = shared.entries(start=size)
    assert refused.parents == (entered.leaf_digest,)
    assert (refused.state, refused.content()["code"], refused.content()["step"]) == ("denied", said, "intent")
    assert refused.content()["question"]["intent"] == entered.content()["intent"]
    row = shared.row("intents", entered.subject)
    assert (row.state, row.data["because"], row.data["warrant_id"]) == ("denied", said, "")


async def test_an_opa_that_is_gone_is_a_denial_on_record(world):
    size = world.size
    real = world.house.sidecars
    for leave, said in (("stop", "opa.refused"), ("leave_a_stale_socket", "opa.stale_socket")):
        async with fake.fake_opa(deadline=0.3) as (opa, sidecar):
            await getattr(opa, leave)()
            world.house.sidecars = Speaking(real, sidecar)
            with pytest.raises(NoAnswer, match=said.replace(".", r"\.")):
                await world.propose(RESTART)
            world.house.sidecars = real
    assert world.kinds(size) == ["intent", "refusal"] * 2


async def test_an_intent_that_ended_without_an_answer_is_not_taken_up_again(world):
    with world.silent(), pytest.raises(NoAnswer):
        await world.propose(DEPLOY)
    id_ = world.entries("intent")[-1].subject
    with pytest.raises(Conflict):
        await gateway.cancel(world.house, id_, Word("bot", "too late"))
    assert (await world.propose(DEPLOY)).decision["standing"]["outcome"] == "ask"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"action":"service.restart"}',
        canonical.canonical({**RESTART, "more": 1}),
        canonical.canonical({**RESTART, "action": "no such\nname"}),
        canonical.canonical({**RESTART, "action": ""}),
        canonical.canonical({**RESTART, "target": "a" * 129}),
        canonical.canonical({**RESTART, "parameters": []}),
        canonical.canonical({**RESTART, "parameters": None}),
        canonical.canonical({**RESTART, "reason": 7}),
        canonical.canonical({**RESTART, "context": "urgent"}),
        canonical.canonical({**RESTART, "proposer": {"type": "operator", "id": "olga"}}),
        canonical.canonical({**RESTART, "intent_id": "int-1"}),
        b'{"action":"service.restart","action":"sql.free","target":"api-gateway-staging","parameters":{}}',
        b'{"action":"service.restart","target":"api-gateway-staging","parameters":{"n":9007199254740993}}',
        b'{"action":"service.restart","target":"api-gateway-staging","parameters":{"n":NaN}}',
        b'{"action":"service.restart","target":"api-gateway-staging","parameters":{"s":"\\ud800"}}',
        canonical.canonical({**RESTART, "reason": "x" * 70_000}),
        canonical.canonical({**RESTART, "reason": "x" * 8_193}),
    ],
)
async def test_what_is_no_proposal_leaves_no_trace(shared, raw):
    size = shared.size
    with pytest.raises(Malformed):
        await gateway.submit(shared.house, shared.agent(), raw)
    assert shared.size == size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"action": "service.explode"}, "decision.unknown_action"),
        ({"action": "Service.restart"}, "decision.unknown_action"),
        ({"target": "nowhere"}, "decision.unknown_target"),
        ({"target": "orders-db"}, "decision.target_kind"),
        ({"parameters": {"force": True}}, "decision.parameters"),
        ({**DEPLOY, "parameters": {"version": "2.4.1"}}, "decision.parameters"),
        ({**DEPLOY, "parameters": {"version": "2.4.1; rm", "strategy": "rolling"}}, "decision.parameters"),
        ({"action": "agent.enrol", "target": "installation"}, "decision.administration"),
    ],
)
async def test_what_the_catalogue_does_not_hold_is_denied_and_on_record(shared, change, said):
    size = shared.size
    shown = await shared.propose({**RESTART, **change})

    standing = shown.decision["standing"]
    assert standing["outcome"] == "deny"
    assert code(said) in {reason["code"] for reason in standing["reasons"]}
    assert (shown.warrant, shown.decision["terms"]["tier"], standing["wanted"]) == (None, "", [])
    assert shared.kinds(size) == ["intent", "decision"]
    assert shared.state("intents", shown.intent["intent_id"]) == "denied"


@pytest.mark.parametrize(
    "who", [Principal("agent", "nobody", "api-key"), Principal("operator", "nobody", "ed25519", "sha256:" + "0" * 64)]
)
async def test_nobody_that_is_not_enrolled_gets_anything(world, who):
    shown = await world.propose(RESTART, by=who)
    assert shown.decision["standing"]["outcome"] == "deny"
    assert shown.warrant is None


async def test_a_shut_gate_lets_nothing_out_and_nothing_in(world):
    await arming.put(world.house, armed=False, because="a canary sang")
    size = world.size
    with pytest.raises(Unavailable, match=r"gate\.disarmed.*a canary sang"):
        await world.propose(RESTART)
    assert world.size == size


async def test_a_gate_that_shuts_while_opa_answers_lets_nothing_out(world):
    async def shut():
        await arming.put(world.house, armed=False, because="a canary sang")

    size, asked = world.size, world.between("decision", shut)
    with pytest.raises(Unavailable, match=r"gate\.disarmed"):
        await world.propose(RESTART)
    assert asked[0].answer["standing"]["outcome"] == "allow"
    assert world.kinds(size) == ["arming", "alert"]


async def test_intent_decision_and_warrant_are_one_commit_each_naming_the_one_before(world):
    size, commits = world.size, world.house.store.commits
    shown = await world.propose(RESTART)

    assert world.house.store.commits == commits + 1
    intent, decision, warrant = world.entries(start=size)
    assert [e.kind for e in (intent, decision, warrant)] == ["intent", "decision", "warrant"]
    assert (decision.parents, warrant.parents) == ((intent.leaf_digest,), (decision.leaf_digest,))
    assert warrant.content() == shown.warrant
    assert shown.warrant["policy"]["entry"] == decision.leaf_digest
    assert shown.warrant["policy"]["decision"] == shown.decision["decision_digest"]
    assert shown.warrant["issuer"]["type"] == "policy"
    assert shown.warrant["holder"] == {"type": "agent", "id": "bot", "proof": "api-key"}
    assert shown.warrant["approvals"] == []


async def test_the_proposer_is_whoever_the_credential_says(world):
    shown = await world.propose(RESTART, by=world.agent("other"))
    assert shown.intent["proposer"] == {"type": "agent", "id": "other"}
    assert shown.warrant["holder"]["id"] == "other"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("ttl", lambda issue: {"ttl": issue["ttl"] + 1}),
        ("no ttl", lambda _: {"ttl": 0}),
        ("uses", lambda issue: {"uses": issue["uses"] + 1}),
        ("audience", lambda _: {"audience": "holder"}),
        ("evidence", lambda _: {"evidence": ["holder"]}),
        ("a constraint looser", lambda issue: {"constraints": {**issue["constraints"], "max_retries": 99}}),
        ("a constraint gone", lambda _: {"constraints": {}}),
        ("heartbeat", lambda _: {"heartbeat_seconds": 0}),
    ],
)
async def test_core_vouches_for_no_warrant_wider_than_its_terms(world, what, change):
    def wider(answer):
        issue = answer["standing"]["issue"]
        return {**answer, "standing": {**answer["standing"], "issue": {**issue, **change(issue)}}}

    world.answering("decision", wider)
    size = world.size
    shown = await world.propose(RESTART)
    assert shown.decision["standing"]["outcome"] == "deny"
    assert [r["code"] for r in shown.decision["standing"]["reasons"]] == ["warrant.wider"]
    assert (shown.warrant, world.kinds(size)) == (None, ["intent", "decision"])


@pytest.mark.parametrize("said", [DEPLOY, SQL], ids=["one", "several"])
async def test_core_vouches_for_no_allow_that_too_few_approved(world, said):
    """A bundle that says allow against its own terms issues nothing."""
    world.answering(
        "decision", lambda told: {**told, "standing": {**told["standing"], "outcome": "allow", "wanted": []}}
    )
    shown = await world.propose(said)
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)
    assert [r["code"] for r in shown.decision["standing"]["reasons"]] == ["warrant.approvals"]


async def test_claims_raise_a_tier_and_never_lower_one(world):
    rank = {name: row["rank"] for name, row in world.data["tiers"].items()}
    risky = world.limit("deploys", "risky")[0]

    plain = await world.propose(DEPLOY)
    begging = await world.propose(DEPLOY, reason="already approved", context={"tier": "lowest", "approved": True})
    honest = await world.propose(DEPLOY, context={"risk": risky})

    tier = [rank[one.decision["terms"]["tier"]] for one in (plain, begging, honest)]
    assert tier[0] == tier[1] < tier[2]


async def test_an_intent_that_waits_is_cancelled_once(world):
    shown = await world.propose(DEPLOY)
    id_ = shown.intent["intent_id"]
    await gateway.cancel(world.house, id_, Word("bot", "not needed"))
    assert world.row("intents", id_).data["because"] == "not needed"
    with pytest.raises(Conflict):
        await gateway.cancel(world.house, id_, Word("bot", "again"))
    with pytest.raises(Conflict, match=r"intent\.state"):
        await world.say(shown, world.able(shown)[0])
    with pytest.raises(Absent):
        await gateway.cancel(world.house, "int-unknown", Word("bot", "x"))


async def test_an_intent_expires_when_its_waiting_time_is_over(world):
    shown = await world.propose(DEPLOY)
    id_ = shown.intent["intent_id"]
    world.time.go(shown.decision["terms"]["requirement"]["wait_seconds"] - 1)
    await world.tick()
    assert world.state("intents", id_) == "waiting"
    world.time.go(1)
    await world.tick()
    await world.tick()
    assert world.state("intents", id_) == "expired"
    assert [e.state for e in world.entries("lifecycle", id_)] == ["expired"]


async def test_nobody_approves_what_has_waited_too_long_however_late_it_is_noticed(world):
    shown = await world.propose(DEPLOY)
    world.time.go(shown.decision["terms"]["requirement"]["wait_seconds"])
    with pytest.raises(Conflict, match=r"intent\.expired"):
        await world.approve(shown)
    assert world.entries("warrant", shown.intent["intent_id"].replace("int-", "wrt-")) == []


async def test_open_intents_are_counted_from_state(world):
    waiting = [await world.propose(DEPLOY) for _ in range(3)]
    await gateway.cancel(world.house, waiting[0].intent["intent_id"], Word("bot", "x"))
    await world.say(waiting[1], world.able(waiting[1])[0], "deny")
    asked = world.between("decision", lambda: asyncio.sleep(0))
    await world.propose(CASCADE)
    assert asked[0].question["proposer"]["open_intents"] == 1
    await world.propose(refund(world.limit("refunds", "small")), by=world.agent("other"))
    assert asked[1].question["proposer"]["open_intents"] == 0


async def test_nobody_keeps_more_intents_waiting_than_the_bundle_allows(world):
    most = world.data["catalogue"]["installation"]["limits"]["open_intents"]
    for _ in range(most):
        last = await world.propose(DEPLOY)
    assert last.decision["standing"]["outcome"] == "ask"
    over = await world.propose(DEPLOY)
    assert over.decision["standing"]["outcome"] == "deny"
    assert code("decision.open_intents") in {r["code"] for r in over.decision["standing"]["reasons"]}
