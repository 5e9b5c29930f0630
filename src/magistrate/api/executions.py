"""Executions: a warrant is used, what runs is heard of, halted, and settled."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.idempotency import once
from magistrate.api.intents import Because
from magistrate.api.lists import page
from magistrate.api.visit import Endpoint, Visit
from magistrate.core import canonical
from magistrate.core.errors import Absent, Malformed
from magistrate.core.lifecycle import EXECUTION
from magistrate.core.values import Document, Text
from magistrate.engine import halting, router
from magistrate.engine.installation import Keep
from magistrate.store import Row

STATES: Final = frozenset(EXECUTION).union(*EXECUTION.values())


class Finding(Document):
    """What an unknown outcome turned out to be."""

    finding: Text


class Nothing(Document):
    """A body that says nothing: a heartbeat proves liveness only."""


def unknown() -> Absent:
    """What a foreign execution and one that never was look like."""
    return Absent("execution.unknown", "no such execution", hint="magistrate execution ls")


async def held(visit: Visit, verb: str) -> Row:
    """The execution of the path, if the caller may do this to it."""
    id_ = visit.param("id")
    row = visit.house.store.row("executions", id_)
    return await visit.held(verb, "execution", id_, row, row.owner if row else "", unknown())


def own(visit: Visit) -> Row:
    """The execution of the path, if the caller holds it: nobody else beats or reports, and Rego is not asked."""
    row = visit.house.store.row("executions", visit.param("id"))
    if row is None or row.owner != visit.principal.id or visit.principal.type not in ("agent", "operator"):
        raise unknown()
    return row


async def start(visit: Visit) -> Response:
    """Rego's admission document is the only judge; a use is consumed once, whatever is sent twice."""
    said = canonical.load_object(visit.raw)
    if said.keys() != {"warrant", "call"} or not isinstance(said["warrant"], str | dict):
        raise Malformed(
            "input.shape", "a body is exactly a warrant (its id, or the document) and a call", pointer="/warrant"
        )
    return await once(
        visit,
        lambda keep: router.redeem(visit.house, visit.principal, said["warrant"], said["call"], keep),
        lambda made: made,
        location=lambda made: f"/v1/executions/{made['execution_id']}",
    )


async def listed(visit: Visit) -> Response:
    await visit.hold("execution.list")
    return await page(visit, "executions", router.show_row, states=STATES)


async def show(visit: Visit) -> Response:
    return wire.reply(router.show_row(await held(visit, "execution.show")))


async def heartbeat(visit: Visit) -> Response:
    wire.read(Nothing, visit.raw)
    return wire.reply(await router.heartbeat(visit.house, own(visit).id))


async def report(visit: Visit) -> Response:
    id_ = own(visit).id
    return await once(
        visit, lambda keep: router.report(visit.house, id_, visit.raw, keep), lambda made: _judged(id_, made)
    )


async def observe(visit: Visit) -> Response:
    id_ = visit.param("id")

    async def work(keep: Keep | None) -> Any:
        return await router.observe(visit.house, visit.principal, id_, visit.raw, keep)

    return await once(visit, work, lambda made: _judged(id_, made))


def _judged(execution_id: str, verdict: Any) -> dict[str, Any]:
    """The verification that followed, when there is one: OPA may be away, or nothing new was found."""
    return {"execution_id": execution_id, "verification": verdict}


async def halt(visit: Visit) -> Response:
    said = wire.read(Because, visit.raw)
    row = await held(visit, "execution.halt")
    await halting.halt(visit.house, row.id, "operator", visit.word(said.reason))
    return wire.reply(router.show(visit.house, row.id), 202)


async def reconcile(visit: Visit) -> Response:
    said = wire.read(Finding, visit.raw)
    row = await held(visit, "execution.reconcile")
    await router.reconcile(visit.house, row.id, visit.word(said.finding))
    return wire.reply(router.show(visit.house, row.id))


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/executions",
        start,
        "Use a warrant once",
        ((201, "Execution+"),),
        body=("Redemption",),
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/v1/executions/{id}/heartbeat",
        heartbeat,
        "Say that the holder is alive, and hear whether to go on",
        ((200, "Heartbeat"),),
        body=("Nothing",),
        empty=True,
    ),
    Endpoint("GET", "/v1/executions", listed, "List executions", ((200, "Page"),), query=("state", "limit", "cursor")),
    Endpoint("GET", "/v1/executions/{id}", show, "Show an execution", ((200, "Execution+"),)),
    Endpoint(
        "POST",
        "/v1/executions/{id}/report",
        report,
        "Report how it went, as its holder",
        ((201, "Judged"),),
        body=("ReportClaim",),
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/v1/executions/{id}/observations",
        observe,
        "Say what was seen, as an observer the warrant admits",
        ((201, "Judged"),),
        body=("ObservationClaim",),
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "POST",
        "/v1/executions/{id}/halt",
        halt,
        "Stop what runs",
        ((202, "Execution+"),),
        body=("Because",),
        empty=True,
    ),
    Endpoint(
        "POST",
        "/v1/executions/{id}/reconcile",
        reconcile,
        "Settle an unknown outcome, on record",
        ((200, "Execution+"),),
        body=("Finding",),
    ),
)
