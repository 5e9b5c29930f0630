"""The record behind a state row: what may be acted on is what was signed and appended, never what a row says alone.

State rows are a view for speed. Before a warrant is used its entry is read again, its signature verified, and the
decision it names recomputed from the entry that said allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from magistrate.core import canonical
from magistrate.core import warrant as warrants
from magistrate.core.decision import decision_digest
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken
from magistrate.core.signature import admit
from magistrate.engine.installation import Installation
from magistrate.store.rows import Row

USES_READ = 1000


@dataclass(frozen=True)
class Permission:
    """A warrant with the intent and decision it rests on, all of it from entries."""

    warrant: dict[str, Any]
    intent: dict[str, Any]
    terms: dict[str, Any]
    issue: dict[str, Any]


def permission(house: Installation, row: Row) -> Permission:
    """What the record says this warrant row permits.

    1. the row's warrant is the body of a warrant entry; 2. our warrant key signed it; 3. the decision entry it names
    said allow, about this intent, with this digest; 4. the warrant is no wider; 5. the uses the row says are gone are
    the admissions on record.

    Raises:
        Broken: the row says what the record does not.
        Forged: the signature does not stand.
    """
    entry = _entry(house, row.data["leaf"], "warrant")
    _, warrant = warrants.authentic(canonical.canonical(row.data["warrant"]), admit(house.keys.warrant.public))
    if entry.content() != warrant or entry.subject != row.id:
        raise Broken("warrant.not_on_record", "this warrant is not the one on record")
    decided = _entry(house, warrant["policy"]["entry"], "decision").content()
    question = decided["asked"][-1]["question"]
    intent: dict[str, Any] = question["intent"]
    digest = decision_digest(
        intent_digest=canonical.digest_of(intent),
        bundle=decided["bundle"],
        round_=decided["round"],
        terms=decided["terms"],
    )
    if digest != warrant["policy"]["decision"] or decided["standing"]["outcome"] != "allow":
        raise Broken("warrant.decision", "the decision on record does not permit this warrant")
    issue = decided["standing"]["issue"]
    warrants.hold_decided(warrant, intent=intent, terms=decided["terms"], issue=issue)
    if warrant["uses"] - row.data["uses_left"] != _admitted(house, row):
        raise Broken("warrant.uses", "the uses that are left are not what the record says")
    return Permission(warrant, intent, decided["terms"], issue)


def _entry(house: Installation, leaf: str, kind: str) -> Entry:
    try:
        entry = house.store.by_leaf(bytes.fromhex(leaf.removeprefix("sha256:")))
    except (Absent, ValueError):
        raise Broken("warrant.not_on_record", f"no such {kind} entry is on record") from None
    if entry.kind != kind or entry.erased:
        raise Broken("warrant.not_on_record", f"the {kind} is not on record")
    return entry


def _admitted(house: Installation, row: Row) -> int:
    """How many uses of this warrant the record shows."""
    entries = house.store.entries(chain=row.data["intent_id"], kind="admission", limit=USES_READ)
    return sum(1 for entry in entries if entry.content()["warrant_id"] == row.id)
