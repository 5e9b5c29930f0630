"""An operator's word counts for one decision, once, while it lasts, by the key it was signed with; a no is final."""

import asyncio
import base64

import pytest

from magistrate.core import canonical
from magistrate.core.approval import encode
from magistrate.core.errors import Absent, Conflict, MagistrateError, NoAnswer, Refused, Unavailable
from magistrate.core.signature import pae, payload_type, signer_from_seed
from magistrate.core.values import moment
from magistrate.engine import approvals, arming
from tests.support.world import DEPLOY, FIRST, OWNER, RESTART, SQL, beneath, code


async def waiting(world, said=SQL, **more):
    """An intent that asks for at least two people."""
    shown = await world.propose(said, **more)
    assert shown.decision["standing"]["outcome"] == "ask"
    assert beneath(shown.decision) >= 2
    return shown


def unmoved(world, shown, size):
    """Nothing but refusals was recorded, and it still waits as it did."""
    row = world.row("intents", shown.intent["intent_id"])
    assert set(world.kinds(size)) <= {"refusal"}
    assert (row.state, row.data["approvals"]) == ("waiting", [])
    return True


def altered(word, at):
    """The statement with one byte changed, under the old signature."""
    raw = bytearray(base64.urlsafe_b64decode(word["statement"] + "=" * (-len(word["statement"]) % 4)))
    raw[at % len(raw)] ^= 1
    return {**word, "statement": encode(bytes(raw))}


async def test_as_many_as_are_wanted_approve_and_the_warrant_names_them(world):
    shown = await waiting(world)
    said = await world.approve(shown)

    given = world.row("intents", shown.intent["intent_id"]).data["approvals"]
    assert len({one["operator"] for one in given}) == len(given) == beneath(shown.decision)
    assert said.warrant["approvals"] == [one["digest"] for one in given]
    assert said.warrant["issuer"] == {"type": "operator", "id": given[-1]["operator"]}
    entries = world.entries("approval", shown.intent["intent_id"])
    assert said.warrant["approvals"] == [canonical.digest_of(e.content()) for e in entries]
    assert said.decision["decision_digest"] == shown.decision["decision_digest"]


async def test_one_less_than_wanted_is_not_enough(world):
    shown = await waiting(world)
    for who in world.able(shown)[: beneath(shown.decision) - 1]:
        said = await world.say(shown, who)
        assert (said.decision["standing"]["outcome"], said.warrant) == ("ask", None)
    assert world.state("intents", shown.intent["intent_id"]) == "waiting"


async def test_every_byte_of_a_statement_is_signed(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    size = world.size
    for at in range(0, 900, 7):
        with pytest.raises(MagistrateError):
            await world.send(shown.intent["intent_id"], altered(word, at), who)
    assert unmoved(world, shown, size)
    assert await world.send(shown.intent["intent_id"], word, who)


async def test_every_byte_of_a_signature_counts(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    size = world.size
    for at in range(2, 130, 5):
        signature = word["proof"]["signature"]
        flipped = signature[:at] + ("0" if signature[at] != "0" else "1") + signature[at + 1 :]
        with pytest.raises(MagistrateError):
            await world.send(shown.intent["intent_id"], {**word, "proof": {**word["proof"], "signature": flipped}}, who)
    assert unmoved(world, shown, size)


async def test_a_word_signed_for_another_type_of_document_is_none(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    raw = base64.urlsafe_b64decode(word["statement"] + "===")
    signature = "0x" + world.signers[who].sign(pae(payload_type("recovery"), raw)).hex()
    with pytest.raises(MagistrateError):
        await world.send(shown.intent["intent_id"], {**word, "proof": {**word["proof"], "signature": signature}}, who)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"proof": {"kind": "webauthn", "key_id": "sha256:" + "0" * 64, "signature": "0x" + "0" * 128}},
        {"proof": {}},
        {"statement": "e30"},
        {"statement": "e30="},
        {"statement": "!!!"},
        {"statement": ""},
        {"statement": None},
    ],
)
async def test_what_is_no_approval_is_none(shared, change):
    shown = await waiting(shared)
    who = shared.able(shown)[0]
    size = shared.size
    with pytest.raises(MagistrateError) as no:
        await shared.send(shown.intent["intent_id"], {**shared.word(shown, who), **change}, who)
    assert no.value.code.split(".")[0] in ("approval", "input")
    assert unmoved(shared, shown, size)


