"""The Warrant Authority: turns a recorded allow into a signed warrant, in the transaction that records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magistrate.core import decision as decisions
from magistrate.core import warrant as warrants
from magistrate.core.administration import ACTS, floor_missing, hold_floor, hold_parameters
from magistrate.core.entry import Entry
from magistrate.core.errors import Broken, Refused
from magistrate.core.signature import sign_document
from magistrate.core.state import warrant_of
from magistrate.engine import facts
from magistrate.engine.installation import Asked, Installation
from magistrate.store.txn import Txn

STATES = {"allow": "warranted", "ask": "waiting", "deny": "denied"}


class Ruling:
    """OPA's answer to one intent in one round, ready to be recorded."""

    def __init__(
        self,
        house: Installation,
        asked: Sequence[Asked],
        *,
        bundle: str,
        intent: dict[str, Any],
        intent_digest: str,
        approvals: Sequence[Mapping[str, Any]],
        operators: int,
        round_: int,
        round_began: int,
    ) -> None:
        self._house = house
        self._asked = asked
        self._bundle = house.bundle(bundle)
        self.intent = intent
        self.intent_digest = intent_digest
        self.round = round_
        self.round_began = round_began
        answer = asked[-1].answer
        self.terms: dict[str, Any] = answer["terms"]
        self.standing: dict[str, Any] = answer["standing"]
        self.digest = decisions.decision_digest(
            intent_digest=intent_digest, bundle=bundle, round_=round_, terms=self.terms
        )
        self.reserves: list[dict[str, Any]] = []
        if self.outcome == "allow":
            self._hold(approvals, operators)

    @property
    def bundle(self) -> str:
        """The digest of the bundle that ruled."""
        return self._bundle.digest

    @property
    def outcome(self) -> str:
        """allow, ask or deny."""
        return str(self.standing["outcome"])

    def _hold(self, approvals: Sequence[Mapping[str, Any]], operators: int) -> None:
        """An allow that `core` cannot vouch for becomes a deny: wider than its terms, approved by too few for
        them, below the floor, unpayable.

        Below the floor and nobody has spoken who may not: the act waits for the signatures that are missing, where its
        terms let anybody give them.
        """
        try:
            decisions.hold_narrow(self.standing["issue"], self.terms["warrant"])
            approvers = {a["operator"]: frozenset(a["roles"]) for a in approvals if a["verdict"] == "approve"}
            decisions.hold_requirement(self.terms["requirement"], approvers)
            if self.intent["action"] in ACTS:
                hold_parameters(self.intent)
                missing = floor_missing(self.intent, approvals, operators=operators)
                if missing and self.terms["requirement"]["all_of"]:
                    self._wait(missing)
                    return
                hold_floor(self.intent, approvals, operators=operators)
            counters = self._bundle.data.get("counters", {})
            self.reserves = facts.reserves(counters, self.intent, self.standing["issue"]["uses"])
        except (Broken, Refused) as no:
            self.deny(no.code, no.detail)

    def _wait(self, missing: int) -> None:
        """Turn the standing into a wait for as many more operators of the requirement's roles."""
        rows = self.terms["requirement"]["all_of"]
        roles = sorted({role for row in rows for role in row["roles"]})
        wanted = [{"roles": roles, "count": missing, "by": rows[0]["proof"]}]
        self.standing = {**self.standing, "outcome": "ask", "wanted": wanted}

    def deny(self, code: str, title: str) -> None:
        """Turn the standing into a final no with a reason of our own."""
        reason = {"code": code, "title": title, "remedy": "", "policy": ""}
        self.standing = {**self.standing, "outcome": "deny", "reasons": [reason], "wanted": []}

    def record(self, txn: Txn, *, parents: Sequence[str]) -> Entry:
        """Append the decision."""
        return txn.append(
            kind="decision",
            subject=self.intent["intent_id"],
            state=STATES[self.outcome],
            parents=parents,
            body={
                "round": self.round,
                "round_began": self.round_began,
                "bundle": self._bundle.digest,
                "sequence": self._bundle.sequence,
                "opa": self._asked[-1].opa,
                "asked": [a.record() for a in self._asked],
                "terms": self.terms,
                "standing": self.standing,
                "decision_digest": self.digest,
                "reserves": self.reserves,
            },
            body_type="magistrate/decision-record/v1",
            chain=self.intent["intent_id"],
        )

    def issue(
        self,
        txn: Txn,
        decided: Entry,
        *,
        approvals: Sequence[Mapping[str, Any]],
        proof: str,
        approval_leaves: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Sign the warrant and append it. After the commit it exists, whoever crashes."""
        last = [a for a in approvals if a["verdict"] == "approve"]
        issuer = (
            {"type": "operator", "id": last[-1]["operator"]}
            if last
            else {"type": "policy", "id": self.terms["warrant"]["issuer"]}
        )
        unsigned = warrants.compose(
            warrant_id=warrant_of(self.intent["intent_id"]),
            intent=self.intent,
            intent_digest=self.intent_digest,
            terms=self.terms,
            issue=self.standing["issue"],
            approvals=[a["digest"] for a in last],
            issuer=issuer,
            holder={**self.intent["proposer"], **_holding(proof)},
            policy={
                "bundle": self._bundle.digest,
                "sequence": self._bundle.sequence,
                "decision": self.digest,
                "entry": decided.leaf_digest,
            },
            at=txn.at,
            key_id=self._house.keys.warrant.key_id,
        )
        warrant = sign_document(unsigned, self._house.keys.warrant)
        txn.append(
            kind="warrant",
            subject=warrant["warrant_id"],
            state="live",
            parents=[decided.leaf_digest, *approval_leaves],
            body=warrant,
            body_type="magistrate/warrant/v1",
            chain=self.intent["intent_id"],
        )
        return warrant


def _holding(proof: str) -> dict[str, str]:
    """How the holder will prove itself: an API key, or the key whose id is given."""
    return {"proof": "key", "jkt": proof} if proof else {"proof": "api-key"}
