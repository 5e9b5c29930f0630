"""What follows once another bundle is in force. Each of these may be done again: after a crash it is.

Warrants that the activation ends are ended; every intent that waits is asked again under the new bundle, in a new round
whose approvals are given anew; and the OPA of a bundle that nothing names any more is let go.
"""

from __future__ import annotations

from magistrate.core.errors import MagistrateError
from magistrate.engine import facts
from magistrate.engine.activation import LIVING, is_ended
from magistrate.engine.approvals import Asker, hold_rounds
from magistrate.engine.containment import revoke_in
from magistrate.engine.gateway import held
from magistrate.engine.halting import halt_under
from magistrate.engine.installation import Installation, Seen, Word, every, tell_once
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

FAR = 2**53 - 1


def begin(house: Installation) -> None:
    """Settle beside everything else, unless that is under way: deadlines wait for no question."""
    if house.settling is None or house.settling.done():
        house.settling = house.later(settle(house))


async def settle(house: Installation) -> None:
    """Carry out what the bundle in force brings with it; nothing where that is done already."""
    active = house.store.row("installation", "active")
    if active is None or house.settled == active.version:
        return
    digest, left = active.data["bundle"], False
    try:
        if active.data["ended"]:
            await _end_older(house, active)
    except MagistrateError:  # the store is away: nobody can use one of them meanwhile
        left = True
    except Exception as fault:  # noqa: BLE001 - what waits is asked again all the same
        tell_once(f"ending older warrants: {fault!r}")
        left = True
    async for row in every(house, "intents", state="waiting"):
        if row.data.get("bundle") != digest:
            try:
                await renew(house, row.id)
            except MagistrateError:  # no answer: it still waits, and is asked at the next look
                left = True
            except Exception as fault:  # noqa: BLE001 - one that cannot be asked keeps no other waiting
                tell_once(f"asking again about {row.id}: {fault!r}")
                left = True
    if not left:
        house.settled = active.version


async def renew(house: Installation, intent_id: str) -> None:
    """Ask again about a waiting intent that another bundle was asked about; nothing if it no longer waits for that.

    Raises:
        NoAnswer: it keeps waiting, and nobody can approve it meanwhile.
    """
    row = held(house.store.row("intents", intent_id))
    counters = house.bundle(house.active()).data.get("counters", {})
    async with house.turn(f"intents/{intent_id}", *facts.turns(counters, row.data["intent"])):
        await house.again(lambda: _renew(house, intent_id))


async def _renew(house: Installation, intent_id: str) -> None:
    # gather
    seen, now = Seen(house.store), house.now()
    row = held(seen.row("intents", intent_id))
    asker = Asker(house, seen, row, now)
    if row.state != "waiting" or asker.bundle == row.data["bundle"]:
        return
    house.hold_issuing()
    asked = [await asker.now([], round_=row.data["round"] + 1, began=now)]
    # decide
    ruling = asker.ruling(asked, [], new_round=True)
    hold_rounds(ruling)
    house.hold_issuing()

    # commit
    def write(txn: Txn) -> None:
        decided = ruling.record(txn, parents=[row.data["decision_leaf"]])
        if ruling.outcome == "allow":
            ruling.issue(txn, decided, approvals=(), proof=asker.holder_key())

    await house.commit(write, seen)


async def _end_older(house: Installation, active: Row) -> None:
    """End every warrant of a bundle whose warrants an activation ended; what runs under them halts.

    Nobody can use one meanwhile: a redemption is held against the same row (`activation.hold_living`).
    """

    async def revoke(warrant_id: str) -> None:
        await house.commit(lambda txn: revoke_in(txn, warrant_id, Word("", active.data["spared"])))

    async for row in every(house, "warrants", state=LIVING):
        if is_ended(active, row):
            await revoke(row.id)
    async for run in every(house, "executions", state="started"):
        warrant = house.store.row("warrants", run.data["warrant_id"])
        if warrant is not None and warrant.state == "revoked":
            await halt_under(house, warrant.id, "revoked")


async def let_go(house: Installation) -> None:
    """End the OPA of every bundle that nothing names any more."""
    live = set(house.sidecars.live())
    if len(live) <= 1:
        return
    named = {house.active()}
    async for row in every(house, "warrants", state=LIVING):
        named.add(row.data["warrant"]["policy"]["bundle"])
    async for row in every(house, "executions", due_before=FAR):  # due until it has ended and its verdict is final
        named.add(row.data["bundle"])
    for digest in live - named:
        await house.sidecars.drop(digest)