async def test_a_statement_that_is_not_in_canonical_form_is_none(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    raw = base64.urlsafe_b64decode(word["statement"] + "===")
    for other in (b" " + raw, raw + b"\n", raw.replace(b'":', b'": ', 1), raw[:-1] + b',"round":1}'):
        signature = "0x" + world.signers[who].sign(pae(payload_type("approval"), other)).hex()
        said = {"statement": encode(other), "proof": {**word["proof"], "signature": signature}}
        with pytest.raises(MagistrateError):
            await world.send(shown.intent["intent_id"], said, who)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("type", "magistrate/warrant/v1", "approval.shape"),
        ("origin", "acme/other", "approval.other_intent"),
        ("intent_id", "int-another", "approval.other_intent"),
        ("intent_digest", "sha256:" + "0" * 64, "approval.other_intent"),
        ("decision_digest", "sha256:" + "0" * 64, "approval.round_over"),
        ("round", 2, "approval.round_over"),
        ("round", 0, "approval.round_over"),
        ("verdict", "allow", "approval.shape"),
        ("verdict", "", "approval.shape"),
        ("narrowing", {"ttl": 0}, "approval.shape"),
        ("narrowing", {"audience": "holder"}, "approval.shape"),
        ("operator", "ann-2", "approval.not_yours"),
        ("operator", FIRST, "approval.not_yours"),
        ("key_id", "sha256:" + "0" * 64, "approval.key"),
        ("reason", None, "approval.shape"),
    ],
)
async def test_a_statement_about_something_else_is_refused(shared, field, value, said):
    shown = await waiting(shared)
    size = shared.size
    with pytest.raises(MagistrateError) as no:
        await shared.send(shown.intent["intent_id"], shared.word(shown, "ann", change={field: value}), "ann")
    assert no.value.code == said
    assert unmoved(shared, shown, size)


@pytest.mark.parametrize(
    ("at", "until", "said"),
    [
        (-301, 600, "approval.stale"),
        (301, 600, "approval.stale"),
        (-86_400, 86_400, "approval.stale"),
        (-60, 0, "statement.expired"),
        (-60, -1, "statement.expired"),
    ],
)
async def test_a_statement_is_made_now_and_has_not_ended(shared, at, until, said):
    shown = await waiting(shared)
    now, size = shared.house.now(), shared.size
    with pytest.raises(Conflict) as no:
        await shared.say(shown, "ann", at=moment(now + at), expires_at=moment(now + until))
    assert no.value.code == said
    assert unmoved(shared, shown, size)


async def test_a_statement_outlives_no_terms(world):
    shown = await waiting(world)
    size, longest = world.size, shown.decision["terms"]["requirement"]["approval_seconds"]
    until = moment(world.house.now() + longest + 1)
    with pytest.raises(Refused) as no:
        await world.say(shown, "ann", expires_at=until)
    assert no.value.reasons
    assert unmoved(world, shown, size)


async def test_an_approval_is_not_moved_to_another_intent(world):
    one, other = await waiting(world), await waiting(world)
    who = world.able(one)[0]
    size = world.size
    with pytest.raises(Conflict, match=r"approval\.other_intent"):
        await world.send(other.intent["intent_id"], world.word(one, who), who)
    assert unmoved(world, other, size)
    await world.say(one, who)
    assert world.row("intents", other.intent["intent_id"]).data["approvals"] == []


