"""Looseness: of two answers to one question, does the second permit more than the first, or less?

Nothing here knows what a tier or a policy is called: how tiers rank is told, from the bundles' own data. Where the
answers differ in both directions, or in a way that has no direction, the change counts as loosened: a reviewer is
shown too much rather than too little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from magistrate.core.answers import OUTCOMES, outcome
from magistrate.core.decision import within

Direction: TypeAlias = Literal["same", "loosened", "tightened", "other"]
Answer: TypeAlias = Mapping[str, Any] | None  # None: there was no answer, which is a denial

SILENT: Final = "no answer"
RECORDED: Final = "recorded"  # the first side, where it is the answers on record and no bundle is asked for them
_LONGER: Final = ("ttl", "uses", "report_by_seconds")  # of a warrant: more is looser
_SHORTER: Final = ("rollback_seconds",)  # less is looser
LOOSER, TIGHTER = 1, -1


@dataclass(frozen=True, slots=True)
class Change:
    """How an answer changed: between which labels, in which direction, and in which fields."""

    direction: Direction
    was: str
    now: str
    fields: tuple[str, ...]  # what got looser, or tighter, as pointers into the answer


@dataclass(frozen=True, slots=True)
class Ranks:
    """How each bundle ranks its tiers."""

    was: Mapping[str, float]
    now: Mapping[str, float]

    @classmethod
    def of(cls, was: Mapping[str, Any], now: Mapping[str, Any]) -> Ranks:
        """From the data of two bundles."""
        return cls(_ranks(was), _ranks(now))


def compare(document: str, was: Answer, now: Answer, ranks: Ranks) -> Change:
    """What became of an answer to a question for this document."""
    steps = list(_steps(document, was, now, ranks))
    looser = tuple(pointer for pointer, way in steps if way >= 0)  # 0: no direction is known
    tighter = tuple(pointer for pointer, way in steps if way < 0)
    direction: Direction = "loosened" if looser else "tightened" if tighter else "same"
    if direction == "same" and was != now:
        direction = "other"  # other words about the same permission
    return Change(direction, label(document, was), label(document, now), looser or tighter)


def label(document: str, answer: Answer) -> str:
    """An answer's outcome, and the tier of a decision."""
    if answer is None:
        return SILENT
    tier = answer["terms"]["tier"] if document == "decision" else ""
    return f"{outcome(document, answer)} {tier}".strip()


Step: TypeAlias = tuple[str, int]


def _steps(document: str, was: Answer, now: Answer, ranks: Ranks) -> Iterator[Step]:
    """Every way in which the second answer permits more (1), less (-1), or something else (0)."""
    before, after = _level(document, was), _level(document, now)
    if before != after:
        yield _POINTERS[document], LOOSER if after > before else TIGHTER
    if was is None or now is None or 0 in (before, after):
        return  # of what is denied, terms permit nothing
    # an answer that asks people, or asks them once more, may still hand out far more once they said yes
    match document:
        case "decision":
            yield from _decisions(was, now, ranks)
        case "verification":
            for field in ("containment", "deviations"):
                yield from _sets(f"/{field}", _codes(was[field]), _codes(now[field]))


_POINTERS: Final = {
    "decision": "/standing/outcome",
    "approval": "/may",
    "admission": "/admit",
    "verification": "/verdict",
    "access": "/allowed",
}


def _level(document: str, answer: Answer) -> int:
    """How much an answer permits at first sight; 0 is nothing, and a verdict is more than none."""
    if answer is None:
        return 0
    least = 1 if document == "verification" else 0
    return least + OUTCOMES[document][::-1].index(outcome(document, answer))


def _decisions(was: Mapping[str, Any], now: Mapping[str, Any], ranks: Ranks) -> Iterator[Step]:
    before, after = was["terms"], now["terms"]
    if before["tier"] != after["tier"] or ranks.was.get(before["tier"]) != ranks.now.get(after["tier"]):
        one, two = ranks.was.get(before["tier"]), ranks.now.get(after["tier"])
        if one is None or two is None:
            yield "/terms/tier", 0
        elif one != two:
            yield "/terms/tier", LOOSER if two < one else TIGHTER
    yield from _requirements(before["requirement"], after["requirement"])
    yield from _warrants("/terms/warrant", before["warrant"], after["warrant"])
    yield from _warrants("/standing/issue", was["standing"]["issue"], now["standing"]["issue"])
    yield from _more_is_looser("/standing/wanted", -_people(was["standing"]), -_people(now["standing"]))


