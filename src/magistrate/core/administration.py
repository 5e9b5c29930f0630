"""The floor under administration: the only rule about approvals that is not Rego (contracts section 4).

Beside whatever the bundle asks, each act of administration carries signed approvals, the proposer's own among them
and counted as one. Acts that decide who may decide need two distinct operators (all, while fewer have ever been
enrolled); others need one; never the subject of the act. `ledger verify` follows operators from genesis by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from magistrate.core.canonical import canonical
from magistrate.core.errors import Refused
from magistrate.core.signature import PublicKey, decode_public, pae
from magistrate.core.values import SIGNATURE

PAIRED = ("operator.enrol", "operator.suspend", "operator.roles", "key.rotate", "opa.accept", "bundle.activate")
ACTS = (
    *PAIRED,
    "observer.enrol",
    "auditor.enrol",
    "agent.enrol",
    "agent.key",
    "agent.release",
    "data.erase",
)


def floor_of(action: str, operators: int) -> int:
    """How many distinct operators must have signed."""
    return min(2, operators) if action in PAIRED else 1


def floor_missing(intent: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]], *, operators: int) -> int:
    """How many distinct operators must still sign, the proposer among them if they have not."""
    signed = {a["operator"] for a in approvals if a["verdict"] == "approve"}
    proposer = 0 if intent["proposer"]["id"] in signed else 1
    return max(proposer, floor_of(intent["action"], operators) - len(signed))


def carrying(warrant: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of all that was said about an act, the approvals that its warrant names: they carry it, and no other word does.

    A word that had ended and was signed again, or that of somebody suspended before the decision, is not among them.
    """
    return [said for said in given if said["digest"] in warrant["approvals"]]


def hold_floor(
    intent: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]], *, subject: str, operators: int
) -> None:
    """Return if the signed approvals reach the floor.

    Raises:
        Refused: they do not, whatever the bundle said.
    """
    signed = {a["operator"] for a in approvals if a["verdict"] == "approve"}
    proposer = intent["proposer"]
    if proposer["type"] != "operator":
        raise Refused("administration.floor", "an act of administration is proposed by an operator")
    if subject and subject in signed:
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
