"""Acts of administration: what the built-in executor does, inside the transaction that admits the act."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from magistrate.core.administration import ACTS, carrying, hold_floor, hold_parameters, hold_possession
from magistrate.core.errors import Absent, Conflict, Refused
from magistrate.core.state import warrant_of
from magistrate.core.values import unix
from magistrate.engine import activation, pulling
from magistrate.engine.installation import Installation
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

Change = tuple[str, str, str, dict[str, Any]]  # entry kind, subject, the state it enters, body
Act = Callable[[Installation, Txn, dict[str, Any]], Change]
_HASH = re.compile(r"[0-9a-f]{64}")


async def prepared(house: Installation, intent: Mapping[str, Any]) -> Act:
    """What carries the act out, once all that cannot be done inside a transaction is done.

    Raises:
        MagistrateError: the act cannot be done; says why.
    """
    if intent["action"] in ACTS:
        hold_parameters(intent)
    if intent["action"] == "bundle.activate":
        return (await activation.ready(house, intent)).act
    act = _ACTS.get(intent["action"])
    if act is None:
        raise Refused("administration.not_here", f"{intent['action']} is not something this version can carry out")
    return act


def carry_out(house: Installation, txn: Txn, act: Act, intent: dict[str, Any], admission: str) -> dict[str, Any]:
    """Do the act; what is returned stands in its report. Raising undoes the whole step: no use is consumed.

    `admission` is the leaf of the entry that admitted it: what the act changes names it as its parent, so that an
    auditor can follow each change to the operators who signed for it.

    Raises:
        Refused, Conflict, Absent: the act cannot be done; says why.
    """
    _hold_floor(txn, intent)
    kind, id_, state, body = act(house, txn, intent)
    txn.append(
        kind=kind,
        subject=id_,
        state=state,
        parents=[admission],
        body=body,
        body_type=f"magistrate/{kind}/v1",
        chain=intent["intent_id"],
    )
    return {"id": id_, "state": state}


def _hold_floor(txn: Txn, intent: Mapping[str, Any]) -> None:
    """Return if the approvals that carry the act reach the floor as it is now: of the operators enrolled by now.

    Raises:
        Refused: `administration.floor`: there were fewer operators when it was decided.
    """
    id_ = intent["intent_id"]
    row, warrant, people = (
        txn.row("intents", id_),
        txn.row("warrants", warrant_of(id_)),
        txn.row("installation", "people"),
    )
    assert row is not None  # noqa: S101 - an act is admitted under the warrant of its intent
    assert warrant is not None  # noqa: S101
    assert people is not None  # noqa: S101 - and after genesis
    said = carrying(warrant.data["warrant"], row.data["approvals"])
    try:
        hold_floor(intent, said, operators=people.data["operators"])
    except Refused as no:
        detail = f"{no.detail} when it is carried out: propose it again, to be signed by operators enrolled by now"
        raise Refused(no.code, detail, hint="magistrate operators ls") from no


def _credential(txn: Txn, said: dict[str, Any]) -> dict[str, Any]:
    """The newcomer's API key as it is kept: its hash and its end. The key itself never comes here."""
    if not _HASH.fullmatch(said["key_sha256"]):
        raise Refused(
            "administration.key", "key_sha256 is not the SHA-256 of an API key", pointer="/parameters/key_sha256"
        )
    expires = unix(said["expires_at"])
    if expires <= txn.at:
        raise Refused("administration.key", "the API key has expired already", pointer="/parameters/expires_at")
    return {"sha256": f"sha256:{said['key_sha256']}", "expires_at": expires}


def _new(txn: Txn, id_: str) -> None:
    """One name, one person or program."""
    for table in ("agents", "operators", "watchers"):
        if txn.row(table, id_) is not None:
            raise Conflict("administration.known", f"{id_} is enrolled already")


