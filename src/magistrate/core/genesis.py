"""Genesis: the statement that begins an installation's ledger, and the questions and answers beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from magistrate.core.errors import Refused
from magistrate.core.signature import PublicKey, verify_document
from magistrate.core.values import Count, Digest, Document, Identifier, Moment, Signature, Text


class Engine(Document):
    """The OPA that decides."""

    version: Text
    sha256: Digest
    origin: Text


class Keys(Document):
    """The installation's public keys, 64 hex digits each."""

    warrant: Text
    checkpoint: Text
    policy: Text


class FirstOperator(Document):
    """Who set it up."""

    id: Identifier
    roles: tuple[Identifier, ...]
    key_id: Digest
    public_key: Text


class Genesis(Document):
    """Entry 0: what auditors pin."""

    type: Literal["magistrate/genesis/v1"]
    origin: Identifier
    demo: bool
    bundle: Digest
    sequence: Count
    contract: Count
    opa: Engine
    capabilities: Digest
    keys: Keys
    operator: FirstOperator
    at: Moment
    key_id: Digest
    signature: Signature


class Left(Document):
    """Where the ledger stood."""

    size: Count
    root: Text


class Recovery(Document):
    """An operator's signed word that history may go on from here; `from` is the size and root it left."""

    type: Literal["magistrate/recovery/v1"]
    origin: Identifier
    what: Literal["clock", "mark", "bundle", "opa"]
    from_: Annotated[Left, Field(alias="from")]
    to: Text
    reason: Text
    operator: Identifier
    key_id: Digest
    at: Moment
    signature: Signature


def unsigned(
    *,
    origin: str,
    demo: bool,
    bundle: str,
    sequence: int,
    contract: int,
    opa: dict[str, str],
    capabilities: str,
    keys: dict[str, str],
    operator: dict[str, Any],
    at: str,
) -> dict[str, Any]:
    """The statement the first operator is shown and signs."""
    return {
        "type": "magistrate/genesis/v1",
        "origin": origin,
        "demo": demo,
        "bundle": bundle,
        "sequence": sequence,
        "contract": contract,
        "opa": opa,
        "capabilities": capabilities,
        "keys": keys,
        "operator": operator,
        "at": at,
        "key_id": operator["key_id"],
    }


def hold_same(offered: dict[str, Any], expected: dict[str, Any], key: PublicKey) -> None:
    """Return if the signed statement is word for word the one that was shown, and the operator signed it.

    Raises:
        Refused: it says something else.
        Forged: the signature does not stand.
    """
    said = {k: v for k, v in offered.items() if k != "signature"}
    for field in sorted(expected.keys() | said.keys()):
        if field != "at" and said.get(field) != expected.get(field):
            raise Refused("setup.differs", f"the signed statement's {field} is not what was shown", pointer=f"/{field}")
    verify_document(offered, key)
