"""Foresight: one bundle that is slow keeps nobody from what another one would do."""

import asyncio
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from magistrate.api import intents
from magistrate.core.errors import Unavailable
from magistrate.core.responsible import Cause
from magistrate.engine import foresight
from magistrate.engine.foresight import Foresight
from magistrate.engine.tally import Impact
from tests.engine.test_activation import bundles, numbered, propose, taken  # noqa: F401 - a fixture among them
from tests.support import world as worlds
from tests.support.world import refund

SLOW = """

_slow := count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); i + j > input.now.unix])

# METADATA
# title: Slow
# description: Slow.
# custom: {code: refunds.slow, remedy: wait}
deny contains "slow" if _slow > 0
"""


def slow(folder):
    numbered(folder, 1000)
    path = folder / "policies/refunds/refunds.rego"
    path.write_text(path.read_text() + SLOW)


async def test_a_slow_bundle_is_left_and_the_next_one_gets_its_turn(world, tmp_path, bundles, monkeypatch):  # noqa: F811
    monkeypatch.setattr(foresight, "SECONDS", 10.0)
    await world.propose(refund(5))
    mine = await taken(world, worlds.variant(tmp_path / "slow", slow))
    other = await taken(world, bundles["tightened"], by="ben")
    seen = Foresight(world.house, world.root / "data")

    stuck, next_one = seen.begin(mine), seen.begin(other)

    with pytest.raises(Unavailable, match=r"impact\.too_long"):
        await asyncio.wait_for(asyncio.shield(stuck), 30)
    assert (await asyncio.wait_for(next_one, 30)).questions > 0
    assert seen.begin(mine) is stuck  # nor does it take its turn again
    assert seen.told(mine, world.row("bundles", mine).data) == {"state": "failed"}
    assert seen.told(other, world.row("bundles", other).data)["state"] == "known"


async def test_what_was_asked_since_a_look_is_looked_at_too_and_until_then_it_says_how_far_it_goes(world, bundles):  # noqa: F811
    digest = await taken(world, bundles["raised"])
    row = world.row("bundles", digest).data
    small = world.limit("refunds", "small")
    seen = Foresight(world.house, world.root / "data")
    first = seen.shown(await seen.begin(digest), row)

    for number in range(3):
        await world.propose(refund(small + 1, f"S-{number}"))
    while world.house.store.size <= first["range"]["end"] + foresight.GROWN:
        await world.propose(refund(5, f"T-{world.house.store.size}"))
    meanwhile = seen.told(digest, row)
    then = seen.shown(await seen.begin(digest), row)

    assert meanwhile == first
    assert (first["loosened"], then["loosened"]) == (0, 3)
    assert then["range"]["end"] == then["range"]["size"] > first["range"]["end"]
    assert seen.told(digest, row) == then


@pytest.mark.parametrize(
    ("by", "against", "left"), [("ben", "in force", 0), ("ben", "another", 2), ("ann", "in force", 2)]
)
def test_an_acceptance_counts_against_the_bundle_it_was_given_for_and_not_from_the_author(by, against, left):
    found = Impact("in force", "next", loosened=Counter({(Cause("a.large", "", ("a.large",)),): 2}))
    given = {"by": by, "against": against, "codes": ["a.large"], "reason": ""}
    seen = Foresight(SimpleNamespace(active=lambda: "in force"), None)

    assert seen.shown(found, {"author": "ann", "accepted": [given]})["uncovered"] == left


async def test_what_stands_before_an_approver_is_read_beside_the_requests(world, bundles):  # noqa: F811
    digest = await taken(world, bundles["tightened"])
    shown = await propose(world, digest)
    row = world.row("intents", shown.intent["intent_id"])
    sidecars, threads = world.house.sidecars, []
    parsed = sidecars.archive._parsed
    sidecars.archive._parsed = lambda *given: (threads.append(threading.current_thread()), parsed(*given))[1]
    sidecars._loaded.cache_clear()
    visit = SimpleNamespace(house=world.house, wide=True, porch=SimpleNamespace(foresight=Foresight(world.house, None)))

    said = (await intents.whole(visit, row))["activation"]

    assert (said["digest"], said["against"], said["impact"]) == (digest, world.house.active(), {"state": "nowhere"})
    assert len(threads) == 2
    assert threading.main_thread() not in threads
