"""Counters: issuing reserves, an execution settles its share, a proven failure gives it back; no race beats a budget."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import pytest

from magistrate.core.errors import Refused
from magistrate.engine import facts, halting, router
from magistrate.engine.installation import Word
from magistrate.executors import Outcome
from tests.support.world import HANDOVER, code, image, live, opened, refund

COUNTER = "refunded_today"
_ORDERS = itertools.count()


def order(amount):
    """A refund of its own."""
    return refund(amount, f"O-{next(_ORDERS)}")


async def used(world, agent="bot"):
    """What a question about this agent's refunds would say now."""
    asked = world.between("decision", lambda: asyncio.sleep(0))
    probe = await world.propose(order(0), by=world.agent(agent))  # not a sum the catalogue allows: denied
    assert probe.warrant is None
    return asked[0].question["facts"][COUNTER]


def shares(world, warrant):
    id_ = f"{COUNTER}|{warrant['holder']['id']}|{warrant['warrant_id']}"
    data = world.row("counters", id_).data
    return data["amount"], data["open"], data["committed"]


def small(world):
    return world.limit("refunds", "small")


async def test_issuing_reserves_and_success_commits(world):
    assert await used(world) == 0
    warrant = await world.warrant(order(100))
    assert shares(world, warrant) == (100, warrant["uses"], 0)
    assert await used(world) == 100
    row = await world.finished(await world.redeem(warrant))
    assert row.state == "succeeded"
    assert shares(world, warrant) == (100, 0, 1)
    assert await used(world) == 100
    assert await used(world, "other") == 0


async def test_what_only_waits_reserves_nothing(world):
    shown = await world.propose(order(small(world) + 1))
    assert shown.decision["standing"]["outcome"] == "ask"
    assert await used(world) == 0
    await world.approve(shown)
    assert await used(world) == small(world) + 1


@pytest.mark.parametrize("end", ["expired", "revoked"])
async def test_what_was_never_used_is_given_back(world, end):
    warrant = await world.warrant(order(100))
    if end == "expired":
        world.time.go(warrant["ttl"])
        await world.tick()
    else:
        await halting.revoke(world.house, warrant["warrant_id"], Word("ann", "x"))
    assert shares(world, warrant) == (100, 0, 0)
    assert await used(world) == 0


@pytest.mark.parametrize(("result", "left"), [("failed", 0), ("succeeded", 100), ("unknown", 100), ("halted", 100)])
async def test_only_a_proven_failure_gives_back(world, monkeypatch, result, left):
    async def attempt(self, *_):
        if result == "halted":
            await asyncio.sleep(60)
        return Outcome(result, {})

    monkeypatch.setattr(router.Deed, "attempt", attempt)
    warrant = await world.warrant(order(100))
    execution = await world.redeem(warrant)
    if result == "halted":
        await halting.halt(world.house, execution["execution_id"], "asked", Word("ann", "x"))
    row = await world.finished(execution)
    assert row.state == result
    assert shares(world, warrant)[1:] == (0, 1 if left else 0)
    assert await used(world) == left


async def test_the_word_of_the_holder_gives_nothing_back(world):
    """Said to have failed by whoever ran it: the share is committed all the same."""
    execution = await world.redeem(await world.warrant(HANDOVER))
    await router.report(world.house, execution["execution_id"], b'{"outcome":"failed"}')
    ended = [e for e in world.entries("lifecycle", execution["execution_id"]) if e.state == "failed"]
    assert [e.content()["settle"] for e in ended] == ["commit"]


async def test_what_would_go_over_the_budget_is_denied(world):
    daily = world.limit("refunds", "daily")
    await world.done(order(daily - 1))
    assert await used(world) == daily - 1
    over = await world.propose(order(2))
    assert code("refunds.budget") in {r["code"] for r in over.decision["standing"]["reasons"]}
    assert (over.decision["standing"]["outcome"], over.warrant) == ("deny", None)
    assert (await world.propose(order(1))).warrant is not None
    assert (await world.propose(order(1))).warrant is None
    assert (await world.propose(order(1), by=world.agent("other"))).warrant is not None


