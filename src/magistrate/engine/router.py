"""The Execution Router: nothing runs without a valid warrant, and a use is consumed once.

Before anything runs, in this order; the first no stops:

1. a presented document is one our warrant key signed, and the one on record;
2. it is exactly what the recorded decision permits: scope, times, constraints;
3. OPA, by the bundle that decided: presenter, window, uses, call, standing of the agent, admission constraints;
4. one conditional commit consumes the use. After it the use is spent, whoever crashes.

What happens next runs beside the request: attempts, end, probes, report and verification, each on record.

Long, and one room on purpose: from the moment a warrant is presented to the last word about its use, whoever runs it.
"""

from __future__ import annotations

from typing import Any

from magistrate.core import canonical, question
from magistrate.core import execution as executions
from magistrate.core import warrant as warrants
from magistrate.core.errors import Absent, Broken, Conflict, MagistrateError, NoAnswer, Refused
from magistrate.core.signature import admit
from magistrate.core.values import moment, parse, unix
from magistrate.engine import activation, administration, facts, succession
from magistrate.engine.doing import Deed, probed_before
from magistrate.engine.gateway import refuse
from magistrate.engine.halting import halt, halt_of, halt_under, halting_on_record
from magistrate.engine.installation import Asked, Installation, Keep, Principal, Run, Seen, Word, new_id
from magistrate.engine.record import permission
from magistrate.engine.verification import (
    News,
    append_move,
    held,
    judge,
    move,
    observation_of,
    report_of,
    rollback_move,
)
from magistrate.executors import Outcome
from magistrate.store.rows import Row
from magistrate.store.txn import Txn


async def redeem(
    house: Installation, principal: Principal, presented: Any, call: Any, keep: Keep | None = None
) -> dict[str, Any]:
    """Use a warrant once; returns the execution, started (or done, where it is an act of our own).

    `presented` is a warrant id or a whole warrant document; `call` says what the presenter is about to do.

    Raises:
        Malformed, Forged: not a warrant of ours.
        Absent: no such warrant.
        Refused: the violations say why.
        Unavailable: no answer, disarmed, or facts that would not stand still; no use is consumed.
    """
    said = parse(executions.Call, canonical.canonical(call), code="call.shape").plain()
    warrant_id = _presented(house, principal, presented)
    house.hold_issuing()
    execution_id = new_id("exe")
    async with house.turn(f"warrants/{warrant_id}"):
        row = await house.again(lambda: _redeem(house, principal, warrant_id, said, execution_id, keep))
    deed = Deed(house, row.data["warrant"], execution_id)
    if deed.kind == "builtin":
        await hear(house, execution_id, News())
        succession.begin(house)  # what the act brings with it beyond its own commit
    elif row.data["warrant"]["audience"].endswith("/router"):
        run = house.running.setdefault(execution_id, Run())
        house.later(_carry(house, execution_id, row.data["warrant"], deed, run))
    return show(house, execution_id)


def show(house: Installation, execution_id: str) -> dict[str, Any]:
    """An execution as the API shows it."""
    return show_row(held(house.store.row("executions", execution_id)))


def show_row(row: Row) -> dict[str, Any]:
    """A row of executions as the API shows it."""
    return {"state": row.state, "holder": row.owner, **row.data}


def _presented(house: Installation, principal: Principal, presented: Any) -> str:
    """The id of the warrant presented: by its holder by name, or as a document that must be the very one on record."""
    if isinstance(presented, str):
        row = house.store.row("warrants", presented)
        if row is None or (principal.type != "operator" and row.owner != principal.id):
            raise Absent("warrant.unknown", "no such warrant", hint="magistrate warrant ls")
        return presented
    raw = canonical.canonical(presented)
    warrant, plain = warrants.authentic(raw, admit(house.keys.warrant.public))
    row = house.store.row("warrants", warrant.warrant_id)
    if row is None or row.data["warrant"] != plain:
        raise Broken("warrant.not_on_record", "this warrant is not on record here")
    return warrant.warrant_id


