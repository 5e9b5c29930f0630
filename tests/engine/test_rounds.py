"""Terms that change end the round: what was approved before counts no more, and rounds do not go on for ever."""

import itertools

import pytest
import pytest_asyncio

from magistrate.core import canonical
from magistrate.core.errors import Conflict
from tests.support import world as worlds
from tests.support.world import beneath, refund

_ORDERS = itertools.count()


def moving(folder):
    """A policy whose terms follow a fact, which no author should write."""
    (folder / "policies" / "moving").mkdir()
    (folder / "policies" / "moving" / "moving.rego").write_text(
        """package policies.moving

governs := {"refund.create"}

# METADATA
# title: The terms follow what was spent
constraint contains {"kind": "max_rows", "value": input.facts.refunded_today}
"""
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moving_ground(tmp_path_factory, pool, handler):
    raw = worlds.variant(tmp_path_factory.mktemp("moving") / "rego", moving)
    return await worlds.ground_of(tmp_path_factory.mktemp("moving-ground"), raw, pool, handler)


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path, moving_ground):
    async with worlds.live(tmp_path / "world", moving_ground) as made:
        yield made


async def spend(world):
    """The fact moves."""
    shown = await world.propose(refund(1, f"S-{next(_ORDERS)}"))
    assert shown.warrant is not None


async def waiting(world):
    """A refund that asks for at least two."""
    shown = await world.propose(refund(world.limit("refunds", "large") + 1, f"W-{next(_ORDERS)}"))
    assert shown.decision["standing"]["outcome"] == "ask"
    assert beneath(shown.decision) >= 2
    return shown


async def test_terms_that_change_end_the_round(world):
    shown = await waiting(world)
    id_ = shown.intent["intent_id"]
    people = world.able(shown)
    first = await world.say(shown, people[0])
    assert first.decision["round"] == 1
    await spend(world)
    second = await world.say(shown, people[1])

    assert second.decision["round"] == 2
    assert second.decision["standing"]["outcome"] == "ask"
    assert second.decision["decision_digest"] != shown.decision["decision_digest"]
    row = world.row("intents", id_)
    assert (row.state, row.data["approvals"]) == ("waiting", [])
    decided = world.entries("decision", id_)[-1].content()
    assert [asked["document"] for asked in decided["asked"]] == ["approval", "decision", "decision"]
    assert decided["asked"][-1]["question"]["approvals"] == []
    assert decided["asked"][-1]["question"]["round"] == 2


async def test_what_was_said_in_an_old_round_never_counts_again(world):
    shown = await waiting(world)
    id_, people = shown.intent["intent_id"], world.able(shown)
    kept = world.word(shown, people[2])
    given = world.word(shown, people[0])
    await world.send(id_, given, people[0])
    await spend(world)
    second = await world.say(shown, people[1])
    size = world.size
    for word, who in ((kept, people[2]), (given, people[0])):
        with pytest.raises(Conflict, match=r"approval\.round_over"):
            await world.send(id_, word, who)
    assert world.size == size

    said = await world.approve(second)

    old = canonical.digest_of(world.entries("approval", id_)[0].content())
    assert said.decision["standing"]["outcome"] == "allow"
    assert old not in said.warrant["approvals"]
    assert len(said.warrant["approvals"]) == beneath(second.decision)
    assert said.warrant["policy"]["decision"] == second.decision["decision_digest"]


async def test_the_waiting_time_of_a_round_begins_with_it(world):
    shown = await waiting(world)
    wait = shown.decision["terms"]["requirement"]["wait_seconds"]
    world.time.go(wait - 10)
    await spend(world)
    await world.say(shown, world.able(shown)[0])
    world.time.go(wait - 1)
    await world.tick()
    assert world.state("intents", shown.intent["intent_id"]) == "waiting"
    world.time.go(1)
    await world.tick()
    assert world.state("intents", shown.intent["intent_id"]) == "expired"


async def test_a_no_is_final_though_the_terms_have_changed(world):
    shown = await waiting(world)
    await spend(world)
    said = await world.say(shown, "rolf", "deny")
    assert said.decision["standing"]["outcome"] == "deny"
    assert world.state("intents", shown.intent["intent_id"]) == "denied"


async def test_after_five_rounds_it_is_over(world):
    shown = await waiting(world)
    people = itertools.cycle(world.able(shown))
    for round_ in range(2, 6):
        await spend(world)
        shown = await world.say(shown, next(people))
        assert (shown.decision["round"], shown.decision["standing"]["outcome"]) == (round_, "ask")
    await spend(world)
    shown = await world.say(shown, next(people))

    assert shown.decision["standing"]["outcome"] == "deny"
    assert [r["code"] for r in shown.decision["standing"]["reasons"]] == ["rounds.exhausted"]
    assert world.state("intents", shown.intent["intent_id"]) == "denied"


async def test_terms_that_come_to_nothing_end_it(world):
    shown = await waiting(world)
    daily = world.limit("refunds", "daily")
    await world.approve(await world.propose(refund(daily, "all")))
    said = await world.say(shown, world.able(shown)[0])
    assert said.decision["standing"]["outcome"] == "deny"
    assert said.warrant is None
