"""The floor under administration: the only rule about approvals that is not Rego (contracts section 4).

Beside whatever the bundle asks, each act of administration carries signed approvals, the proposer's own among them
and counted as one. Acts that decide who may decide need two distinct operators (all, while fewer have ever been
enrolled); others need one; never the subject of the act. `ledger verify` follows operators from genesis by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from magistrate.core.canonical import canonical
from magistrate.core.errors import Malformed, Refused
from magistrate.core.question import NOBODY
from magistrate.core.signature import PublicKey, decode_public, pae
from magistrate.core.values import SIGNATURE, Digest, Document, Identifier, Moment, Text, parse, thaw


class _Operator(Document):
    operator: Identifier


class _Joining(_Operator):
    public_key: Text
    proof: Text
    roles: tuple[Identifier, ...]


class _Roles(_Operator):
    roles: tuple[Identifier, ...]


class _Agent(Document):
    agent: Identifier


class _Credential(Document):
    key_sha256: Text
    expires_at: Moment


class _AgentKey(_Agent, _Credential):
    pass


class _NewAgent(_AgentKey):
    owner: Identifier


class _NewObserver(_Credential):
    observer: Identifier
    owner: Identifier


class _NewAuditor(_Credential):
    auditor: Identifier


class _Key(Document):
    role: Identifier


class _Opa(Document):
    version: Text
    sha256: Digest


class _Activation(Document):
    digest: Digest
    live_warrants: Literal["keep", "revoke"]


class _Erasure(Document):
    intent: Identifier


@dataclass(frozen=True)
class Act:
    """One act of administration: all of this is the program's own, and nothing of it is a catalogue's to say."""

    parameters: type[Document]  # exactly what it can be carried out with
    names: str = ""  # the parameter that names what its entry is about
    subject: str = ""  # what that is; "" where nobody and nothing of the record is meant
    makes: tuple[str, str] = ("", "")  # the kind of entry it makes, and what that calls its event
    paired: bool = False  # whether it decides who may decide


ACTS: Mapping[str, Act] = MappingProxyType(
    {
        "operator.enrol": Act(_Joining, "operator", "operator", ("operator", "enrolled"), paired=True),
        "operator.suspend": Act(_Operator, "operator", "operator", ("operator", "suspended"), paired=True),
        "operator.roles": Act(_Roles, "operator", "operator", ("operator", "roles"), paired=True),
        "agent.enrol": Act(_NewAgent, "agent", "agent", ("agent", "enrolled")),
        "agent.key": Act(_AgentKey, "agent", "agent", ("agent", "key")),
        "agent.release": Act(_Agent, "agent", "agent", ("agent", "released")),
        "observer.enrol": Act(_NewObserver, "observer", "observer", ("observer", "enrolled")),
        "auditor.enrol": Act(_NewAuditor, "auditor", "auditor", ("observer", "enrolled")),
        "key.rotate": Act(_Key, "role", makes=("key", "rotated"), paired=True),
        "opa.accept": Act(_Opa, paired=True),
        "bundle.activate": Act(_Activation, "digest", "bundle", ("bundle", "activated"), paired=True),
        "data.erase": Act(_Erasure, "intent", "intent"),
    }
)


def subject_of(action: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Whom or what an act is about; nobody for any other action, whatever the catalogue says."""
    act = ACTS.get(action)
    if act is None or not act.subject:
        return dict(NOBODY)
    id_ = parameters.get(act.names)
    return {"type": act.subject, "id": id_ if isinstance(id_, str) else ""}


def row_of(action: str) -> dict[str, Any]:
    """What a catalogue's row must say of an action: whether it is an act of administration, and whom it is about."""
    act = ACTS.get(action)
    about = {"subject": f"/parameters/{act.names}", "subject_type": act.subject} if act and act.subject else {}
    return {"administration": act is not None, "subject": "", "subject_type": "", **about}


def hold_parameters(intent: Mapping[str, Any]) -> None:
    """Return if the act can be carried out with these parameters: all that it needs, and nothing that it ignores.

    Raises:
        Refused: `administration.parameters`: the catalogue's schema let others through.
    """
    try:
        parse(ACTS[intent["action"]].parameters, canonical(thaw(intent["parameters"])))
    except Malformed as no:
        detail = f"{intent['action']} cannot be carried out with these parameters: {no.detail}"
        raise Refused("administration.parameters", detail, pointer=f"/parameters{no.pointer}") from None


def floor_of(action: str, operators: int) -> int:
    """How many distinct operators must have signed."""
    return min(2, operators) if ACTS[action].paired else 1


def floor_missing(intent: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]], *, operators: int) -> int:
    """How many distinct operators must still sign, the proposer among them if they have not; 0 where no word helps."""
    if intent["proposer"]["type"] != "operator":
        return 0
    signed = {a["operator"] for a in approvals if a["verdict"] == "approve"}
    proposer = 0 if intent["proposer"]["id"] in signed else 1
    return max(proposer, floor_of(intent["action"], operators) - len(signed))


def carrying(warrant: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of all that was said about an act, the approvals that its warrant names: they carry it, and no other word does.

    A word that had ended and was signed again, or that of somebody suspended before the decision, is not among them.
    """
    return [said for said in given if said["digest"] in warrant["approvals"]]


def hold_floor(intent: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]], *, operators: int) -> None:
    """Return if the signed approvals reach the floor.

    Raises:
        Refused: they do not, whatever the bundle said.
    """
    signed = {a["operator"] for a in approvals if a["verdict"] == "approve"}
    proposer = intent["proposer"]
    if proposer["type"] != "operator":
        raise Refused("administration.floor", "an act of administration is proposed by an operator")
    if subject_of(intent["action"], intent["parameters"])["id"] in signed:
        raise Refused("administration.floor", "nobody approves an act about themselves")
    if proposer["id"] not in signed:
        raise Refused("administration.floor", "the proposing operator has not signed")
    if len(signed) < floor_of(intent["action"], operators):
        raise Refused("administration.floor", "two operators must sign this act")


def possession(origin: str, who: str, public_key: str) -> bytes:
    """What a newcomer signs to show that the public key in the request is theirs, here and under this name."""
    return pae(
        "application/vnd.magistrate.join.v1+json",
        canonical({"origin": origin, "id": who, "public_key": public_key}),
    )


def hold_possession(origin: str, who: str, public_key: str, proof: str) -> PublicKey:
    """The newcomer's key, if they have shown that they hold it.

    Raises:
        Refused: the proof is not a signature in our writing.
        Forged: it does not stand, or the key may not be trusted.
    """
    key = decode_public(public_key)
    if not re.fullmatch(SIGNATURE, proof):
        raise Refused("administration.possession", "the proof of possession is not a signature", pointer="/proof")
    key.verify(possession(origin, who, public_key), bytes.fromhex(proof[2:]))
    return key
