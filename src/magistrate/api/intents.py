"""Intents and approvals: what is asked for, and what people say to it."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.bundles import both
from magistrate.api.idempotency import once
from magistrate.api.lists import page
from magistrate.api.visit import Endpoint, Visit
from magistrate.core import reasons
from magistrate.core.errors import Absent, MagistrateError, Malformed
from magistrate.core.lifecycle import INTENT
from magistrate.core.state import warrant_of
from magistrate.core.values import Document, Text, moment
from magistrate.engine import activation, approvals, audit, facts, gateway
from magistrate.engine.gateway import Submitted
from magistrate.engine.installation import Keep
from magistrate.store import Row

STATES: Final = frozenset(INTENT).union(*INTENT.values())
DECISION: Final = ("round", "bundle", "decision_digest", "intent_digest", "terms", "standing")
SAID: Final = ("operator", "verdict", "reason", "narrowing", "proof", "digest")


class Because(Document):
    """Why somebody acts, in their own words."""

    reason: Text = ""


def unknown() -> Absent:
    """What a foreign intent and one that never was look like."""
    return Absent("intent.unknown", "no such intent", hint="magistrate intent ls")


def links(intent_id: str, *, warrant: bool) -> dict[str, str]:
    """Where to go from an intent."""
    here = f"/v1/intents/{intent_id}"
    found = {"self": here, "chain": f"{here}/chain", "approvals": f"{here}/approvals"}
    return {**found, "warrant": f"/v1/warrants/{warrant_of(intent_id)}"} if warrant else found


def submitted(made: Any) -> dict[str, Any]:
    """What a proposer or approver is answered."""
    said = made.plain() if isinstance(made, Submitted) else made
    explained = reasons.links(said["decision"]["standing"]["reasons"])
    return {**said, "links": {**links(said["intent"]["intent_id"], warrant=said["warrant"] is not None), **explained}}


def decision(row: Row) -> dict[str, Any] | None:
    """The decision an intent stands under; None where OPA gave none."""
    return {name: row.data[name] for name in DECISION} if "terms" in row.data else None


async def whole(visit: Visit, row: Row) -> dict[str, Any]:
    """An intent with its decision, approvals and warrant."""
    warrant = visit.house.store.row("warrants", warrant_of(row.id)) if row.state == "warranted" else None
    return {
        "intent": row.data["intent"],
        "state": row.state,
        "because": row.data.get("because", ""),
        "waits_until": moment(row.due) if row.due else "",
        "decision": decision(row),
        "approvals": [
            {
                **{name: given[name] for name in SAID},
                "at": moment(given["at"]),
                "expires_at": moment(given["expires_at"]),
            }
            for given in row.data["approvals"]
        ],
        "warrant": warrant.data["warrant"] if warrant else None,
        "renewed": row.data["renewed"],
        **await _activation(visit, row),
        "links": links(row.id, warrant=warrant is not None),
    }


async def _activation(visit: Visit, row: Row) -> dict[str, Any]:
    """Of an act about a bundle: whose it is, and what it would change; for those who may see bundles."""
    subject = row.data["subject"]
    if subject["type"] != facts.BUNDLE or not visit.wide:
        return {}
    bundle = visit.house.store.row("bundles", subject["id"])
    try:
        await both(visit.house, subject["id"])
        said = activation.about(visit.house, subject["id"])
        if bundle is not None and row.state == "waiting":
            said["impact"] = visit.porch.foresight.told(subject["id"], bundle.data)
    except MagistrateError as lost:  # its file is gone or changed: whoever is to approve should know
        said = {"digest": subject["id"], "error": lost.code}
    return {"activation": said}


def brief(row: Row) -> dict[str, Any]:
    """An intent in a list."""
    intent, decided = row.data["intent"], decision(row)
    return {
        "intent_id": row.id,
        "state": row.state,
        "proposer": intent["proposer"],
        "action": intent["action"],
        "target": intent["target"],
        "received_at": intent["received_at"],
        "waits_until": moment(row.due) if row.due else "",
        "tier": decided["terms"]["tier"] if decided else "",
        "outcome": decided["standing"]["outcome"] if decided else "deny",
        "wanted": decided["standing"]["wanted"] if decided else [],
        "links": links(row.id, warrant=row.state == "warranted"),
    }


async def held(visit: Visit, verb: str) -> Row:
    """The intent of the path, if the caller may do this to it."""
    id_ = visit.param("id")
    row = visit.house.store.row("intents", id_)
    return await visit.held(verb, "intent", id_, row, row.owner if row else "", unknown())


async def submit(visit: Visit) -> Response:
    """Rego's decision document is the only judge: nobody else is asked."""

    async def work(keep: Keep | None) -> Any:
        made = await gateway.submit(visit.house, visit.principal, visit.raw, keep)
        visit.porch.metrics.count("decisions_total", outcome=made.decision["standing"]["outcome"])
        return made

    return await once(visit, work, submitted, location=lambda answer: answer["links"]["self"])


