"""What each document of the engine may answer, by its name, and what an answer comes to in a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from magistrate.core.decision import DecisionAnswer
from magistrate.core.values import Document
from magistrate.core.verification import AccessAnswer, AdmissionAnswer, ApprovalAnswer, VerificationAnswer

ANSWERS: dict[str, type[Document]] = {
    "decision": DecisionAnswer,
    "approval": ApprovalAnswer,
    "admission": AdmissionAnswer,
    "verification": VerificationAnswer,
    "access": AccessAnswer,
}
OUTCOMES: Final = {  # from what permits most to what permits least
    "decision": ("allow", "ask", "deny"),
    "approval": ("may", "may not"),
    "admission": ("admit", "refuse"),
    "verification": ("conforming", "inconclusive", "deviating"),
    "access": ("allowed", "refused"),
}
_YES: Final = {"approval": "may", "admission": "admit", "access": "allowed"}


def outcome(document: str, answer: Mapping[str, Any]) -> str:
    """Which of its document's outcomes an answer is."""
    if document == "decision":
        return str(answer["standing"]["outcome"])
    if document == "verification":
        return str(answer["verdict"])
    yes, no = OUTCOMES[document]
    return yes if answer[_YES[document]] else no
