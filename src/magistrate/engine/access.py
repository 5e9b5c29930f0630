"""Access: who may see or do what, on every route that has no document of its own."""

from __future__ import annotations

from magistrate.core import question
from magistrate.core.errors import MagistrateError, NoAnswer, Refused
from magistrate.engine import facts
from magistrate.engine.gateway import refuse
from magistrate.engine.installation import Asked, Installation, Principal

ACTING = (
    "intent.cancel",
    "warrant.revoke",
    "execution.halt",
    "execution.reconcile",
    "agent.quarantine",
    "alert.ack",
    "bundle.accept",
    "bundle.take",
    "recovery.clock",
)
NARROWING = ("intent.cancel", "warrant.revoke", "execution.halt", "agent.quarantine")


async def hold(
    house: Installation,
    principal: Principal,
    verb: str,
    *,
    relation: str = "none",
    type_: str = "",
    id_: str = "",
) -> Asked | None:
    """Return what was asked if the caller may; None where a narrowing act goes ahead without an answer.

    Acts that only narrow, by an enrolled operator, are never refused because OPA is down (contracts section 4).

    Raises:
        Refused: the rule's own reason says why.
        NoAnswer: nobody could say.
    """
    actor = facts.of_principal(house, None, principal)
    asking = question.access(
        house.origin,
        house.now(),
        principal=actor,
        verb=verb,
        relation=relation,
        object_={"type": type_, "id": id_},
    )
    try:
        asked = await house.ask("access", asking, bundle=house.active())
    except NoAnswer as silence:
        if verb in NARROWING and actor["type"] == "operator" and actor["state"] == "active":
            return None
        await _put_refusal(house, verb, id_, silence, ())
        raise
    if not asked.answer["allowed"]:
        reason = asked.answer["reason"]
        no = Refused(reason["code"] or "access.refused", reason["title"] or "you may not", reasons=[reason])
        await _put_refusal(house, verb, id_, no, (asked,))
        raise no
    return asked


async def _put_refusal(house: Installation, verb: str, id_: str, no: MagistrateError, asked: tuple[Asked, ...]) -> None:
    """An access question is recorded with the act it refuses; one about reading is not."""
    if verb in ACTING:
        await house.commit(lambda txn: refuse(txn, id_, verb, no, parents=[], asked=asked))
