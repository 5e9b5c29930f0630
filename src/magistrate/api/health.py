"""Health, readiness, metrics and the first day: the routes that ask for no credential."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from magistrate.api import problems, wire
from magistrate.api.auth import local
from magistrate.api.visit import Endpoint, Visit
from magistrate.core import canonical
from magistrate.core.errors import MagistrateError, Malformed, Refused
from magistrate.engine.installation import Installation

STORE_SECONDS: Final = 2.0
LATELY: Final = 15.0  # seconds since OPA answered the canaries, which are asked every three


async def livez(_: Visit) -> Response:
    return wire.reply({"status": "alive"})


async def readyz(visit: Visit) -> Response:
    """Ready: set up, armed by canaries that OPA answered lately, the store writes, and the clock is sane."""
    house = visit.house
    checks = {
        "setup": "ok" if visit.porch.setup.done else "setup.required",
        "gate": _gate(house),
        "opa": "ok" if house.clock.exact() - house.canaried <= LATELY else "opa.silent",
        "store": await _store(house),
        "clock": _clock(house),
    }
    wrong = [said for said in checks.values() if said != "ok"]
    if not wrong:
        return wire.reply({"ready": True, "checks": checks})
    detail = f"not ready: {', '.join(wrong)}"
    return problems.plain(503, wrong[0], detail, {"retry-after": "2"}, ready=False, checks=checks)


def _gate(house: Installation) -> str:
    gate = house.store.row("installation", "gate")
    return "ok" if gate is not None and gate.state == "armed" else "gate.disarmed"


async def _store(house: Installation) -> str:
    """Whether a step goes through the writer; it writes nothing."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await house.commit(lambda _: None)
    except TimeoutError:
        return "store.slow"
    except MagistrateError as error:
        return error.code
    return "ok"


def _clock(house: Installation) -> str:
    try:
        house.hold_clock()
    except MagistrateError as error:
        return error.code
    return "ok"


async def metrics(visit: Visit) -> Response:
    """For callers on this machine; anybody else shows a credential that may see them."""
    if not local(visit.request, visit.fields):
        visit.principal, visit.shown = visit.porch.auth.principal(visit.request, visit.fields, visit.raw)
        await visit.hold("metrics.show")
    house = visit.house
    gate = house.store.row("installation", "gate")
    gauges: dict[str, float] = {
        "gate_armed": gate is not None and gate.state == "armed",
        "ledger_entries": house.store.size,
        "store_commits": house.store.commits,
        "store_stopped": house.store.stopped is not None,
        "executions_running": len(house.running),
        "verifications_unjudged": len(house.unjudged),
        "event_streams": visit.porch.streams,
    }
    return Response(visit.porch.metrics.text(gauges), 200, None, "text/plain; version=0.0.4; charset=utf-8")


async def setup(visit: Visit) -> Response:
    """First the statement is shown, then it is sent back signed: that begins the ledger."""
    if not local(visit.request, visit.fields):
        raise Refused("setup.loopback", "an installation is set up from its own machine")
    said: dict[str, Any] = canonical.load_object(visit.raw)
    if said.keys() == {"code", "id", "public_key"}:
        code, id_, key = (_text(said, name) for name in ("code", "id", "public_key"))
        return wire.reply({"statement": visit.porch.setup.offer(code, id_, key)})
    if said.keys() == {"code", "statement"} and isinstance(said["statement"], dict):
        begun = await visit.porch.setup.accept(_text(said, "code"), said["statement"])
        await visit.porch.begun()
        return wire.reply(begun, 201)
    raise Malformed("input.shape", "a body is code, id and public_key; or code and the signed statement")


def _text(said: dict[str, Any], name: str) -> str:
    value = said[name]
    if not isinstance(value, str):
        raise Malformed("input.shape", f"{name} is text", pointer=f"/{name}")
    return value


ENDPOINTS: Final = (
    Endpoint("GET", "/livez", livez, "Whether it runs", ((200, "Object"),), open=True, early=True),
    Endpoint(
        "GET",
        "/readyz",
        readyz,
        "Whether it can permit anything",
        ((200, "Ready"), (503, "Ready")),
        open=True,
        early=True,
    ),
    Endpoint("GET", "/metrics", metrics, "Counters", ((200, ""),), open=True, media="text/plain"),
    Endpoint(
        "POST",
        "/v1/setup",
        setup,
        "Begin the ledger, with a set-up code, from this machine",
        ((200, "Object"), (201, "Object")),
        body=("Offer", "Acceptance"),
        open=True,
        early=True,
    ),
)