async def _redeem(
    house: Installation,
    principal: Principal,
    warrant_id: str,
    call: dict[str, Any],
    execution_id: str,
    keep: Keep | None,
) -> Row:
    # gather
    seen, now = Seen(house.store), house.now()
    row = seen.row("warrants", warrant_id)
    if row is None:
        raise Absent("warrant.unknown", "no such warrant", hint="magistrate warrant ls")
    activation.hold_living(seen, row)
    known = permission(house, row)
    warrant, intent = known.warrant, known.intent
    deed = Deed(house, warrant, execution_id)
    before = await deed.probe("before") if row.state == "live" and principal.id == row.owner else ()
    gate = seen.row("installation", "gate")
    holder = warrant["holder"]
    asking = question.admission(
        house.origin,
        now,
        intent=intent,
        warrant=warrant,
        terms=known.terms,
        issue=known.issue,
        presenter=facts.of_principal(house, None, principal),
        holder=facts.actor(house, seen, holder["type"], holder["id"], principal.credential),
        uses_left=row.data["uses_left"],
        state=row.state,
        armed=gate is not None and gate.state == "armed",
        audience=warrant["audience"].rsplit("/", 1)[-1],
        call=call,
        before=before,
    )
    try:
        asked = await house.ask("admission", asking, bundle=warrant["policy"]["bundle"])
    except NoAnswer as silence:
        await _put_refusal(house, row, silence, asking, ())
        raise
    # decide
    no = _not_admitted(asked, principal, row)
    if no is not None:
        await _put_refusal(house, row, no, {}, (asked,))
        raise no
    act = await administration.prepared(house, intent) if deed.kind == "builtin" else None
    house.hold_issuing()

    # commit: after this the use is consumed, whoever crashes
    def write(txn: Txn) -> Row:
        if not unix(warrant["issued_at"]) <= txn.at < unix(warrant["expires_at"]):
            raise Refused("warrant.expired", "the warrant's window closed while it was being admitted")
        _admit(txn, row, asked, principal, before, execution_id)
        if act is not None:
            _do_builtin(house, txn, act, intent, execution_id)
        if keep:
            keep(txn, execution_id, show_row(held(txn.row("executions", execution_id))))
        return row

    return await house.commit(write, seen)


async def _put_refusal(
    house: Installation, row: Row, no: MagistrateError, asking: dict[str, Any], asked: tuple[Asked, ...]
) -> None:
    parents, chain = [row.data["leaf"]], row.data["intent_id"]
    await house.commit(
        lambda txn: refuse(txn, row.id, "admission", no, parents=parents, chain=chain, question_=asking, asked=asked)
    )


def _not_admitted(asked: Asked, principal: Principal, row: Row) -> Refused | None:
    """Why not: OPA does not admit, or the presenter is not the holder; in Rego, and here again (section 5)."""
    if not asked.answer["admit"]:
        violations = asked.answer["violations"]
        code = violations[0]["code"] if violations else "admission.refused"
        return Refused(code, "the warrant does not admit this", reasons=violations)
    holder = row.data["warrant"]["holder"]
    keyed = holder["proof"] == "key" and holder["jkt"] != principal.key_id
    if (principal.type, principal.id) != (holder["type"], holder["id"]) or keyed:
        return Refused("redeem.not_holder", "the warrant is held by another")
    return None


def _admit(
    txn: Txn, row: Row, asked: Asked, principal: Principal, before: tuple[dict[str, Any], ...], execution_id: str
) -> None:
    warrant = row.data["warrant"]
    use = warrant["uses"] - row.data["uses_left"] + 1
    entry = txn.append(
        kind="admission",
        subject=execution_id,
        state="started",
        parents=[row.data["leaf"]],
        body={
            "warrant_id": row.id,
            "use": use,
            "audience": asked.question["audience"],
            "presenter": {"type": principal.type, "id": principal.id, "credential": principal.credential},
            "before": list(before),
            "asked": [asked.record()],
        },
        body_type="magistrate/admission-record/v1",
        chain=row.data["intent_id"],
    )
    if use == warrant["uses"]:
        txn.append(
            kind="lifecycle",
            subject=row.id,
            state="spent",
            parents=[entry.leaf_digest],
            body={"object": "warrant", "event": "spent", "because": execution_id},
            body_type="magistrate/lifecycle/v1",
            chain=row.data["intent_id"],
        )


def _do_builtin(
    house: Installation, txn: Txn, act: administration.Act, intent: dict[str, Any], execution_id: str
) -> None:
    """Admission, effect, report and end of an act of our own are one transaction."""
    row = held(txn.row("executions", execution_id))
    done = administration.carry_out(house, txn, act, intent, row.data["leaf"])
    claim = executions.ReportClaim.model_validate({"outcome": "succeeded", "facts": done})
    txn.append(
        kind="report",
        subject=execution_id,
        state="",
        parents=[row.data["leaf"]],
        body=report_of(execution_id, "executor", txn.at, claim),
        body_type="magistrate/report/v1",
        chain=intent["intent_id"],
    )
    attempt = {"n": 1, "started_at": moment(txn.at), "ended_at": moment(txn.at), "outcome": "succeeded"}
    row = held(txn.row("executions", execution_id))
    append_move(txn, row, move("succeeded", txn.at, attempts=[attempt], settle="commit"))


