"""Recovery: the few ways on after something that stops an installation, each signed by operators and told for ever.

`clock` resumes issuing after the wall clock jumped ahead, on the running service, by one operator. `mark` lets a ledger
grow again that is not as its high-water mark remembers it, on the stopped service, by two (all, while fewer have ever
been enrolled). `bundle` puts an archived bundle in force, on the stopped service, by as many: the way out of one that
locked everybody out, and the only way back. Nothing else is recovered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magistrate.core import canonical
from magistrate.core.answers import ANSWERS
from magistrate.core.errors import Conflict, Refused
from magistrate.core.genesis import Recovery
from magistrate.core.signature import Signer, decode_public, sign_document, verify_document
from magistrate.core.values import moment, parse, unix
from magistrate.engine.installation import Asked, Installation, Keep, Principal
from magistrate.policy import canaries
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from magistrate.store.sqlite import Store
from magistrate.store.txn import Txn

AT_TOLERANCE = 300
AGAIN = "magistrate policy recover --help"
MARK_TOLERANCE = 7 * 86_400  # operators of a stopped service may need days to come together


def statement(
    store: Store, origin: str, *, what: str, to: str, reason: str, operator: str, signer: Signer, at: int
) -> dict[str, Any]:
    """What an operator signs: where the ledger stands, and that history may go on from there."""
    return sign_document(
        {
            "type": "magistrate/recovery/v1",
            "origin": origin,
            "what": what,
            "from": {"size": store.size, "root": store.root.hex()},
            "to": to,
            "reason": reason,
            "operator": operator,
            "key_id": signer.key_id,
            "at": moment(at),
        },
        signer,
    )


def _held(store: Store, origin: str, said: dict[str, Any], *, what: str, now: int, tolerance: int) -> str:
    """The operator who signed it, if the word stands: of this ledger, about this, made lately, by an active operator.

    Raises:
        Malformed, Refused, Forged, Conflict: it does not.
    """
    word = parse(Recovery, canonical.canonical(said), code="recovery.shape")
    person = store.row("operators", word.operator)
    if person is None or person.state != "active":
        raise Refused("recovery.operator", f"{word.operator} is no active operator")
    verify_document(said, decode_public(person.data["public_key"]))
    if word.origin != origin or word.what != what:
        raise Refused("recovery.other", "the signed word is about something else")
    if abs(unix(word.at) - now) > tolerance:
        raise Conflict("recovery.stale", "the signed word is too old", pointer="/at")
    return word.operator


async def recover_clock(
    house: Installation, principal: Principal, said: dict[str, Any], asked: Asked | None, keep: Keep | None = None
) -> dict[str, Any]:
    """Take the wall clock as right from here.

    A clock that fell behind the last entry is set right on the machine: entry times never decrease.

    Raises:
        Refused, Forged, Conflict: the word does not stand, or the clock has not jumped.
    """
    by = _held(house.store, house.origin, said, what="clock", now=house.now(), tolerance=AT_TOLERANCE)
    if by != principal.id:
        raise Refused("recovery.operator", "the signed word is not the caller's own")
    if not house.clock_jumped():
        raise Conflict("recovery.sound", "the clock has not jumped: there is nothing to recover")
    questions = [asked.record()] if asked else []

    def write(txn: Txn) -> dict[str, Any]:
        made = _append(txn, "clock", str(said["reason"]), [said], questions)
        if keep:
            keep(txn, "", made)
        return made

    done = await house.commit(write)
    house.clock.settle()
    return done


async def recover_mark(store: Store, origin: str, words: Sequence[dict[str, Any]], *, now: int) -> dict[str, Any]:
    """Append the operators' signed recovery to a ledger that its high-water mark stopped, and mark it anew.

    Raises:
        Refused: not enough distinct operators, or a word that is not about this ledger as it stands.
        Conflict: nothing stopped it.
    """
    _hold_enough(store, origin, words, what="mark", to="", now=now)
    return await store.recover(lambda txn: _append(txn, "mark", str(words[0]["reason"]), list(words), []))


async def recover_bundle(
    store: Store, origin: str, words: Sequence[dict[str, Any]], bundle: Bundle, binary: Binary, *, now: int
) -> dict[str, Any]:
    """Put an archived bundle in force, whatever its sequence: the way out of one that locked everybody out.

    What waits is asked again under it at the next start, and every later verification of the ledger tells of it.

    Raises:
        Refused: not enough distinct operators, a word about something else, or `bundle.canaries`.
        Conflict: it is in force already.
    """
    _hold_enough(store, origin, words, what="bundle", to=bundle.digest, now=now)
    active = store.row("installation", "active")
    if active is None or active.data["bundle"] == bundle.digest:
        raise Conflict("recovery.sound", "this bundle is in force already: there is nothing to recover")
    async with Sidecar(binary, bundle) as sidecar:
        await canaries.hold(sidecar, bundle, ANSWERS)
    named = {"digest": bundle.digest, "sequence": bundle.sequence, "contract": bundle.contract}
    reason = str(words[0]["reason"])
    opa = {"version": binary.version, "sha256": f"sha256:{binary.sha256}"}  # which answered the canaries
    return await store.commit(lambda txn: _append(txn, "bundle", reason, list(words), [], bundle=named, opa=opa))


def _hold_enough(store: Store, origin: str, words: Sequence[dict[str, Any]], *, what: str, to: str, now: int) -> None:
    """Return if two distinct operators (all, while there are fewer) signed for exactly this, as the ledger stands."""
    people = store.row("installation", "people")
    needed = min(2, people.data["operators"] if people else 1)
    here = {"size": store.size, "root": store.root.hex()}
    signed = set()
    for said in words:
        signed.add(_held(store, origin, said, what=what, now=now, tolerance=MARK_TOLERANCE))
        if said["from"] != here:
            raise Refused(
                "recovery.other", "the signed word is about another state of the ledger", pointer="/from", hint=AGAIN
            )
        if said["to"] != to:
            raise Refused("recovery.other", "the signed word is about another bundle", pointer="/to", hint=AGAIN)
    if len({said["reason"] for said in words}) > 1:
        raise Refused("recovery.other", "the operators signed different reasons", pointer="/reason", hint=AGAIN)
    if len(signed) < needed:
        verb = "policy recover DIGEST" if what == "bundle" else "ledger recover"
        raise Refused(
            "recovery.operators",
            f"{needed} operators must sign, {len(signed)} did",
            hint=f"magistrate {verb} --sign OUT",
        )


def _append(
    txn: Txn,
    what: str,
    reason: str,
    statements: list[dict[str, Any]],
    asked: list[dict[str, Any]],
    *,
    bundle: dict[str, Any] | None = None,
    opa: dict[str, str] | None = None,
) -> dict[str, Any]:
    said = {"what": what, "reason": reason, "statements": statements, "asked": asked}
    entry = txn.append(
        kind="recovery",
        subject=what,
        state="recovered",
        parents=(),
        body={**said, "bundle": bundle or {}, "opa": opa or {}},
        body_type="magistrate/recovery-record/v1",
        chain="",
    )
    return {"index": entry.index, "leaf": entry.leaf_digest, "what": what}
