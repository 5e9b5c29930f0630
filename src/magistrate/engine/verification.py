"""The Verification Engine: what was really done, held against the warrant by the bundle that decided it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from magistrate.core import canonical, question
from magistrate.core.errors import Absent, Conflict, Malformed, NoAnswer
from magistrate.core.execution import Observation, ObservationClaim, Report, ReportClaim
from magistrate.core.intent import scope_of
from magistrate.core.lifecycle import ended
from magistrate.core.values import Document, moment, unix
from magistrate.core.verification import at_best, quoted, verification_document
from magistrate.engine import alerts, containment, evidence
from magistrate.engine.installation import Asked, Installation, Keep, Seen, new_id
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

MAX_OBSERVATIONS = 64  # of one execution, probes included
MAX_OBSERVED = 256 * 1024  # bytes of them: question and entry stay far below 1 MiB
EXECUTION_FACTS = (
    "execution_id",
    "warrant_id",
    "use",
    "started",
    "ended",
    "attempts",
    "missed_heartbeats",
    "halted_because",
    "rollback",
)


@dataclass(frozen=True)
class News:
    """What became known of an execution, to be recorded and judged in one commit."""

    reports: tuple[dict[str, Any], ...] = ()
    observations: tuple[dict[str, Any], ...] = ()
    moves: tuple[dict[str, Any], ...] = ()  # lifecycle bodies, each with its `state`
    final: bool = False
    unseen: tuple[dict[str, Any], ...] = ()  # what probes saw and could not bring: too large for an entry
    keep: Keep | None = None  # keeps the verdict for whoever brought the news, in the same commit


@dataclass
class _Case:
    """An execution with the news in it, as Rego is asked about it."""

    row: Row
    warrant: dict[str, Any]
    intent: dict[str, Any]
    issue: dict[str, Any]
    news: News
    data: dict[str, Any] = field(default_factory=dict)
    state: str = ""

    @property
    def judged(self) -> dict[str, int]:
        """How many reports and observations there were when a verdict was last given."""
        known = self.row.data["verdict"] != "pending"
        return {kind: len(self.row.data[kind]) for kind in ("reports", "observations")} if known else {}

    def __post_init__(self) -> None:
        self.data = dict(self.row.data)
        self.state = self.row.state
        self.data["reports"] = [*self.data["reports"], *self.news.reports]
        self.data["observations"] = [*self.data["observations"], *self.news.observations]
        for move in self.news.moves:
            self.apply(move)

    def apply(self, move: dict[str, Any]) -> None:
        """A lifecycle move as the question already sees it."""
        if move["object"] == "rollback":
            self.data["rollback"] = move["state"]
            return
        if move["event"] == "missed_heartbeats":
            self.data["missed_heartbeats"] = move["count"]
            return
        self.state = move["state"]
        self.data["attempts"] = move.get("attempts", self.data["attempts"])
        if self.state == "halting":
            self.data["halted_because"] = move["because"]
        elif not self.data["ended"]:
            self.data["ended"] = move["at"]


def report_of(execution_id: str, source: str, at: int, claim: ReportClaim) -> dict[str, Any]:
    """A report document; its source comes from the credential or the executor, never from a body."""
    said = claim.plain()
    return _checked(
        Report,
        {
            "type": "magistrate/report/v1",
            "execution_id": execution_id,
            "source": source,
            "at": moment(at),
            "outcome": said["outcome"],
            "facts": said["facts"],
            "key_id": "",
            "signature": "",
        },
    )


def observation_of(execution_id: str, source: str, at: int, claim: ObservationClaim) -> dict[str, Any]:
    """An observation document; its source is the probe's or observer's name."""
    said = claim.plain()
    return _checked(
        Observation,
        {
            "type": "magistrate/observation/v1",
            "execution_id": execution_id,
            "source": source,
            "at": moment(at),
            "phase": said["phase"],
            "facts": said["facts"],
            "key_id": "",
            "signature": "",
        },
    )


def _checked(model: type[Document], plain: dict[str, Any]) -> dict[str, Any]:
    return model.model_validate({**plain}).plain()


def held(row: Row | None) -> Row:
    """The row, or Absent."""
    if row is None:
        raise Absent("execution.unknown", "no such execution", hint="magistrate execution ls")
    return row


def hold_room(row: Row, size: int) -> None:
    """Return if one more observation of this size still leaves room for everything to be asked about and recorded.

    Raises:
        Conflict: the execution has been told enough.
    """
    held_ = len(canonical.canonical(row.data["observations"]))
    if len(row.data["observations"]) >= MAX_OBSERVATIONS or held_ + size > MAX_OBSERVED:
        raise Conflict("observation.full", "this execution takes no more observations")


async def judge(
    house: Installation, execution_id: str, news: News
) -> tuple[dict[str, Any] | None, list[containment.Later]]:
    """Record the news and the verdict it leads to in one commit; no verdict when OPA gave no answer.

    What of the containment happens outside the ledger is returned: the router carries it out.

    Without an answer the news is recorded all the same, verification stays pending, one alert is raised, and the
    question is asked again. Evidence that does not fit one question and its record is left out of it: the record says
    so, the verdict is at best inconclusive, and one alert is raised.

    Raises:
        Conflict: the execution has moved on and does not take this.
    """
    async with house.turn(f"executions/{execution_id}"):
        found: dict[float, dict[str, Any]] = {}
        for share in evidence.SHARES:
            try:
                return await house.again(partial(_judge, house, execution_id, news, share, found))
            except (NoAnswer, Malformed) as large:
                if not share or not evidence.is_too_large(large):
                    house.unjudged.judged(execution_id, house.clock.exact(), silent=True)
                    raise
        raise AssertionError  # the last share returns or raises


async def _judge(
    house: Installation, execution_id: str, news: News, share: float, found: dict[float, dict[str, Any]]
) -> tuple[dict[str, Any] | None, list[containment.Later]]:
    """One try with this share of the evidence; `found` are the deviating answers, by share, recorded or not."""
    # gather
    seen, now = Seen(house.store), house.now()
    row = held(seen.row("executions", execution_id))
    _hold_room(row, news)
    warrant_row = house.store.row("warrants", row.data["warrant_id"])
    intent_row = house.store.row("intents", row.data["intent_id"])
    assert warrant_row is not None  # noqa: S101 - an execution is admitted from a warrant, a warrant from an intent
    assert intent_row is not None  # noqa: S101
    warrant = dict(warrant_row.data["warrant"])
    issue = intent_row.data["standing"]["issue"]
    case = _Case(row, warrant, dict(intent_row.data["intent"]), issue, news)
    _hold_moves(row, news)
    asked: Asked | None = None
    silence: NoAnswer | None = None
    asking, left = evidence.within(_question(house, case, now), share, case.judged)
    left = [*left, *news.unseen]
    try:
        asked = await house.ask("verification", asking, bundle=row.data["bundle"])
        if asked.answer["verdict"] == "deviating":
            found[share] = asked.answer
        if not share:
            evidence.hold_recordable(asked)
    except NoAnswer as no:
        if share and evidence.is_too_large(no):
            raise  # asked again with less of it
        asked, silence = None, no
    # decide
    provisional = now < unix(warrant["report_by"])
    more = [quoted(answer) for wider, answer in found.items() if wider > share][:1]
    said = at_best(asked.answer, left, more) if asked else {}
    verdict = _verdict(row, said, provisional=provisional) if asked else None

    # commit
    def write(txn: Txn) -> list[containment.Later]:
        leaves = _append_news(txn, case)
        if news.keep:
            news.keep(txn, execution_id, verdict)
        if asked is None:
            code = silence.code if silence else ""
            alerts.raise_(txn, "verification.pending", execution_id, code, chain=row.data["intent_id"])
            return []
        alerts.clear(txn, "verification.pending", execution_id, chain=row.data["intent_id"])
        if left:
            alerts.raise_(txn, evidence.ALERT, execution_id, evidence.told(left), chain=row.data["intent_id"])
        if verdict is not None:
            txn.append(
                kind="verification",
                subject=execution_id,
                state=verdict["verdict"],
                parents=[row.data["leaf"], *leaves],
                body={"verification": verdict, "asked": [asked.record()], "left_out": left, "found": more},
                body_type="magistrate/verification-record/v1",
                chain=row.data["intent_id"],
            )
        return containment.append(txn, case.row, said, verdict)

    acts = await house.commit(write, seen)
    house.unjudged.judged(execution_id, house.clock.exact(), silent=silence is not None)
    return verdict, acts


def _hold_room(row: Row, news: News) -> None:
    """Inside the step: of many observers who come at once, each is held to what is there when its turn comes."""
    for seen in news.observations:
        if seen["source"].startswith("observer/"):
            hold_room(row, len(canonical.canonical(seen["facts"])))


def _hold_moves(row: Row, news: News) -> None:
    """An execution that ended, or is being halted, takes no report of success."""
    if news.reports and ended("execution", row.state):
        raise Conflict("execution.ended", f"the execution is {row.state}: no further report is taken")
    if news.reports and row.state == "halting" and news.reports[-1]["outcome"] != "halted":
        raise Conflict("execution.halting", "the execution was told to halt: only `halted` is taken now")


def _question(house: Installation, case: _Case, now: int) -> dict[str, Any]:
    return question.verification(
        house.origin,
        now,
        intent=case.intent,
        warrant=case.warrant,
        issue=case.issue,
        execution={**{name: case.data[name] for name in EXECUTION_FACTS}, "state": case.state},
        call=scope_of(case.intent),
        reports=case.data["reports"],
        observations=case.data["observations"],
        final=case.news.final,
        previous=case.row.data["verdict"],
    )


def _verdict(row: Row, said: dict[str, Any], *, provisional: bool) -> dict[str, Any] | None:
    """The verification to record; None where it would say what already stands.

    Deviating is final, and a conforming verdict never becomes inconclusive again.
    """
    before = row.data["verdict"]
    if before == "deviating" or (before == "conforming" and said["verdict"] != "deviating"):
        return None
    if before == said["verdict"] and row.data["provisional"] == provisional:
        return None
    if before == "inconclusive" and said["verdict"] == "conforming" and not row.data["provisional"]:
        return None
    return verification_document(
        verification_id=new_id("ver"),
        execution_id=row.id,
        answer=said,
        provisional=provisional,
        previous=row.data["verification_id"],
    )


def _append_news(txn: Txn, case: _Case) -> list[str]:
    leaves = []
    for kind, documents in (("observation", case.news.observations), ("report", case.news.reports)):
        for document in documents:
            entry = txn.append(
                kind=kind,
                subject=case.row.id,
                state="",
                parents=[case.row.data["leaf"]],
                body=document,
                body_type=f"magistrate/{kind}/v1",
                chain=case.row.data["intent_id"],
            )
            leaves.append(entry.leaf_digest)
    return leaves + [append_move(txn, case.row, move) for move in case.news.moves]


def append_move(txn: Txn, row: Row, move: dict[str, Any]) -> str:
    """Append one lifecycle move of an execution."""
    body = {k: v for k, v in move.items() if k not in ("state", "at")}
    entry = txn.append(
        kind="lifecycle",
        subject=row.id,
        state=move["state"],
        parents=[row.data["leaf"]],
        body=body,
        body_type="magistrate/lifecycle/v1",
        chain=row.data["intent_id"],
    )
    return entry.leaf_digest


def rollback_move(state: str, now: int, *, because: str) -> dict[str, Any]:
    """One lifecycle move of a rollback, as `News.moves` takes it."""
    return {"object": "rollback", "event": state, "state": state, "because": because, "at": now}


def move(
    state: str, now: int, *, because: str = "", attempts: Sequence[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    """One lifecycle move of an execution, as `News.moves` takes it."""
    said: dict[str, Any] = {
        "object": "execution",
        "event": state,
        "state": state,
        "because": because,
        "at": now,
        **more,
    }
    if attempts is not None:
        said["attempts"] = list(attempts)
    return said
