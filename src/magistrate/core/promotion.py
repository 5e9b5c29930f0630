"""A promotion: the installation's signed word that a bundle is in force from here on, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from magistrate.core.canonical import canonical
from magistrate.core.errors import Broken, Conflict
from magistrate.core.signature import PublicKey, verify_document
from magistrate.core.values import Count, Digest, Document, Identifier, Moment, Name, Signature, Text, parse

TYPE = "magistrate/promotion/v1"


class Engine(Document):
    """The OPA that answered the bundle's canaries."""

    version: Text
    sha256: Digest


class Built(Document):
    """What the author's build found; all 0 where none was given."""

    tests: Count  # of Rego, all passed
    cases: Count  # rows of decision tables, all passed
    canaries: Count  # all answered as they must
    covered: Count  # lines of the Rego that ships which some test reached
    lines: Count  # that there are


NOTHING = Built(tests=0, cases=0, canaries=0, covered=0, lines=0)


class Promotion(Document):
    """The manifest of one activation, signed by the policy key.

    `engine` and `templates` are digests over the engine's own Rego and over how the catalogue has actions carried out:
    an activation that changes either changes more than policy. `capabilities` is of the builtins a policy may call.
    `approvals` are the digests of the approvals that carried the act.
    """

    type: Literal["magistrate/promotion/v1"]
    origin: Identifier
    digest: Digest
    sequence: Count
    contract: Count
    previous: Digest
    engine: Digest
    catalogue: Digest
    templates: Digest
    capabilities: Digest
    opa: Engine
    built: Built
    author: Name
    intent_id: Identifier
    intent_digest: Digest
    approvals: tuple[Digest, ...]
    live_warrants: Literal["keep", "revoke"]
    at: Moment
    key_id: Digest
    signature: Signature


def hold_newer(digest: str, sequence: int, highest: int) -> None:
    """Return if a bundle of this sequence may come into force.

    Raises:
        Conflict: `bundle.older`: sequences only go up.
    """
    if sequence <= highest:
        raise Conflict(
            "bundle.older",
            f"sequence {sequence} of {digest} is not above {highest}, the highest that was ever in force: a newer one"
            " is built with a higher `sequence` in .manifest, and only a recovery goes back",
            hint="magistrate policy recover --help",
        )


def hold_others(author: str, proposer: str, approvers: Sequence[str]) -> None:
    """Return if the author's own word is not among those that carried the act.

    An author who proposes signs as the proposer, as everybody who proposes does; the word that carries it is another's.

    Raises:
        Broken: `promotion.author`.
    """
    if author and author != proposer and author in approvers:
        raise Broken("promotion.author", f"{author} is the bundle's author and approved its activation")


def authentic(said: Mapping[str, Any], key: PublicKey) -> Promotion:
    """The promotion this document is, signed by the installation's policy key.

    Raises:
        Broken: `promotion.shape`; unsigned, or not a promotion.
        Forged: another key signed it, or none.
    """
    if not said.get("signature"):
        raise Broken("promotion.unsigned", "the promotion carries no signature")
    verify_document(dict(said), key)
    return parse(Promotion, canonical(dict(said)), code="promotion.shape")


def hold_follows(promotion: Promotion, *, origin: str, digest: str, previous: str, highest: int) -> None:
    """Return if the promotion is of this installation, about this bundle, and comes after what was in force.

    Raises:
        Broken: `promotion.other`.
        Conflict: `bundle.older`.
    """
    if (promotion.origin, promotion.digest) != (origin, digest):
        raise Broken("promotion.other", "the promotion is about another installation or bundle")
    if promotion.previous != previous:
        raise Broken("promotion.other", f"the promotion follows {promotion.previous}, and {previous} was in force")
    hold_newer(digest, promotion.sequence, highest)
