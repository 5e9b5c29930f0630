"""Evidence that does not fit: what an execution was said to have done, cut down to what can be asked and recorded.

Each report and observation stands whole in an entry of its own. Together, in one question and the record of its
answer, they may be more than an entry holds; then the largest are left out, one after the other, and nobody is told
that it went well on the strength of what was not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import MagistrateError, NoAnswer
from magistrate.engine.installation import Asked

ALERT: Final = "evidence.left_out"
SHARES: Final = (1.0, 0.5, 0.25, 0.125, 0.0)  # of the bytes of all facts, one after the other, until it fits
# the last is an answer that quotes facts at a length that no document takes, as bundles before the fourth could
_TOO_LARGE: Final = ("opa.question_too_large", "opa.too_large", "entry.large", "opa.answer_shape")
_AROUND: Final = 64 * 1024  # bytes of a record beside question and answer: what was left out, and its own fields
_NAMED: Final = 8  # left out things an alert names; beyond them they are counted


def is_too_large(error: MagistrateError) -> bool:
    """Whether less of a question might have been answered, and recorded."""
    return error.code in _TOO_LARGE


def hold_recordable(asked: Asked) -> None:
    """Return if question, answer and the verdict made of it fit the body of one entry.

    Raises:
        NoAnswer: `opa.too_large`.
    """
    size = len(canonical.canonical(asked.record())) + len(canonical.canonical(asked.answer["deviations"]))
    if size > canonical.MAX_RECORD - _AROUND:
        raise NoAnswer("opa.too_large", f"an answer of {size} bytes with its question cannot be recorded")


def within(
    question: dict[str, Any], share: float, judged: Mapping[str, int] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A verification's question with at most this share of the bytes of its facts, and what was left out of it.

    An observation goes whole: one without its facts would say that nothing was seen. A report keeps its outcome. What
    was judged before goes first, since a deviation there stands already (the first so many `reports` and
    `observations`); of the rest the largest. What was left out is named by the kind of its entry and the digest of its
    body, `bytes` being those of its facts.
    """
    facts = _in_order(question, judged or {})
    size = sum(bytes_ for bytes_, _, _ in facts)
    most = share * size
    left: list[dict[str, Any]] = []
    gone: set[tuple[str, int]] = set()
    for bytes_, kind, n in facts:
        if size <= most:
            break
        said = question[kind][n]
        gone.add((kind, n))
        what = {"kind": kind.removesuffix("s"), "digest": canonical.digest(canonical.canonical(said))}
        left.append({**what, "source": said["source"], "at": said["at"], "bytes": bytes_})
        size -= bytes_
    reports = [{**said, "facts": {}} if ("reports", n) in gone else said for n, said in enumerate(question["reports"])]
    observations = [said for n, said in enumerate(question["observations"]) if ("observations", n) not in gone]
    return {**question, "reports": reports, "observations": observations}, left


def _in_order(question: Mapping[str, Any], judged: Mapping[str, int]) -> list[tuple[int, str, int]]:
    """Everything said with facts: what was judged first, then by size, the largest first."""
    said = (
        (len(canonical.canonical(one["facts"])), kind, n)
        for kind in ("reports", "observations")
        for n, one in enumerate(question[kind])
        if one["facts"]
    )
    return sorted(said, key=lambda one: (one[2] < judged.get(one[1], 0), one), reverse=True)


def told(left: Sequence[Mapping[str, Any]]) -> str:
    """What an alert says of it."""
    named = ", ".join(f"{one['source']} ({one['bytes']} bytes)" for one in left[:_NAMED])
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return f"too large to be judged together with the rest: {named}{more}"
