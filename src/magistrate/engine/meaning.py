"""What the entries of a ledger mean, read in order from genesis: whose signatures stand, and what they allow.

Nothing is believed because it is on record: an approval counts for the intent and decision it names, a warrant for the
decision that said allow, a use once, a change of who takes part for the act that was approved, word for word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from magistrate.core import approval as approvals
from magistrate.core import p256
from magistrate.core import warrant as warrants
from magistrate.core.administration import ACTS, carrying, floor_of, hold_floor
from magistrate.core.canonical import canonical, digest, digest_of
from magistrate.core.decision import decision_digest, hold_requirement
from magistrate.core.entry import Entry
from magistrate.core.errors import Broken, MagistrateError
from magistrate.core.merkle import Frontier
from magistrate.core.signature import PublicKey, decode_public, verify_document
from magistrate.core.state import intent_of, warrant_of
from magistrate.core.values import unix
from magistrate.core.verification import at_best, verification_document
from magistrate.engine.promoted import Promoted

TOLERANCE = approvals.AT_TOLERANCE + 60  # an approval's time against its entry's, which never goes back
_PUBLIC = ("algorithm", "key_id", "public_key")  # a key as its entry names it
SHAPE = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass
class _Issued:
    """A warrant that was signed and what has become of its uses."""

    warrant: Mapping[str, Any]
    leaf: str
    used: set[int] = field(default_factory=set)
    revoked: bool = False


class Meaning:
    """The pass over what entries say, following operators from genesis."""

    def __init__(self) -> None:
        self.approvals = 0
        self.warrants = 0
        self.administration = 0
        self.demo = False
        self.recoveries: list[str] = []
        self._people: dict[str, PublicKey] = {}
        self._ever: set[str] = set()
        self._roles: dict[str, frozenset[str]] = {}
        self._warrant_key: PublicKey | None = None
        self._bundle_key: dict[str, Any] = {}  # what signs for others to pull, as the last entry about it said
        self._intents: dict[str, dict[str, Any]] = {}
        self._decided: dict[str, dict[str, Any]] = {}
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._issued: dict[str, _Issued] = {}
        self._promoted = Promoted()
        self._tree = Frontier()
        self._admitted: dict[str, str] = {}  # leaf of an admission that has changed nothing yet: its intent

    def read(self, entry: Entry) -> None:
        """Take in the next entry.

        Raises:
            Broken: it does not stand; says where and why.
        """
        self._read(entry)
        self._tree, _ = self._tree.append(entry.leaf)

    def _read(self, entry: Entry) -> None:
        if (entry.index == 0) != (entry.kind == "genesis"):
            raise Broken("ledger.genesis", f"entry {entry.index}: a ledger begins with one genesis, and has no other")
        rule = getattr(self, f"_{entry.kind}", None)
        if entry.erased:  # erasing leaves a redaction that an approved act made; this version has no such act
            raise Broken("ledger.erased", f"entry {entry.index}: its body is gone, and nothing on record erased it")
        if rule is None:
            return
        try:
            rule(entry, entry.content())
        except MagistrateError as no:
            raise Broken(no.code, f"entry {entry.index}: {no.detail}") from no
        except SHAPE as odd:
            raise Broken("entry.shape", f"entry {entry.index}: not what a {entry.kind} entry holds") from odd

    def _genesis(self, _: Entry, said: dict[str, Any]) -> None:
        statement = said["statement"]
        first = statement["operator"]
        key = decode_public(first["public_key"])
        verify_document(statement, key)
        self._people[first["id"]] = key
        self._roles[first["id"]] = frozenset(first["roles"])
        self._ever.add(first["id"])
        self._warrant_key = decode_public(statement["keys"]["warrant"])
        self._promoted.begin(statement)
        self.demo = statement["demo"]

    def _intent(self, entry: Entry, said: dict[str, Any]) -> None:
        intent = said["intent"]
        if digest_of(intent) != said["intent_digest"]:
            raise Broken("intent.digest", "the intent is not what its digest says")
        if intent["intent_id"] != entry.subject or intent["origin"] != entry.head.origin:
            raise Broken("intent.other", "the intent is another than its entry says")
        self._intents[entry.subject] = intent

    def _decision(self, entry: Entry, said: dict[str, Any]) -> None:
        expected = decision_digest(
            intent_digest=digest_of(self._intents[entry.subject]),
            bundle=said["bundle"],
            round_=said["round"],
            terms=said["terms"],
        )
        if expected != said["decision_digest"]:
            raise Broken("decision.digest", "the decision is not what its digest says")
        self._promoted.hold_asked(said)
        if self._decided.get(entry.subject, said)["round"] != said["round"]:
            self._said.pop(entry.subject, None)
        self._decided[entry.subject] = {**said, "leaf": entry.leaf_digest}

    def _approval(self, entry: Entry, said: dict[str, Any]) -> None:
        given = approvals.Approval.model_validate(said)
        statement, _ = approvals.read(given)
        key = self._people.get(statement.operator)
        if key is None:
            raise Broken("approval.nobody", f"{statement.operator} was no active operator")
        approvals.verify(given, key)
        intent, decided = self._intents[entry.subject], self._decided[entry.subject]
        approvals.hold_current(
            statement,
            origin=intent["origin"],
            intent_id=entry.subject,
            intent_digest=digest_of(intent),
            decision_digest=decided["decision_digest"],
            round_=decided["round"],
            now=unix(statement.at),
        )
        if statement.verdict == "approve" and abs(unix(statement.at) - entry.at) > TOLERANCE:
            raise Broken("approval.stale", "the approval was not made when it was recorded")
        self._said.setdefault(entry.subject, []).append(
            {"operator": statement.operator, "verdict": statement.verdict, "digest": digest_of(said)}
        )
        self.approvals += 1

    def _warrant(self, entry: Entry, said: dict[str, Any]) -> None:
        if self._warrant_key is None:
            raise Broken("ledger.genesis", "a warrant before genesis")
        warrant, plain = warrants.authentic(canonical(said), self._warrant_key)
        id_ = intent_of(entry.subject)
        intent, decided = self._intents[id_], self._decided[id_]
        named = (warrant.policy.entry, warrant.policy.decision, warrant.policy.bundle)
        if named != (decided["leaf"], decided["decision_digest"], decided["bundle"]):
            raise Broken("warrant.decision", "the warrant names another decision than the last one")
        if decided["standing"]["outcome"] != "allow":
            raise Broken("warrant.decision", "the decision did not say allow")
        warrants.hold_decided(plain, intent=intent, terms=decided["terms"], issue=decided["standing"]["issue"])
        same = (warrant.warrant_id, warrant.origin, warrant.holder.type, warrant.holder.id, unix(warrant.issued_at))
        proposer = intent["proposer"]
        if same != (entry.subject, intent["origin"], proposer["type"], proposer["id"], entry.at):
            raise Broken("warrant.other", "the warrant is another than its entry and intent say")
        known = {a["digest"]: a["operator"] for a in self._said.get(id_, ()) if a["verdict"] == "approve"}
        if not set(warrant.approvals) <= set(known):
            raise Broken("warrant.approvals", "the warrant names approvals that were not given in its round")
        if (warrant.issuer.type == "operator") != bool(warrant.approvals):
            raise Broken("warrant.issuer", "the warrant names an issuer that did not approve")
        if warrant.approvals and known[warrant.approvals[-1]] != warrant.issuer.id:
            raise Broken("warrant.issuer", "the warrant's issuer is not the last who approved")
        approvers = {known[digest]: self._roles[known[digest]] for digest in warrant.approvals}
        hold_requirement(decided["terms"]["requirement"], approvers)
        self._issued[entry.subject] = _Issued(plain, entry.leaf_digest)
        self.warrants += 1

    def _revocation(self, entry: Entry, _: dict[str, Any]) -> None:
        issued = self._issued.get(entry.subject)
        if issued is None:
            raise Broken("revocation.warrant", "a revocation without its warrant")
        issued.revoked = True

    def _admission(self, entry: Entry, said: dict[str, Any]) -> None:
        issued = self._issued.get(said["warrant_id"])
        if issued is None or issued.leaf not in entry.parents:
            raise Broken("admission.warrant", "an admission without its warrant")
        if issued.revoked:
            raise Broken("warrant.revoked", "the warrant was used after it was revoked")
        if said["use"] in issued.used or not 1 <= said["use"] <= issued.warrant["uses"]:
            raise Broken("admission.use", "a use that the warrant does not have, or that was consumed before")
        holder, presenter = issued.warrant["holder"], said["presenter"]
        if (presenter["type"], presenter["id"]) != (holder["type"], holder["id"]):
            raise Broken("warrant.holder", "the warrant was used by another than its holder")
        if not unix(issued.warrant["issued_at"]) <= entry.at < unix(issued.warrant["expires_at"]):
            raise Broken("admission.window", "the warrant was used outside its window")
        issued.used.add(said["use"])
        self._admitted[entry.leaf_digest] = intent_of(said["warrant_id"])

    def _verification(self, entry: Entry, said: dict[str, Any]) -> None:
        document, (asked,) = said["verification"], said["asked"]
        about = asked["question"]["execution"]["execution_id"]
        if (asked["document"], about, document["verdict"]) != ("verification", entry.subject, entry.state):
            raise Broken("verification.other", "the verdict is about something else than its entry says")
        expected = verification_document(
            verification_id=document["verification_id"],
            execution_id=entry.subject,
            answer=at_best(asked["answer"], said["left_out"], said["found"] if said["left_out"] else ()),
            provisional=document["provisional"],
            previous=document["previous"],
        )
        if document != expected:
            raise Broken("verification.verdict", "the verdict is not what the answer beside it comes to")

    def _operator(self, entry: Entry, said: dict[str, Any]) -> None:
        self._acted(entry, said, said["operator"])
        if said["event"] == "enrolled":
            self._people[entry.subject] = decode_public(said["operator"]["public_key"])
            self._ever.add(entry.subject)
        elif said["event"] == "suspended":
            self._people.pop(entry.subject, None)
            for id_, given in self._said.items():
                if warrant_of(id_) not in self._issued:
                    given[:] = [a for a in given if a["operator"] != entry.subject]
        if said["event"] != "suspended":
            self._roles[entry.subject] = frozenset(said["operator"]["roles"])

    def _agent(self, entry: Entry, said: dict[str, Any]) -> None:
        narrowing = said["event"] == "quarantined" and entry.state == "quarantined"
        if not (narrowing and said["agent"] == {"id": entry.subject} and not said["credential"]):
            self._acted(entry, said, said["agent"])
        if said["event"] == "enrolled":
            self._hold_owner(said["agent"]["owner"])

    def _observer(self, entry: Entry, said: dict[str, Any]) -> None:
        self._acted(entry, said, said["observer"])
        if said["observer"]["owner"]:
            self._hold_owner(said["observer"]["owner"])

    def _hold_owner(self, owner: str) -> None:
        if owner not in self._people:
            raise Broken("administration.owner", f"{owner} was no active operator, and answers for nobody")

    def _bundle(self, entry: Entry, said: dict[str, Any]) -> None:
        """Taking a bundle in, or accepting what it loosens, puts nothing in force; a promotion does."""
        if said["event"] == "taken":
            self._promoted.take(entry.subject, said)
        elif said["event"] == "activated":
            act = self._acted(entry, said, {})
            self._promoted.promote(entry, said["promotion"], self._intents[act], self._carrying(act))

    def _key(self, entry: Entry, said: dict[str, Any]) -> None:
        """The first making of the bundle key needs nobody: it permits nothing. What follows is approved acts."""
        first = said.get("event") == "made" and not self._bundle_key
        if not first:
            self._acted(entry, said, {})
        _hold_key(entry, said)
        if not first and _public(said) != self._bundle_key.get("next"):
            raise Broken("key.announced", "the key is not the one that was announced")
        self._bundle_key = said

    def _acted(self, entry: Entry, said: dict[str, Any], who: dict[str, Any]) -> str:
        """The approved act that made this entry, which says what was approved: no more, and of nobody else."""
        leaf = next((parent for parent in entry.parents if parent in self._admitted), "")
        if not leaf:
            raise Broken("administration.floor", f"a {entry.kind} entry that no approved act made")
        id_ = self._admitted.pop(leaf)
        intent = self._intents[id_]
        asked = intent["parameters"]
        act = ACTS.get(intent["action"])
        if act is None or (entry.kind, said.get("event"), entry.subject) != (*act.makes, asked.get(act.names)):
            raise Broken("administration.act", f"{intent['action']} does not make this {entry.kind} entry")
        if not _as_asked(who, said.get("credential", {}), asked):
            raise Broken("administration.act", "the entry says something else than was approved")
        hold_floor(intent, self._carrying(id_), operators=len(self._ever))
        self.administration += 1
        return id_

    def _carrying(self, act: str) -> list[Mapping[str, Any]]:
        """The approvals that an admitted act's warrant names."""
        return carrying(self._issued[warrant_of(act)].warrant, self._said.get(act, ()))

    def _recovery(self, entry: Entry, said: dict[str, Any]) -> None:
        """Enough operators signed for exactly this, here: a word given once brings nothing back a second time."""
        signed = set()
        here = {"size": self._tree.size, "root": self._tree.root().hex()}
        for word in said["statements"]:
            verify_document(word, self._people[word["operator"]])
            if (word["what"], word["origin"]) != (said["what"], entry.head.origin):
                raise Broken("recovery.other", "a signed word about something else")
            if said["what"] != "clock" and word["from"] != here:
                raise Broken("recovery.other", "a signed word about another state of the ledger")
            signed.add(word["operator"])
        if len(signed) < (1 if said["what"] == "clock" else floor_of("bundle.activate", len(self._ever))):
            raise Broken("recovery.operators", "too few operators signed the recovery")
        if {said["reason"]} != {word["reason"] for word in said["statements"]}:
            raise Broken("recovery.other", "a reason that nobody signed")
        if said["what"] == "bundle":
            self._promoted.recover(said)
        self.recoveries.append(f"entry {entry.index}: recovered after {said['what']}: {said['reason']}")


