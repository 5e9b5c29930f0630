"""What OPA's `input` may hold, as models: `opa check --schema` types every policy with the schema made from them.

The builders in `question` make the values; a test holds each question the engine asks against its model here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue

from magistrate.core.approval import Statement
from magistrate.core.decision import Issue, Terms
from magistrate.core.execution import Attempt, Call, Observation, Report
from magistrate.core.intent import Intent
from magistrate.core.values import Count, Digest, Document, Free, Identifier, Moment, Name, Text
from magistrate.core.warrant import Warrant


class Now(Document):
    """The time, so that Rego does no calendar work."""

    unix: Count
    at: Moment
    weekday: Text
    minute_of_day: Count


class Actor(Document):
    """The facts about one person or program."""

    type: Text
    id: Text
    state: Text
    roles: tuple[Name, ...]
    owner: Text
    credential: Text
    open_intents: Count


class Subject(Document):
    """The object of an act of administration; empty for any other."""

    type: Text
    id: Text


class Heard(Document):
    """One approval of the round."""

    operator: Identifier
    roles: tuple[Name, ...]
    verdict: Literal["approve", "deny"]
    reason: Text
    narrowing: Free
    at: Count
    expires_at: Count
    proof: Text
    digest: Digest


class House(Document):
    """The installation."""

    operators: Count
    demo: bool


class _Question(Document):
    contract: Count
    origin: Identifier
    now: Now


class DecisionQuestion(_Question):
    """Is this intent allowed?"""

    intent: Intent
    proposer: Actor
    round: Count
    round_began: Count
    approvals: tuple[Heard, ...]
    facts: dict[str, int]
    counters_blind: tuple[Text, ...]
    subject: Subject
    author: Text
    installation: House


class ApprovalQuestion(_Question):
    """May this operator say this?"""

    intent: Intent
    proposer: Actor
    operator: Actor
    statement: Statement
    terms: Terms
    round: Count
    approvals: tuple[Heard, ...]
    subject: Subject
    author: Text
    installation: House


class AdmissionQuestion(_Question):
    """May this warrant be used now?"""

    intent: Intent
    warrant: Warrant
    terms: Terms
    issue: Issue
    presenter: Actor
    holder: Actor
    uses_left: Count
    state: Text
    armed: bool
    audience: Text
    call: Call
    before: tuple[Observation, ...]


class ExecutionFacts(Document):
    """An execution as verification sees it."""

    execution_id: Identifier
    warrant_id: Identifier
    use: Count
    state: Text
    started: Count
    ended: Count
    attempts: tuple[Attempt, ...]
    missed_heartbeats: Count
    halted_because: Text
    rollback: Text


class VerificationQuestion(_Question):
    """Was what was done what was warranted?"""

    intent: Intent
    warrant: Warrant
    issue: Issue
    execution: ExecutionFacts
    call: Call
    reports: tuple[Report, ...]
    observations: tuple[Observation, ...]
    final: bool
    previous: Text


class AccessQuestion(_Question):
    """May this principal do or see this?"""

    principal: Actor
    verb: Text
    relation: Text
    object: Subject


QUESTIONS: dict[str, type[Document]] = {
    "decision": DecisionQuestion,
    "approval": ApprovalQuestion,
    "admission": AdmissionQuestion,
    "verification": VerificationQuestion,
    "access": AccessQuestion,
}


def schema(document: str) -> dict[str, JsonValue]:
    """The JSON Schema of one document's question."""
    return QUESTIONS[document].model_json_schema()


def input_schema() -> dict[str, Any]:
    """The JSON Schema of `input` in any rule: everything any question may hold."""
    properties: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    for model in QUESTIONS.values():
        made = model.model_json_schema()
        shared |= made.get("$defs", {})
        properties |= made["properties"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "What a rule may ask of `input`",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": shared,
    }
