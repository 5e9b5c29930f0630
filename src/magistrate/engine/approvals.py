"""Approvals: an operator's signed word on one exact decision, and what the decision becomes by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magistrate.core import approval as approvals
from magistrate.core import canonical, question
from magistrate.core.errors import Conflict, MagistrateError, NoAnswer, Refused
from magistrate.core.signature import admit
from magistrate.core.values import parse, unix
from magistrate.engine import facts
from magistrate.engine.authority import Ruling
from magistrate.engine.gateway import Submitted, decision_view, held, refuse
from magistrate.engine.installation import Asked, Installation, Keep, Principal, Seen
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

DENIAL = ("intents", "installation/active")
ROUNDS = 5  # contracts section 2: after five rounds the intent is denied


async def act(
    house: Installation, principal: Principal, intent_id: str, raw: bytes, keep: Keep | None = None
) -> Submitted:
    """Take an operator's statement; two questions (may this person; what now), one commit.

    Raises:
        Malformed, Forged: the statement or its signature does not stand.
        Absent: no such intent.
        Conflict: it is decided already, or the round is over.
        Refused: policy says this person may not say this; the reasons say why.
        Unavailable: no answer; the intent keeps waiting and the same statement may be sent again.
    """
    given = parse(approvals.Approval, canonical.canonical(canonical.load(raw)), code="approval.shape")
    row = held(house.store.row("intents", intent_id))
    counters = house.bundle(house.active()).data.get("counters", {})
    turns = facts.turns(counters, row.data["intent"])
    async with house.turn(f"intents/{intent_id}", *turns):
        return await house.again(lambda: _act(house, principal, intent_id, given, keep))


async def _act(
    house: Installation, principal: Principal, intent_id: str, given: approvals.Approval, keep: Keep | None
) -> Submitted:
    # gather
    seen, now = Seen(house.store), house.now()
    row = held(seen.row("intents", intent_id))
    statement, plain = approvals.read(given)
    _hold_standing(house, seen, principal, row, given, statement, now)
    if statement.verdict == "approve":
        house.hold_issuing()
        active = seen.row("installation", "active")
        assert active is not None  # noqa: S101 - hold_issuing has seen it
        facts.hold_newer(seen, active, row.data["subject"])
    asker = Asker(house, seen, row, now)
    heard = [*_standing(seen, row, statement.operator), _heard(house, given, statement)]
    try:
        asked, new_round = await asker.all(principal, plain, heard)
    except NoAnswer as silence:
        if statement.verdict == "deny":
            return await _deny_unasked(house, seen, row, given, statement.operator, keep)
        await _put_refusal(house, row, silence, ())
        raise
    # decide
    if not asked[0].answer["may"]:
        await _put_refusal(house, row, no := _refusal(asked[0]), (asked[0],))
        raise no
    counted = [] if new_round else [a for a in heard if a["expires_at"] > now]  # Rego has dropped the others as well
    ruling = asker.ruling(asked, counted, new_round=new_round)
    if new_round:
        _hold_new_round(ruling, statement)
    if statement.verdict == "approve":
        house.hold_issuing()

    # commit
    def write(txn: Txn) -> Submitted:
        said = _append(txn, row, given)
        decided = ruling.record(txn, parents=[row.data["decision_leaf"], said])
        warrant = None
        if ruling.outcome == "allow":
            proof = asker.holder_key()
            warrant = ruling.issue(txn, decided, approvals=counted, proof=proof, approval_leaves=[said])
        answer = Submitted(row.data["intent"], decision_view(ruling), warrant)
        if keep:
            keep(txn, intent_id, answer.plain())
        return answer

    # a denial only narrows: nothing but the intent itself can keep it from being taken, and a bundle that came into
    # force meanwhile, under which it is asked again
    return await house.commit(write, seen.only(DENIAL) if statement.verdict == "deny" else seen)


def _standing(seen: Seen, row: Row, speaker: str) -> list[dict[str, Any]]:
    """What others have said in this round and still stands: of operators active now, with the roles they hold now."""
    standing = []
    for said in row.data["approvals"]:
        person = seen.row("operators", said["operator"])
        if said["operator"] != speaker and person is not None and person.state == "active":
            standing.append({**said, "roles": person.data["roles"]})
    return standing


def _hold_new_round(ruling: Ruling, statement: approvals.Statement) -> None:
    """A denial is final, whatever the terms are now."""
    if statement.verdict == "deny":
        ruling.deny("approval.denied", statement.reason)
    else:
        hold_rounds(ruling)


def hold_rounds(ruling: Ruling) -> None:
    """Rounds do not go on for ever: the one after the last is a denial."""
    if ruling.round > ROUNDS:
        ruling.deny("rounds.exhausted", "the terms changed in five rounds")


def _refusal(may: Asked) -> Refused:
    reasons = may.answer["reasons"]
    code = reasons[0]["code"] if reasons else "approval.refused"
    return Refused(code, "policy does not let you say this", reasons=reasons)


async def _put_refusal(house: Installation, row: Row, no: MagistrateError, asked: tuple[Asked, ...]) -> None:
    parents = [row.data["decision_leaf"]]
    await house.commit(lambda txn: refuse(txn, row.id, "approval", no, parents=parents, asked=asked))


def _append(txn: Txn, row: Row, given: approvals.Approval) -> str:
    entry = txn.append(
        kind="approval",
        subject=row.id,
        state="waiting",
        parents=[row.data["decision_leaf"]],
        body=given.plain(),
        body_type="magistrate/approval-record/v1",
        chain=row.id,
    )
    return entry.leaf_digest


async def _deny_unasked(
    house: Installation, seen: Seen, row: Row, given: approvals.Approval, operator: str, keep: Keep | None
) -> Submitted:
    """A denial by an enrolled operator only narrows: it is never refused because OPA is down."""

    standing = {**row.data["standing"], "outcome": "deny", "wanted": []}
    view = {
        "round": row.data["round"],
        "bundle": row.data["bundle"],
        "decision_digest": row.data["decision_digest"],
        "intent_digest": row.data["intent_digest"],
        "terms": row.data["terms"],
        "standing": standing,
    }
    answer = Submitted(row.data["intent"], view, None)

    def write(txn: Txn) -> Submitted:
        said = _append(txn, row, given)
        no = Refused("approval.denied", f"denied by {operator}")
        refuse(txn, row.id, "approval", no, parents=[said], state="denied")
        if keep:
            keep(txn, row.id, answer.plain())
        return answer

    return await house.commit(write, seen)


def _heard(house: Installation, given: approvals.Approval, statement: approvals.Statement) -> dict[str, Any]:
    person = house.store.row("operators", statement.operator)
    return {
        "operator": statement.operator,
        "roles": person.data["roles"] if person else [],
        "verdict": statement.verdict,
        "reason": statement.reason,
        "narrowing": statement.narrowing.given(),
        "at": unix(statement.at),
        "expires_at": unix(statement.expires_at),
        "proof": given.proof.kind,
        "digest": canonical.digest_of(given.plain()),
    }


def _hold_standing(
    house: Installation,
    seen: Seen,
    principal: Principal,
    row: Row,
    given: approvals.Approval,
    statement: approvals.Statement,
    now: int,
) -> None:
    """Before anyone is asked: 1. it waits, and not too long, 2. the caller is the signer, 3. the signer's own key
    signed exactly these bytes, 4. they are about this decision, made now."""
    if row.state != "waiting":
        raise Conflict("intent.state", f"the intent is {row.state}: nothing waits for approval")
    if row.due <= house.clock.exact():  # whoever notices it first
        raise Conflict("intent.expired", "the intent has waited too long", hint="magistrate intent submit FILE")
    if principal.type != "operator" or statement.operator != principal.id:
        raise Refused("approval.not_yours", "the statement is not the caller's own", pointer="/statement")
    person = seen.row("operators", statement.operator)
    if person is None or person.state != "active":
        raise Refused("approval.not_yours", "no active operator by that name is enrolled")
    approvals.verify(given, admit(bytes.fromhex(person.data["public_key"])))
    approvals.hold_current(
        statement,
        origin=house.origin,
        intent_id=row.id,
        intent_digest=row.data["intent_digest"],
        decision_digest=row.data["decision_digest"],
        round_=row.data["round"],
        now=now,
    )


class Asker:
    """The questions about a waiting intent under the bundle in force, over one set of seen facts."""

    def __init__(self, house: Installation, seen: Seen, row: Row, now: int) -> None:
        self._house, self._seen, self._row, self._now = house, seen, row, now
        gate, active = seen.row("installation", "gate"), seen.row("installation", "active")
        assert gate is not None  # noqa: S101 - a waiting intent exists only after genesis
        assert active is not None  # noqa: S101
        self.bundle = str(active.data["bundle"])
        self._author = facts.author(seen, active, row.data["subject"])
        self._people = facts.installation(house, seen)
        proposer = row.data["intent"]["proposer"]
        self._proposer = facts.actor(house, seen, proposer["type"], proposer["id"], self._credential(proposer))

    def hold_bundle(self) -> None:
        """Return if the intent was last asked about under the bundle in force.

        Raises:
            Conflict: `approval.round_over`: nobody approves what another bundle decided.
        """
        if self.bundle != self._row.data["bundle"]:
            raise Conflict("approval.round_over", "another bundle is active: the intent is asked again first")

    def _credential(self, proposer: Mapping[str, str]) -> str:
        return "ed25519" if proposer["type"] == "operator" else "api-key"

    def holder_key(self) -> str:
        """The key a key-bound proposer will use the warrant with; "" where it holds an API key."""
        proposer = self._row.data["intent"]["proposer"]
        if proposer["type"] != "operator":
            return ""
        row = self._seen.row("operators", proposer["id"])
        return str(row.data["key_id"]) if row else ""

    async def all(
        self, principal: Principal, statement: dict[str, Any], heard: list[dict[str, Any]]
    ) -> tuple[list[Asked], bool]:
        """May this person, and what now; with the first question of a new round where the terms are others now."""
        row = self._row
        if statement["verdict"] == "approve":
            self.hold_bundle()
        asked = [await self.may(principal, statement)]
        if not asked[0].answer["may"]:
            return asked, False
        asked.append(await self.now(heard, round_=row.data["round"], began=row.data["round_began"]))
        if asked[1].answer["terms"] == row.data["terms"]:
            return asked, False
        asked.append(await self.now([], round_=row.data["round"] + 1, began=self._now))
        return asked, True

    async def may(self, principal: Principal, statement: dict[str, Any]) -> Asked:
        """May this person say this?"""
        row = self._row
        return await self._house.ask(
            "approval",
            question.approval(
                self._house.origin,
                self._now,
                intent=row.data["intent"],
                proposer=self._proposer,
                operator=facts.of_principal(self._house, self._seen, principal),
                statement=statement,
                terms=row.data["terms"],
                round_=row.data["round"],
                approvals=row.data["approvals"],
                subject=row.data["subject"],
                author=self._author,
                installation=self._people,
            ),
            bundle=self.bundle,
        )

    async def now(self, heard: list[dict[str, Any]], *, round_: int, began: int) -> Asked:
        """Where does the intent stand now?"""
        row = self._row
        counters = self._house.bundle(self.bundle).data.get("counters", {})
        used, blind = await facts.used(self._house, self._seen, counters, row.data["intent"], self._now)
        return await self._house.ask(
            "decision",
            question.decision(
                self._house.origin,
                self._now,
                intent=row.data["intent"],
                proposer=self._proposer,
                round_=round_,
                round_began=began,
                approvals=heard,
                facts=used,
                counters_blind=blind,
                subject=row.data["subject"],
                author=self._author,
                installation=self._people,
            ),
            bundle=self.bundle,
        )

    def ruling(self, asked: list[Asked], heard: list[dict[str, Any]], *, new_round: bool) -> Ruling:
        """The answer, ready to be recorded: of this round, or of the next where the terms are no longer the same."""
        row = self._row
        return Ruling(
            self._house,
            asked,
            bundle=self.bundle,
            intent=row.data["intent"],
            intent_digest=row.data["intent_digest"],
            approvals=heard,
            operators=self._people["operators"],
            round_=row.data["round"] + new_round,
            round_began=self._now if new_round else row.data["round_began"],
        )
