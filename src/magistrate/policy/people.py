"""People nobody is: the approvals that are tried where one asks what people's words would have changed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from magistrate.policy.facts import Question


def filled(question: Question, wanted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A yes for every place that is wanted, each by somebody else."""
    places = [row for row in wanted for _ in range(row["count"])]
    held = len(question.get("approvals", []))
    return [approval(question, list(row["roles"]), row["by"], held + n) for n, row in enumerate(places)]


def approval(question: Question, roles: list[str], proof: str, number: int) -> dict[str, Any]:
    now = question["now"]["unix"]
    return {
        "operator": f"somebody-else-{number + 1}",
        "roles": roles,
        "verdict": "approve",
        "reason": "",
        "narrowing": {},
        "at": now,
        "expires_at": now + 60,
        "proof": proof,
        "digest": "sha256:" + "0" * 64,
    }


def with_approvals(question: Question, more: list[dict[str, Any]]) -> Question:
    other = copy.deepcopy(question)
    other["approvals"] = [*other.get("approvals", []), *more]
    return other
