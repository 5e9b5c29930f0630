"""Who takes part, what calls for attention, and taking an agent's word no more."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.idempotency import once
from magistrate.api.intents import Because
from magistrate.api.lists import page
from magistrate.api.visit import Endpoint, Visit
from magistrate.core import canonical
from magistrate.core.errors import Absent
from magistrate.core.values import moment
from magistrate.engine import alerts, halting, recovery
from magistrate.engine.installation import Keep
from magistrate.store import Row

_PAGED: Final = ("state", "limit", "cursor")
ALERTS: Final = ("open", "acked", "closed")
PUBLIC: Final = ("id", "owner", "roles", "key_id", "public_key", "type", "because")


def person(row: Row) -> dict[str, Any]:
    """A person or program; of an API key only when it ends."""
    shown: dict[str, Any] = {name: row.data[name] for name in PUBLIC if name in row.data}
    return {"id": row.id, "state": row.state, **shown, "enrolled_at": moment(row.data["enrolled_at"])}


def agent(visit: Visit, row: Row) -> dict[str, Any]:
    """An agent, and when its API key ends."""
    credential = visit.house.store.row("credentials", row.data["credential"])
    return {**person(row), "key_expires_at": moment(credential.data["expires_at"]) if credential else ""}


async def agents(visit: Visit) -> Response:
    """An agent sees itself."""
    await visit.hold("agent.list")
    if not visit.wide:
        wire.query(visit.request, _PAGED)
        row = visit.house.store.row("agents", visit.principal.id)
        return wire.reply({"items": [agent(visit, row)] if row else [], "next_cursor": None})
    return await page(visit, "agents", lambda row: agent(visit, row), states=("active", "quarantined"), owned=False)


async def operators(visit: Visit) -> Response:
    await visit.hold("operator.list")
    return await page(visit, "operators", person, states=("active", "suspended"), owned=False)


async def observers(visit: Visit) -> Response:
    """Observers and auditors: who watches, and who only reads."""
    await visit.hold("observer.list")
    return await page(visit, "watchers", person, owned=False)


async def auditors(visit: Visit) -> Response:
    await visit.hold("auditor.list")
    return await page(visit, "watchers", person, owned=False, wanted=lambda row: row.data["type"] == "auditor")


async def quarantine(visit: Visit) -> Response:
    said = wire.read(Because, visit.raw)
    id_ = visit.param("id")
    found = visit.house.store.row("agents", id_)
    absent = Absent("agent.unknown", "no such agent", hint="magistrate agents ls")
    row = await visit.held("agent.quarantine", "agent", id_, found, id_, absent)
    await halting.quarantine(visit.house, row.id, visit.word(said.reason))
    return wire.reply(agent(visit, visit.house.store.row("agents", row.id) or row))


def alert(row: Row) -> dict[str, Any]:
    """An alert; it says so once each time something changes."""
    shown = {name: row.data[name] for name in ("code", "about", "detail", "by")}
    return {"id": row.id, "state": row.state, **shown, "at": moment(row.data["at"])}


async def alerted(visit: Visit) -> Response:
    """An agent sees those about itself and about what it runs."""
    await visit.hold("alert.list")
    wanted = None if visit.wide else lambda row: _concerns(visit, row.owner)
    return await page(visit, "alerts", alert, states=ALERTS, owned=False, wanted=wanted)


def _concerns(visit: Visit, about: str) -> bool:
    run = visit.house.store.row("executions", about)
    return visit.principal.id in (about, run.owner if run else "")


async def acknowledge(visit: Visit) -> Response:
    wire.read(Because, visit.raw)
    id_ = visit.param("id")
    found = visit.house.store.row("alerts", id_)
    absent = Absent("alert.unknown", "no such alert", hint="magistrate alerts ls")
    row = await visit.held("alert.ack", "alert", id_, found, found.owner if found else "", absent)
    await alerts.acknowledge(visit.house, row.id, visit.word(""))
    return wire.reply(alert(visit.house.store.row("alerts", row.id) or row))


async def recover(visit: Visit) -> Response:
    await visit.hold("recovery.clock")
    said = canonical.load_object(visit.raw)

    async def work(keep: Keep | None) -> Any:
        return await recovery.recover_clock(visit.house, visit.principal, said, visit.asked, keep)

    return await once(visit, work, lambda made: made)


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/agents", agents, "List agents", ((200, "Page"),), query=_PAGED),
    Endpoint("GET", "/v1/operators", operators, "List operators", ((200, "Page"),), query=_PAGED),
    Endpoint(
        "GET",
        "/v1/observers",
        observers,
        "List observers and auditors, each with its type",
        ((200, "Page"),),
        query=_PAGED[1:],
    ),
    Endpoint("GET", "/v1/auditors", auditors, "List auditors", ((200, "Page"),), query=_PAGED[1:]),
    Endpoint(
        "POST",
        "/v1/agents/{id:path}/quarantine",
        quarantine,
        "Take an agent's word no more; what it runs halts",
        ((200, "Object"),),
        body=("Because",),
        empty=True,
    ),
    Endpoint(
        "POST",
        "/v1/recoveries",
        recover,
        "Resume issuing after the clock jumped, by an operator's signed word",
        ((201, "Object"),),
        body=("Recovery",),
        headers=("Idempotency-Key",),
    ),
    Endpoint("GET", "/v1/alerts", alerted, "List alerts", ((200, "Page"),), query=_PAGED),
    Endpoint(
        "POST",
        "/v1/alerts/{id:path}/ack",
        acknowledge,
        "Say that an alert was seen",
        ((200, "Object"),),
        body=("Because",),
        empty=True,
    ),
)