async def test_an_approval_is_not_handed_in_by_another(world):
    shown = await waiting(world)
    ann, ben = world.able(shown)[:2]
    size = world.size
    for sender in (ben, "rolf"):
        with pytest.raises(Refused, match=r"approval\.not_yours"):
            await world.send(shown.intent["intent_id"], world.word(shown, ann), sender)
    with pytest.raises(Refused, match=r"approval\.not_yours"):
        await approvals.act(
            world.house, world.agent(), shown.intent["intent_id"], canonical.canonical(world.word(shown, ann))
        )
    assert unmoved(world, shown, size)


async def test_another_key_is_another_person(world):
    shown = await waiting(world)
    size = world.size
    for signer in (signer_from_seed(bytes(32)), world.signers["ben"]):
        for key_id in (signer.key_id, world.signers["ann"].key_id):
            with pytest.raises(MagistrateError):
                await world.say(shown, "ann", signer=signer, key_id=key_id)
    assert unmoved(world, shown, size)


async def test_one_person_counts_once(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    await world.say(shown, who)
    size = world.size
    with pytest.raises(Refused) as no:
        await world.say(shown, who)
    assert no.value.reasons
    again = await asyncio.gather(*(world.say(shown, who) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(one, Refused) for one in again)
    assert set(world.kinds(size)) == {"refusal"}
    assert len(world.row("intents", shown.intent["intent_id"]).data["approvals"]) == 1


async def test_the_same_word_sent_many_times_at_once_counts_once(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    came = await asyncio.gather(
        *(world.send(shown.intent["intent_id"], word, who) for _ in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(one, Exception) for one in came) == 1
    assert len(world.row("intents", shown.intent["intent_id"]).data["approvals"]) == 1


async def test_who_stands_too_near_does_not_approve(world):
    shown = await waiting(world)
    assert "owner" in shown.decision["terms"]["requirement"]["exclude"]
    size = world.size
    with pytest.raises(Refused) as no:
        await world.say(shown, OWNER)
    assert {reason["policy"] for reason in no.value.reasons} == {"magistrate.approval"}
    assert unmoved(world, shown, size)


async def test_nobody_approves_what_they_proposed(world):
    shown = await waiting(world, by=world.operator("ann"))
    assert "proposer" in shown.decision["terms"]["requirement"]["exclude"]
    size = world.size
    with pytest.raises(Refused):
        await world.say(shown, "ann")
    assert unmoved(world, shown, size)


async def test_whoever_has_no_role_that_is_wanted_does_not_approve(world):
    shown = await waiting(world)
    size = world.size
    with pytest.raises(Refused):
        await world.say(shown, "rolf")
    assert unmoved(world, shown, size)
    refusal = world.entries("refusal")[-1]
    assert refusal.content()["step"] == "approval"
    assert refusal.content()["asked"][0]["document"] == "approval"


async def test_whoever_is_suspended_says_nothing_more(world):
    shown = await waiting(world)
    await world.act("operator.suspend", {"operator": "ann"})
    size = world.size
    for verdict in ("approve", "deny"):
        with pytest.raises(Refused, match=r"approval\.not_yours"):
            await world.say(shown, "ann", verdict)
    assert unmoved(world, shown, size)


async def test_nobody_speaks_who_was_never_enrolled(world):
    shown = await waiting(world)
    world.signers = {**world.signers, "mallory": signer_from_seed(b"m" * 32)}
    with pytest.raises(Refused, match=r"approval\.not_yours"):
        await world.say(shown, "mallory")
    with pytest.raises(Absent):
        await world.send("int-unknown", world.word(shown, "ann"), "ann")


async def test_what_has_expired_counts_no_more(world):
    shown = await waiting(world)
    people = world.able(shown)
    await world.say(shown, people[0], expires_at=moment(world.house.now() + 60))
    world.time.go(60)
    said = shown
    for who in people[1 : beneath(shown.decision)]:
        said = await world.say(shown, who)
    assert said.decision["standing"]["outcome"] == "ask"

    said = await world.say(shown, people[0])  # once it has expired, the person may speak again

    assert said.decision["standing"]["outcome"] == "allow"
    assert len(said.warrant["approvals"]) == beneath(shown.decision)


async def test_a_warrant_names_no_approval_that_had_expired(world):
    shown = await waiting(world)
    people = world.able(shown)
    await world.say(shown, people[0], expires_at=moment(world.house.now() + 60))
    world.time.go(60)
    for who in people[1 : beneath(shown.decision) + 1]:
        said = await world.say(shown, who)
    assert said.decision["standing"]["outcome"] == "allow"
    assert len(said.warrant["approvals"]) == beneath(shown.decision)
    first = canonical.digest_of(world.entries("approval", shown.intent["intent_id"])[0].content())
    assert first not in said.warrant["approvals"]


async def test_the_word_of_one_who_is_suspended_since_counts_no_more(world):
    shown = await waiting(world)
    people = world.able(shown)
    await world.say(shown, people[0])
    await world.act("operator.suspend", {"operator": people[0]})
    for who in people[1 : beneath(shown.decision)]:
        said = await world.say(shown, who)
    assert (said.decision["standing"]["outcome"], said.warrant) == ("ask", None)
    said = await world.approve(said, skip=tuple(people[: beneath(shown.decision)]))
    assert len(said.warrant["approvals"]) == beneath(shown.decision)


async def test_a_no_is_final(world):
    shown = await waiting(world)
    people = world.able(shown)
    await world.say(shown, people[0])
    said = await world.say(shown, people[1], "deny")

    assert said.decision["standing"]["outcome"] == "deny"
    assert code("decision.denied") in {r["code"] for r in said.decision["standing"]["reasons"]}
    assert world.state("intents", shown.intent["intent_id"]) == "denied"
    with pytest.raises(Conflict, match=r"intent\.state"):
        await world.say(shown, people[-1])
    with pytest.raises(Conflict, match=r"intent\.state"):
        await world.say(shown, people[1], "deny")


@pytest.mark.parametrize("who", ["rolf", OWNER])
async def test_any_active_operator_may_say_no(world, who):
    shown = await waiting(world)
    said = await world.say(shown, who, "deny")
    assert said.decision["standing"]["outcome"] == "deny"


async def test_a_no_says_why(world):
    shown = await waiting(world)
    size = world.size
    with pytest.raises(Refused) as no:
        await world.say(shown, "ann", "deny", reason="")
    assert no.value.reasons
    assert unmoved(world, shown, size)


@pytest.mark.parametrize("document", ["approval", "decision"])
async def test_a_no_is_recorded_though_opa_is_down(world, document):
    shown = await waiting(world)
    id_ = shown.intent["intent_id"]
    with world.silent(document):
        said = await world.say(shown, "rolf", "deny")
    assert (said.decision["standing"]["outcome"], said.warrant) == ("deny", None)
    assert world.state("intents", id_) == "denied"
    assert [e.kind for e in world.entries(subject=id_)][-2:] == ["approval", "refusal"]
    with pytest.raises(Conflict):
        await world.approve(shown)


async def test_a_no_is_taken_though_the_gate_is_shut_and_the_clock_is_off(world):
    shown = await waiting(world)
    await arming.put(world.house, armed=False, because="test")
    said = await world.say(shown, "rolf", "deny")
    assert said.decision["standing"]["outcome"] == "deny"
    assert world.state("intents", shown.intent["intent_id"]) == "denied"


async def test_a_no_by_another_key_denies_nothing_though_opa_is_down(world):
    shown = await waiting(world)
    size = world.size
    with world.silent(), pytest.raises(MagistrateError):
        await world.say(shown, "rolf", "deny", signer=signer_from_seed(bytes(32)))
    assert unmoved(world, shown, size)


async def test_a_yes_without_an_answer_is_refused_and_may_be_sent_again(world):
    shown = await waiting(world)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    size = world.size
    for document in ("approval", "decision"):
        with world.silent(document, no=NoAnswer("opa.timeout", "slow")), pytest.raises(NoAnswer):
            await world.send(shown.intent["intent_id"], word, who)
    assert world.kinds(size) == ["refusal"] * 2
    assert {e.content()["code"] for e in world.entries(start=size)} == {"opa.timeout"}
    assert unmoved(world, shown, size)
    assert await world.send(shown.intent["intent_id"], word, who)


async def test_no_yes_is_taken_while_the_gate_is_shut(world):
    shown = await waiting(world)
    await arming.put(world.house, armed=False, because="test")
    size = world.size
    with pytest.raises(Unavailable, match=r"gate\.disarmed"):
        await world.say(shown, world.able(shown)[0])
    assert unmoved(world, shown, size)


async def test_narrowings_are_merged_into_the_warrant(world):
    shown = await waiting(world)
    terms = shown.decision["terms"]["warrant"]
    people = world.able(shown)[: beneath(shown.decision)]
    kind = "max_duration_seconds"
    narrowings = [{"ttl": terms["ttl"] - 7}, {"ttl": terms["ttl"] - 9, "constraints": {kind: 11}}]
    for who, narrowing in zip(people, narrowings, strict=False):
        said = await world.say(shown, who, narrowing=narrowing)
    said = await world.approve(said, skip=tuple(people[:2]))

    assert said.decision["terms"]["warrant"] == terms
    assert said.warrant["ttl"] == terms["ttl"] - 9
    assert said.warrant["constraints"] == {**terms["constraints"], kind: 11}
    assert said.warrant["uses"] == terms["uses"]


@pytest.mark.parametrize(
    "narrowing",
    [
        lambda terms: {"ttl": terms["ttl"] + 1},
        lambda terms: {"uses": terms["uses"] + 1},
        lambda terms: {"constraints": {"max_retries": terms["constraints"]["max_retries"] + 1}},
        lambda _: {"constraints": {"no_such_kind": 1}},
        lambda _: {"constraints": {"max_retries": "0"}},
        lambda _: {"constraints": {"max_retries": None}},
        lambda _: {"constraints": {"ttl": 1}},
    ],
)
async def test_a_narrowing_takes_away_and_gives_nothing(shared, narrowing):
    shown = await waiting(shared)
    size = shared.size
    with pytest.raises(Refused) as no:
        await shared.say(shown, shared.able(shown)[0], narrowing=narrowing(shown.decision["terms"]["warrant"]))
    assert no.value.reasons
    assert unmoved(shared, shown, size)


async def test_narrowings_that_leave_nothing_deny(world):
    shown = await waiting(world)
    people = world.able(shown)[: beneath(shown.decision)]
    for who, services in zip(people[:2], (["api-gateway"], ["checkout"]), strict=True):
        said = await world.say(shown, who, narrowing={"constraints": {"affected_services": services}})
    if said.decision["standing"]["outcome"] == "ask":
        said = await world.approve(said, skip=tuple(people[:2]))
    assert said.decision["standing"]["outcome"] == "deny"
    assert said.warrant is None


async def test_what_is_decided_takes_no_further_word(world):
    shown = await world.propose(DEPLOY)
    await world.approve(shown)
    late = await world.propose(RESTART)
    for one in (shown, late):
        with pytest.raises(Conflict, match=r"intent\.state"):
            await world.say(one, "cleo")
        with pytest.raises(Conflict, match=r"intent\.state"):
            await world.say(one, "cleo", "deny")


async def test_a_refused_word_is_on_record_with_what_was_asked(world):
    shown = await waiting(world)
    with pytest.raises(Refused) as no:
        await world.say(shown, OWNER)
    refusal = world.entries("refusal", shown.intent["intent_id"])[-1]
    said = refusal.content()
    assert (said["code"], refusal.state) == (no.value.code, "")
    assert said["reasons"] == list(map(dict, no.value.reasons))
    assert said["asked"][0]["answer"]["may"] is False
    assert refusal.parents == (world.row("intents", shown.intent["intent_id"]).data["decision_leaf"],)