async def hear(house: Installation, execution_id: str, news: News) -> dict[str, Any] | None:
    """Record news of an execution, judge it, and do what the verdict brings about."""
    verdict, acts = await judge(house, execution_id, news)
    row = held(house.store.row("executions", execution_id))
    if "halt" in acts and row.state == "started":
        await halt(house, execution_id, "deviation")
    if "revoke" in acts:
        await halt_under(house, row.data["warrant_id"], "revoked")
    if "quarantine" in acts:
        await halt_of(house, row.owner, "quarantined")
    if "rollback" in acts:
        await roll_back(house, execution_id)
    return verdict


async def _carry(house: Installation, execution_id: str, warrant: dict[str, Any], deed: Deed, run: Run) -> None:
    """Do it, attempt after proven failure after attempt, until it ends, is stopped, or the warrant expires."""
    attempts: list[dict[str, Any]] = []
    outcome: Outcome | None = None
    tries = 1 + int(warrant["constraints"].get("max_retries", 0))
    began = house.clock.exact()
    try:
        for n in range(1, tries + 1):
            started = house.now()
            left = _left(house, warrant, began)
            outcome = await run.do(deed.attempt(n, left), left)
            result = outcome.outcome if outcome else "halted"
            attempts.append({"n": n, "started_at": moment(started), "ended_at": moment(house.now()), "outcome": result})
            if result != "failed":
                break
        if outcome is None or run.because:
            await _halted(house, execution_id, deed, run, attempts)
        else:
            await _end(house, execution_id, deed, outcome, attempts)
    finally:
        house.running.pop(execution_id, None)


def _left(house: Installation, warrant: dict[str, Any], started: float) -> float:
    """Seconds until the warrant ends, or the execution has lasted as long as it may."""
    longest = warrant["constraints"].get("max_duration_seconds")
    ends = float(unix(warrant["expires_at"]))
    return (ends if longest is None else min(ends, started + longest)) - house.clock.exact()


async def _halted(house: Installation, execution_id: str, deed: Deed, run: Run, attempts: list[dict[str, Any]]) -> None:
    """What ran is gone: tell the target, put it on record, look at what it left, and judge."""
    await halting_on_record(house, execution_id, run.because, run.word)
    told = await deed.halt()
    because = run.because
    facts_ = {"halt": told.outcome, "because": because} if told else {"because": because}
    claim = executions.ReportClaim.model_validate({"outcome": "halted", "facts": facts_})
    now = house.now()
    await hear(
        house,
        execution_id,
        News(
            reports=(report_of(execution_id, "executor", now, claim),),
            observations=await deed.probe("after"),
            unseen=tuple(deed.unseen),
            moves=(move("halted", now, because=because, attempts=attempts, settle="commit"),),
        ),
    )


async def _end(
    house: Installation, execution_id: str, deed: Deed, outcome: Outcome, attempts: list[dict[str, Any]]
) -> None:
    now = house.now()
    claim = executions.ReportClaim.model_validate({"outcome": outcome.outcome, "facts": outcome.facts})
    settle = "release" if outcome.outcome == "failed" else "commit"
    await hear(
        house,
        execution_id,
        News(
            reports=(report_of(execution_id, "executor", now, claim),),
            observations=await deed.probe("after"),
            unseen=tuple(deed.unseen),
            moves=(move(outcome.outcome, now, attempts=attempts, settle=settle),),
        ),
    )


async def roll_back(house: Installation, execution_id: str) -> None:
    """Put back what was, by the row's own template, inside the same execution and its `rollback_seconds`."""
    row = held(house.store.row("executions", execution_id))
    warrant_row = house.store.row("warrants", row.data["warrant_id"])
    decided = house.store.row("intents", row.data["intent_id"])
    if warrant_row is None or decided is None or row.data["rollback"] != "none":
        return
    deed = Deed(house, warrant_row.data["warrant"], execution_id)
    if "rollback" not in deed.row:
        return
    begin = rollback_move("running", house.now(), because="deviation")
    await house.commit(lambda txn: append_move(txn, row, begin))
    seconds = float(decided.data["standing"]["issue"]["rollback_seconds"])
    try:
        outcome = await deed.roll_back(probed_before(row), seconds)
        ended = {"succeeded": "done", "failed": "failed"}.get(outcome.outcome, "unknown")
    except MagistrateError as fault:
        ended, outcome = "failed", Outcome("failed", {"error": fault.code})
    over = rollback_move(ended, house.now(), because=outcome.outcome)
    await hear(house, execution_id, News(observations=await deed.probe("after"), moves=(over,)))


