"""Containment: what follows a deviation or an expiry. It only ever narrows, and touches one warrant and its agent."""

from __future__ import annotations

from typing import Any

from magistrate.core.lifecycle import ROLLBACK_FROM, TABLES
from magistrate.engine import alerts
from magistrate.engine.installation import Word
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

Later = str  # an act of which something is carried out after the commit: processes end, targets are called


def append(txn: Txn, execution: Row, answer: dict[str, Any], verdict: dict[str, Any] | None) -> list[Later]:
    """Record what an answer brings about; halting and rolling back follow the commit.

    Each act follows once for an execution. `verdict` is None where the answer says what stands already: a deviating
    execution that is halted by now may be rolled back now, and what is worse than known before is contained as such.
    """
    row = txn.row("executions", execution.id) or execution
    deviating = answer["verdict"] == "deviating"
    acts = [act for act in answer["containment"] if _due(row, act)] if deviating else []
    if deviating and verdict is not None:
        alerts.raise_(
            txn,
            "execution.deviating",
            execution.id,
            ", ".join(sorted({d["code"] for d in verdict["deviations"]})),
            chain=execution.data["intent_id"],
        )
    if not acts:
        return []
    because = verdict["verification_id"] if verdict else row.data["verification_id"]
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
    return acts


def _due(execution: Row, act: str) -> bool:
    """Whether this has not followed yet, and can: what still runs is halted first and rolled back then."""
    over = act != "rollback" or execution.state in ROLLBACK_FROM
    return over and act not in execution.data["contained"]


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
