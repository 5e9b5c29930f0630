"""What came of doing something in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Result = Literal["succeeded", "failed", "unknown", "halted"]


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended. When in doubt it is `unknown`, never `failed`: a failure is proven and may be repeated.

    `halted` is for whoever cancelled the attempt to say; no executor says it. `facts` is JSON that
    `core.canonical` accepts and holds no secret; `detail` is for people; `sent` is False when nothing left the house.
    """

    outcome: Result
    facts: dict[str, Any] = field(default_factory=dict)
    detail: str = ""
    sent: bool = False
