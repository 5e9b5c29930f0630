"""Warrants: shown to their holder and to those who answer for them, and revoked."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.intents import Because
from magistrate.api.lists import page
from magistrate.api.visit import Endpoint, Visit
from magistrate.core.errors import Absent
from magistrate.core.lifecycle import WARRANT
from magistrate.engine import halting
from magistrate.store import Row

STATES: Final = frozenset(WARRANT).union(*WARRANT.values())


def unknown() -> Absent:
    """What a foreign warrant and one that never was look like."""
    return Absent("warrant.unknown", "no such warrant", hint="magistrate warrant ls")


def view(row: Row) -> dict[str, Any]:
    """A warrant, and what cannot be read from the document: uses left, and whether it was ended."""
    return {
        "warrant": row.data["warrant"],
        "state": row.state,
        "uses_left": row.data["uses_left"],
        "running": row.data["running"],
        "intent_id": row.data["intent_id"],
        "links": {"self": f"/v1/warrants/{row.id}", "intent": f"/v1/intents/{row.data['intent_id']}"},
    }


async def held(visit: Visit, verb: str) -> Row:
    """The warrant of the path, if the caller may do this to it."""
    id_ = visit.param("id")
    row = visit.house.store.row("warrants", id_)
    return await visit.held(verb, "warrant", id_, row, row.owner if row else "", unknown())


async def listed(visit: Visit) -> Response:
    await visit.hold("warrant.list")
    return await page(visit, "warrants", view, states=STATES)


async def show(visit: Visit) -> Response:
    return wire.reply(view(await held(visit, "warrant.show")))


async def revoke(visit: Visit) -> Response:
    said = wire.read(Because, visit.raw)
    row = await held(visit, "warrant.revoke")
    await halting.revoke(visit.house, row.id, visit.word(said.reason))
    after = visit.house.store.row("warrants", row.id)
    return wire.reply(view(after or row))


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/warrants", listed, "List warrants", ((200, "Page"),), query=("state", "limit", "cursor")),
    Endpoint("GET", "/v1/warrants/{id}", show, "Show a warrant", ((200, "Warrant+"),)),
    Endpoint(
        "POST",
        "/v1/warrants/{id}/revoke",
        revoke,
        "End a warrant now; what runs under it halts",
        ((200, "Warrant+"),),
        body=("Because",),
        empty=True,
    ),
)