async def test_the_window_is_the_day(world):
    daily = world.limit("refunds", "daily")
    await world.done(order(daily))
    assert (await world.propose(order(1))).warrant is None
    world.time.go(facts.DAY - world.house.now() % facts.DAY - 1)
    assert (await world.propose(order(1))).warrant is None
    world.time.go(1)
    assert await used(world) == 0
    assert (await world.propose(order(1))).warrant is not None


async def test_two_at_once_do_not_both_take_the_last_of_it(world):
    daily, most = world.limit("refunds", "daily"), small(world)
    await world.done(order(daily - most))
    came = await asyncio.gather(*(world.propose(order(most)) for _ in range(6)))
    assert sum(one.warrant is not None for one in came) == 1
    assert await used(world) == daily


async def test_two_approved_at_once_do_not_both_take_the_last_of_it(world):
    most = world.limit("refunds", "daily")
    one, other = [await world.propose(order(most)) for _ in range(2)]
    assert one.decision["standing"]["outcome"] == other.decision["standing"]["outcome"] == "ask"
    came = await asyncio.gather(world.approve(one), world.approve(other))
    assert sorted(said.decision["standing"]["outcome"] for said in came) == ["allow", "deny"]
    denied = next(said for said in came if said.warrant is None)
    assert code("refunds.budget") in {r["code"] for r in denied.decision["standing"]["reasons"]}


async def test_without_the_queue_the_condition_alone_holds_the_budget(world):
    @asynccontextmanager
    async def no_queue(*_):
        yield

    daily, most = world.limit("refunds", "daily"), small(world)
    await world.done(order(daily - most))
    world.house.turn = no_queue
    came = await asyncio.gather(*(world.propose(order(most)) for _ in range(4)), return_exceptions=True)
    issued = [one for one in came if not isinstance(one, Exception) and one.warrant is not None]
    assert len(issued) == 1
    assert {one.code for one in came if isinstance(one, Exception)} <= {"facts.contended"}


async def test_what_is_counted_survives_a_crash(world, ground, tmp_path):
    daily = world.limit("refunds", "daily")
    await world.warrant(order(daily))
    image(world.root, tmp_path / "after")
    after = await opened(tmp_path / "after", ground, world.time)
    assert await used(after) == daily
    await after.close()


@pytest.mark.parametrize("amount", [-1, 0, 1.5, "100", True, None, [1]])
async def test_what_is_no_sum_is_denied(shared, amount):
    shown = await shared.propose(order(amount))
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)


@pytest.mark.parametrize("amount", [-1, 1.5, "100", True, None])
def test_core_reserves_whole_sums_only(amount):
    counters = {"c": {"action": "a", "amount": "/parameters/n", "by": "all"}}
    intent = {"action": "a", "target": "t", "proposer": {"id": "p"}, "parameters": {"n": amount}}
    with pytest.raises(Refused, match=r"counter\.amount"):
        facts.reserves(counters, intent, 1)


def test_a_counter_counts_by_whom_it_says():
    rows = {by: {"action": "a", "count": True, "by": by} for by in ("agent", "target", "all")}
    intent = {"action": "a", "target": "t", "proposer": {"id": "p"}, "parameters": {}}
    assert facts.counter_keys(rows, intent) == {"agent": "p", "target": "t", "all": "all"}
    assert {(s["counter"], s["amount"], s["uses"]) for s in facts.reserves(rows, intent, 3)} == {
        (by, 1, 3) for by in rows
    }
    assert facts.counter_keys(rows, {**intent, "action": "b"}) == {}


async def test_a_world_of_its_own_counts_for_itself(ground, tmp_path):
    async with live(tmp_path / "fresh", ground) as world:
        assert await used(world) == 0
