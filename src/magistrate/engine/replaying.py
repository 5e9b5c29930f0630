"""Replaying: every recorded question is asked again, and the answer must be the same bytes.

1. The ledger's head: the newest checkpoint and who signed it (`history.head_of`).
2. Each entry of the range: header and body are what was committed, and the whole range belongs to that head.
3. Each question: it was asked strictly, of a known document, by this OPA, of a bundle that is here as its digest says.
4. Its answer now, from OPAs of our own that hold that bundle: the same canonical bytes.

Each way to fail is a finding with its own code. Nothing is written but the state file that was asked for.

Long because a run is one state, which each of its steps counts into; what has none of it lies in `history`, `pools`,
`tally`, `tampering` and `replay_state`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken, Conflict, MagistrateError, Malformed, NoAnswer, Unavailable
from magistrate.core.recorded import Recorded, recorded
from magistrate.core.replay import (
    DOCUMENTS,
    NEVER_ASKED,
    Finding,
    clean,
    difference,
    first_of,
    passes,
    same,
    shown,
)
from magistrate.core.responsible import unseen
from magistrate.core.values import moment, thaw
from magistrate.engine import tampering
from magistrate.engine.history import Head, History, Trust, head_of, span
from magistrate.engine.pools import Pools
from magistrate.engine.replay_state import Kept, State, StateFile
from magistrate.engine.tally import Impact, Sides
from magistrate.policy.archive import Archive
from magistrate.policy.batches import GIVEN_UP, Said
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

KEPT: Final = 20  # findings told one by one; all are counted
SKIPPED: Final[Mapping[str, str]] = {  # why an impact does not hold a question, by the finding that says so
    "replay.body_erased": "erased",
    "replay.unreadable": "unreadable",
    "replay.unknown_document": "unknown",
    "replay.not_strict": "unknown",
    **dict.fromkeys(
        (
            *(f"replay.{part}_changed" for part in ("input", "answer", "body", "header", "tree")),
            *("replay.checkpoint", "ledger.behind", "ledger.forked"),
        ),
        "changed",
    ),
}
SEARCHES: Final = 3  # changed entries in which one changed byte is looked for
SAVE_SECONDS: Final = 5.0
TELL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Order:
    """What is to be replayed: times in seconds since 1970, 0 for no bound; `limit` questions at most, 0 for all."""

    since: int = 0
    until: int = 0
    limit: int = 0
    candidate: Bundle | None = None  # asked instead of each recorded bundle
    upgrade: bool = False  # the OPA that is asked is meant to be another one than the record's
    zone: str = ""  # the time zone OPA is given, with a database that is not there; "": UTC
    accepted: tuple[str, ...] = ()  # what a candidate loosens and is meant to, by name

    def plain(self, binary: Binary) -> dict[str, str]:
        """What a state file says it is about."""
        return {
            "since": str(self.since),
            "until": str(self.until),
            "limit": str(self.limit),
            "bundle": self.candidate.digest if self.candidate else "",
            "zone": self.zone,
            "upgrade": str(self.upgrade),
            "opa": binary.sha256,
        }


@dataclass(frozen=True)
class Record:
    """Where the record lies and what it is replayed with."""

    ledger: Path
    archive: Archive
    binary: Binary
    trust: Trust = field(default_factory=Trust)
    reference: Callable[[str], Bundle | None] = lambda _: None  # a sound copy of a bundle, wherever one lies
    opas: int = 0
    seal: bytes = field(default=b"", repr=False)  # the key that seals state files; b"" where none is here


@dataclass
class Progress:
    """How far it is, for whoever watches."""

    questions: int = 0
    entry: int = 0
    first: int = 0
    end: int = 0


@dataclass
class Replayed:
    """What was found; `said` is the certificate's content, not yet signed."""

    said: dict[str, Any]
    findings: list[Finding]
    impact: Impact | None = None  # what a candidate moves; None where none was asked, or not from the beginning

    @property
    def clean(self) -> bool:
        """Whether every question got the same answer, there was one, and nothing else was found."""
        return clean(self.said)

    @property
    def passes(self) -> bool:
        """Whether it is clean, or a candidate's answers pass."""
        return passes(self.said)


