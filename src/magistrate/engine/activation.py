"""Bundles: taken in by an operator, put in force by an approved act, and let go once nothing names them.

Blue and green: the new bundle's OPA is started and answers its own canaries before the transaction that makes it
active; the old one answers what began with it, and stays while a live warrant, an unended execution or a provisional
verification names it. The transaction moves one row. Every step that read that row asks again; what waits for approval
is asked again in a round of its own (`succession`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from magistrate.core import promotion as promotions
from magistrate.core.administration import carrying
from magistrate.core.answers import ANSWERS
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken, Malformed, NoAnswer, ProofFailed, Refused
from magistrate.core.merkle import leaf_hash, verify_inclusion
from magistrate.core.promotion import NOTHING, Built
from magistrate.core.signature import decode_public, sign_document, verify_document
from magistrate.core.state import warrant_of
from magistrate.core.values import moment
from magistrate.engine.containment import revoke_in
from magistrate.engine.installation import PAGE, Installation, Keep, Seen, Word, every
from magistrate.policy import canaries, changes, report
from magistrate.policy.bundle import Bundle
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

LIVING = ("live", "spent")  # spent: no use is left, and what runs under it may still be halted
Change = tuple[str, str, str, dict[str, Any]]  # entry kind, subject, the state it enters, body


# -- taking in


async def take(house: Installation, raw: bytes, built: Built, word: Word, keep: Keep | None = None) -> dict[str, Any]:
    """Take a bundle in through the gate and put its author on record; one that is known is shown as it is.

    Raises:
        Malformed: it is no bundle, or the gate refuses it.
        Conflict: another bundle has its sequence.
    """
    async with house.turn("bundles"):
        bundle = await asyncio.to_thread(house.sidecars.archive.take, raw)

        def write(txn: Txn) -> dict[str, Any]:
            row = txn.row("bundles", bundle.digest)
            if row is None:
                known = {"sequence": bundle.sequence, "contract": bundle.contract}
                body = {"event": "taken", **known, "built": built.plain(), **word.plain()}
                _append(txn, bundle.digest, "archived", body)
            elif _adds(row, built, word):
                body = {"event": "figures", "built": built.plain(), **word.plain()}
                _append(txn, bundle.digest, row.state, body)
            return _kept(txn, bundle.digest, keep)

        return await house.commit(write)


def _adds(row: Row, built: Built, word: Word) -> bool:
    """Whether the author now gives the figures that were not given before it came into force."""
    return (
        row.state == "archived"
        and row.data["built"] == NOTHING.plain() != built.plain()
        and row.data["author"] == word.by
    )


async def accept(
    house: Installation, digest: str, against: str, codes: Sequence[str], word: Word, keep: Keep | None = None
) -> dict[str, Any]:
    """Put on record that an operator accepts, by name, what a bundle loosens against another.

    Raises:
        Absent: no such bundle.
        Malformed: nothing is named.
    """
    for one in (digest, against):
        if house.store.row("bundles", one) is None:
            raise Absent("bundle.unknown", f"no bundle {one} is on record", hint="magistrate policy ls")
    if not codes:
        raise Malformed("bundle.accept", "an acceptance names what it accepts", pointer="/codes")
    body = {"event": "accepted", "against": against, "codes": sorted(set(codes)), **word.plain()}

    def write(txn: Txn) -> dict[str, Any]:
        row = txn.row("bundles", digest)
        _append(txn, digest, row.state if row else "", body)
        return _kept(txn, digest, keep)

    return await house.commit(write)


def _kept(txn: Txn, digest: str, keep: Keep | None) -> dict[str, Any]:
    """The bundle as this step leaves it; for whoever sent a key, the answer given again."""
    made = shown(txn.row("bundles", digest))
    if keep:
        keep(txn, digest, made)
    return made


def shown(row: Row | None) -> dict[str, Any]:
    """A bundle as the API shows it.

    Raises:
        Absent: no such bundle.
    """
    if row is None:
        raise Absent("bundle.unknown", "no such bundle", hint="magistrate policy ls")
    data = row.data
    said = {name: data[name] for name in ("sequence", "contract", "author", "built", "accepted")}
    at = data["activated_at"]
    return {"digest": row.id, "state": row.state, **said, "activated_at": moment(at) if at else ""}


def _append(txn: Txn, digest: str, state: str, body: dict[str, Any]) -> None:
    txn.append(kind="bundle", subject=digest, state=state, body=body, body_type="magistrate/bundle/v1")


# -- what its approvers see


def about(house: Installation, digest: str) -> dict[str, Any]:
    """What stands in front of those who approve an activation: whose bundle it is, and what else than policy changes.

    Raises:
        Absent, Broken: the bundle is not there as it was taken in.
    """
    new, old = house.bundle(digest), house.bundle(house.active())
    return {**shown(house.store.row("bundles", digest)), "against": old.digest, "changes": changes.changes(old, new)}


# -- coming into force


class Ready:
    """A bundle whose OPA runs and answers as it must, ready to be made active by one transaction."""

    def __init__(self, house: Installation, bundle: Bundle, known: dict[str, Any], lived: Sequence[str]) -> None:
        self._house = house
        self._bundle = bundle
        self._known = known
        self._lived = lived

    def act(self, _: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
        """Make it active: revoke what lives, where the act says so, and sign the promotion.

        Raises:
            Conflict: another came into force meanwhile.
            Broken: its author carried the act.
        """
        active, row = txn.row("installation", "active"), txn.row("intents", intent["intent_id"])
        assert active is not None  # noqa: S101 - an act is admitted after genesis
        assert row is not None  # noqa: S101 - and comes from an intent
        promotions.hold_newer(self._bundle.digest, self._bundle.sequence, active.data["highest"])
        taken = txn.row("bundles", self._bundle.digest)
        assert taken is not None  # noqa: S101 - `ready` has seen it, and no row of a bundle ever goes
        author = str(taken.data["author"])
        warrant = txn.row("warrants", warrant_of(intent["intent_id"]))
        assert warrant is not None  # noqa: S101 - which its warrant permits
        said = carrying(warrant.data["warrant"], row.data["approvals"])
        promotions.hold_others(author, intent["proposer"]["id"], [given["operator"] for given in said])
        if intent["parameters"]["live_warrants"] == "revoke":
            for warrant_id in self._lived:
                revoke_in(txn, warrant_id, Word(intent["proposer"]["id"], intent["intent_id"]))
        unsigned = self._promotion(txn, intent, row.data["intent_digest"], [given["digest"] for given in said])
        unsigned |= {
            "previous": active.data["bundle"],
            "author": author,
            "built": taken.data["built"],
        }
        body = {"event": "activated", "promotion": sign_document(unsigned, self._house.keys.policy)}
        return "bundle", self._bundle.digest, "active", body

    def _promotion(self, txn: Txn, intent: dict[str, Any], digest: str, approvals: list[str]) -> dict[str, Any]:
        house, bundle = self._house, self._bundle
        return {
            "type": promotions.TYPE,
            "origin": house.origin,
            "digest": bundle.digest,
            "sequence": bundle.sequence,
            "contract": bundle.contract,
            **{name: self._known[name] for name in ("engine", "catalogue", "templates", "capabilities", "opa")},
            "intent_id": intent["intent_id"],
            "intent_digest": digest,
            "approvals": approvals,
            "live_warrants": intent["parameters"]["live_warrants"],
            "at": moment(txn.at),
            "key_id": house.keys.policy.key_id,
        }


async def ready(house: Installation, intent: Mapping[str, Any]) -> Ready:
    """Start the bundle's OPA and have it answer its canaries; nothing is changed yet.

    Raises:
        Absent, Broken: the archive does not have it, or not as it was taken in.
        Malformed: it was never sent through the gate, and does not pass.
        Conflict: `bundle.older`.
        Refused: `bundle.canaries`, with what it answered.
        NoAnswer: it does not answer at all.
    """
    digest = str(intent["parameters"]["digest"])
    if house.store.row("bundles", digest) is None:
        raise Absent("bundle.unknown", f"no bundle {digest} is on record", hint="magistrate policy ls")
    bundle = await asyncio.to_thread(house.sidecars.archive.judged, digest)
    active = house.store.row("installation", "active")
    promotions.hold_newer(digest, bundle.sequence, active.data["highest"] if active else 0)
    await hold_canaries(house, bundle)
    own = intent["intent_id"]
    lived = [row.id async for row in every(house, "warrants", state=LIVING) if row.data["intent_id"] != own]
    known = await asyncio.to_thread(report.facts_of, bundle, house.binary)  # not on the store's one writing thread
    return Ready(house, bundle, known.plain(), lived)


async def hold_canaries(house: Installation, bundle: Bundle) -> None:
    """Return if the bundle's own OPA answers its canaries as they say.

    Raises:
        Refused: `bundle.canaries`.
        NoAnswer: it is silent.
    """
    try:
        sidecar = await house.sidecars.of(bundle.digest)
        await canaries.hold(sidecar, bundle, ANSWERS)
    except (NoAnswer, Refused):
        await house.sidecars.drop(bundle.digest)
        raise


# -- what is over


def is_ended(active: Row, warrant: Row) -> bool:
    """Whether an activation ended this warrant: it ended those that its bundle decided, and spared its own."""
    bundle = warrant.data["warrant"]["policy"]["bundle"]
    return bundle in active.data["ended"] and warrant.data["intent_id"] != active.data["spared"]


def hold_living(seen: Seen, warrant: Row) -> None:
    """Return if no activation ended this warrant, whether or not that is on the warrant's own record yet.

    Raises:
        Refused: `warrant.revoked`.
    """
    active = seen.row("installation", "active")
    if active is not None and is_ended(active, warrant):
        raise Refused("warrant.revoked", "an activation ended the warrants of the bundle that decided this one")


# -- at a start


def hold_promoted(house: Installation) -> None:
    """Return if the record says that the active bundle was put in force: by genesis, a promotion or a recovery.

    The row alone is believed for nothing: whoever can write the database could name any bundle of the archive. 1. the
    entry it names is one of the tree; 2. it is the last that put a bundle in force; 3. what is signed in it stands;
    4. it names this bundle. Who the operators of a recovery are, and all before it, is for `ledger verify` to say.

    Raises:
        Broken, Forged: one of them does not hold.
    """
    active, genesis = house.store.row("installation", "active"), house.store.row("installation", "genesis")
    if active is None or genesis is None:
        return
    if "ended" not in active.data:
        raise Broken(
            "start.unreleased",
            "an unreleased version before this one began this ledger",
            hint="magistrate up --data DIR",
        )
    digest = active.data["bundle"]
    try:
        entry = house.store.by_leaf(bytes.fromhex(str(active.data["leaf"]).removeprefix("sha256:")))
        _hold_in_tree(house, entry)
        named = _named(house, entry, genesis)
    except (Absent, KeyError, TypeError, ValueError, ProofFailed) as odd:
        raise Broken("promotion.missing", f"nothing on record put {digest} in force") from odd
    if named != digest or _later(house, entry.index):
        raise Broken("promotion.other", f"the record does not put {digest} in force", hint="magistrate ledger verify")


def _hold_in_tree(house: Installation, entry: Entry) -> None:
    size, path = house.store.proof(entry.index)
    verify_inclusion(leaf_hash(entry.header), entry.index, size, path, house.store.root)


def _named(house: Installation, entry: Entry, genesis: Row) -> str:
    """The bundle that an entry put in force, once what is signed in it stands."""
    said = entry.content()
    if entry.kind == "genesis" and entry.index == 0:
        verify_document(said["statement"], decode_public(said["statement"]["operator"]["public_key"]))
        return str(said["statement"]["bundle"])
    if entry.kind == "recovery" and said["what"] == "bundle":
        for word in said["statements"]:
            person = house.store.row("operators", word["operator"])
            verify_document(word, decode_public(person.data["public_key"] if person else ""))
            if word["to"] != said["bundle"]["digest"]:
                raise Broken("promotion.other", "the operators signed for another bundle")
        return str(said["statements"][0]["to"])
    return promotions.authentic(said["promotion"], decode_public(genesis.data["keys"]["policy"])).digest


def _later(house: Installation, index: int) -> bool:
    """Whether something on record put another bundle in force after this entry."""
    for kind in ("bundle", "recovery"):
        start = index + 1
        while page := house.store.entries(start, PAGE, kind=kind):
            said = (entry.content() for entry in page)
            if any(one.get("event") == "activated" or one.get("what") == "bundle" for one in said):
                return True
            start = page[-1].index + 1
    return False
