"""Which bundle was in force at each entry, followed from genesis: what promotions and recoveries mean, read offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magistrate.core import promotion as promotions
from magistrate.core.canonical import digest_of
from magistrate.core.entry import Entry
from magistrate.core.errors import Broken
from magistrate.core.signature import PublicKey, decode_public


class Promoted:
    """The bundle in force, and all that is known of the others."""

    def __init__(self) -> None:
        self.active = ""
        self._key: PublicKey | None = None
        self._highest = 0
        self._authors: dict[str, str] = {}
        self._known: dict[str, tuple[int, int]] = {}  # sequence and contract

    def begin(self, statement: Mapping[str, Any]) -> None:
        """Genesis names the first bundle, and the key that signs promotions."""
        self._key = decode_public(statement["keys"]["policy"])
        self.active, self._highest = statement["bundle"], statement["sequence"]
        self._known[self.active] = statement["sequence"], statement["contract"]

    def take(self, digest: str, said: Mapping[str, Any]) -> None:
        """A bundle was handed in; whoever did so first is its author."""
        self._authors.setdefault(digest, said["by"])
        self._known.setdefault(digest, (said["sequence"], said["contract"]))

    def hold_asked(self, said: Mapping[str, Any]) -> None:
        """Return if a decision comes from the bundle that was in force.

        Raises:
            Broken: `decision.bundle`.
        """
        if said["bundle"] != self.active or any(one["bundle"] != self.active for one in said["asked"]):
            raise Broken("decision.bundle", f"decided by {said['bundle']}, and {self.active} was in force")

    def promote(
        self, entry: Entry, said: Mapping[str, Any], intent: Mapping[str, Any], words: Sequence[Mapping[str, Any]]
    ) -> None:
        """Follow a promotion that the act `intent` made, carried by the approvals `words` that its warrant names.

        1. the policy key signed it; 2. it follows what was in force; 3. it names this act, its approvals and what it
        said of live warrants; 4. the bundle is the one that was handed in, by the author it names; 5. the author's own
        word is not among those that carried it.

        Raises:
            Broken, Conflict, Forged: one of them does not hold.
        """
        if self._key is None:
            raise Broken("ledger.genesis", "a promotion before genesis")
        promotion = promotions.authentic(said, self._key)
        origin, digest = entry.head.origin, entry.subject
        promotions.hold_follows(promotion, origin=origin, digest=digest, previous=self.active, highest=self._highest)
        given = {word["digest"]: word["operator"] for word in words}
        asked = intent["parameters"]
        named = (promotion.intent_id, promotion.intent_digest, promotion.live_warrants)
        if named != (intent["intent_id"], digest_of(intent), asked["live_warrants"]):
            raise Broken("promotion.other", "the promotion is of another act than the one that made it")
        if set(promotion.approvals) != set(given):
            raise Broken("promotion.other", "the promotion names other approvals than the act had")
        if self._known.get(digest) != (promotion.sequence, promotion.contract):
            raise Broken("promotion.other", "the promotion says otherwise of the bundle than when it was handed in")
        if promotion.author != self._authors.get(digest, ""):
            raise Broken("promotion.author", "the promotion names another author than handed the bundle in")
        promotions.hold_others(promotion.author, intent["proposer"]["id"], tuple(given.values()))
        self.active, self._highest = promotion.digest, promotion.sequence

    def recover(self, said: Mapping[str, Any]) -> None:
        """Follow a recovery whose signatures stand.

        Raises:
            Broken: the operators signed for another bundle, or it is told otherwise than it was known.
        """
        bundle = said["bundle"]
        if any(word["to"] != bundle["digest"] for word in said["statements"]):
            raise Broken("recovery.other", "the operators signed for another bundle")
        told = bundle["sequence"], bundle["contract"]
        if self._known.setdefault(bundle["digest"], told) != told:
            raise Broken("recovery.other", "the recovery says otherwise of the bundle than when it was handed in")
        self.active = bundle["digest"]
        self._highest = max(self._highest, bundle["sequence"])
