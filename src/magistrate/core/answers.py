"""What each document of the engine may answer, by its name."""

from __future__ import annotations

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
