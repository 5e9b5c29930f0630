"""The Intent Gateway: an intent comes in, OPA decides, and intent, decision and warrant are one commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from magistrate.core import administration, canonical, question
from magistrate.core import intent as intents
from magistrate.core.errors import Absent, Conflict, NoAnswer, Refused
from magistrate.core.lifecycle import advance
from magistrate.core.values import moment, parse
from magistrate.engine import facts
from magistrate.engine.authority import Ruling
from magistrate.engine.installation import Asked, Installation, Keep, Principal, Seen, Word, new_id
from magistrate.store.rows import Row
from magistrate.store.txn import Txn


@dataclass(frozen=True)
class Submitted:
    """What a proposer gets: the intent on record, its decision, and the warrant if policy gave one at once."""

    intent: dict[str, Any]
    decision: dict[str, Any]
    warrant: dict[str, Any] | None

    def plain(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"intent": self.intent, "decision": self.decision, "warrant": self.warrant}


async def submit(house: Installation, principal: Principal, raw: bytes, keep: Keep | None = None) -> Submitted:
    """Put an intent on record with its decision; T0 is one question and one commit.

    Raises:
        Malformed: the body is not a proposal.
        Unavailable: disarmed, no answer, or facts that would not stand still; nothing is permitted.
    """
    proposal = parse(intents.Proposal, canonical.canonical(canonical.load(raw)))
    if principal.type not in ("agent", "operator"):
        raise Refused("intent.proposer", f"an {principal.type} proposes nothing")
    house.hold_issuing()
    counters = house.bundle(house.active()).data.get("counters", {})
    named = {"action": proposal.action, "target": proposal.target, "proposer": {"id": principal.id}}
    async with house.turn(*facts.turns(counters, named)):
        return await house.again(lambda: _submit(house, principal, proposal, keep))


async def _submit(
    house: Installation, principal: Principal, proposal: intents.Proposal, keep: Keep | None
) -> Submitted:
    # gather
    seen, now = Seen(house.store), house.now()
    seen.row("installation", "gate")
    active = seen.row("installation", "active")
    assert active is not None  # noqa: S101 - hold_issuing has seen it
    bundle = house.bundle(active.data["bundle"])
    intent = intents.compose(
        proposal,
        intent_id=new_id("int"),
        origin=house.origin,
        proposer=intents.Proposer.model_validate({"type": principal.type, "id": principal.id}),
        received_at=moment(now),
        nonce=new_id("non"),
    )
    subject = administration.subject_of(intent["action"], intent["parameters"])
    facts.hold_newer(seen, active, subject)
    people = facts.installation(house, seen)
    used, blind = await facts.used(house, seen, bundle.data.get("counters", {}), intent, now)
    asking = question.decision(
        house.origin,
        now,
        intent=intent,
        proposer=facts.of_principal(house, seen, principal),
        round_=1,
        round_began=now,
        approvals=(),
        facts=used,
        counters_blind=blind,
        subject=subject,
        author=facts.author(seen, active, subject),
        installation=people,
    )
    try:
        asked = await house.ask("decision", asking, bundle=bundle.digest)
    except NoAnswer as no:
        silence = no
        await house.commit(lambda txn: _record_silence(txn, intent, subject, silence, asking))
        raise
    # decide
    ruling = Ruling(
        house,
        [asked],
        bundle=bundle.digest,
        intent=intent,
        intent_digest=canonical.digest_of(intent),
        approvals=(),
        operators=people["operators"],
        round_=1,
        round_began=now,
    )
    house.hold_issuing()

    # commit
    def write(txn: Txn) -> Submitted:
        entered = _enter(txn, intent, subject, ruling.intent_digest)
        decided = ruling.record(txn, parents=[entered])
        warrant = None
        if ruling.outcome == "allow":
            warrant = ruling.issue(txn, decided, approvals=(), proof=principal.key_id)
        answer = Submitted(intent, decision_view(ruling), warrant)
        if keep:
            keep(txn, intent["intent_id"], answer.plain())
        return answer

    return await house.commit(write, seen)


def decision_view(ruling: Ruling) -> dict[str, Any]:
    """A decision as the API shows it."""
    return {
        "round": ruling.round,
        "bundle": ruling.bundle,
        "decision_digest": ruling.digest,
        "intent_digest": ruling.intent_digest,
        "terms": ruling.terms,
        "standing": ruling.standing,
    }


def _enter(txn: Txn, intent: dict[str, Any], subject: dict[str, str], digest: str) -> str:
    entry = txn.append(
        kind="intent",
        subject=intent["intent_id"],
        state="proposed",
        parents=(),
        body={
            "intent": intent,
            "intent_digest": digest,
            "action_digest": intents.action_digest(intent),
            "subject": subject,
            "administration": intent["action"] in administration.ACTS,
        },
        body_type="magistrate/intent-record/v1",
        chain=intent["intent_id"],
    )
    return entry.leaf_digest


def _record_silence(
    txn: Txn,
    intent: dict[str, Any],
    subject: dict[str, str],
    silence: NoAnswer,
    asking: dict[str, Any],
) -> None:
    """No answer from OPA is a refusal entry, and at an intent the intent ends denied with that code."""
    entered = _enter(txn, intent, subject, canonical.digest_of(intent))
    refuse(txn, intent["intent_id"], "intent", silence, parents=[entered], state="denied", question_=asking)


def refuse(
    txn: Txn,
    subject: str,
    step: str,
    no: Any,
    *,
    parents: list[str],
    chain: str = "",
    state: str = "",
    question_: dict[str, Any] | None = None,
    asked: tuple[Asked, ...] = (),
) -> None:
    """Append a refusal: which step said no, why, and what was asked."""
    txn.append(
        kind="refusal",
        subject=subject,
        state=state,
        parents=parents,
        body={
            "step": step,
            "code": no.code,
            "detail": no.detail,
            "reasons": [dict(r) for r in getattr(no, "reasons", ())],
            "question": question_ or {},
            "asked": [a.record() for a in asked],
        },
        body_type="magistrate/refusal/v1",
        chain=chain or subject,
    )


async def cancel(house: Installation, intent_id: str, word: Word) -> None:
    """End a waiting intent at its proposer's or an operator's wish.

    Raises:
        Absent: no such intent.
        Conflict: it no longer waits.
    """
    async with house.turn(f"intents/{intent_id}"):
        await house.again(lambda: _end(house, intent_id, "cancelled", word.reason, word))


async def _end(house: Installation, intent_id: str, state: str, because: str, word: Word | None = None) -> None:
    seen = Seen(house.store)
    row = held(seen.row("intents", intent_id))
    advance("intent", row.state, state)
    await house.commit(
        lambda txn: txn.append(
            kind="lifecycle",
            subject=intent_id,
            state=state,
            parents=[row.data["decision_leaf"]],
            body={"object": "intent", "event": state, "because": because, **(word.plain() if word else {})},
            body_type="magistrate/lifecycle/v1",
            chain=intent_id,
        ),
        seen,
    )


async def expire(house: Installation, intent_id: str) -> None:
    """End an intent whose waiting time is over; nothing if something else ended it first."""
    try:
        async with house.turn(f"intents/{intent_id}"):
            await house.again(lambda: _end(house, intent_id, "expired", "waited too long"))
    except Conflict:
        return


def held(row: Row | None) -> Row:
    """The row, or Absent."""
    if row is None:
        raise Absent("intent.unknown", "no such intent", hint="magistrate intent ls")
    return row
