"""The record: entries and their proofs, decisions, keys, the checkpoint, and where the installation stands."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.visit import Endpoint, Visit
from magistrate.core.errors import Absent
from magistrate.core.values import DIGEST
from magistrate.engine import audit, pulling
from magistrate.keys.pins import Pin
from magistrate.store import Row

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_DIGEST: Final = re.compile(DIGEST)


def unknown() -> Absent:
    """What a foreign entry and one that is not there look like."""
    return Absent("entry.absent", "there is no such entry", hint="magistrate intent ls")


async def _held(visit: Visit, verb: str, type_: str, index: int | None) -> Row | None:
    """The intent whose chain an entry belongs to, if the caller may be shown the entry; None for one of no chain."""
    chain = visit.house.store.chain_of(index) if index is not None else ""
    row = visit.house.store.row("intents", chain) if chain else None
    own = row is not None and row.owner == visit.principal.id
    if not own and not visit.wide:
        raise unknown()
    await visit.hold(verb, relation="own" if own else "foreign", type_=type_, id_=visit.param("id"))
    if index is None:
        raise unknown()
    return row


def _index(visit: Visit) -> int | None:
    """The entry that the path names by index, leaf hash or decision digest; None when there is none."""
    said = visit.param("id")
    if _INDEX.fullmatch(said):
        return int(said) if int(said) < visit.house.store.size else None
    if not _DIGEST.fullmatch(said):
        return None
    named = visit.house.store.select("decisions", owner=said, limit=1)
    leaf = str(named[0].data["leaf"]) if named else said
    try:
        return visit.house.store.by_leaf(bytes.fromhex(leaf.removeprefix("sha256:"))).index
    except Absent:
        return None


async def proof(visit: Visit) -> Response:
    """An entry, and the path that proves it under a signed checkpoint."""
    index = _index(visit) if _INDEX.fullmatch(visit.param("id")) else None
    await _held(visit, "entry.proof", "entry", index)
    assert index is not None  # noqa: S101 - `_held` refuses it
    return wire.reply(await audit.proof(visit.house, index))


async def decision(visit: Visit) -> Response:
    """What was asked of which bundle, and what it answered."""
    index = _index(visit)
    entry = visit.house.store.entry(index) if index is not None else None
    if entry is not None and entry.kind != "decision":
        index = None
    await _held(visit, "decision.show", "decision", index)
    assert entry is not None  # noqa: S101 - `_held` refuses it
    return wire.reply(audit.entry_view(entry))


async def keys(visit: Visit) -> Response:
    """The public keys, as they are exported. A verifier pins them from elsewhere: never from here."""
    await visit.hold("key.list")
    wire.query(visit.request, ())
    house = visit.house
    signers = (("warrant", house.keys.warrant), ("checkpoint", house.keys.checkpoint), ("policy", house.keys.policy))
    pins = [
        Pin.model_validate(
            {"origin": house.origin, "role": role, "key_id": key.key_id, "public_key": key.public.hex()}
        ).plain()
        for role, key in signers
    ]
    return wire.reply({"items": [*pins, *pulling.listed(house)], "next_cursor": None})


async def checkpoint(visit: Visit) -> Response:
    await visit.hold("checkpoint.show")
    return Response(audit.checkpoint(visit.house), 200, None, "text/plain; charset=utf-8")


async def status(visit: Visit) -> Response:
    """Whether the gate is open, and where the ledger stands."""
    await visit.hold("status.show")
    store = visit.house.store
    gate, active, genesis = (store.row("installation", name) for name in ("gate", "active", "genesis"))
    if gate is None or active is None or genesis is None:
        raise Absent("setup.required", "no operator has set this up yet")
    return wire.reply(
        {
            "origin": visit.house.origin,
            "demo": genesis.data["demo"],
            "genesis": genesis.data["leaf"],
            "gate": gate.state,
            "because": gate.data["because"],
            "bundle": active.data["bundle"],
            "sequence": active.data["sequence"],
            "size": store.size,
            "running": len(visit.house.running),
            "caller": {"type": visit.principal.type, "id": visit.principal.id},
        }
    )


async def description(visit: Visit) -> Response:
    """This interface, as OpenAPI 3.1."""
    await visit.hold("status.show")
    return wire.reply(visit.request.app.openapi())


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/entries/{id}/proof", proof, "An entry and its inclusion proof", ((200, "Proof"),)),
    Endpoint(
        "GET",
        "/v1/decisions/{id}",
        decision,
        "A decision entry, by index, leaf hash or decision digest",
        ((200, "Entry"),),
    ),
    Endpoint("GET", "/v1/keys", keys, "Public keys; never trusted by a verifier", ((200, "Page"),)),
    Endpoint("GET", "/v1/status", status, "Where the installation stands", ((200, "Object"),)),
    Endpoint("GET", "/checkpoint", checkpoint, "The newest signed checkpoint", ((200, ""),), media="text/plain"),
    Endpoint("GET", "/openapi.json", description, "This description", ((200, "Object"),)),
)
