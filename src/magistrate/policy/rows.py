"""A decision table as it is once read: the base, the rows, and what each expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from magistrate.core.values import Count, Document, Identifier, Moment, Text

Here = Mapping[str, Any]  # the folder's data, as the bundle will hold it
NONE: Final = "none"


class Proposer(Document):
    """Who proposes; what is not named follows from the action."""

    type: Literal["agent", "operator"] | None = None
    id: Identifier | None = None
    state: Identifier = "active"
    roles: tuple[Identifier, ...] = ()
    owner: Identifier | None = None
    credential: Identifier | None = None
    open_intents: Count = 0


class Voice(Document):
    """An approval that was given."""

    operator: Identifier
    roles: tuple[Identifier, ...]
    verdict: Literal["approve", "deny"] = "approve"
    proof: Identifier = "ed25519"
    reason: Text = ""
    narrowing: dict[str, Any] = {}


class Demand(Document):
    """`count` people with one of the roles."""

    count: Count
    roles: tuple[Identifier, ...]
    proof: Identifier | None = None

    def __str__(self) -> str:
        return f"{self.count} of {', '.join(sorted(self.roles))}"


class Expected(Document):
    """What must come of it; a column that is not named may come out as it likes."""

    outcome: Literal["allow", "ask", "deny"]
    tier: Text | None = None
    approvals: tuple[Demand, ...] | None = None  # all that is asked for
    wanted: tuple[Demand, ...] | None = None  # what is still missing
    reasons: tuple[Text, ...] | None = None
    constraints: dict[str, Any] = {}
    ttl: Count | None = None
    uses: Count | None = None


class Given(Document):
    """What a row or the base says of the question."""

    action: Identifier | None = None
    target: Identifier | None = None
    parameters: dict[str, Any] = {}
    proposer: Proposer | None = None
    facts: dict[str, Count] = {}
    blind: tuple[Identifier, ...] = ()
    now: Moment | None = None
    approvals: tuple[Voice, ...] = ()
    reason: Text = ""
    context: dict[str, Any] = {}
    author: Text = ""
    operators: Count | None = None


class Case(Given):
    """One row."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    expect: Expected


class Table(Document):
    """One file; `lines` says where each row stands."""

    policy: str
    file: str
    base: Given
    cases: tuple[Case, ...]
    lines: tuple[Count, ...]
