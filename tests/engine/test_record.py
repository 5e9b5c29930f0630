"""What may be acted on is what was signed and appended: a state row alone permits nothing."""

import json

import pytest

from magistrate.core.errors import Broken, Conflict, Forged, Refused
from magistrate.engine import gateway, router
from magistrate.engine.examination import examine
from magistrate.engine.installation import Principal
from magistrate.engine.record import permission
from magistrate.engine.verification import MAX_OBSERVATIONS, MAX_OBSERVED, hold_room
from magistrate.store import Row
from magistrate.store import mark as high_water
from tests.support.world import RESTART


def altered(row, **changed):
    return Row(row.id, row.version, row.state, row.owner, row.due, json.dumps({**row.data, **changed}))


async def test_a_row_that_says_what_the_record_says_permits(world):
    warrant = await world.warrant(RESTART)
    assert permission(world.house, world.row("warrants", warrant["warrant_id"])).warrant == warrant


async def test_uses_set_back_in_the_row_are_not_there(world):
    warrant = await world.warrant(RESTART)
    row = world.row("warrants", warrant["warrant_id"])
    for uses in (warrant["uses"] - 1, warrant["uses"] + 1):
        with pytest.raises(Broken, match=r"warrant\.uses"):
            permission(world.house, altered(row, uses_left=uses))


async def test_a_warrant_nobody_signed_permits_nothing(world):
    row = world.row("warrants", (await world.warrant(RESTART))["warrant_id"])
    with pytest.raises(Forged):
        permission(world.house, altered(row, warrant={**row.data["warrant"], "signature": "0x" + "0" * 128}))


async def test_a_row_of_no_entry_or_of_another_permits_nothing(world):
    row = world.row("warrants", (await world.warrant(RESTART))["warrant_id"])
    other = world.row("warrants", (await world.warrant(RESTART))["warrant_id"])
    for leaf in ("sha256:" + "0" * 64, "nonsense", other.data["leaf"], row.data["warrant"]["policy"]["entry"]):
        with pytest.raises(Broken, match=r"warrant\.not_on_record"):
            permission(world.house, altered(row, leaf=leaf))


@pytest.mark.parametrize("type_", ["observer", "auditor"])
async def test_who_only_watches_proposes_nothing(world, type_):
    size = world.size
    with pytest.raises(Refused, match=r"intent\.proposer"):
        await gateway.submit(world.house, Principal(type_, "mesh-watch", "api-key"), json.dumps(dict(RESTART)).encode())
    assert world.size == size


def test_an_execution_takes_so_many_observations_and_no_more():
    def told(count, size):
        return Row("exe-1", 1, "started", "bot", 0, json.dumps({"observations": [{"facts": "x" * size}] * count}))

    hold_room(told(MAX_OBSERVATIONS - 1, 1), 2)
    for row, size in ((told(MAX_OBSERVATIONS, 1), 2), (told(1, 1), MAX_OBSERVED)):
        with pytest.raises(Conflict, match=r"observation\.full"):
            hold_room(row, size)


async def test_a_ledger_shorter_than_its_mark_is_no_whole_ledger(world, tmp_path):
    await world.warrant(RESTART)
    mark = tmp_path / "mark"
    store = world.house.store
    high_water.write(mark, high_water.Mark(world.house.origin, store.size, store.root))
    whole = examine(world.root / "data", tmp_path / "no-pins", mark=mark)
    high_water.write(mark, high_water.Mark(world.house.origin, store.size + 1, store.root))
    cut = examine(world.root / "data", tmp_path / "no-pins", mark=mark)
    assert "key.unpinned" in whole.finding
    assert cut.verdict == "INVALID"


async def test_an_execution_lasts_no_longer_than_its_constraint(world):
    warrant = await world.warrant(RESTART)
    started = world.house.clock.exact()
    shorter = {**warrant, "constraints": {**warrant["constraints"], "max_duration_seconds": 7}}
    unbounded = {**warrant, "constraints": {}}
    assert router._left(world.house, shorter, started) == pytest.approx(7, abs=1)
    assert router._left(world.house, unbounded, started) > 7
