"""A verification: the verdict on an execution, with each deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from magistrate.core.decision import Reason
from magistrate.core.values import Document, Identifier, Name, Text

Verdict = Literal["conforming", "deviating", "inconclusive"]
QUOTED: Final = 20  # deviations kept of an answer that could not be recorded whole
Act = Literal["halt", "revoke", "quarantine", "rollback"]


class Violation(Document):
    """Why an admission was refused."""

    code: Text
    title: Text
    remedy: Text
    policy: Text
    pointer: Text


class Deviation(Document):
    """One thing that was not as warranted."""

    code: Text
    pointer: Text
    expected: Text
    observed: Text
    severity: Name
    source: Name


class ApprovalAnswer(Document):
    """The answer of `data.magistrate.approval`."""

    may: bool
    reasons: tuple[Reason, ...]


class AdmissionAnswer(Document):
    """The answer of `data.magistrate.admission`."""

    admit: bool
    violations: tuple[Violation, ...]


class VerificationAnswer(Document):
    """The answer of `data.magistrate.verification`."""

    verdict: Verdict
    deviations: tuple[Deviation, ...]
    containment: tuple[Act, ...]
    reasons: tuple[Reason, ...]


class AccessAnswer(Document):
    """The answer of `data.magistrate.access`."""

    allowed: bool
    reason: Reason


class Verification(Document):
    """The recorded verdict."""

    type: Literal["magistrate/verification/v1"]
    verification_id: Identifier
    execution_id: Identifier
    verdict: Verdict
    deviations: tuple[Deviation, ...]
    containment: tuple[Act, ...]
    provisional: bool
    previous: Name


def at_best(
    answer: Mapping[str, Any], left_out: Sequence[Any], found: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The answer, no better than inconclusive where evidence was left out of the question.

    `found` is what more of the evidence was answered with, if that was a deviation and could not be recorded whole: the
    verdict is no better than that.
    """
    if found and answer["verdict"] != "deviating":
        return {**answer, **found[0], "verdict": "deviating"}
    worse = bool(left_out) and answer["verdict"] == "conforming"
    return {**answer, "verdict": "inconclusive"} if worse else dict(answer)


def quoted(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Of a deviating answer that could not be recorded: its first deviations, and all that it brings about."""
    return {"deviations": list(answer["deviations"][:QUOTED]), "containment": list(answer["containment"])}


def verification_document(
    *, verification_id: str, execution_id: str, answer: dict[str, Any], provisional: bool, previous: str
) -> dict[str, Any]:
    """The verdict as it is recorded; `previous` is the verification it follows, "" when it is the first."""
    return {
        "type": "magistrate/verification/v1",
        "verification_id": verification_id,
        "execution_id": execution_id,
        "verdict": answer["verdict"],
        "deviations": answer["deviations"],
        "containment": answer["containment"],
        "provisional": provisional,
        "previous": previous,
    }
