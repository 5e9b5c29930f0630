"""Alerts: one entry each time a state changes, never one for each time it is noticed."""

from __future__ import annotations

from typing import Any

from magistrate.core.errors import Absent, Conflict
from magistrate.engine.installation import Installation, Word
from magistrate.store.txn import Txn


def _id(code: str, about: str) -> str:
    return f"alr-{code}-{about}"


def raise_(txn: Txn, code: str, about: str, detail: str, *, chain: str = "") -> None:
    """Open an alert; nothing if it is open already."""
    id_ = _id(code, about)
    row = txn.row("alerts", id_)
    if row is not None and row.state in ("open", "acked"):
        return
    _append(txn, id_, "open", {"code": code, "about": about, "detail": detail, "by": ""}, chain)


def clear(txn: Txn, code: str, about: str, *, chain: str = "") -> None:
    """Close an alert whose cause is gone; nothing if none is open."""
    id_ = _id(code, about)
    row = txn.row("alerts", id_)
    if row is None or row.state not in ("open", "acked"):
        return
    said = {name: row.data[name] for name in ("code", "about", "detail")}
    _append(txn, id_, "closed", {**said, "by": ""}, chain)


async def acknowledge(house: Installation, id_: str, word: Word) -> None:
    """An operator has seen it.

    Raises:
        Absent: no such alert.
        Conflict: it is not open.
    """

    def write(txn: Txn) -> None:
        row = txn.row("alerts", id_)
        if row is None:
            raise Absent("alert.unknown", "no such alert", hint="magistrate alerts ls")
        if row.state != "open":
            raise Conflict("alert.state", f"the alert is {row.state} already")
        said = {name: row.data[name] for name in ("code", "about", "detail")}
        _append(txn, id_, "acked", {**said, **word.plain()}, "")

    await house.commit(write)


def _append(txn: Txn, id_: str, state: str, body: dict[str, Any], chain: str) -> None:
    txn.append(
        kind="alert", subject=id_, state=state, parents=(), body=body, body_type="magistrate/alert/v1", chain=chain
    )
