"""Access: who may see or do what, on every route that has no document of its own."""

from __future__ import annotations

from magistrate.core import question
from magistrate.core.errors import NoAnswer, Refused
from magistrate.engine import facts
from magistrate.engine.installation import Asked, Installation, Principal

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
    asked = await _ask(house, verb, actor, asking)
    if asked is not None and not asked.answer["allowed"]:
        reason = asked.answer["reason"]
        raise Refused(reason["code"] or "access.refused", reason["title"] or "you may not", reasons=[reason])
    return asked


async def _ask(house: Installation, verb: str, actor: dict[str, object], asking: dict[str, object]) -> Asked | None:
    try:
        return await house.ask("access", asking, bundle=house.active())
    except NoAnswer:
        if verb in NARROWING and actor["type"] == "operator" and actor["state"] == "active":
            return None
        raise
