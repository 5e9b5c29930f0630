"""`kill -9` of the whole service under load, again and again on one installation.

Some kills come from outside at a random moment; the others hit named places between two steps. After each: nothing that
was acknowledged is lost, the ledger goes on from every checkpoint anybody was shown, no use is counted twice, what had
started and never told its end reads `unknown`, and no process is left. A round counts only with enough acknowledged
before it and something in flight.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from magistrate.client import Client
from magistrate.core.entry import Entry
from magistrate.core.errors import Refused
from magistrate.core.merkle import verify_consistency
from magistrate.core.signature import PublicKey, admit
from magistrate.core.state import fold
from magistrate.store.reads import Reader
from magistrate.store.rebuild import rebuild
from magistrate.store.tree import node_reader
from magistrate.store.verify import verify_ledger
from tests.campaigns.forms import draw, rounds
from tests.campaigns.load import Answer, Load, Order, Told
from tests.support import processes
from tests.support.failpoint import POINTS
from tests.support.service import AUDITOR, Service, service

ACKNOWLEDGED = 20  # a round counts only with so many acknowledged before the kill
GONE_SECONDS = 2.0  # what ran under the service is gone by then
OUTSIDE = "from outside"
# the short form goes through the first ones of this order
PLACES = (
    "between commit and reply",
    "between redeem and executor",
    OUTSIDE,
    "between start of the program and its end",
    "in the transaction",
    "between effect and record",
    OUTSIDE,
    "between commit and mark",
)


@dataclass
class Sums:
    """What the campaign came to."""

    rounds: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    in_flight: int = 0
    unknown: int = 0
    left_running: int = 0
    resent: Counter[str] = field(default_factory=Counter)
    starts: list[float] = field(default_factory=list)


@dataclass
class Campaign:
    """One installation, and all that anybody ever learned from it."""

    at: Service
    key: PublicKey
    told: Told = field(default_factory=Told)
    sums: Sums = field(default_factory=Sums)
    next_point: str = ""  # where the next start is to die

    def round(self, place: str, seconds: int, late: float) -> None:
        """Load, kill, look, start again, look again."""
        before = self.told.acknowledged
        self.told.in_flight.clear()
        watch = processes.Watch(self.at.pid)
        load = Load(self.at, self.told).agents(6).batches(seconds, 0.15).auditor()
        load.wait_for(ACKNOWLEDGED)
        self._hold_running(watch, seconds)
        self._die(place, late)
        load.end()
        seen = watch.end()
        acknowledged = self.told.acknowledged - before
        orders = list(self.told.in_flight)
        assert acknowledged >= ACKNOWLEDGED
        assert orders, "nothing was in flight: the kill showed nothing"
        self._hold_nothing_runs(seen, seconds)
        started, unasked = self._look()
        self.sums.starts.append(self.at.start(failpoint=self.next_point))
        self._hold_unknown(started)
        self._resend(orders, unasked)
        self.sums.rounds[place] += 1
        self.sums.acknowledged += acknowledged
        self.sums.in_flight += len(orders)
        self.sums.unknown += len(started)

    def _die(self, place: str, late: float) -> None:
        if place == OUTSIDE:
            time.sleep(late)
            self.at.signal(signal.SIGKILL)
        else:
            self.at.armed.touch()
        assert self.at.wait(20) == -signal.SIGKILL

    def _hold_nothing_runs(self, seen: frozenset[processes.Process], seconds: int) -> None:
        """Neither OPA nor any program, its children included, outlives the service by two seconds."""
        left = processes.left_after(seen, GONE_SECONDS)
        strays = {one for one in processes.everybody() if one.line == f"sleep {seconds}"}
        strays |= processes.working_in(self.at.scratch)
        assert not left | strays, f"{GONE_SECONDS} s after the service they still run: {left | strays}"
        self.sums.left_running += len(seen)

    @staticmethod
    def _hold_running(watch: processes.Watch, seconds: int) -> None:
        """There is an OPA, a program and a child of that program that could outlive the service."""
        until = time.monotonic() + 20
        for words in (" run --server ", f" batch {seconds} ", f" sleep {seconds} "):
            while not any(words in f" {one.line} " for one in watch.seen):
                assert time.monotonic() < until, f"no {words.strip()!r} was seen"
                time.sleep(0.01)

    def _look(self) -> tuple[set[str], set[str]]:
        """Hold what lies on the disk against what was told.

        Returns the executions that have started and not ended, and those nobody was told of.
        """
        found = verify_ledger(self.at.ledger, key=self.key, known=self.told.checkpoints[-50:])
        with closing(Reader(self.at.ledger)) as reader:
            assert rebuild(self.at.ledger, fold).differences == ()
            for seen in self.told.checkpoints[-50:]:
                path = reader.consistency(seen.size, found.size)
                verify_consistency(seen.size, seen.root, found.size, found.root, path)
            assert node_reader(reader.conn)(0, 0).hex() == found.genesis.removeprefix("sha256:")
            for index, leaf in self.told.leaves.items():
                assert reader.entry(index).leaf_digest == leaf
            self._hold_acknowledged(reader)
            admissions, unasked = self._hold_uses(reader)
            self._hold_target(admissions)
            rows = [row for state in ("started", "halting") for row in reader.rows("executions", state=state)]
            return {row.id for row in rows}, unasked

    def _hold_acknowledged(self, reader: Reader) -> None:
        """Every intent, warrant and execution that somebody was told of is an entry."""
        for intent in self.told.intents():
            row = reader.row("intents", intent["intent"]["intent_id"])
            assert row is not None
            assert row.data["intent"] == intent["intent"], f"{intent['intent']['intent_id']} was acknowledged"
            if intent["warrant"] is not None:
                held = reader.row("warrants", intent["warrant"]["warrant_id"])
                assert held is not None
                assert held.data["warrant"] == intent["warrant"]
        for execution in self.told.executions():
            row = reader.row("executions", execution["execution_id"])
            assert row is not None, f"{execution['execution_id']} was acknowledged"
            assert (row.data["warrant_id"], row.data["use"]) == (execution["warrant_id"], execution["use"])

    def _hold_uses(self, reader: Reader) -> tuple[Counter[str], set[str]]:
        """No warrant was used more often than it says, no use twice; nothing runs that nobody asked for."""
        uses, of_action, unasked = {}, Counter(), set()
        asked = {execution["execution_id"] for execution in self.told.executions()}
        for entry in self._all(reader, "admission"):
            said = entry.content()
            warrant = reader.row("warrants", said["warrant_id"])
            assert warrant is not None
            assert said["use"] not in uses.setdefault(said["warrant_id"], set()), "a use was counted twice"
            uses[said["warrant_id"]].add(said["use"])
            assert len(uses[said["warrant_id"]]) <= warrant.data["warrant"]["uses"]
            of_action[warrant.data["warrant"]["scope"]["action"]] += 1
            if entry.subject not in asked and warrant.data["warrant"]["holder"]["type"] == "agent":
                unasked.add(entry.subject)
        redemptions = [order for order in self.told.in_flight if order.path == "/v1/executions"]
        assert len(unasked) <= len(redemptions), "more was admitted than anybody asked for"
        return of_action, unasked

    @staticmethod
    def _all(reader: Reader, kind: str) -> Iterator[Entry]:
        at = 0
        while page := reader.entries(at, 1000, kind=kind):
            yield from page
            at = page[-1].index + 1

    def _hold_target(self, admissions: Counter[str]) -> None:
        """The target did nothing that was not admitted."""
        done = {
            "service.restart": sum(s["restarts"] for s in self.at.target.read("fleet")["services"].values()),
            "sql.statement": sum(run["count"] for run in self.at.target.read("statements")["runs"].values()),
        }
        for action, count in done.items():
            assert count <= admissions[action], f"{action}: done {count} times, admitted {admissions[action]} times"

    def _hold_unknown(self, started: set[str]) -> None:
        with self.at.client(AUDITOR) as client:
            for id_ in started:
                assert client.get(f"/v1/executions/{id_}")["state"] == "unknown"

    def _resend(self, orders: list[Order], unasked: set[str]) -> None:
        """Who got no answer sends it again under the same key, twice: it is done once, before the kill or now."""
        for order in orders:
            with self.at.client(order.who) as client:
                first, second = (self._sent(client, order) for _ in range(2))
            assert first.made == second.made
            assert first.code == second.code
            self.told.answers.append(first)
            self.sums.resent[first.code or "done"] += 1
        told = {execution["execution_id"] for execution in self.told.executions()}
        assert unasked <= told, "what had been admitted before the kill was not the answer to its own key"

    @staticmethod
    def _sent(client: Client, order: Order) -> Answer:
        try:
            return Answer(order, 0.0, 0.0, "", client.post(order.path, order.said, key=order.key))
        except Refused as no:
            return Answer(order, 0.0, 0.0, no.code)


def order_of(count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(PLACES), count))


@pytest.mark.campaign
def test_nothing_is_lost_or_done_twice_by_any_kill(tmp_path):
    assert set(POINTS) == set(PLACES) - {OUTSIDE}
    chance = draw()
    places = order_of(rounds(50, 4))
    with service(tmp_path / "s") as at:
        with at.client(AUDITOR) as client:
            keys = {key["role"]: key["public_key"] for key in client.get("/v1/keys")["items"]}
        campaign = Campaign(at, admit(bytes.fromhex(keys["checkpoint"])))
        at.stop()
        at.start(failpoint=places[0] if places[0] in POINTS else "")
        for place, following in zip(places, [*places[1:], ""], strict=True):
            campaign.next_point = following if following in POINTS else ""
            campaign.round(place, chance.randrange(60, 120), chance.uniform(0, 0.4))
        assert at.stop() == 0
        campaign._look()
        code, said = at.run("ledger", "rebuild", "--check")
        assert code == 0, said
    sums = campaign.sums
    assert sum(sums.rounds.values()) == len(places)
    print(f"{len(places)} kills {dict(sums.rounds)}; {sums.acknowledged} acknowledged, {sums.in_flight} in flight,")
    print(
        f"  {sums.unknown} executions read unknown, {sums.left_running} processes gone, sent again {dict(sums.resent)},"
    )
    print(f"  starts {max(sums.starts):.2f} s at most; checkpoints {len(campaign.told.checkpoints)}, lost 0")
