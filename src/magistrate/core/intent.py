"""An intent: what an agent asks to do."""

from __future__ import annotations

from typing import Any, Literal

from magistrate.core.canonical import digest_of
from magistrate.core.values import Document, Free, Identifier, Moment, Text


class Proposer(Document):
    """Who asks, as the credential says."""

    type: Literal["agent", "operator"]
    id: Identifier


class Claims(Document):
    """The proposer's own words: they may raise a tier, never lower one."""

    reason: Text
    context: Free


class Proposal(Document):
    """What a caller may say of a new intent; the rest is set by us."""

    action: Identifier
    target: Identifier
    parameters: Free
    reason: Text = ""
    context: Free = {}


class Intent(Document):
    """One asked-for action, whole; its digest is what approvals and the warrant bind to."""

    type: Literal["magistrate/intent/v1"]
    intent_id: Identifier
    origin: Identifier
    proposer: Proposer
    received_at: Moment
    nonce: Identifier
    action: Identifier
    target: Identifier
    parameters: Free
    claims: Claims


def compose(
    proposal: Proposal, *, intent_id: str, origin: str, proposer: Proposer, received_at: str, nonce: str
) -> dict[str, Any]:
    """The intent document of a proposal, as plain JSON."""
    said = proposal.plain()
    return {
        "type": "magistrate/intent/v1",
        "intent_id": intent_id,
        "origin": origin,
        "proposer": proposer.plain(),
        "received_at": received_at,
        "nonce": nonce,
        "action": said["action"],
        "target": said["target"],
        "parameters": said["parameters"],
        "claims": {"reason": said["reason"], "context": said["context"]},
    }


def scope_of(intent: dict[str, Any]) -> dict[str, Any]:
    """Action, target and parameters: what `action_digest` covers and a warrant permits."""
    return {"action": intent["action"], "target": intent["target"], "parameters": intent["parameters"]}


def action_digest(intent: dict[str, Any]) -> str:
    """The digest of exactly what would be done."""
    return digest_of(scope_of(intent))
