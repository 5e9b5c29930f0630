"""A warrant: the signed, scoped, short-lived permission to do exactly one thing."""

from __future__ import annotations

from typing import Any, Literal

from magistrate.core import canonical
from magistrate.core.decision import hold_narrow
from magistrate.core.errors import Broken, Malformed, Refused
from magistrate.core.intent import action_digest, scope_of
from magistrate.core.signature import PublicKey, verify_document
from magistrate.core.values import (
    Count,
    Digest,
    Document,
    Free,
    Identifier,
    Moment,
    Name,
    Signature,
    Text,
    moment,
    parse,
    unix,
)


class Scope(Document):
    """Exactly what may be done."""

    action: Identifier
    target: Identifier
    parameters: Free


class Issuer(Document):
    """The last approving operator, or the policy that approved by itself."""

    type: Literal["operator", "policy"]
    id: Identifier


class Holder(Document):
    """Who may use it: the proposer."""

    type: Literal["agent", "operator"]
    id: Identifier
    proof: Literal["api-key", "key"]
    jkt: Text = ""  # only where proof is `key`; absent otherwise


class PolicyRef(Document):
    """What decided: the bundle, its sequence, the decision and the ledger entry that said allow."""

    bundle: Digest
    sequence: Count
    decision: Digest
    entry: Digest


class Warrant(Document):
    """The permission whole, signature included."""

    type: Literal["magistrate/warrant/v1"]
    warrant_id: Identifier
    origin: Identifier
    scope: Scope
    ttl: Count
    issued_at: Moment
    expires_at: Moment
    issuer: Issuer
    tier: Name
    holder: Holder
    audience: Identifier
    uses: Count
    constraints: Free
    evidence: tuple[Name, ...]
    heartbeat_seconds: Count
    report_by: Moment
    intent_digest: Digest
    action_digest: Digest
    approvals: tuple[Digest, ...]
    policy: PolicyRef
    key_id: Digest
    signature: Signature


def compose(
    *,
    warrant_id: str,
    intent: dict[str, Any],
    intent_digest: str,
    terms: dict[str, Any],
    issue: dict[str, Any],
    approvals: list[str],
    issuer: dict[str, str],
    holder: dict[str, str],
    policy: dict[str, Any],
    at: int,
    key_id: str,
) -> dict[str, Any]:
    """The unsigned warrant that a recorded decision permits; `core` refuses one wider than its terms.

    Raises:
        Broken: `issue` is wider than the decision's terms.
    """
    hold_narrow(issue, terms["warrant"])
    return {
        "type": "magistrate/warrant/v1",
        "warrant_id": warrant_id,
        "origin": intent["origin"],
        "scope": scope_of(intent),
        "issuer": issuer,
        "tier": terms["tier"],
        "holder": holder,
        "audience": f"{intent['origin']}/{issue['audience']}",
        "uses": issue["uses"],
        "constraints": issue["constraints"],
        "evidence": issue["evidence"],
        "heartbeat_seconds": issue["heartbeat_seconds"],
        "intent_digest": intent_digest,
        "action_digest": action_digest(intent),
        "approvals": approvals,
        "policy": policy,
        "key_id": key_id,
        **_times(issue, at),
    }


def _times(issue: dict[str, Any], at: int) -> dict[str, Any]:
    expires = at + issue["ttl"]
    return {
        "ttl": issue["ttl"],
        "issued_at": moment(at),
        "expires_at": moment(expires),
        "report_by": moment(expires + issue["report_by_seconds"] + issue["rollback_seconds"]),
    }


def read(raw: bytes) -> tuple[Warrant, dict[str, Any]]:
    """The warrant a file or request holds: exactly its canonical bytes and at most one final newline.

    Raises:
        Malformed: anything else.
    """
    plain = canonical.load_canonical(raw)
    if not isinstance(plain, dict):
        raise Malformed("warrant.shape", "a warrant is a JSON object")
    warrant = parse(Warrant, canonical.canonical(plain), code="warrant.shape")
    if ("jkt" in warrant.holder.model_fields_set) != (warrant.holder.proof == "key"):
        raise Malformed("warrant.shape", "a key-bound holder names its key, and no other does", pointer="/holder/jkt")
    if unix(warrant.expires_at) - unix(warrant.issued_at) != warrant.ttl:
        raise Malformed("warrant.shape", "ttl is not the length of the window", pointer="/ttl")
    if canonical.digest_of(plain["scope"]) != warrant.action_digest:
        raise Malformed("warrant.shape", "action_digest is not the digest of scope", pointer="/action_digest")
    return warrant, plain


def authentic(raw: bytes, key: PublicKey) -> tuple[Warrant, dict[str, Any]]:
    """The warrant, if `key` signed it.

    Raises:
        Malformed: not a warrant.
        Forged: the signature does not stand under this key.
    """
    warrant, plain = read(raw)
    verify_document(plain, key)
    return warrant, plain


def hold_window(warrant: Warrant, now: int) -> None:
    """Return if `issued_at <= now < expires_at`.

    Raises:
        Refused: outside its window.
    """
    if now < unix(warrant.issued_at):
        raise Refused("warrant.not_yet", f"the warrant holds from {warrant.issued_at}")
    if now >= unix(warrant.expires_at):
        raise Refused("warrant.expired", f"the warrant ended at {warrant.expires_at}")


def hold_decided(
    plain: dict[str, Any], *, intent: dict[str, Any], terms: dict[str, Any], issue: dict[str, Any]
) -> None:
    """Return if the warrant is exactly what the recorded decision permits: scope, times, constraints.

    Raises:
        Broken: it is wider, or another thing.
    """
    hold_narrow(issue, terms["warrant"])
    at = unix(plain["issued_at"])
    expected = {
        "scope": scope_of(intent),
        "tier": terms["tier"],
        "uses": issue["uses"],
        "constraints": issue["constraints"],
        "evidence": issue["evidence"],
        "heartbeat_seconds": issue["heartbeat_seconds"],
        "audience": f"{intent['origin']}/{issue['audience']}",
        "intent_digest": canonical.digest_of(intent),
        **_times(issue, at),
    }
    for field, value in expected.items():
        if plain[field] != value:
            raise Broken("warrant.differs", f"{field} is not what was decided", pointer=f"/{field}")