Tell = Callable[[Progress], None]


async def replay(record: Record, order: Order, *, tell: Tell = lambda _: None, resume: Path | None = None) -> Replayed:
    """Replay what was ordered.

    Raises:
        Absent, Unavailable: the ledger cannot be read, or OPA does not start.
        Conflict, Malformed: `resume` names a state file that is about something else, or none.
        Forged: this installation did not write that file so.
    """
    head = await asyncio.to_thread(head_of, record.ledger, record.trust)
    first, end = await asyncio.to_thread(span, record.ledger, order.since, order.until, head)
    file = StateFile(resume, record.seal)
    state = file.load(head.genesis, order.plain(record.binary))
    run = _Run(record, order, head, first, min(end, state.end) if state else end, tell, file)
    if state is not None:
        run.take_up(state)
    try:
        await run.whole()
    finally:
        await run.stop()
    return run.found()


class _Run:
    """One replay on its way."""

    def __init__(
        self, record: Record, order: Order, head: Head, first: int, end: int, tell: Tell, file: StateFile
    ) -> None:
        self._record, self._order, self._head, self._file = record, order, head, file
        self._first, self._end, self._next = first, end, first
        self._tell = tell
        self._progress = Progress(0, first, first, end)
        self._searches = SEARCHES
        self._held = False  # whether every entry that was read was shown to belong to the head
        self._entries = self._questions = self._identical = self._different = 0
        self._counted: Counter[str] = Counter()
        self._kept: list[Finding] = []
        self._lowest: Finding | None = None
        self._begins: tuple[int, str] | None = None  # what a state file says the ledger begins with
        self._bundles: dict[str, Bundle | Finding] = {}
        self._used: dict[str, Bundle] = {}
        self._sides = Sides(record.archive, None, order.candidate) if order.candidate else None
        self._started = moment(int(time.time()))
        self._told = self._saved = time.monotonic()
        environment = {"TZ": order.zone, "ZONEINFO": "/nonexistent"} if order.zone else None
        self._pools = Pools(record.binary, self._heard, opas=record.opas, environment=environment)

    def take_up(self, state: State) -> None:
        """Go on where a state file says."""
        self._next, self._started = state.next, state.started
        self._entries, self._questions = state.entries, state.questions
        self._identical, self._different = state.identical, state.different
        self._counted = Counter(state.findings)
        self._kept = [Finding(**row.plain()) for row in state.kept]
        self._lowest = Finding(**state.lowest[0].plain()) if state.lowest else None
        self._begins = (state.first, state.root)
        self._head.checked.append("resumed")
        self._sides = None  # what moved before is not known any more, and part of it would pass for all

    async def whole(self) -> None:
        """Ask everything in the range."""
        if self._sides is not None:
            await asyncio.to_thread(self._sides.look)
        history = History(self._record.ledger, self._next, self._end)
        try:
            if self._begins not in (None, (self._first, history.root)):
                detail = "the entries that the state file counts are not those of this ledger and range"
                raise Conflict("replay.resume", f"{detail}; name another file to begin anew")
            for entry, broken in history.entries():
                if self._order.limit and self._questions >= self._order.limit:
                    self._end = entry.index
                    break
                await self._read(history, entry, broken)
                self._entries += 1
                self._next = entry.index + 1
                await self._now_and_then(history)
            await self._pools.settle(self._used)
            self._held = history.hold_tree(self._head)
            for finding in (*history.findings, *self._head.findings):
                self._find(finding)
            if self._sides is not None:
                await asyncio.to_thread(self._sides.place, self._record.binary)
            elif self._order.candidate is not None:
                await asyncio.to_thread(self._hold_unseen, self._order.candidate)
        finally:
            history.close()
        if not self._questions:
            self._find(Finding("replay.nothing_asked", self._first, "", "", "no question lies in this range"))
        self._file.drop()

    async def stop(self) -> None:
        """Leave no OPA behind."""
        await self._pools.stop()

    def _hold_unseen(self, candidate: Bundle) -> None:
        """Taken up: which bundles made the questions before is not known any more, so each that is here may have."""
        archive, found = self._record.archive, set()
        for digest in archive.digests():
            try:
                was = archive.load(digest)
            except MagistrateError:
                continue
            found |= {row.name for row in unseen(thaw(was.data), thaw(candidate.data))}
        if names := sorted(found - set(self._order.accepted)):
            detail = f"{', '.join(names)}; replay it without a state file, or accept them by name"
            self._find(Finding("replay.unseen", self._first, "", "", detail))

    # -- reading

    async def _read(self, history: History, entry: Entry, broken: Broken | None) -> None:
        if broken is not None:
            rows = tampering.kept_rows(entry)
            self._questions += max(1, len(rows))
            search, self._searches = self._searches > 0, self._searches - 1
            self._find(await tampering.where(entry, broken, rows, history.intent_of(entry), self._alone, search=search))
            return
        if entry.erased:
            if entry.kind not in NEVER_ASKED:
                self._find(Finding("replay.body_erased", entry.index, entry.leaf_digest, "", f"{entry.kind} erased"))
            return
        try:
            rows = recorded(entry)
        except Malformed as error:
            self._find(Finding("replay.unreadable", entry.index, entry.leaf_digest, "", error.detail, error.pointer))
            return
        for row in rows:
            await self._ask(row)

    async def _ask(self, row: Recorded) -> None:
        self._questions += 1
        if row.document not in DOCUMENTS:
            self._find(_about(row, "replay.unknown_document", f"{row.document[:80]!r} is asked nowhere"))
            return
        if not row.strict:
            self._find(_about(row, "replay.not_strict", "a builtin error might have passed for undefined"))
            return
        bundle = self._order.candidate or self._bundle(row.bundle)
        if isinstance(bundle, Finding):
            self._find(_about(row, bundle.code, bundle.detail, bundle.pointer, bundle.recorded, bundle.now))
            return
        self._used[bundle.digest] = bundle
        await self._pools.ask(bundle, row)

    async def _alone(self, row: Recorded) -> Said:
        """For an entry that was changed: what this question gets, if it can be asked at all."""
        bundle = self._bundle(row.bundle)
        if isinstance(bundle, Finding) or row.document not in DOCUMENTS:
            return NoAnswer("replay.bundle_missing", "its bundle is not here")
        return await self._pools.alone(bundle, row)

    def _bundle(self, digest: str) -> Bundle | Finding:
        if digest not in self._bundles:
            self._bundles[digest] = self._loaded(digest)
        return self._bundles[digest]

    def _loaded(self, digest: str) -> Bundle | Finding:
        try:
            return self._record.archive.load(digest)
        except Broken as broken:
            if broken.code == "bundle.changed":
                return tampering.changed_bundle(self._record.archive.path(digest), digest, self._record.reference)
            return Finding("replay.bundle_missing", 0, "", "", broken.detail)
        except (Absent, Unavailable) as missing:
            return Finding("replay.bundle_missing", 0, "", "", missing.detail)

    # -- comparing

    async def _heard(self, row: Recorded, said: Said) -> None:
        self._progress.questions += 1
        if self._sides is not None:
            self._sides.note(row, row.answer, said)
        if isinstance(said, NoAnswer):
            code = "replay.slow" if said.code == GIVEN_UP else "replay.no_answer"
            self._find(_about(row, code, f"{said.code}: {said.detail}"))
            return
        if not same(row.answer, said):
            self._different += 1
            found = difference(row.answer, said)
            assert found is not None  # noqa: S101 - they are not the same bytes
            pointer = f"{row.pointer}/answer{found.pointer}"
            detail = "the recorded bundle answers otherwise" if self._order.candidate is None else "another answer"
            self._find(_about(row, "replay.answer_differs", detail, pointer, found.recorded, found.now))
            return
        self._identical += 1
        binary = self._record.binary
        if self._order.upgrade:
            return
        if row.version != binary.version:
            detail = f"OPA {row.version[:40]} answered then, {binary.version} now; the answer is the same"
            self._find(_about(row, "replay.opa_version", detail))
        elif row.sha256 != f"sha256:{binary.sha256}":
            detail = f"the binary {row.sha256[:80]} answered then; the answer is the same"
            self._find(_about(row, "replay.opa_binary", detail))

    def _find(self, finding: Finding) -> None:
        self._counted[finding.code] += 1
        if len(self._kept) < KEPT:
            self._kept.append(finding)
        if self._lowest is None or _place(finding) < _place(self._lowest):
            self._lowest = finding

    # -- on the way

    async def _now_and_then(self, history: History) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            await asyncio.sleep(0)  # where no question is, nothing else lets a cancellation in
            self._told = now
            self._progress.entry = self._next
            self._tell(self._progress)
        if self._file.path is not None and now - self._saved >= SAVE_SECONDS:
            await self._pools.settle(self._used)  # only what was compared is behind us
            if not history.findings:  # they are told at the end: whoever takes it up has to find them again
                self._file.save(self._state(history.root))
            self._saved = time.monotonic()

    def _state(self, root: str) -> State:
        return State(
            v=2,
            genesis=self._head.genesis,
            root=root,
            order=self._order.plain(self._record.binary),
            first=self._first,
            end=self._end,
            next=self._next,
            entries=self._entries,
            questions=self._questions,
            identical=self._identical,
            different=self._different,
            findings=dict(self._counted),
            kept=tuple(_kept(finding) for finding in self._kept),
            lowest=(_kept(self._lowest),) if self._lowest else (),
            started=self._started,
        )

    def found(self) -> Replayed:
        """The content of the certificate."""
        order, head, binary = self._order, self._head, self._record.binary
        moved = self._impact()
        said = {
            "origin": head.origin,
            "genesis": head.genesis,
            "range": {
                "since": moment(order.since) if order.since else "",
                "until": moment(order.until) if order.until else "",
                "first": self._first,
                "end": self._end,
            },
            "tree": {"size": head.size, "root": head.root, "signed_by": head.signed_by, "pinned": head.pinned},
            "bundle": order.candidate.digest if order.candidate else "",
            "opa": {"version": binary.version, "sha256": f"sha256:{binary.sha256}"},
            "zone": order.zone or "UTC",
            "checked": [*head.checked, *self._checked()],
            "counts": {
                "entries": self._entries,
                "questions": self._questions,
                "identical": self._identical,
                "different": self._different,
                "findings": dict(sorted(self._counted.items())),
            },
            "first_difference": first_of(self._lowest),
            "impact": [moved.summary(order.accepted)] if moved else [],
            "started": self._started,
            "ended": moment(int(time.time())),
        }
        return Replayed(said, sorted(self._kept, key=_place), moved)

    def _impact(self) -> Impact | None:
        """What moved, with what of the record was not compared: that is among the findings."""
        if self._sides is None:
            return None
        moved = self._sides.impact
        moved.first, moved.end, moved.size = self._first, self._end, self._head.size
        for code, count in self._counted.items():
            if why := SKIPPED.get(code):
                moved.skipped[why] += count
        return moved

    def _checked(self) -> list[str]:
        """What was checked beside the head: never more than was."""
        asked = self._identical + self._different
        named = {"entries": self._held, "bundles": asked, "answers": asked, "other-opa": self._order.upgrade}
        return [name for name, was in named.items() if was]


def _about(row: Recorded, code: str, detail: str, pointer: str = "", before: str = "", now: str = "") -> Finding:
    return Finding(code, row.index, row.leaf, row.document[:80], detail, pointer or row.pointer, before, now)


def _kept(finding: Finding) -> Kept:
    said: Mapping[str, Any] = finding.plain()
    cut = {name: shown(said[name])[:400] for name in ("detail", "pointer", "recorded", "now")}
    return Kept.model_validate_json(canonical.canonical({**said, **cut}))


def _place(finding: Finding) -> tuple[int, str, str]:
    """Where a finding stands: OPAs answer in any order, and a certificate names the same one every time."""
    return finding.entry, finding.pointer, finding.code
