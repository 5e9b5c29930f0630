"""Halting: what runs is gone, the target stands still, and nothing is accepted after."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from magistrate.core.errors import Absent, Conflict, MagistrateError, Refused
from magistrate.engine import arming, deadlines, halting, router
from magistrate.engine.installation import Word
from tests.support.world import RESTART, ROLLING, batch, code, until

WORD = Word("ann", "enough")


def children(pid):
    """Every process below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(child)]
    return found


def sleeping(mark):
    """The processes whose argument list holds this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just gone
    return found


async def long_batch(world, narrowing=None):
    """A program with a grandchild that would run for minutes; its processes are found by a length nobody else has."""
    seconds = world.limit("batch", "short") + 7
    warrant = await world.warrant(batch(seconds)) if narrowing is None else None
    if narrowing is not None:
        shown = await world.propose(batch(seconds))
        warrant = (await world.approve(shown, narrowing=narrowing)).warrant
    execution = await world.redeem(warrant)
    mark = b"sleep\0%d\0" % seconds
    await until(lambda: sleeping(mark))
    return warrant, execution, mark


async def test_a_warrant_of_two_seconds_ends_what_runs_under_it(world):
    world.time.run()
    keeper = asyncio.create_task(deadlines.keep(world.house))
    warrant, execution, mark = await long_batch(world, {"ttl": 2})
    assert warrant["ttl"] == 2
    pids = sleeping(mark)

    row = await world.finished(execution)
    await until(lambda: world.state("warrants", warrant["warrant_id"]) == "expired")
    keeper.cancel()

    assert (row.state, row.data["halted_because"]) == ("halted", "expired")
    assert row.data["ended"] - row.data["started"] <= 5
    assert sleeping(mark) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert [a["outcome"] for a in row.data["attempts"]] == ["halted"]
    with pytest.raises(Refused) as no:
        await world.redeem(warrant)
    assert code("admission.expired") in {v["code"] for v in no.value.reasons}
    with pytest.raises(Conflict):
        await router.report(world.house, row.id, b'{"outcome":"succeeded"}')


@pytest.mark.parametrize("cause", ["revoked", "quarantined", "expired", "asked"])
async def test_whatever_halts_it_the_whole_process_group_is_gone(world, cause):
    warrant, execution, mark = await long_batch(world)
    if cause == "revoked":
        await halting.revoke(world.house, warrant["warrant_id"], WORD)
    if cause == "quarantined":
        await halting.quarantine(world.house, "bot", WORD)
    if cause == "expired":
        world.time.go(warrant["ttl"])
        await world.tick()
    if cause == "asked":
        await halting.halt(world.house, execution["execution_id"], "asked", WORD)

    row = await world.finished(execution)

    assert sleeping(mark) == []
    assert (row.state, row.data["halted_because"]) == ("halted", cause)
    moves = [e.state for e in world.entries("lifecycle", row.id)]
    assert moves == ["halting", "halted"]
    assert [r["outcome"] for r in row.data["reports"]] == ["halted"]
    with pytest.raises(Conflict):
        await halting.halt(world.house, row.id, "again", WORD)


async def test_a_program_that_ignores_the_word_is_ended(world, monkeypatch):
    """SIGTERM is shrugged off; SIGKILL follows."""
    row = {**world.data["catalogue"]["actions"]["batch.run"]}
    seconds = world.limit("batch", "short") + 9
    script = f"trap '' TERM; setsid sleep {seconds} & sleep {seconds}"
    stubborn = {**row, "executor": {**row["executor"], "argv": ("/bin/sh", "-c", script)}}
    real = router.Deed.__init__

    def init(self, house, warrant, execution_id):
        real(self, house, warrant, execution_id)
        self.row = stubborn

    monkeypatch.setattr(router.Deed, "__init__", init)
    warrant = await world.warrant(batch(seconds))
    execution = await world.redeem(warrant)
    mark = b"sleep\0%d\0" % seconds
    await until(lambda: len(sleeping(mark)) == 2)
    await halting.halt(world.house, execution["execution_id"], "asked", WORD)
    ended = await world.finished(execution)
    assert ended.state == "halted"
    assert sleeping(mark) == []


async def test_the_halt_template_stops_the_target_itself(world):
    """The request is cut off; what the target still does, it stops when it is told."""
    world.fleet.halted.clear()
    warrant = await world.warrant({**ROLLING, "parameters": {"count": 1000, "pause_ms": 5}})
    execution = await world.redeem(warrant)
    service = world.fleet.services["api-gateway"]
    await until(lambda: service["restarts"] > 3)

    await halting.revoke(world.house, warrant["warrant_id"], WORD)
    row = await world.finished(execution)

    assert (row.state, row.data["halted_because"]) == ("halted", "revoked")
    assert "api-gateway" in world.fleet.halted
    assert row.data["reports"][0]["facts"] == {"halt": "succeeded", "because": "revoked"}
    await asyncio.sleep(0.02)
    stands = service["restarts"]
    await asyncio.sleep(0.06)
    assert service["restarts"] == stands < 1000


async def test_a_target_that_cannot_be_told_is_on_record_so(world):
    def deaf(*_):
        raise KeyError("halt")

    warrant = await world.warrant(ROLLING)
    real, world.fleet.halt = world.fleet.halt, deaf
    execution = await world.redeem(warrant)
    await until(lambda: world.fleet.services["api-gateway"]["restarts"])
    await halting.halt(world.house, execution["execution_id"], "asked", WORD)
    row = await world.finished(execution)
    real("api-gateway", {})
    assert row.state == "halted"
    assert row.data["reports"][0]["facts"]["halt"] == "failed"


async def test_halting_asks_nobody_and_needs_no_open_gate(world):
    warrant = await world.warrant(ROLLING)
    execution = await world.redeem(warrant)
    await until(lambda: world.fleet.services["api-gateway"]["restarts"])
    await arming.put(world.house, armed=False, because="test")
    with world.silent():
        await halting.revoke(world.house, warrant["warrant_id"], WORD)
        row = await world.finished(execution)
        assert (row.state, row.data["verdict"]) == ("halted", "pending")
        await halting.quarantine(world.house, "other", WORD)
    await world.tick()
    assert world.row("executions", row.id).data["verdict"] == "deviating"


async def test_a_shut_gate_leaves_alone_what_runs(world):
    warrant = await world.warrant(batch(1))
    execution = await world.redeem(warrant)
    await arming.put(world.house, armed=False, because="test")
    row = await world.finished(execution)
    assert row.state == "succeeded"


async def test_quarantine_touches_one_agent(world):
    mine = await world.redeem(await world.warrant(batch(1)))
    theirs = await world.redeem(await world.warrant(batch(1), by=world.agent("other")))
    await halting.quarantine(world.house, "bot", WORD)
    assert (await world.finished(mine)).state == "halted"
    assert (await world.finished(theirs)).state == "succeeded"
    for who in ("nobody", "bot"):
        with pytest.raises(MagistrateError):
            await halting.quarantine(world.house, who, WORD)


async def test_what_does_not_run_is_not_halted(world):
    row = await world.done(RESTART)
    with pytest.raises(Conflict):
        await halting.halt(world.house, row.id, "asked", WORD)
    with pytest.raises(Absent):
        await halting.halt(world.house, "exe-unknown", "asked", WORD)


async def test_no_program_of_ours_outlives_its_execution(world):
    before = set(children(os.getpid()))
    row = await world.done(batch(0))
    assert row.state == "succeeded"
    await until(lambda: set(children(os.getpid())) <= before)


async def test_a_program_killed_from_outside_is_unknown_and_not_tried_again(world):
    warrant, execution, mark = await long_batch(world)
    shell = next(pid for pid in sleeping(b"/bin/sh\0-c\0sleep") if pid in children(os.getpid()))
    os.kill(shell, signal.SIGKILL)
    row = await world.finished(execution)
    assert (row.state, [a["outcome"] for a in row.data["attempts"]]) == ("unknown", ["unknown"])
    assert sleeping(mark) == []
    assert warrant["constraints"]["max_retries"] >= 0