async def report(house: Installation, execution_id: str, raw: bytes, keep: Keep | None = None) -> dict[str, Any] | None:
    """What the holder says of its own execution; the source is set from the credential.

    Raises:
        Conflict: we run it ourselves, or it has ended.
    """
    row = held(house.store.row("executions", execution_id))
    if row.data["audience"] != "holder":
        raise Conflict("execution.router_run", "this execution is run and reported by the router")
    claim = parse(executions.ReportClaim, canonical.canonical(canonical.load(raw)))
    warrant_row = house.store.row("warrants", row.data["warrant_id"])
    assert warrant_row is not None  # noqa: S101 - admitted from it
    now = house.now()
    if row.state not in ("started", "halting"):
        raise Conflict("execution.ended", f"the execution is {row.state}: no further report is taken")
    attempt = {"n": 1, "started_at": moment(row.data["started"]), "ended_at": moment(now), "outcome": claim.outcome}
    moves = [move(claim.outcome, now, attempts=[attempt], settle="commit")]
    if claim.outcome == "halted" and row.state == "started":
        moves.insert(0, move("halting", now, because="holder"))
    deed = Deed(house, warrant_row.data["warrant"], execution_id)
    return await hear(
        house,
        execution_id,
        News(
            reports=(report_of(execution_id, "holder", now, claim),),
            observations=await deed.probe("after"),
            moves=tuple(moves),
            keep=keep,
        ),
    )


async def heartbeat(house: Installation, execution_id: str) -> dict[str, str]:
    """Liveness only: whether to go on, or to halt and why. Nothing it says betters a verdict."""
    row = held(house.store.row("executions", execution_id))
    because = _stop(house, row)
    if because:
        return {"verdict": "halt", "because": because}
    house.beats[execution_id] = house.clock.exact()
    return {"verdict": "continue"}


def _stop(house: Installation, row: Row) -> str:
    """Why a holder-run execution must stop now; "" while it may go on."""
    warrant = house.store.row("warrants", row.data["warrant_id"])
    agent = house.store.row("agents", row.owner)
    if row.state != "started":
        return str(row.data["halted_because"]) if row.state == "halting" else row.state
    if warrant is None or warrant.state in ("revoked", "expired"):
        return warrant.state if warrant else "unknown"
    if _left(house, warrant.data["warrant"], row.data["started"]) <= 0:
        return "expired"
    return agent.state if agent is not None and agent.state != "active" else ""


async def reconcile(house: Installation, execution_id: str, word: Word) -> None:
    """An operator's recorded act: what an unknown outcome turned out to be.

    Raises:
        Conflict: the outcome is known.
    """

    async def step() -> None:
        seen = Seen(house.store)
        row = held(seen.row("executions", execution_id))
        if row.state != "unknown":
            raise Conflict("execution.state", f"the execution is {row.state}: there is nothing to reconcile")
        said = move("reconciled", house.now(), because=word.reason, **word.plain())
        await house.commit(lambda txn: append_move(txn, row, said), seen)

    await house.again(step)


async def observe(
    house: Installation, principal: Principal, execution_id: str, raw: bytes, keep: Keep | None = None
) -> dict[str, Any] | None:
    """What an observer saw, while the warrant it watches admits it as evidence.

    Raises:
        Absent: no such execution, or not one that this observer watches.
    """
    row = held(house.store.row("executions", execution_id))
    warrant = house.store.row("warrants", row.data["warrant_id"])
    source = f"observer/{principal.id}"
    if principal.type != "observer" or warrant is None or source not in warrant.data["warrant"]["evidence"]:
        raise Absent("execution.unknown", "no such execution", hint="magistrate execution ls")
    claim = parse(executions.ObservationClaim, canonical.canonical(canonical.load(raw)))
    seen = observation_of(execution_id, source, house.now(), claim)
    return await hear(house, execution_id, News(observations=(seen,), keep=keep))
