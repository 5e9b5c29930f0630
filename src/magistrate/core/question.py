"""What OPA is asked: facts only, every field present (contract 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from magistrate.core.values import clock_facts

CONTRACT = 1
NOBODY = {"type": "", "id": ""}


def actor(
    *,
    type_: str,
    id_: str,
    state: str,
    roles: Iterable[str] = (),
    owner: str = "",
    credential: str = "none",
    open_intents: int = 0,
) -> dict[str, Any]:
    """The facts about one person or program."""
    return {
        "type": type_,
        "id": id_,
        "state": state,
        "roles": sorted(roles),
        "owner": owner,
        "credential": credential,
        "open_intents": open_intents,
    }


def _ask(origin: str, now: int, **facts: Any) -> dict[str, Any]:
    return {"contract": CONTRACT, "origin": origin, "now": clock_facts(now), **facts}


_APPROVAL_FACTS = ("operator", "roles", "verdict", "reason", "narrowing", "at", "expires_at", "proof", "digest")


def approval_facts(approvals: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The approvals of a round as Rego sees them."""
    return [{k: given[k] for k in _APPROVAL_FACTS} for given in approvals]


def decision(
    origin: str,
    now: int,
    *,
    intent: Mapping[str, Any],
    proposer: Mapping[str, Any],
    round_: int,
    round_began: int,
    approvals: Sequence[Mapping[str, Any]],
    facts: Mapping[str, int],
    counters_blind: Sequence[str],
    subject: Mapping[str, str],
    author: str,
    installation: Mapping[str, Any],
) -> dict[str, Any]:
    """Is this intent allowed, at what tier, and whose approval does it need?"""
    return _ask(
        origin,
        now,
        intent=intent,
        proposer=proposer,
        round=round_,
        round_began=round_began,
        approvals=approval_facts(approvals),
        facts=facts,
        counters_blind=list(counters_blind),
        subject=subject,
        author=author,
        installation=installation,
    )


def approval(
    origin: str,
    now: int,
    *,
    intent: Mapping[str, Any],
    proposer: Mapping[str, Any],
    operator: Mapping[str, Any],
    statement: Mapping[str, Any],
    terms: Mapping[str, Any],
    round_: int,
    approvals: Sequence[Mapping[str, Any]],
    subject: Mapping[str, str],
    author: str,
    installation: Mapping[str, Any],
) -> dict[str, Any]:
    """May this operator say this of that decision?"""
    return _ask(
        origin,
        now,
        intent=intent,
        proposer=proposer,
        operator=operator,
        statement=statement,
        terms=terms,
        round=round_,
        approvals=approval_facts(approvals),
        subject=subject,
        author=author,
        installation=installation,
    )


def admission(
    origin: str,
    now: int,
    *,
    intent: Mapping[str, Any],
    warrant: Mapping[str, Any],
    terms: Mapping[str, Any],
    issue: Mapping[str, Any],
    presenter: Mapping[str, Any],
    holder: Mapping[str, Any],
    uses_left: int,
    state: str,
    armed: bool,
    audience: str,
    call: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """May this warrant be used now, by this presenter, for this call?"""
    return _ask(
        origin,
        now,
        intent=intent,
        warrant=warrant,
        terms=terms,
        issue=issue,
        presenter=presenter,
        holder=holder,
        uses_left=uses_left,
        state=state,
        armed=armed,
        audience=audience,
        call=call,
        before=list(before),
    )


def verification(
    origin: str,
    now: int,
    *,
    intent: Mapping[str, Any],
    warrant: Mapping[str, Any],
    issue: Mapping[str, Any],
    execution: Mapping[str, Any],
    call: Mapping[str, Any],
    reports: Sequence[Mapping[str, Any]],
    observations: Sequence[Mapping[str, Any]],
    final: bool,
    previous: str,
) -> dict[str, Any]:
    """Was what was done what was warranted?"""
    return _ask(
        origin,
        now,
        intent=intent,
        warrant=warrant,
        issue=issue,
        execution=execution,
        call=call,
        reports=list(reports),
        observations=list(observations),
        final=final,
        previous=previous,
    )


def access(
    origin: str, now: int, *, principal: Mapping[str, Any], verb: str, relation: str, object_: Mapping[str, str]
) -> dict[str, Any]:
    """May this principal do or see this?"""
    return _ask(origin, now, principal=principal, verb=verb, relation=relation, object=object_)
