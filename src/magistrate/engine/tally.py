"""Tallies: what moved between two sides of answers, as it is counted question by question."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.answers import ANSWERS
from magistrate.core.errors import MagistrateError, Malformed, NoAnswer
from magistrate.core.looseness import RECORDED, Answer, Change, Ranks, compare
from magistrate.core.recorded import Recorded
from magistrate.core.replay import same
from magistrate.core.responsible import EVERY, Cause, Changed, causes, changed_data, covered, unseen
from magistrate.core.values import parse, thaw
from magistrate.policy.archive import Archive
from magistrate.policy.batches import GIVEN_UP, Said
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.places import Rule, read

EXAMPLES: Final = 5  # of each cause and direction
NAMED: Final = 1000  # loosened answers named one by one; beyond them they are counted
LISTED: Final = 10  # agents and actions
DATA: Final = 50  # changed values told one by one
UNREAD: Final = ("changed", "erased", "unreadable", "unknown", "slow")  # skipped, and no act on record meant them to be


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


@dataclass(frozen=True)
class Between:
    """What differs between two bundles, as far as it takes to say why an answer did."""

    ranks: Ranks
    data: list[Changed]
    unseen: list[Changed]
    rewritten: frozenset[str]  # policies whose Rego differs; EVERY of them where the engine's does

    @classmethod
    def of(cls, was: Bundle | None, now: Bundle) -> Between:
        """Where the first is not known, everything may differ."""
        before, after = thaw(was.data) if was else {}, thaw(now.data)
        files: Mapping[str, bytes] = was.files if was else {}
        rego = {
            name for name in {*files, *now.files} if name.endswith(".rego") and files.get(name) != now.files.get(name)
        }
        return cls(
            ranks=Ranks.of(before, after),
            data=changed_data(before, after) if was else [],
            unseen=unseen(before, after),
            rewritten=frozenset(_policy_of(name) for name in rego) | (frozenset() if was else {EVERY}),
        )


def _policy_of(file: str) -> str:
    """The policy a file belongs to: the gate takes no file whose package says another one."""
    parts = file.strip("/").split("/")
    return f"policies.{parts[1]}" if parts[0] == "policies" and len(parts) > 2 else EVERY


@dataclass
class Impact:
    """What was found, as it is counted."""

    was: str
    now: str
    data: list[Changed] = field(default_factory=list)
    unseen: list[Changed] = field(default_factory=list)  # what no recorded question can show
    first: int = 0  # the entries that were looked at: from this one
    end: int = 0  # up to, but not with, this one
    size: int = 0  # of this many
    left_out: int = 0  # questions among them that a limit kept from being asked
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
    rules: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))  # by code
    causes: dict[str, Cause] = field(default_factory=dict)  # the same, with the names that hold beside every bundle
    loosened: Counter[tuple[Cause, ...]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
    places: tuple[Mapping[str, Rule], Mapping[str, Rule]] = ({}, {})  # by code
    _shown: Counter[tuple[str, str]] = field(default_factory=Counter)

    def uncovered(self, accepted: Collection[str] = ()) -> int:
        """How many loosened answers, and changes that no answer can show, no accepted name covers."""
        answers = sum(count for found, count in self.loosened.items() if not covered(found, accepted))
        return answers + sum(row.name not in accepted for row in self.unseen)

    def differ(self, between: Between) -> None:
        """Take in what differs between two bundles that are compared."""
        for mine, theirs in ((self.data, between.data), (self.unseen, between.unseen)):
            known = {row.name for row in mine}
            mine += [row for row in theirs if row.name not in known]

    @property
    def unread(self) -> int:
        """How many entries or questions of the record were not compared: while there is one, nothing passes."""
        return sum(self.skipped[why] for why in UNREAD)

    def summary(self, accepted: Collection[str] = ()) -> dict[str, Any]:
        """What a certificate keeps of it."""
        return {**self.tally.plain(), "uncovered": self.uncovered(accepted), "accepted": sorted(set(accepted))}

    def note(self, row: Recorded, was: Answer, now: Answer, between: Between) -> None:
        """Count one question with both answers."""
        self.questions += 1
        if now is None:
            self.silent += 1
        change = compare(row.document, was, now, between.ranks)
        if change.direction == "same":
            self.same += 1
            self.unmoved[row.document, change.was] += 1
            return
        agent, action = about(row)
        found = causes(
            row.document,
            was,
            now,
            fields=change.fields,
            action=action,
            data=between.data,
            rewritten=between.rewritten,
        )
        shown = (self.tally, self.transitions[row.document, change.was, change.now], self.agents[agent])
        for tally in (*shown, self.actions[action], self.heat[action, change.was, change.now]):
            tally.count(change.direction)
        for cause in found:
            self.rules[cause.code].count(change.direction)
            known = self.causes.setdefault(cause.code, cause)
            if known.names != cause.names:
                shared = tuple(name for name in known.names if name in cause.names)
                self.causes[cause.code] = replace(known, names=shared)
        if change.direction == "loosened":
            self.loosened[tuple(found)] += 1
            if len(self.named) < NAMED:
                self.named.append(
                    {"entry": row.index, "intent_id": _intent_of(row), "was": change.was, "now": change.now}
                )
        self._show(row, change, found, agent, action)

    def _show(self, row: Recorded, change: Change, found: list[Cause], agent: str, action: str) -> None:
        key = (found[0].code, change.direction)
        if self._shown[key] >= EXAMPLES or change.direction == "other":
            return
        self._shown[key] += 1
        self.examples.append(
            {
                "entry": row.index,
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
            "range": {"first": self.first, "end": self.end, "size": self.size, "left_out": self.left_out},
            "questions": self.questions,
            "reproduced": self.reproduced,
            "same": self.same,
            "no_answer": self.silent,
            **self.tally.plain(),
            "uncovered": self.uncovered(accepted),
            "accepted": sorted(set(accepted)),
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
            "rules": [self._rule(self.causes[code], tally, accepted) for code, tally in _most(self.rules)],
            "data": [{"name": row.name, "was": row.was[:400], "now": row.now[:400]} for row in self.data[:DATA]],
            "data_untold": max(0, len(self.data) - DATA),
            "unseen": [
                {"name": row.name, "was": row.was[:400], "now": row.now[:400], "accepted": row.name in accepted}
                for row in self.unseen
            ],
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
                n
                for found, n in self.loosened.items()
                if any(one.code == cause.code for one in found) and not covered(found, accepted)
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


class Sides:
    """The answers of two sides to each question, counted as they come; no first bundle: the answers on record."""

    def __init__(self, archive: Archive, was: Bundle | None, now: Bundle) -> None:
        self._archive, self._was, self._now = archive, was, now
        self._was_read = was  # whose data and rules stand for the first side
        self._between: dict[str, Between] = {}  # by the first side's bundle
        self.impact = Impact(was.digest if was else RECORDED, now.digest)

    def look(self) -> None:
        """What data differs between the sides: for recorded answers, from the newest other bundle's."""
        if self._was is None:
            self._was_read = self._newest()
        if self._was_read is not None:
            between = Between.of(self._was_read, self._now)
            # of recorded answers each says itself which bundle made its question
            self.impact.differ(between if self._was else replace(between, unseen=[]))

    def place(self, binary: Binary) -> None:
        """Where the rules are that made a difference, on each side; reading them takes OPA a second or two."""
        if self.impact.rules:
            was = read(binary, self._was_read).coded() if self._was_read else {}
            self.impact.places = (was, read(binary, self._now).coded())

    def note(self, row: Recorded, was: Said, now: Said) -> None:
        """Count one question; one that a side was not asked, because it is too slow, was not compared."""
        if any(isinstance(said, NoAnswer) and said.code == GIVEN_UP for said in (was, now)):
            self.impact.skipped["slow"] += 1
            return
        if not isinstance(was, NoAnswer) and same(was, row.answer):
            self.impact.reproduced += 1
        between = self._between_of(self._was.digest if self._was else row.bundle)
        self.impact.note(row, _fit(row, was), _fit(row, now), between)

    def _newest(self) -> Bundle | None:
        known = [digest for digest in self._archive.digests() if digest != self._now.digest]
        try:
            return self._archive.load(known[-1]) if known else None
        except MagistrateError:
            return None

    def _between_of(self, digest: str) -> Between:
        if digest not in self._between:
            try:
                before = self._was or self._archive.load(digest)
            except MagistrateError:
                before = None
            self._between[digest] = Between.of(before, self._now)
            self.impact.differ(self._between[digest])
        return self._between[digest]


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
