"""Impact: what a bundle would have answered to everything that was asked, beside what was answered or another bundle.

Nothing is proven here (that is replay's part): an entry that does not hold together, or was erased, is skipped and
counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.answers import ANSWERS
from magistrate.core.errors import MagistrateError, Malformed, NoAnswer
from magistrate.core.looseness import Answer, Change, Ranks, compare
from magistrate.core.replay import DOCUMENTS, NEVER_ASKED, Recorded, recorded, same
from magistrate.core.responsible import Cause, Changed, causes, changed_data, covered
from magistrate.core.values import parse, thaw
from magistrate.engine.history import Head, History, head_of, span
from magistrate.engine.pools import Pools
from magistrate.engine.replaying import Order, Progress, Record, Tell
from magistrate.policy.batches import Said
from magistrate.policy.bundle import Bundle
from magistrate.policy.places import Rule, read
from magistrate.store.reads import Reader

EXAMPLES: Final = 5  # of each cause and direction
NAMED: Final = 1000  # loosened answers named one by one; beyond them they are counted
LISTED: Final = 10  # agents and actions
BREATH: Final = 64  # entries
RECORDED: Final = "recorded"
UNREAD: Final = ("changed", "unreadable", "unknown")  # skipped, and nobody meant them to be: not as erased is


@dataclass
class Tally:
    """How many of something got looser, tighter, or merely other."""

    loosened: int = 0
    tightened: int = 0
    other: int = 0

    def count(self, direction: str) -> None:
        """One more."""
        setattr(self, direction, getattr(self, direction) + 1)

    @property
    def total(self) -> int:
        return self.loosened + self.tightened + self.other

    def plain(self) -> dict[str, int]:
        """As JSON."""
        return {"loosened": self.loosened, "tightened": self.tightened, "other": self.other}


@dataclass
class Impact:
    """What was found, as it is counted."""

    was: str
    now: str
    data: list[Changed] = field(default_factory=list)
    questions: int = 0
    reproduced: int = 0  # of the first side: answers that are the recorded ones
    same: int = 0
    silent: int = 0  # no answer from the second side
    tally: Tally = field(default_factory=Tally)
    skipped: Counter[str] = field(default_factory=Counter)
    transitions: defaultdict[tuple[str, str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    unmoved: Counter[tuple[str, str]] = field(default_factory=Counter)
    agents: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    actions: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    heat: defaultdict[tuple[str, str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    rules: defaultdict[Cause, Tally] = field(default_factory=lambda: defaultdict(Tally))
    loosened: Counter[tuple[Cause, ...]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
    places: tuple[Mapping[str, Rule], Mapping[str, Rule]] = ({}, {})  # by code
    _shown: Counter[tuple[str, str]] = field(default_factory=Counter)

    def uncovered(self, accepted: Collection[str] = ()) -> int:
        """How many loosened answers no accepted name covers."""
        return sum(count for found, count in self.loosened.items() if not covered(found, accepted))

    @property
    def unread(self) -> int:
        """How many entries or questions of the record were not compared: while there is one, nothing passes."""
        return sum(self.skipped[why] for why in UNREAD)

    def note(self, row: Recorded, was: Answer, now: Answer, ranks: Ranks) -> None:
        """Count one question with both answers."""
        self.questions += 1
        if now is None:
            self.silent += 1
        change = compare(row.document, was, now, ranks)
        if change.direction == "same":
            self.same += 1
            self.unmoved[row.document, change.was] += 1
            return
        agent, action = about(row)
        found = causes(row.document, was, now, fields=change.fields, action=action, data=self.data)
        shown = (self.tally, self.transitions[row.document, change.was, change.now], self.agents[agent])
        for tally in (*shown, self.actions[action], self.heat[action, change.was, change.now]):
            tally.count(change.direction)
        for cause in found:
            self.rules[cause].count(change.direction)
        if change.direction == "loosened":
            self.loosened[tuple(found)] += 1
            if len(self.named) < NAMED:
                self.named.append(
                    {"entry": row.entry, "intent_id": _intent_of(row), "was": change.was, "now": change.now}
                )
        self._show(row, change, found, agent, action)

    def _show(self, row: Recorded, change: Change, found: list[Cause], agent: str, action: str) -> None:
        key = (found[0].code, change.direction)
        if self._shown[key] >= EXAMPLES or change.direction == "other":
            return
        self._shown[key] += 1
        self.examples.append(
            {
                "entry": row.entry,
                "leaf": row.leaf,
                "intent_id": _intent_of(row),
                "document": row.document,
                "agent": agent,
                "action": action,
                "direction": change.direction,
                "was": change.was,
                "now": change.now,
                "fields": list(change.fields[:8]),
                "because": [cause.code for cause in found],
            }
        )

    def plain(self, accepted: Collection[str] = ()) -> dict[str, Any]:
        """As JSON: small, whatever the size of the record."""
        return {
            "was": self.was,
            "now": self.now,
            "questions": self.questions,
            "reproduced": self.reproduced,
            "same": self.same,
            "no_answer": self.silent,
            **self.tally.plain(),
            "uncovered": self.uncovered(accepted),
            "accepted": sorted(accepted),
            "skipped": {why: count for why, count in sorted(self.skipped.items()) if count},
            "unread": self.unread,
            "transitions": [
                {"document": document, "was": was, "now": now, **tally.plain()}
                for (document, was, now), tally in sorted(self.transitions.items())
            ],
            "unmoved": [
                {"document": document, "answer": answer, "count": count}
                for (document, answer), count in sorted(self.unmoved.items())
            ],
            "rules": [self._rule(cause, tally, accepted) for cause, tally in _most(self.rules)],
            "data": [{"name": row.name, "was": row.was[:400], "now": row.now[:400]} for row in self.data[:50]],
            "agents": [{"agent": name, **tally.plain()} for name, tally in _most(self.agents)[:LISTED]],
            "actions": [{"action": name, **tally.plain()} for name, tally in _most(self.actions)[:LISTED]],
            "heat": [
                {"action": action, "was": was, "now": now, **tally.plain()}
                for (action, was, now), tally in sorted(self.heat.items())
            ],
            "loosened_answers": sorted(self.named, key=lambda row: int(row["entry"])),
            "examples": sorted(self.examples, key=lambda row: (row["direction"], row["entry"])),
        }

    def _rule(self, cause: Cause, tally: Tally, accepted: Collection[str]) -> dict[str, Any]:
        was, now = (side.get(cause.code) for side in self.places)
        known = now or was
        return {
            "code": cause.code,
            "policy": cause.policy,
            "title": known.title if known else "",
            "was_at": was.place if was else "",
            "now_at": now.place if now else "",
            "names": list(cause.names),
            "uncovered": sum(
                n for found, n in self.loosened.items() if cause in found and not covered(found, accepted)
            ),
            **tally.plain(),
        }


def about(row: Recorded) -> tuple[str, str]:
    """Whose question it was, and about which action (or verb)."""
    intent = row.question.get("intent")
    if isinstance(intent, Mapping):
        proposer = intent.get("proposer")
        who = proposer.get("id", "") if isinstance(proposer, Mapping) else ""
        return str(who), str(intent.get("action", ""))
    principal = row.question.get("principal")
    who = principal.get("id", "") if isinstance(principal, Mapping) else ""
    return str(who), str(row.question.get("verb", ""))


def _intent_of(row: Recorded) -> str:
    intent = row.question.get("intent")
    return str(intent.get("intent_id", "")) if isinstance(intent, Mapping) else ""


def _most(rows: Mapping[Any, Tally]) -> list[tuple[Any, Tally]]:
    """The most touched first; what got looser weighs more than all else."""
    return sorted(rows.items(), key=lambda item: (-item[1].loosened, -item[1].total, str(item[0])))


async def impact(
    record: Record, now: Bundle, *, was: Bundle | None = None, order: Order | None = None, tell: Tell = lambda _: None
) -> Impact:
    """What `now` answers to what was asked, beside `was`; beside the recorded answers where that is None.

    Of a limited order the newest questions are taken: what matters is what the next ones will be like.

    Raises:
        Absent, Unavailable: the ledger cannot be read, or OPA does not start.
    """
    run = _Comparison(record, was, now, order or Order(), tell)
    try:
        await run.whole()
    finally:
        await run.stop()
    return run.impact


class _Comparison:
    def __init__(self, record: Record, was: Bundle | None, now: Bundle, order: Order, tell: Tell) -> None:
        self._record, self._order, self._tell = record, order, tell
        self._was, self._now = was, now
        self.impact = Impact(was.digest if was else RECORDED, now.digest)
        self._left: dict[tuple[int, int], Said] = {}
        self._right: dict[tuple[int, int], Said] = {}
        self._data: dict[str, Mapping[str, Any]] = {}
        self._head = Head()
        self._pools = [Pools(record.binary, self._heard_now, opas=record.opas)]
        if was is not None:
            self._pools.append(Pools(record.binary, self._heard_was, opas=record.opas))

    async def whole(self) -> None:
        """Ask everything."""
        first, end = await asyncio.to_thread(self._range)
        was = self._was or await asyncio.to_thread(self._newest)
        if was is not None:
            self.impact.data = changed_data(thaw(was.data), thaw(self._now.data))
        history = History(self._record.ledger, first, end)
        progress = Progress(0, first, first, end)
        try:
            for entry, broken in history.entries():
                if broken is not None:
                    self.impact.skipped["changed"] += 1
                elif entry.erased:
                    self.impact.skipped["erased"] += entry.kind not in NEVER_ASKED
                else:
                    await self._read(entry)
                progress.entry, progress.questions = entry.index + 1, self.impact.questions
                self._tell(progress)
                if not entry.index % BREATH:
                    await asyncio.sleep(0)  # where no question is, nothing else lets a cancellation in
            for pool, bundle in zip(self._pools, (self._now, self._was), strict=False):
                await pool.settle({bundle.digest: bundle} if bundle else {})
            history.hold_tree(self._head)
            # nobody pinned a key: that says nothing about an entry, and a replay tells it
            faults = [one for one in (*history.findings, *self._head.findings) if one.code != "replay.unpinned"]
            self.impact.skipped.update(["changed"] * len(faults))
            if self.impact.rules:
                await asyncio.to_thread(self._look, was)
        finally:
            history.close()

    async def stop(self) -> None:
        """Leave no OPA behind."""
        for pool in self._pools:
            await pool.stop()

    def _range(self) -> tuple[int, int]:
        self._head = head_of(self._record.ledger, self._record.trust)
        first, end = span(self._record.ledger, self._order.since, self._order.until, self._head)
        return (max(first, self._start(end)) if self._order.limit else first), end

    def _start(self, end: int) -> int:
        """Where the newest `limit` questions before `end` begin."""
        reader, left, start = Reader(self._record.ledger), self._order.limit, end
        try:
            while start > 0 and left > 0:
                start = max(0, start - 64)
                for entry in reversed(reader.entries(start, 64)):
                    if entry.index < end and left > 0:
                        left -= 0 if entry.erased else len(_questions(entry))
                        if left <= 0:
                            return int(entry.index)
                end = start
            return start
        finally:
            reader.close()

    def _look(self, was: Bundle | None) -> None:
        """Where each side's rules are."""
        binary = self._record.binary
        self.impact.places = (read(binary, was).coded() if was else {}, read(binary, self._now).coded())

    def _newest(self) -> Bundle | None:
        """The newest other bundle of the archive."""
        known = [digest for digest in self._record.archive.digests() if digest != self._now.digest]
        try:
            return self._record.archive.load(known[-1]) if known else None
        except MagistrateError:
            return None

    async def _read(self, entry: Any) -> None:
        try:
            rows = recorded(entry)
        except Malformed:
            self.impact.skipped["unreadable"] += 1
            return
        for row in rows:
            if row.document not in DOCUMENTS:
                self.impact.skipped["unknown"] += 1
                continue
            for pool, bundle in zip(self._pools, (self._now, self._was), strict=False):
                if bundle is not None:
                    await pool.ask(bundle, row)

    async def _heard_was(self, row: Recorded, said: Said) -> None:
        self._left[row.entry, row.place] = said
        self._pair(row)

    async def _heard_now(self, row: Recorded, said: Said) -> None:
        self._right[row.entry, row.place] = said
        if self._was is None:
            self._left[row.entry, row.place] = row.answer
        self._pair(row)

    def _pair(self, row: Recorded) -> None:
        key = (row.entry, row.place)
        if key not in self._left or key not in self._right:
            return
        was, now = self._left.pop(key), self._right.pop(key)
        if not isinstance(was, NoAnswer) and same(was, row.answer):
            self.impact.reproduced += 1
        before = self._was.data if self._was else self._data_of(row.bundle)
        self.impact.note(row, _fit(row, was), _fit(row, now), Ranks.of(before, self._now.data))

    def _data_of(self, digest: str) -> Mapping[str, Any]:
        if digest not in self._data:
            try:
                self._data[digest] = self._record.archive.load(digest).data
            except MagistrateError:
                self._data[digest] = {}
        return self._data[digest]


def _questions(entry: Any) -> list[Recorded]:
    try:
        return recorded(entry)
    except MagistrateError:
        return []


def _fit(row: Recorded, said: Said) -> Answer:
    """An answer that the engine would take; None for one that it would not."""
    if isinstance(said, NoAnswer):
        return None
    if said is row.answer or same(said, row.answer):
        return row.answer
    try:
        parse(ANSWERS[row.document], canonical.canonical(said))
    except Malformed:
        return None
    return said