def _people(standing: Mapping[str, Any]) -> int:
    return sum(row["count"] for row in standing["wanted"])


def _requirements(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Step]:
    """Whoever satisfies the second must satisfy the first, or it is looser."""
    if not _covers(now["all_of"], was["all_of"]):
        yield "/terms/requirement/all_of", LOOSER
    if not _covers(was["all_of"], now["all_of"]):
        yield "/terms/requirement/all_of", TIGHTER
    yield from _sets("/terms/requirement/exclude", frozenset(was["exclude"]), frozenset(now["exclude"]))
    # how long people may take to answer permits nothing: `wait_seconds` has no direction
    name = "approval_seconds"
    yield from _more_is_looser(f"/terms/requirement/{name}", was[name], now[name])


def _covers(rows: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each place of `wanted` has a place of `rows` of its own that is at least as demanding.

    A person fills one place (augmenting paths; the places of a requirement are few). Another proof is not at least as
    demanding, whichever it is: how proofs rank is not known here.
    """
    places, demands = _places(rows), _places(wanted)
    taken: dict[int, int] = {}

    def place(demand: int, tried: set[int]) -> bool:
        for at, (roles, proof) in enumerate(places):
            if at in tried or not roles <= demands[demand][0] or proof != demands[demand][1]:
                continue
            tried.add(at)
            if at not in taken or place(taken[at], tried):
                taken[at] = demand
                return True
        return False

    return all(place(demand, set()) for demand in range(len(demands)))


def _places(rows: Sequence[Mapping[str, Any]]) -> list[tuple[frozenset[str], str]]:
    return [(frozenset(row["roles"]), row["proof"]) for row in rows for _ in range(row["count"])]


def _warrants(pointer: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Step]:
    for field in _LONGER:
        yield from _more_is_looser(f"{pointer}/{field}", was[field], now[field])
    for field in _SHORTER:
        yield from _more_is_looser(f"{pointer}/{field}", -was[field], -now[field])
    # 0: no heartbeat at all
    beat, beats = (said["heartbeat_seconds"] or float("inf") for said in (was, now))
    yield from _more_is_looser(f"{pointer}/heartbeat_seconds", beat, beats)
    if was["audience"] != now["audience"]:
        yield f"{pointer}/audience", LOOSER if now["audience"] == "holder" else TIGHTER
    yield from _sets(f"{pointer}/evidence", frozenset(was["evidence"]), frozenset(now["evidence"]))
    yield from _constraints(f"{pointer}/constraints", was["constraints"], now["constraints"])


def _constraints(pointer: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Step]:
    for kind in sorted(was.keys() | now.keys()):
        here = f"{pointer}/{kind}"
        if kind not in now:
            yield here, LOOSER
        elif kind not in was:
            yield here, TIGHTER
        else:
            if not within(now[kind], was[kind]):
                yield here, LOOSER
            if not within(was[kind], now[kind]):
                yield here, TIGHTER


def _sets(pointer: str, was: frozenset[str], now: frozenset[str]) -> Iterator[Step]:
    """What is demanded, found or excluded: less of it is looser."""
    if was - now:
        yield pointer, LOOSER
    if now - was:
        yield pointer, TIGHTER


def _more_is_looser(pointer: str, was: float, now: float) -> Iterator[Step]:
    if was != now:
        yield pointer, LOOSER if now > was else TIGHTER


def _codes(rows: Sequence[Any]) -> frozenset[str]:
    return frozenset(row if isinstance(row, str) else row["code"] for row in rows)


def _ranks(data: Mapping[str, Any]) -> dict[str, float]:
    tiers = data.get("tiers", {})
    rows = tiers.items() if isinstance(tiers, Mapping) else ()
    ranked = {name: row.get("rank") for name, row in rows if isinstance(row, Mapping)}
    return {name: rank for name, rank in ranked.items() if isinstance(rank, int | float)}
