"""Halting: what expiry, revocation, quarantine and a person's word do to what runs.

Nothing here widens, so nothing here asks OPA or cares whether the gate is armed.
"""

from __future__ import annotations

from magistrate.core.errors import Absent, Conflict
from magistrate.core.lifecycle import advance, ended
from magistrate.engine.containment import quarantine_in, revoke_in
from magistrate.engine.installation import Installation, Seen, Word, every
from magistrate.engine.verification import append_move, held, move
from magistrate.store.txn import Txn


async def halt(house: Installation, execution_id: str, because: str, word: Word | None = None) -> None:
    """Stop a running execution: what we run is stopped at once, a holder hears it at its next heartbeat.

    Raises:
        Absent: no such execution.
        Conflict: it does not run.
    """
    run = house.running.get(execution_id)
    if run is not None:
        run.word = run.word or word
        run.stop(because)  # first the process, then the paper
        return
    await halting_on_record(house, execution_id, because, word)


async def halting_on_record(house: Installation, execution_id: str, because: str, word: Word | None = None) -> None:
    """Record that an execution is being halted."""

    said = word.plain() if word else {}

    async def step() -> None:
        seen = Seen(house.store)
        row = held(seen.row("executions", execution_id))
        advance("execution", row.state, "halting")
        await house.commit(lambda txn: append_move(txn, row, move("halting", txn.at, because=because, **said)), seen)

    async with house.turn(f"executions/{execution_id}"):
        await house.again(step)


async def revoke(house: Installation, warrant_id: str, word: Word) -> None:
    """End a warrant now; what runs under it halts.

    Raises:
        Absent: no such warrant.
        Conflict: it has ended already.
    """

    def write(txn: Txn) -> None:
        row = txn.row("warrants", warrant_id)
        if row is None:
            raise Absent("warrant.unknown", "no such warrant", hint="magistrate warrant ls")
        if not revoke_in(txn, warrant_id, word):
            raise Conflict("warrant.state", f"the warrant is {row.state} already")

    await house.commit(write)
    await halt_under(house, warrant_id, "revoked")


async def quarantine(house: Installation, agent: str, word: Word) -> None:
    """Take an agent's word no more, until an approved `agent.release`; what it runs halts.

    Raises:
        Absent: no such agent.
        Conflict: it is quarantined already.
    """

    def write(txn: Txn) -> None:
        if txn.row("agents", agent) is None:
            raise Absent("agent.unknown", "no such agent", hint="magistrate agents ls")
        if not quarantine_in(txn, agent, word, chain=""):
            raise Conflict("agent.state", "the agent is quarantined already")

    await house.commit(write)
    await halt_of(house, agent, "quarantined")


async def halt_of(house: Installation, holder: str, because: str) -> None:
    """Halt every execution of a holder that still runs."""
    async for row in every(house, "executions", owner=holder, state="started"):
        await _halt_quietly(house, row.id, because)


async def halt_under(house: Installation, warrant_id: str, because: str) -> None:
    """Halt every execution of a warrant that still runs."""
    row = house.store.row("warrants", warrant_id)
    for execution_id in row.data["running"] if row else ():
        await _halt_quietly(house, execution_id, because)


async def expire_warrant(house: Installation, warrant_id: str) -> None:
    """Record that a warrant's time is over, and halt what runs under it."""

    def write(txn: Txn) -> None:
        row = txn.row("warrants", warrant_id)
        if row is None or ended("warrant", row.state):
            return
        txn.append(
            kind="lifecycle",
            subject=warrant_id,
            state="expired",
            parents=[row.data["leaf"]],
            body={"object": "warrant", "event": "expired", "because": "time"},
            body_type="magistrate/lifecycle/v1",
            chain=row.data["intent_id"],
        )

    await house.commit(write)
    await halt_under(house, warrant_id, "expired")


async def _halt_quietly(house: Installation, execution_id: str, because: str) -> None:
    """Halt if it still runs: it may have ended on its own in the meantime."""
    try:
        await halt(house, execution_id, because)
    except Conflict:
        return