async def approve(visit: Visit) -> Response:
    """An operator's signed word; whether it counts is for Rego's approval document."""
    id_ = visit.param("id")
    row = visit.house.store.row("intents", id_)
    if row is None or (not visit.wide and row.owner != visit.principal.id):
        raise unknown()
    return await once(visit, lambda keep: approvals.act(visit.house, visit.principal, id_, visit.raw, keep), submitted)


async def listed(visit: Visit) -> Response:
    await visit.hold("intent.list")
    return await page(visit, "intents", brief, states=STATES)


async def show(visit: Visit) -> Response:
    return wire.reply(await whole(visit, await held(visit, "intent.show")))


async def cancel(visit: Visit) -> Response:
    said = wire.read(Because, visit.raw)
    row = await held(visit, "intent.cancel")
    await gateway.cancel(visit.house, row.id, visit.word(said.reason))
    return wire.reply(await whole(visit, gateway.held(visit.house.store.row("intents", row.id))))


async def chain(visit: Visit) -> Response:
    row = await held(visit, "chain.show")
    return wire.reply(await audit.chain(visit.house, row.id))


async def waiting(visit: Visit) -> Response:
    """What waits for the caller's word: their roles are wanted, and they have not spoken in this round.

    Whether their word would count is Rego's to say when they give it.
    """
    if wire.query(visit.request, ("limit", "cursor", "state")).get("state", "pending") != "pending":
        raise Malformed("input.query", "state is pending", pointer="/state")
    await visit.hold("approval.list")
    person = visit.house.store.row("operators", visit.principal.id) if visit.principal.type == "operator" else None
    roles = set(person.data["roles"]) if person else None
    return await page(
        visit,
        "intents",
        lambda row: whole(visit, row),
        states=("pending",),
        state="waiting",
        wanted=lambda row: roles is None or _wants(visit, row, roles),
    )


def _wants(visit: Visit, row: Row, roles: set[str]) -> bool:
    now = visit.house.now()
    spoke = any(a["operator"] == visit.principal.id and a["expires_at"] > now for a in row.data["approvals"])
    return not spoke and any(roles.intersection(wanted["roles"]) for wanted in row.data["standing"]["wanted"])


SUBMITTED: Final = "Submitted"
ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/intents",
        submit,
        "Ask to do one exact thing",
        answers=((201, SUBMITTED),),
        body=("Proposal",),
        headers=("Idempotency-Key",),
    ),
    Endpoint("GET", "/v1/intents", listed, "List intents", ((200, "Page"),), query=("state", "limit", "cursor")),
    Endpoint(
        "GET", "/v1/intents/{id}", show, "Show an intent, its decision, approvals and warrant", ((200, "Intent+"),)
    ),
    Endpoint("GET", "/v1/intents/{id}/chain", chain, "Every step, with its proof", ((200, "Chain"),)),
    Endpoint(
        "POST",
        "/v1/intents/{id}/cancel",
        cancel,
        "End a waiting intent",
        ((200, "Intent+"),),
        body=("Because",),
        empty=True,
    ),
    Endpoint(
        "POST",
        "/v1/intents/{id}/approvals",
        approve,
        "Say yes or no to one exact decision, signed",
        answers=((201, SUBMITTED),),
        body=("Approval",),
        headers=("Idempotency-Key",),
    ),
    Endpoint(
        "GET",
        "/v1/approvals",
        waiting,
        "What waits for the caller",
        ((200, "Page"),),
        query=("state", "limit", "cursor"),
    ),
)
