"""Audit: reading the record, with the proofs that it is the record. It changes nothing."""

from __future__ import annotations

from typing import Any

from magistrate.core.entry import Entry
from magistrate.core.errors import Absent
from magistrate.engine.installation import Installation

CHAIN = 1000  # entries of one chain shown at most


def entry_view(entry: Entry) -> dict[str, Any]:
    """An entry as JSON: header as it was hashed, body unless it was erased."""
    return {
        "index": entry.index,
        "leaf": entry.leaf_digest,
        "kind": entry.kind,
        "subject": entry.subject,
        "state": entry.state,
        "header": entry.header.decode(),
        "salt": entry.salt.hex() if entry.salt else "",
        "body": None if entry.erased else entry.content(),
    }


async def chain(house: Installation, intent_id: str) -> dict[str, Any]:
    """Every step of one intent, its ledger index, leaf hash and inclusion proof, under one signed checkpoint.

    Raises:
        Absent: no such intent.
    """
    entries = house.store.entries(chain=intent_id, limit=CHAIN)
    if not entries:
        raise Absent("intent.unknown", "no such intent", hint="magistrate intent ls")
    size = house.store.size
    steps = []
    for entry in entries:
        _, path = house.store.proof(entry.index, size)
        steps.append({**entry_view(entry), "path": [node.hex() for node in path]})
    return {
        "intent_id": intent_id,
        "origin": house.origin,
        "size": size,
        "steps": steps,
        "checkpoint": house.store.checkpoint_at(size),
    }


async def proof(house: Installation, index: int) -> dict[str, Any]:
    """One entry with its inclusion proof and the checkpoint it is proven under.

    Raises:
        Absent: no such entry.
    """
    entry = house.store.entry(index)
    size, path = house.store.proof(index)
    return {
        **entry_view(entry),
        "size": size,
        "path": [node.hex() for node in path],
        "checkpoint": house.store.checkpoint_at(size),
    }


def checkpoint(house: Installation) -> str:
    """The newest signed checkpoint; "" before genesis."""
    return house.store.checkpoint()
