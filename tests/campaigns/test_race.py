"""Many clients race for every use of a warrant: as many win as there are uses, and every other is refused with a code.

The same race is run against a store that only reads and then updates, without its condition: there it finds doubles.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from magistrate.client import Client
from magistrate.core import state
from magistrate.core.errors import MagistrateError
from magistrate.engine import router
from magistrate.engine.installation import Principal
from magistrate.store import batch
from magistrate.store.reads import Reader
from tests.api.house import Home
from tests.api.real import opened
from tests.campaigns.forms import rounds
from tests.campaigns.load import QUICK
from tests.support.service import AGENTS, Service, service

RACERS = 16
ADMISSION = state._RULES["admission"]
SOME = 5  # warrants of the races in one process


def warrants(at: Service, many: int) -> list[tuple[str, dict[str, Any]]]:
    """Fresh warrants of several uses, each with its holder."""
    made = []
    for turn, who in enumerate(AGENTS[:3]):
        with at.client(who) as client:
            for n in range(turn, many, 3):
                warrant = client.post("/v1/intents", QUICK[n % 2])["warrant"]
                assert 1 < warrant["uses"] < RACERS
                made.append((who, warrant))
    return made


def race(at: Service, held: list[tuple[str, dict[str, Any]]]) -> list[list[tuple[str, str]]]:
    """All racers go for each warrant at once; per warrant, (execution, "") of who won and ("", code) of who lost."""
    results: list[list[tuple[str, str]]] = [[] for _ in held]
    line = threading.Barrier(RACERS)
    faults: list[BaseException] = []

    def run(clients: dict[str, Client]) -> None:
        try:
            for n, (who, warrant) in enumerate(held):
                body = {"warrant": warrant["warrant_id"], "call": warrant["scope"]}
                line.wait(60)
                try:
                    results[n].append((clients[who].post("/v1/executions", body)["execution_id"], ""))
                except MagistrateError as no:
                    results[n].append(("", no.code))
        except BaseException as fault:
            faults.append(fault)
            line.abort()

    with at.client(AGENTS[0]) as one, at.client(AGENTS[1]) as two, at.client(AGENTS[2]) as three:
        shared = dict(zip(AGENTS, (one, two, three), strict=False))  # each with a connection for every racer
        threads = [threading.Thread(target=run, args=(shared,)) for _ in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults, faults
    return results


@pytest.mark.campaign
def test_exactly_the_allowed_uses_win(tmp_path):
    many = rounds(500, 40)
    with service(tmp_path / "s") as at:
        began = time.monotonic()
        held = warrants(at, many)
        results = race(at, held)
        took = time.monotonic() - began
        assert at.stop() == 0
        codes: Counter[str] = Counter()
        won: set[str] = set()
        for (_, warrant), result in zip(held, results, strict=True):
            winners = [execution for execution, code in result if not code]
            assert len(result) == RACERS
            assert len(winners) == len(set(winners)) == warrant["uses"]
            won.update(winners)
            codes.update(code for _, code in result if code)
        assert "" not in codes
        assert set(codes) == {"admission.spent"}, codes
        with closing(Reader(at.ledger)) as reader:
            for _, warrant in held:
                row = reader.row("warrants", warrant["warrant_id"])
                assert (row.state, row.data["uses_left"]) == ("spent", 0)
                assert set(row.data["running"]) <= won
        done = sum(s["restarts"] for s in at.target.read("fleet")["services"].values())
        done += sum(run["count"] for run in at.target.read("statements")["runs"].values())
        assert done <= len(won)
    attempts = many * RACERS
    print(f"{RACERS} racers for each of {many} warrants: {attempts} attempts in {took:.1f} s, {len(won)} won,")
    print(f"  the target did {done}, refused {dict(codes)}, doubles 0")


# -- the same race in one process, with and without what holds it


@asynccontextmanager
async def unqueued(*_: str) -> AsyncIterator[None]:
    """No turn: everybody at once, as if each came through a process of its own."""
    yield


class AsRead:
    """What the fold sees of a warrant where it trusts what the step had read: as many uses as there were then."""

    def __init__(self, view: Any, entry: Any) -> None:
        self._view = view
        self._use = entry.content()["use"]
        self.put = view.put

    def row(self, table: str, id_: str) -> Any:
        row = self._view.row(table, id_)
        if table == "warrants":
            row.data["uses_left"] = row.data["warrant"]["uses"] - self._use + 1
        return row


def update_as_read(view: Any, entry: Any) -> None:
    """An admission as a mere update: what was read before is written back with one use less."""
    ADMISSION(AsRead(view, entry), entry)


async def doubles(home: Home, many: int) -> tuple[int, int, Counter[str]]:
    """How many more than allowed won and how many missed out, for so many warrants; and what losers were told."""
    bot = Principal("agent", "bot", "api-key")
    extra = missed = 0
    codes: Counter[str] = Counter()
    for _ in range(many):
        warrant = (await home.intent())["warrant"]
        redemptions = [router.redeem(home.house, bot, warrant["warrant_id"], warrant["scope"]) for _ in range(RACERS)]
        results = await asyncio.gather(*redemptions, return_exceptions=True)
        assert not [one for one in results if not isinstance(one, dict | MagistrateError)], results
        won = sum(1 for one in results if isinstance(one, dict))
        extra += max(0, won - warrant["uses"])
        missed += max(0, warrant["uses"] - won)
        codes.update(one.code for one in results if isinstance(one, MagistrateError))
    return extra, missed, codes


@pytest.mark.campaign
async def test_the_race_is_lost_without_the_condition_and_not_before(tmp_path, monkeypatch):
    async with opened(tmp_path) as home:
        in_turn, missed, _ = await doubles(home, SOME)
        monkeypatch.setattr(home.house, "turn", unqueued)
        conditional, _, told = await doubles(home, SOME)
        monkeypatch.setattr(batch, "hold_needs", lambda *_: None)
        monkeypatch.setitem(state._RULES, "admission", update_as_read)
        unheld, _, _ = await doubles(home, SOME)
    print(
        f"{RACERS} racers in one process, {SOME} warrants: {in_turn} doubles in turn, {conditional} where nobody queues,"
    )
    print(f"  {unheld} where the store reads and then updates")
    assert (in_turn, missed) == (0, 0), "in turn, all who may win"
    assert conditional == 0
    assert sum(told.values()) >= SOME * (RACERS - 2)
    assert unheld > 0, "the race does not find what it is for"
