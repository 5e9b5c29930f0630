"""An approval: an operator's signed yes or no to one exact decision."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import Field

from magistrate.core import canonical
from magistrate.core.errors import Conflict, Malformed
from magistrate.core.signature import PublicKey, pae, payload_type
from magistrate.core.values import Count, Digest, Document, Free, Identifier, Moment, Signature, Text, parse, unix

AT_TOLERANCE = 300  # contracts section 2: `at` is within 5 minutes of now


class Narrowing(Document):
    """What the approver takes away; absent fields take nothing."""

    ttl: Annotated[int, Field(ge=1, le=2**53 - 1)] = 1
    uses: Annotated[int, Field(ge=1, le=2**53 - 1)] = 1
    constraints: Free = {}

    def given(self) -> dict[str, Any]:
        """Only what was said."""
        return self.model_dump(mode="json", exclude_unset=True)


class Statement(Document):
    """The exact words an operator signs."""

    type: Literal["magistrate/approval/v1"]
    origin: Identifier
    intent_id: Identifier
    intent_digest: Digest
    decision_digest: Digest
    round: Count
    verdict: Literal["approve", "deny"]
    reason: Text
    narrowing: Narrowing
    operator: Identifier
    key_id: Digest
    at: Moment
    expires_at: Moment


class Proof(Document):
    """An Ed25519 signature over the statement's pre-authentication encoding."""

    kind: Literal["ed25519"]
    key_id: Digest
    signature: Signature


class Approval(Document):
    """What is sent, and kept as the entry's body: the statement's exact bytes and the proof over them."""

    statement: Text
    proof: Proof

    def statement_bytes(self) -> bytes:
        """The signed bytes.

        Raises:
            Malformed: not base64url without padding.
        """
        try:
            raw = base64.b64decode(self.statement + "=" * (-len(self.statement) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("approval.encoding", "statement is not base64url", pointer="/statement") from None
        if encode(raw) != self.statement:
            raise Malformed("approval.encoding", "statement is not plain base64url", pointer="/statement")
        return raw


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(approval: Approval) -> tuple[Statement, dict[str, Any]]:
    """The statement inside, as model and as plain JSON; its bytes must be canonical.

    Raises:
        Malformed: the bytes are not a canonical approval statement.
    """
    raw = approval.statement_bytes()
    plain = canonical.load(raw)
    if canonical.canonical(plain) != raw or not isinstance(plain, dict):
        raise Malformed("approval.not_canonical", "the statement is not in canonical form", pointer="/statement")
    return parse(Statement, raw, code="approval.shape"), plain


def verify(approval: Approval, key: PublicKey) -> Statement:
    """The statement, if `key` signed exactly these bytes and both name that key.

    Raises:
        Malformed: the statement does not parse.
        Forged: another key, or the signature does not stand.
    """
    statement, _ = read(approval)
    if not approval.proof.key_id == statement.key_id == key.key_id:
        raise Malformed("approval.key", "statement, proof and operator's key are not one", pointer="/proof/key_id")
    key.verify(pae(payload_type("approval"), approval.statement_bytes()), bytes.fromhex(approval.proof.signature[2:]))
    return statement


def hold_current(
    statement: Statement,
    *,
    origin: str,
    intent_id: str,
    intent_digest: str,
    decision_digest: str,
    round_: int,
    now: int,
) -> None:
    """Return if the statement is about this very decision, and made now.

    Raises:
        Conflict: it is about another intent, decision or round, or was not made just now.
    """
    if statement.origin != origin or statement.intent_id != intent_id or statement.intent_digest != intent_digest:
        raise Conflict("approval.other_intent", "the statement is about another intent", pointer="/intent_digest")
    if statement.round != round_ or statement.decision_digest != decision_digest:
        raise Conflict(
            "approval.round_over",
            "the statement is about a decision that no longer stands",
            hint="magistrate approvals show " + intent_id,
        )
    if abs(unix(statement.at) - now) > AT_TOLERANCE:
        raise Conflict("approval.stale", "the statement was not made within five minutes of now", pointer="/at")
    if unix(statement.expires_at) <= now:
        raise Conflict("statement.expired", "the statement has expired", pointer="/expires_at")
