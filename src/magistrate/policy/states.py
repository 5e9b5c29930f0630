"""What an answer comes to, in the few words by which one answer is told from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from magistrate.core.answers import outcome


@dataclass(frozen=True, order=True)
class State:
    """Outcome, tier ("" where there is none), and the reasons as (policy, code)."""

    outcome: str
    tier: str
    reasons: tuple[tuple[str, str], ...]

    @property
    def place(self) -> tuple[str, str]:
        """What a change of it is counted by; a denial has no tier that matters."""
        return self.outcome, "" if self.outcome == "deny" else self.tier


def state(document: str, answer: Mapping[str, Any]) -> State:
    """What an answer that has its document's shape comes to."""
    said = outcome(document, answer)
    match document:
        case "decision":
            return State(said, answer["terms"]["tier"], _codes(answer["standing"]["reasons"]))
        case "admission":
            return State(said, "", _codes(answer["violations"]))
        case "access":
            return State(said, "", _codes([answer["reason"]]))
        case _:
            return State(said, "", _codes(answer["reasons"]))


def _codes(reasons: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(reason["policy"], reason["code"]) for reason in reasons if reason["code"]}))