def _hold_owner(txn: Txn, owner: str) -> None:
    """Return if an active operator answers for the newcomer: whoever it names is kept from approving what it proposes.

    Raises:
        Refused: `administration.owner`: a team, a name misspelt, or somebody who left binds nobody.
    """
    row = txn.row("operators", owner)
    if row is None or row.state != "active":
        detail = f"{owner} is no active operator, and an operator answers for each agent and observer"
        raise Refused("administration.owner", detail, pointer="/parameters/owner", hint="magistrate operators ls")


def _enrol_operator(house: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    said = intent["parameters"]
    _new(txn, said["operator"])
    key = hold_possession(house.origin, said["operator"], said["public_key"], said["proof"])
    person = {
        "id": said["operator"],
        "roles": sorted(said["roles"]),
        "key_id": key.key_id,
        "public_key": said["public_key"],
    }
    return "operator", said["operator"], "active", {"event": "enrolled", "operator": person}


def _held_operator(txn: Txn, intent: dict[str, Any]) -> Row:
    row = txn.row("operators", intent["parameters"]["operator"])
    if row is None:
        raise Absent("operator.unknown", "no such operator", hint="magistrate operators ls")
    return row


def _suspend_operator(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    row = _held_operator(txn, intent)
    if row.state != "active":
        raise Conflict("operator.state", f"the operator is {row.state} already")
    return "operator", row.id, "suspended", {"event": "suspended", "operator": {"id": row.id}}


def _operator_roles(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    row = _held_operator(txn, intent)
    person = {"id": row.id, "roles": sorted(intent["parameters"]["roles"])}
    return "operator", row.id, row.state, {"event": "roles", "operator": person}


def _enrol_agent(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    said = intent["parameters"]
    _new(txn, said["agent"])
    _hold_owner(txn, said["owner"])
    body = {
        "event": "enrolled",
        "agent": {"id": said["agent"], "owner": said["owner"]},
        "credential": _credential(txn, said),
        "because": "",
    }
    return "agent", said["agent"], "active", body


def _held_agent(txn: Txn, intent: dict[str, Any]) -> Row:
    row = txn.row("agents", intent["parameters"]["agent"])
    if row is None:
        raise Absent("agent.unknown", "no such agent", hint="magistrate agents ls")
    return row


def _agent_key(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    row = _held_agent(txn, intent)
    body = {
        "event": "key",
        "agent": {"id": row.id},
        "credential": _credential(txn, intent["parameters"]),
        "because": row.data["because"],
    }
    return "agent", row.id, row.state, body


def _release_agent(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    row = _held_agent(txn, intent)
    if row.state != "quarantined":
        raise Conflict("agent.state", f"the agent is {row.state}: there is nothing to release it from")
    body = {"event": "released", "agent": {"id": row.id}, "credential": {}, "because": intent["intent_id"]}
    return "agent", row.id, "active", body


def _enrol_watcher(type_: str) -> Callable[[Installation, Txn, dict[str, Any]], Change]:
    def enrol(_: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
        said = intent["parameters"]
        _new(txn, said[type_])
        if type_ == "observer":
            _hold_owner(txn, said["owner"])
        body = {
            "event": "enrolled",
            "observer": {"id": said[type_], "type": type_, "owner": said.get("owner", "")},
            "credential": _credential(txn, said),
        }
        return "observer", said[type_], "active", body

    return enrol


def _rotate_key(house: Installation, txn: Txn, intent: dict[str, Any]) -> Change:
    role = intent["parameters"]["role"]
    if role != pulling.ROLE:
        raise Refused("administration.not_here", f"the {role} key is not something this version can rotate")
    return "key", role, "current", pulling.rotated(house, txn)


_ACTS: dict[str, Act] = {
    "operator.enrol": _enrol_operator,
    "operator.suspend": _suspend_operator,
    "operator.roles": _operator_roles,
    "agent.enrol": _enrol_agent,
    "agent.key": _agent_key,
    "agent.release": _release_agent,
    "observer.enrol": _enrol_watcher("observer"),
    "auditor.enrol": _enrol_watcher("auditor"),
    "key.rotate": _rotate_key,
}
