"""What every step leans on: queues that are kept, steps that ask again, a clock that is held against another."""

import asyncio

import pytest

from magistrate.core.errors import Moved, Unavailable
from magistrate.engine import installation
from magistrate.engine.installation import BACKWARD, FORWARD, TRIES, Clock, Run
from tests.support.world import RESTART, Time


async def test_steps_on_one_thing_go_one_by_one_in_the_order_they_came(world):
    order, inside = [], 0

    async def step(n):
        nonlocal inside
        async with world.house.turn("a", "b"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            order.append(n)
            inside -= 1

    await asyncio.gather(*(step(n) for n in range(20)))

    assert order == list(range(20))
    assert world.house._turns == {}


async def test_steps_that_name_the_same_things_in_another_order_do_not_lock_each_other_out(world):
    async def step(*keys):
        async with world.house.turn(*keys):
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(*(step("a", "b") if n % 2 else step("b", "a", "b") for n in range(10)))
    assert world.house._turns == {}


async def test_who_gives_up_waiting_does_not_let_others_in(world):
    entered = []

    async def third():
        async with world.house.turn("a"):
            entered.append("third")

    async with world.house.turn("a"):
        second = asyncio.create_task(third())
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        waiting = asyncio.create_task(third())
        await asyncio.sleep(0.02)
        assert entered == []
    await waiting
    assert entered == ["third"]
    assert world.house._turns == {}


async def test_a_step_that_fails_lets_the_next_one_in(world):
    with pytest.raises(ValueError, match="no"):
        async with world.house.turn("a"):
            raise ValueError("no")
    async with asyncio.timeout(1), world.house.turn("a"):
        pass


async def test_a_step_is_tried_five_times_and_then_gives_up(world):
    tried = []

    async def step():
        tried.append(1)
        raise Moved("facts.moved", "again")

    with pytest.raises(Unavailable, match=r"facts\.contended"):
        await world.house.again(step)
    assert len(tried) == TRIES == 5


async def test_only_what_moved_is_tried_again(world):
    tried = []

    async def step():
        tried.append(1)
        raise Unavailable("store.failed", "the disk is full")

    with pytest.raises(Unavailable, match=r"store\.failed"):
        await world.house.again(step)
    assert len(tried) == 1


def test_deadlines_end_by_whichever_clock_runs_ahead():
    time = Time(1000)
    clock = Clock(time.wall, time.boot)
    time.go(10)
    assert (clock.now(), clock.exact(), clock.jump()) == (1010, 1010, 0)
    time.jump(-60)  # somebody sets the wall clock back: no deadline moves
    assert (clock.now(), clock.exact(), clock.jump()) == (950, 1010, -60)
    time.jump(1000)
    assert (clock.now(), clock.exact(), clock.jump()) == (1950, 1950, 940)
    clock.settle()
    assert (clock.exact(), clock.jump()) == (1950, 0)


@pytest.mark.parametrize("seconds", [FORWARD + 1, 86_400])
async def test_nothing_is_issued_after_the_clock_jumped_ahead(world, seconds):
    size = world.size
    world.time.jump(seconds)
    with pytest.raises(Unavailable, match=r"clock\.jumped"):
        await world.propose(RESTART)
    assert world.size == size
    world.time.jump(-seconds)
    assert (await world.propose(RESTART)).warrant


async def test_nothing_is_issued_while_the_clock_is_behind_the_ledger(world):
    await world.propose(RESTART)
    size = world.size
    world.time.jump(-BACKWARD - 1)
    with pytest.raises(Unavailable, match=r"clock\.behind"):
        await world.propose(RESTART)
    assert world.size == size
    world.time.jump(1)
    assert (await world.propose(RESTART)).warrant
    assert (BACKWARD, FORWARD) == (30, 300)


async def test_a_clock_that_jumps_while_opa_answers_issues_nothing(world):
    async def set_clock():
        world.time.jump(FORWARD + 1)

    world.between("decision", set_clock)
    size = world.size
    with pytest.raises(Unavailable, match=r"clock\.jumped"):
        await world.propose(RESTART)
    assert world.size == size


async def test_entries_never_go_back_in_time(world):
    await world.propose(RESTART)
    world.time.jump(-20)
    await world.propose(RESTART)
    times = [entry.at for entry in world.entries()]
    assert times == sorted(times)


@pytest.mark.parametrize("when", ["before", "while", "deadline"])
async def test_what_is_stopped_does_not_run_on(when):
    run, ran = Run(), []

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            ran.append("gone")

    if when == "before":
        run.stop("halted")
        assert await run.do(work(), 30) is None
        assert (run.because, ran) == ("halted", [])
        return
    doing = asyncio.create_task(run.do(work(), 30 if when == "while" else 0.01))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if when == "while":
        run.stop("halted")
        run.stop("expired")  # the first reason counts
    assert await doing is None
    assert (run.because, ran) == ("halted" if when == "while" else "expired", ["gone"])


async def test_all_rows_are_read_page_by_page(world, monkeypatch):
    monkeypatch.setattr(installation, "PAGE", 2)
    ids = [row.id async for row in installation.every(world.house, "operators")]
    assert ids == sorted(ids)
    assert len(ids) == len(await world.house.store.rows("operators", limit=100)) > 4
