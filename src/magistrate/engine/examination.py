"""Examination: what a ledger file proves to someone who trusts only the keys they pinned themselves.

1. The file agrees with itself: entries, tree, checkpoints (`store.verify`).
2. The newest checkpoint is signed by a pinned key; without a pin the verdict is UNVERIFIABLE, never a pass.
3. What is signed inside bodies stands: genesis, every approval by an operator then enrolled, every warrant under the
   warrant key genesis names, no wider than the decision it names.
4. Every act of administration kept its floor, followed from genesis; nothing below it counts.
5. Recoveries are told, not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magistrate.core import approval as approvals
from magistrate.core import canonical, checkpoint
from magistrate.core import warrant as warrants
from magistrate.core.administration import hold_floor
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken, MagistrateError
from magistrate.core.signature import PublicKey, decode_public, verify_document
from magistrate.core.state import fold, intent_of
from magistrate.keys import pins
from magistrate.store.reads import Reader
from magistrate.store.rebuild import rebuild
from magistrate.store.verify import Verified, verify_ledger

LEDGER = "ledger.db"
PAGE = 500


@dataclass
class Examined:
    """What was found, ready to be told."""

    verdict: str  # VERIFIED, UNVERIFIABLE or INVALID
    entries: int = 0
    origin: str = ""
    genesis: str = ""
    signed_by: str = ""
    approvals: int = 0
    warrants: int = 0
    administration: int = 0
    erased: int = 0
    demo: bool = False
    recoveries: list[str] = field(default_factory=list)
    finding: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        """As words, one check a line."""
        told = []
        if self.entries:
            told += [
                f"ok   {self.entries} entries, no gaps, every leaf and body as committed ({self.erased} erased)",
                f"ok   genesis {self.genesis}" + (" (a demo)" if self.demo else ""),
                f"ok   {self.approvals} approvals and {self.warrants} warrants signed, none wider than decided",
                f"ok   {self.administration} acts of administration, each signed by enough operators",
            ]
        told += [f"note {recovery}" for recovery in self.recoveries]
        if self.signed_by:
            told.append(f"ok   checkpoint signed by the pinned key {self.signed_by}")
        if self.finding:
            told.append(f"FAIL {self.finding}")
        return [*told, self.verdict]


def examine(data: Path, pinned: Path, *, genesis: str = "") -> Examined:
    """Examine the ledger of a data folder; reads only, with or without a service running."""
    path = data / LEDGER
    if not path.exists():
        raise Absent("ledger.absent", f"no ledger lies in {data}", hint="magistrate up --demo")
    told = Examined("INVALID")
    try:
        found = verify_ledger(path)
        told.entries, told.origin, told.genesis, told.erased = found.size, found.origin, found.genesis, found.erased
        if genesis and found.genesis != genesis:
            raise Broken("ledger.genesis", f"entry 0 is {found.genesis}, not the pinned {genesis}")
        told.signed_by = _signed(found, pinned)
        _Meaning(told).read(path)
    except MagistrateError as broken:
        told.finding = f"{broken.code}: {broken.detail}"
        told.verdict = "UNVERIFIABLE" if broken.code == "key.unpinned" else "INVALID"
        return told
    told.verdict = "VERIFIED"
    return told


def _signed(found: Verified, pinned: Path) -> str:
    """Which pinned key signed the newest checkpoint."""
    keys = pins.pinned(pinned, found.origin, "checkpoint")
    for key in keys[:-1]:
        try:
            checkpoint.verify(found.checkpoint, found.origin, key)
        except Broken:
            continue
        return key.key_id
    checkpoint.verify(found.checkpoint, found.origin, keys[-1])
    return keys[-1].key_id


def rebuilt(path: Path) -> list[str]:
    """Where stored state differs from what the entries say; [] when it does not."""
    return [str(difference) for difference in rebuild(path, fold).differences]


class _Meaning:
    """The pass over what entries say, following operators from genesis."""

    def __init__(self, told: Examined) -> None:
        self._told = told
        self._people: dict[str, PublicKey] = {}
        self._ever: set[str] = set()
        self._warrant_key: PublicKey | None = None
        self._intents: dict[str, dict[str, Any]] = {}
        self._decided: dict[str, dict[str, Any]] = {}
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._admitted: dict[str, str] = {}  # leaf of an admission: its intent

    def read(self, path: Path) -> None:
        """Read every entry in order.

        Raises:
            Broken, Forged, Refused: the first thing that does not stand, with its index.
        """
        reader = Reader(path)
        try:
            start = 0
            while page := reader.entries(start, PAGE):
                for entry in page:
                    self._one(entry)
                start = page[-1].index + 1
        finally:
            reader.close()

    def _one(self, entry: Entry) -> None:
        rule = getattr(self, f"_{entry.kind}", None)
        if entry.index == 0 and entry.kind != "genesis":
            raise Broken("ledger.genesis", "entry 0 is no genesis")
        if rule is None or entry.erased:
            return
        try:
            rule(entry, entry.content())
        except MagistrateError as no:
            raise Broken(no.code, f"entry {entry.index}: {no.detail}") from no

    def _genesis(self, _: Entry, said: dict[str, Any]) -> None:
        statement = said["statement"]
        first = statement["operator"]
        key = decode_public(first["public_key"])
        verify_document(statement, key)
        self._people[first["id"]] = key
        self._ever.add(first["id"])
        self._warrant_key = decode_public(statement["keys"]["warrant"])
        self._told.demo = statement["demo"]

    def _intent(self, entry: Entry, said: dict[str, Any]) -> None:
        if canonical.digest_of(said["intent"]) != said["intent_digest"]:
            raise Broken("intent.digest", "the intent is not what its digest says")
        self._intents[entry.subject] = said["intent"]

    def _decision(self, entry: Entry, said: dict[str, Any]) -> None:
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
        self._said.setdefault(entry.subject, []).append(
            {
                "operator": statement.operator,
                "verdict": statement.verdict,
                "decision": statement.decision_digest,
                "digest": canonical.digest_of(said),
            }
        )
        self._told.approvals += 1

    def _warrant(self, entry: Entry, warrant: dict[str, Any]) -> None:
        if self._warrant_key is None:
            raise Broken("ledger.genesis", "a warrant before genesis")
        verify_document(warrant, self._warrant_key)
        id_ = intent_of(entry.subject)
        decided = self._decided[id_]
        if warrant["policy"]["entry"] != decided["leaf"] or warrant["policy"]["decision"] != decided["decision_digest"]:
            raise Broken("warrant.decision", "the warrant names another decision than the last one")
        warrants.hold_decided(
            warrant, intent=self._intents[id_], terms=decided["terms"], issue=decided["standing"]["issue"]
        )
        known = {a["digest"] for a in self._said.get(id_, ()) if a["verdict"] == "approve"}
        if not set(warrant["approvals"]) <= known:
            raise Broken("warrant.approvals", "the warrant names approvals that were not given in its round")
        self._told.warrants += 1

    def _admission(self, entry: Entry, said: dict[str, Any]) -> None:
        self._admitted[entry.leaf_digest] = intent_of(said["warrant_id"])

    def _floor(self, entry: Entry, subject: str) -> None:
        """The act that made this entry was approved by enough operators, the subject not among them."""
        id_ = next((self._admitted[p] for p in entry.head.parents if p in self._admitted), "")
        if not id_:
            raise Broken("administration.floor", f"a {entry.kind} entry that no approved act made")
        hold_floor(self._intents[id_], self._said.get(id_, ()), subject=subject, operators=len(self._ever))
        self._told.administration += 1

    def _operator(self, entry: Entry, said: dict[str, Any]) -> None:
        self._floor(entry, entry.subject)
        if said["event"] == "enrolled":
            self._people[entry.subject] = decode_public(said["operator"]["public_key"])
            self._ever.add(entry.subject)
        elif said["event"] == "suspended":
            self._people.pop(entry.subject, None)

    def _agent(self, entry: Entry, said: dict[str, Any]) -> None:
        if said["event"] != "quarantined":  # narrowing needs no act
            self._floor(entry, entry.subject)

    def _observer(self, entry: Entry, _: dict[str, Any]) -> None:
        self._floor(entry, entry.subject)

    def _recovery(self, entry: Entry, said: dict[str, Any]) -> None:
        self._told.recoveries.append(f"entry {entry.index}: recovered after {said['what']}: {said['reason']}")
