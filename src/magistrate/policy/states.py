"""What an answer comes to, in the few words by which one answer is told from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_YES: Final = {"approval": "may", "admission": "admit", "access": "allowed"}
OUTCOMES: Final = {
    "decision": ("allow", "ask", "deny"),
    "approval": ("may", "may not"),
    "admission": ("admit", "refuse"),
    "verification": ("conforming", "inconclusive", "deviating"),
    "access": ("allowed", "refused"),
}


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
    if document == "decision":
        standing = answer["standing"]
        return State(standing["outcome"], answer["terms"]["tier"], _codes(standing["reasons"]))
    if document == "verification":
        return State(answer["verdict"], "", _codes(answer["reasons"]))
    given = {"approval": "reasons", "admission": "violations"}.get(document)
    reasons = answer[given] if given else [answer["reason"]]
    yes, no = OUTCOMES[document]
    return State(yes if answer[_YES[document]] else no, "", _codes(reasons))


def _codes(reasons: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(reason["policy"], reason["code"]) for reason in reasons if reason["code"]}))
