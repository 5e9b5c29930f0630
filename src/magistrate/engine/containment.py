"""Containment: what follows a deviation or an expiry. It only ever narrows, and touches one warrant and its agent."""

from __future__ import annotations

from typing import Any

from magistrate.core.lifecycle import TABLES
from magistrate.engine import alerts
from magistrate.engine.installation import Word
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

Later = str  # "halt" or "rollback": what is carried out after the commit


def append(txn: Txn, execution: Row, verdict: dict[str, Any]) -> list[Later]:
    """Record what a verdict brings about; halting and rolling back follow the commit."""
    acts = list(verdict["containment"])
    if verdict["verdict"] == "deviating":
        alerts.raise_(
            txn,
            "execution.deviating",
            execution.id,
            ", ".join(sorted({d["code"] for d in verdict["deviations"]})),
            chain=execution.data["intent_id"],
        )
    if not acts:
        return []
    because = verdict["verification_id"]
    txn.append(
        kind="containment",
        subject=execution.id,
        state="",
        parents=[execution.data["leaf"]],
        body={"warrant_id": execution.data["warrant_id"], "holder": execution.owner, "acts": acts, "because": because},
        body_type="magistrate/containment/v1",
        chain=execution.data["intent_id"],
    )
    if "revoke" in acts:
        revoke_in(txn, execution.data["warrant_id"], Word(because, "deviation"))
    if "quarantine" in acts:
        quarantine_in(txn, execution.owner, Word(because, "deviation"), chain=execution.data["intent_id"])
    return [act for act in ("halt", "rollback") if act in acts]


def revoke_in(txn: Txn, warrant_id: str, word: Word) -> bool:
    """Revoke inside a step; False where the warrant already ended."""
    row = txn.row("warrants", warrant_id)
    if row is None or "revoked" not in TABLES["warrant"].get(row.state, ()):
        return False
    txn.append(
        kind="revocation",
        subject=warrant_id,
        state="revoked",
        parents=[row.data["leaf"]],
        body=word.plain(),
        body_type="magistrate/revocation/v1",
        chain=row.data["intent_id"],
    )
    return True


def quarantine_in(txn: Txn, agent: str, word: Word, *, chain: str) -> bool:
    """Quarantine inside a step; False where no such agent is active."""
    row = txn.row("agents", agent)
    if row is None or row.state != "active":
        return False
    txn.append(
        kind="agent",
        subject=agent,
        state="quarantined",
        parents=(),
        body={
            "event": "quarantined",
            "agent": {"id": agent},
            "credential": {},
            "because": word.reason,
            **word.plain(),
        },
        body_type="magistrate/agent/v1",
        chain=chain,
    )
    return True
