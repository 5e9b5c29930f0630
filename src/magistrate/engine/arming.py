"""Arming: the live sidecar is asked the bundle's own canaries; what it answers decides whether the gate is open."""

from __future__ import annotations

import asyncio

from magistrate.core.answers import ANSWERS
from magistrate.core.errors import Absent, Broken, MagistrateError, Unavailable
from magistrate.engine import alerts
from magistrate.engine.installation import Installation
from magistrate.policy.canaries import failures
from magistrate.store.txn import Txn

EVERY = 3.0  # seconds between canaries
SOON = 0.25  # while the gate is shut: it opens as soon as the answers are right again
MISSES = 3  # contracts: three misses in a row disarm; a wrong answer does at once


async def keep(house: Installation) -> None:
    """Ask every few seconds, for as long as the service runs."""
    missed = 0
    while True:
        try:
            missed = await check(house, missed)
        except MagistrateError:
            await asyncio.sleep(EVERY)
        gate = house.store.row("installation", "gate")
        await asyncio.sleep(EVERY if gate is not None and gate.state == "armed" else SOON)


async def check(house: Installation, missed: int = 0) -> int:
    """Ask the canaries once; returns how many times in a row there was no answer."""
    digest = house.active()
    try:
        wrong = await failures(await house.sidecars.of(digest), house.bundle(digest), ANSWERS)
    except (Absent, Broken, Unavailable) as silence:  # no answer, an OPA that does not start, a bundle that is lost
        missed += 1
        if missed >= MISSES:
            await put(house, armed=False, because=silence.code, bundle=digest)
        return missed
    await put(house, armed=not wrong, because=", ".join(wrong) if wrong else "canaries", bundle=digest)
    if not wrong:
        house.canaried = house.clock.exact()
    return 0


async def put(house: Installation, *, armed: bool, because: str, bundle: str = "") -> None:
    """Arm or disarm; an entry and an alert only where that changes something.

    `bundle` is whose canaries were asked: what they say of a bundle that is no longer in force changes nothing.
    """
    state = "armed" if armed else "disarmed"

    def write(txn: Txn) -> None:
        gate, active = txn.row("installation", "gate"), txn.row("installation", "active")
        if gate is None or gate.state == state or (bundle and active and active.data["bundle"] != bundle):
            return
        txn.append(
            kind="arming",
            subject="gate",
            state=state,
            parents=(),
            body={"armed": armed, "because": because},
            body_type="magistrate/arming/v1",
            chain="",
        )
        if armed:
            alerts.clear(txn, "gate.disarmed", "gate")
        else:
            alerts.raise_(txn, "gate.disarmed", "gate", because)

    gate = house.store.row("installation", "gate")
    if gate is not None and gate.state != state:
        await house.commit(write)
