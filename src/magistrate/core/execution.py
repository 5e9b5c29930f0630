"""An execution, and what is said of it: reports by who ran it, observations by who watched."""

from __future__ import annotations

from typing import Literal

from magistrate.core.values import Count, Document, Free, Identifier, Moment, Name

Outcome = Literal["succeeded", "failed", "halted", "unknown"]


class Attempt(Document):
    """One try inside an execution; a further one only after a proven failure."""

    n: Count
    started_at: Moment
    ended_at: str
    outcome: Literal["", "succeeded", "failed", "halted", "unknown"]


class Execution(Document):
    """One use of a warrant."""

    execution_id: Identifier
    warrant_id: Identifier
    use: Count
    attempts: tuple[Attempt, ...]


class ReportClaim(Document):
    """What the body of a report may say; source and time are ours to set."""

    outcome: Outcome
    facts: Free = {}


class ObservationClaim(Document):
    """What the body of an observation may say."""

    phase: Literal["before", "during", "after"]
    facts: Free


class Report(Document):
    """What the one who ran it says."""

    type: Literal["magistrate/report/v1"]
    execution_id: Identifier
    source: Identifier
    at: Moment
    outcome: Outcome
    facts: Free
    key_id: Name
    signature: str


class Observation(Document):
    """What a probe or an observer saw."""

    type: Literal["magistrate/observation/v1"]
    execution_id: Identifier
    source: Identifier
    at: Moment
    phase: Literal["before", "during", "after"]
    facts: Free
    key_id: Name
    signature: str


class Call(Document):
    """What the presenter says it is about to do; must equal the scope byte for byte and is then thrown away."""

    action: Identifier
    target: Identifier
    parameters: Free