def _hold_key(entry: Entry, said: Mapping[str, Any]) -> None:
    """Return if the entry is about the one key that changes on record, and names whole keys of its algorithm.

    Raises:
        Broken: it is not.
    """
    if {said.get("algorithm"), said["next"].get("algorithm")} != {p256.ALGORITHM}:
        raise Broken("key.algorithm", f"a key of role {said['role']} is of {p256.ALGORITHM}, and its entry says so")
    whole = said.keys() == {"event", "role", "next", *_PUBLIC} and said["next"].keys() == set(_PUBLIC)
    if not whole or (entry.subject, entry.state, said["role"]) != ("bundle", "current", "bundle"):
        raise Broken("key.entry", "not what an entry about a key holds")
    for one in (said, said["next"]):
        point = bytes.fromhex(one["public_key"])
        p256.pem(point)
        if digest(point) != one["key_id"]:
            raise Broken("key.id", f"{one['key_id']} is not the id of the key beside it")


def _public(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _PUBLIC}


def _as_asked(who: Mapping[str, Any], credential: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether an entry about somebody says exactly what the approved parameters said of them."""
    given = {name: value for name, value in who.items() if name not in ("id", "type", "key_id")}
    wanted = {name: asked[name] for name in ("public_key", "roles", "owner") if name in asked}
    if "roles" in wanted:
        wanted["roles"] = sorted(wanted["roles"])
    key = {}
    if "key_sha256" in asked:
        key = {"sha256": f"sha256:{asked['key_sha256']}", "expires_at": unix(asked["expires_at"])}
    return {"owner": "", **given} == {"owner": "", **wanted} and dict(credential) == key
