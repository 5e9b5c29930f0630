"""A warrant is used by its holder, while it lasts, as often as it says, for exactly what it says, and not otherwise."""

import asyncio
import copy

import pytest

from magistrate.core.errors import Absent, MagistrateError, NoAnswer, Refused, Unavailable
from magistrate.core.signature import sign_document
from magistrate.engine import arming, halting, router
from magistrate.engine.installation import Word
from tests.support.world import DEPLOY, RESTART, batch, code, refund


def unused(world, warrant, before):
    """Nothing was consumed and nothing ran."""
    row = world.row("warrants", warrant["warrant_id"])
    assert row.data["uses_left"] == warrant["uses"]
    assert world.fleet.read("fleet") == before
    assert world.entries("admission", warrant["warrant_id"]) == []
    return True


def leaves(value, path=()):
    """Every place in a document."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for n, inner in enumerate(value):
            yield from leaves(inner, (*path, n))
    yield path


def mutated(document, path):
    """The document with what stands at `path` changed a little, and once without it."""
    for change in (_other, None):
        made = copy.deepcopy(document)
        place = made
        for step in path[:-1]:
            place = place[step]
        if change is None:
            del place[path[-1]]
        else:
            place[path[-1]] = change(place[path[-1]])
        yield made


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        for a, b in (("0", "1"), ("a", "b"), ("o", "p")):
            if a in value:
                return value[::-1].replace(a, b, 1)[::-1]
        return value + "0"
    if isinstance(value, list):
        return [*value, "more"]
    return {**value, "more": 1}


async def test_every_single_change_of_a_presented_warrant_is_refused(world):
    warrant = await world.warrant(DEPLOY)
    before = world.fleet.read("fleet")
    tried = 0
    for path in leaves(warrant):
        if not path:
            continue
        for other in mutated(warrant, path):
            tried += 1
            with pytest.raises(MagistrateError):
                await router.redeem(world.house, world.agent(), other, warrant["scope"])
    with pytest.raises(MagistrateError):
        await router.redeem(world.house, world.agent(), {**warrant, "more": 1}, warrant["scope"])
    assert tried > 80
    assert unused(world, warrant, before)


async def test_what_our_own_key_signs_is_still_not_on_record(world):
    """Whoever got the warrant key gets nothing by it: what is not on record here is no warrant."""
    warrant = await world.warrant(RESTART)
    other = await world.warrant(RESTART)
    key = world.house.keys.warrant
    for forged in (
        {**warrant, "uses": warrant["uses"] + 1},
        {**warrant, "warrant_id": "wrt-made-up"},
        {**warrant, "warrant_id": other["warrant_id"]},
        {**warrant, "holder": {**warrant["holder"], "id": "other"}},
    ):
        unsigned = {k: v for k, v in forged.items() if k != "signature"}
        with pytest.raises(MagistrateError, match=r"warrant\."):
            await router.redeem(world.house, world.agent(), sign_document(unsigned, key), warrant["scope"])
    with pytest.raises(Absent):
        await router.redeem(world.house, world.agent(), "wrt-made-up", warrant["scope"])
    with pytest.raises(MagistrateError):
        await router.redeem(world.house, world.agent(), [warrant], warrant["scope"])


async def test_fields_of_two_warrants_do_not_mix(world):
    one, other = await world.warrant(DEPLOY), await world.warrant(refund(1))
    for field in one:
        if one[field] != other[field]:
            with pytest.raises(MagistrateError):
                await router.redeem(world.house, world.agent(), {**one, field: other[field]}, one["scope"])


@pytest.mark.parametrize(
    "change",
    [
        {"action": "service.restart"},
        {"target": "checkout-prod"},
        {"target": "api-gateway-staging"},
        {"parameters": {"version": "2.4.2", "strategy": "rolling"}},
        {"parameters": {"version": "2.4.1", "strategy": "cascade"}},
        {"parameters": {"version": "2.4.1"}},
        {"parameters": {"version": "2.4.1", "strategy": "rolling", "force": True}},
        {"parameters": {}},
    ],
)
async def test_a_call_other_than_the_scope_is_refused(shared, change):
    warrant = await shared.warrant(DEPLOY)
    before = shared.fleet.read("fleet")
    with pytest.raises(Refused) as no:
        await shared.redeem(warrant, call={**warrant["scope"], **change})
    assert code("admission.call_differs") in {v["code"] for v in no.value.reasons}
    assert unused(shared, warrant, before)
    refusal = shared.entries("refusal", warrant["warrant_id"])[-1]
    assert (refusal.content()["step"], refusal.content()["code"]) == ("admission", no.value.code)
    assert refusal.content()["asked"][0]["answer"]["admit"] is False


@pytest.mark.parametrize(
    "call",
    [None, [], {}, {"action": "service.deploy"}, {**DEPLOY, "parameters": None}, {**DEPLOY, "more": 1}, "deploy"],
)
async def test_what_is_no_call_leaves_no_trace(shared, call):
    warrant = await shared.warrant(RESTART)
    size = shared.size
    with pytest.raises(MagistrateError):
        await router.redeem(shared.house, shared.agent(), warrant, call)
    assert shared.size == size


@pytest.mark.parametrize("by", ["other", "operator", "nobody"])
async def test_another_does_not_use_it(world, by):
    warrant = await world.warrant(RESTART)
    before = world.fleet.read("fleet")
    principal = world.operator() if by == "operator" else world.agent(by)
    with pytest.raises(Refused) as no:
        await router.redeem(world.house, principal, warrant, warrant["scope"])
    assert code("admission.not_holder") in {v["code"] for v in no.value.reasons}
    with pytest.raises((Absent, Refused)) as no:
        await router.redeem(world.house, principal, warrant["warrant_id"], warrant["scope"])
    assert isinstance(no.value, Absent) == (by != "operator")  # to an agent, what is another's is unknown
    assert unused(world, warrant, before)


async def test_a_key_bound_warrant_is_used_with_that_key_only(world):
    shown = await world.administer("agent.key", {"agent": "bot", **world.credential("new")}, by="ann")
    assert shown.warrant["holder"]["jkt"] == world.signers["ann"].key_id
    for key_id in ("", world.signers["ben"].key_id):
        by = world.operator("ann")
        with pytest.raises(Refused):
            await router.redeem(
                world.house, type(by)(by.type, by.id, by.credential, key_id), shown.warrant, shown.warrant["scope"]
            )
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1


async def test_it_is_used_as_often_as_it_says(world):
    warrant = await world.warrant(RESTART)
    for _ in range(warrant["uses"]):
        await world.finished(await world.redeem(warrant))
    assert world.state("warrants", warrant["warrant_id"]) == "spent"
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.spent") in {v["code"] for v in no.value.reasons}
    assert world.fleet.services["api-gateway"]["restarts"] == warrant["uses"]
    uses = [
        e.content()["use"] for e in world.entries("admission") if e.content()["warrant_id"] == warrant["warrant_id"]
    ]
    assert uses == list(range(1, warrant["uses"] + 1))


@pytest.mark.parametrize("noticed", [True, False])
async def test_it_ends_to_the_second_noticed_or_not(world, noticed):
    warrant = await world.warrant(RESTART)
    before = world.fleet.read("fleet")
    world.time.go(warrant["ttl"])
    if noticed:
        await world.tick()
        assert world.state("warrants", warrant["warrant_id"]) == "expired"
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.expired") in {v["code"] for v in no.value.reasons}
    assert unused(world, warrant, before)


async def test_its_last_second_is_one_of_its_own(world):
    warrant = await world.warrant(RESTART)
    world.time.go(warrant["ttl"] - 1)
    row = await world.finished(await world.redeem(warrant))
    assert row.state == "succeeded"


async def test_a_window_that_closes_while_opa_answers_is_closed(world):
    warrant = await world.warrant(RESTART)
    before = world.fleet.read("fleet")

    async def late():
        world.time.go(warrant["ttl"])

    asked = world.between("admission", late)
    with pytest.raises(Refused, match=r"warrant\.expired"):
        await world.redeem(warrant)
    assert asked[0].answer["admit"] is True
    assert unused(world, warrant, before)


async def test_it_does_not_hold_before_its_time(world):
    warrant = await world.warrant(RESTART)
    world.time.go(-1)
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.early") in {v["code"] for v in no.value.reasons}


async def test_a_revoked_one_is_over(world):
    warrant = await world.warrant(RESTART)
    await halting.revoke(world.house, warrant["warrant_id"], Word("ann", "enough"))
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.revoked") in {v["code"] for v in no.value.reasons}
    with pytest.raises(MagistrateError):
        await halting.revoke(world.house, warrant["warrant_id"], Word("ann", "again"))
    with pytest.raises(Absent):
        await halting.revoke(world.house, "wrt-unknown", Word("ann", "x"))
    revocation = world.entries("revocation", warrant["warrant_id"])[-1].content()
    assert (revocation["by"], revocation["reason"]) == ("ann", "enough")


async def test_a_quarantined_holder_uses_nothing(world):
    warrant = await world.warrant(RESTART)
    before = world.fleet.read("fleet")
    await halting.quarantine(world.house, "bot", Word("ann", "odd"))
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.quarantined") in {v["code"] for v in no.value.reasons}
    assert unused(world, warrant, before)
    await world.act("agent.release", {"agent": "bot"})
    assert (await world.finished(await world.redeem(warrant))).state == "succeeded"


async def test_a_suspended_operator_uses_nothing(world):
    shown = await world.administer("agent.key", {"agent": "bot", **world.credential("new")}, by="ann")
    await world.act("operator.suspend", {"operator": "ann"})
    with pytest.raises(Refused):
        await world.redeem(shown.warrant)


async def test_a_shut_gate_admits_nothing(world):
    warrant = await world.warrant(RESTART)
    await arming.put(world.house, armed=False, because="test")
    size = world.size
    with pytest.raises(Unavailable, match=r"gate\.disarmed"):
        await world.redeem(warrant)
    assert world.size == size


@pytest.mark.parametrize("said", ["opa.timeout", "opa.answer_shape", "opa.bundle", "opa.refused"])
async def test_no_answer_admits_nothing_and_is_on_record(shared, said):
    warrant = await shared.warrant(RESTART)
    before, size = shared.fleet.read("fleet"), shared.size
    with shared.silent("admission", no=NoAnswer(said, "nothing")), pytest.raises(NoAnswer):
        await shared.redeem(warrant)
    assert shared.kinds(size) == ["refusal"]
    refusal = shared.entries("refusal", warrant["warrant_id"])[-1]
    assert refusal.content()["code"] == said
    assert refusal.content()["question"]["warrant"] == warrant
    assert unused(shared, warrant, before)
    assert (await shared.finished(await shared.redeem(warrant))).state == "succeeded"


async def test_a_bundle_that_says_yes_to_everything_still_admits_the_holder_only(world):
    world.answering("admission", lambda _: {"admit": True, "violations": []})
    warrant = await world.warrant(RESTART)
    for who in (world.agent("other"), world.operator()):
        with pytest.raises(Refused, match=r"redeem\.not_holder"):
            await router.redeem(world.house, who, warrant, warrant["scope"])
    for _ in range(warrant["uses"]):
        await world.finished(await world.redeem(warrant))
    with pytest.raises(MagistrateError, match=r"warrant\.spent"):
        await world.redeem(warrant)


async def test_a_no_without_violations_is_a_no(world):
    world.answering("admission", lambda _: {"admit": False, "violations": []})
    with pytest.raises(Refused, match=r"admission\.refused"):
        await world.redeem(await world.warrant(RESTART))


async def test_what_was_before_is_on_record_and_in_the_question(world):
    warrant = await world.warrant(RESTART)
    world.fleet.services["payments"]["restarts"] = 7
    asked = world.between("admission", lambda: asyncio.sleep(0))
    execution = await world.redeem(warrant)

    admission = world.entries("admission", execution["execution_id"])[0].content()
    assert [one["phase"] for one in admission["before"]] == ["before"]
    assert admission["before"][0]["source"] in warrant["evidence"]
    assert admission["before"][0]["facts"]["services"]["payments"]["restarts"] == 7
    assert asked[0].question["before"] == admission["before"]
    assert admission["asked"][0]["question"] == asked[0].question


async def test_whoever_may_not_use_it_makes_us_probe_nothing(world):
    warrant = await world.warrant(RESTART)
    asked = world.between("admission", lambda: asyncio.sleep(0))
    with pytest.raises(Refused):
        await router.redeem(world.house, world.agent("other"), warrant, warrant["scope"])
    assert asked[0].question["before"] == []


async def test_what_is_admitted_is_on_record_before_anything_runs(world):
    warrant = await world.warrant(batch(0))
    size = world.size
    execution = await world.redeem(warrant)
    kinds = world.kinds(size)
    assert kinds[0] == "admission"
    admission = world.entries("admission", execution["execution_id"])[0]
    assert admission.parents == (world.row("warrants", warrant["warrant_id"]).data["leaf"],)
    row = await world.finished(execution)
    assert row.state == "succeeded"
