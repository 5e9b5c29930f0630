"""What an entry does to the state tables: the one function the normal path and `ledger rebuild` share.

State is a view of the ledger: a row is written only here, from an appended entry. A body that was erased leaves the
row's lifecycle state (it stands in the header) and takes its content.

Long, and one file on purpose: every way in which a row can ever change stands here, one short function a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from magistrate.core.approval import Approval, read
from magistrate.core.canonical import digest_of
from magistrate.core.errors import Broken, Conflict
from magistrate.core.lifecycle import advance, advance_verdict
from magistrate.core.promotion import NOTHING
from magistrate.core.values import unix


class RowLike(Protocol):
    """A state row as the store reads it."""

    @property
    def state(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def due(self) -> int: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


class View(Protocol):
    """The rows as they stand inside one step."""

    def row(self, table: str, id_: str, /) -> RowLike | None: ...
    def put(
        self, table: str, id_: str, /, *, state: str, owner: str = "", due: int = 0, data: Mapping[str, Any]
    ) -> None: ...


class EntryLike(Protocol):
    """The parts of an entry the fold reads."""

    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def leaf_digest(self) -> str: ...
    def content(self) -> Any: ...


def fold(view: View, entry: EntryLike) -> None:
    """Apply one entry to the rows.

    Raises:
        Conflict: a lifecycle move that is not listed.
        Broken: the entry speaks of something that does not exist.
    """
    rule = _RULES.get(entry.kind)
    if rule is not None:
        rule(view, entry)


def _must(view: View, table: str, id_: str) -> RowLike:
    row = view.row(table, id_)
    if row is None:
        raise Broken("ledger.dangling", f"an entry speaks of {table} {id_}, which does not exist")
    return row


def _genesis(view: View, entry: EntryLike) -> None:
    said = entry.content()["statement"]
    first = said["operator"]
    view.put("installation", "genesis", state="done", data={**said, "leaf": entry.leaf_digest})
    view.put(
        "installation",
        "active",
        state="active",
        data={
            "bundle": said["bundle"],
            "sequence": said["sequence"],
            "highest": said["sequence"],
            "author": "",
            "leaf": entry.leaf_digest,
            "past": [],
            "ended": [],
            "spared": "",
        },
    )
    view.put("installation", "gate", state="disarmed", data={"because": "start"})
    view.put("installation", "people", state="counted", data={"operators": 1})
    view.put(
        "bundles",
        said["bundle"],
        state="active",
        data={**_BUNDLE, "sequence": said["sequence"], "contract": said["contract"], "activated_at": entry.at},
    )
    view.put("operators", first["id"], state="active", data={**first, "enrolled_at": entry.at})
    _begin_count(view, "operator", first["id"])


def _intent(view: View, entry: EntryLike) -> None:
    said = entry.content()
    intent = said["intent"]
    view.put(
        "intents",
        entry.subject,
        state="proposed",
        owner=intent["proposer"]["id"],
        data={
            "intent": intent,
            "intent_digest": said["intent_digest"],
            "action_digest": said["action_digest"],
            "subject": said["subject"],
            "administration": said["administration"],
            "leaf": entry.leaf_digest,
            "entered_at": entry.at,
            "round": 0,
            "approvals": [],
            "warrant_id": "",
            "renewed": {},
        },
    )
    _count_open(view, intent["proposer"], 0)


def _count_open(view: View, proposer: Mapping[str, Any], by: int) -> None:
    """`open_intents` is a fact counted from state: how many of this proposer's intents wait."""
    if by:
        id_ = f"{proposer['type']}/{proposer['id']}"
        row = view.row("tallies", id_)
        waiting = (row.data["waiting"] if row else 0) + by
        view.put("tallies", id_, state="counted", data={"waiting": waiting})


def _begin_count(view: View, type_: str, id_: str) -> None:
    """From their enrolment on a proposer's count stands in a row, so that reading it finds one."""
    view.put("tallies", f"{type_}/{id_}", state="counted", data={"waiting": 0})


def _decision(view: View, entry: EntryLike) -> None:
    said = entry.content()
    row = _must(view, "intents", entry.subject)
    state = advance("intent", row.state, entry.state)
    data = dict(row.data)
    if said["round"] != data["round"]:
        data["approvals"] = []
        data["renewed"] = _renewed(row, said)
    data.update(
        round=said["round"],
        round_began=said["round_began"],
        bundle=said["bundle"],
        sequence=said["sequence"],
        terms=said["terms"],
        standing=said["standing"],
        decision_digest=said["decision_digest"],
        decision_leaf=entry.leaf_digest,
        reserves=said["reserves"],
    )
    due = said["round_began"] + said["terms"]["requirement"]["wait_seconds"] if state == "waiting" else 0
    _count_open(view, data["intent"]["proposer"], (state == "waiting") - (row.state == "waiting"))
    view.put("intents", entry.subject, state=state, owner=data["intent"]["proposer"]["id"], due=due, data=data)
    _name_decision(view, entry, said["decision_digest"])
    warrant_id = warrant_of(entry.subject)
    for share in said["reserves"]:
        head = f"{share['counter']}|{share['key']}"
        view.put("counters", head, state="head", data={"counter": share["counter"], "key": share["key"]})
        view.put(
            "counters",
            f"{head}|{warrant_id}",
            state="share",
            owner=head,
            due=entry.at,
            data={"amount": share["amount"], "open": share["uses"], "committed": 0, "warrant_id": warrant_id},
        )


def _name_decision(view: View, entry: EntryLike, digest: str) -> None:
    """A decision is found by its digest: its row is owned by it, and names the entry of its last asking."""
    id_, data = f"{entry.subject}|{digest}", {"leaf": entry.leaf_digest}
    view.put("decisions", id_, state="decided", owner=digest, data=data)


def _renewed(row: RowLike, said: Mapping[str, Any]) -> dict[str, Any]:
    """Why a further round began, and whether those who approved before would now approve the same; {} at the first."""
    if not row.data["round"]:
        return {}
    return {"after": row.data["bundle"], "same_terms": said["terms"] == row.data["terms"]}


def _approval(view: View, entry: EntryLike) -> None:
    approval = Approval.model_validate(entry.content())
    statement, _ = read(approval)
    row = _must(view, "intents", entry.subject)
    person = _must(view, "operators", statement.operator)
    given = {
        "operator": statement.operator,
        "roles": person.data["roles"],
        "verdict": statement.verdict,
        "reason": statement.reason,
        "narrowing": statement.narrowing.given(),
        "at": unix(statement.at),
        "expires_at": unix(statement.expires_at),
        "proof": approval.proof.kind,
        "digest": digest_of(approval.plain()),
        "leaf": entry.leaf_digest,
    }
    others = [a for a in row.data["approvals"] if a["operator"] != statement.operator]
    _keep(view, "intents", entry.subject, row, approvals=[*others, given])


def _keep(view: View, table: str, id_: str, row: RowLike, *, state: str = "", due: int = -1, **changed: Any) -> None:
    """Write a row again with some fields changed; owner and due stay unless given."""
    view.put(
        table,
        id_,
        state=state or row.state,
        owner=row.owner,
        due=row.due if due < 0 else due,
        data={**row.data, **changed},
    )


def intent_of(warrant_id: str) -> str:
    """The intent a warrant came from: the two share one UUID."""
    return "int-" + warrant_id.removeprefix("wrt-")


def warrant_of(intent_id: str) -> str:
    """The warrant an intent may become: the two share one UUID."""
    return "wrt-" + intent_id.removeprefix("int-")


def _warrant(view: View, entry: EntryLike) -> None:
    warrant = entry.content()
    view.put(
        "warrants",
        entry.subject,
        state="live",
        owner=warrant["holder"]["id"],
        due=unix(warrant["expires_at"]),
        data={
            "warrant": warrant,
            "intent_id": intent_of(entry.subject),
            "uses_left": warrant["uses"],
            "leaf": entry.leaf_digest,
            "running": [],
        },
    )


def _revocation(view: View, entry: EntryLike) -> None:
    row = _must(view, "warrants", entry.subject)
    _keep(view, "warrants", entry.subject, row, state=advance("warrant", row.state, "revoked"), due=0)
    _settle_rest(view, entry.subject, row)


def _admission(view: View, entry: EntryLike) -> None:
    said = entry.content()
    row = _must(view, "warrants", said["warrant_id"])
    if row.state != "live" or row.data["uses_left"] < 1:
        raise Conflict("warrant.spent", "no use of this warrant is left")
    warrant = row.data["warrant"]
    _keep(
        view,
        "warrants",
        said["warrant_id"],
        row,
        uses_left=row.data["uses_left"] - 1,
        running=[*row.data["running"], entry.subject],
    )
    view.put(
        "executions",
        entry.subject,
        state="started",
        owner=row.owner,
        due=unix(warrant["report_by"]),
        data={
            "execution_id": entry.subject,
            "warrant_id": said["warrant_id"],
            "intent_id": row.data["intent_id"],
            "use": said["use"],
            "audience": said["audience"],
            "started": entry.at,
            "ended": 0,
            "attempts": [],
            "reports": [],
            "observations": said["before"],
            "missed_heartbeats": 0,
            "halted_because": "",
            "rollback": "none",
            "verdict": "pending",
            "verification_id": "",
            "provisional": True,
            "report_by": unix(warrant["report_by"]),
            "deviations": [],
            "bundle": warrant["policy"]["bundle"],
            "leaf": entry.leaf_digest,
            "settled": False,
            "contained": [],
        },
    )


def _lifecycle(view: View, entry: EntryLike) -> None:
    said = entry.content()
    _MOVES[said["object"]](view, entry, said)


def _move_intent(view: View, entry: EntryLike, said: Mapping[str, Any]) -> None:
    row = _must(view, "intents", entry.subject)
    state = advance("intent", row.state, entry.state)
    _count_open(view, row.data["intent"]["proposer"], -1 if row.state == "waiting" else 0)
    _keep(view, "intents", entry.subject, row, state=state, due=0, because=said["because"])


def _move_warrant(view: View, entry: EntryLike, _: Mapping[str, Any]) -> None:
    row = _must(view, "warrants", entry.subject)
    state = advance("warrant", row.state, entry.state)
    _keep(view, "warrants", entry.subject, row, state=state, due=row.due if state == "spent" else 0)
    if state == "expired":
        _settle_rest(view, entry.subject, row)


def _move_execution(view: View, entry: EntryLike, said: Mapping[str, Any]) -> None:
    row = _must(view, "executions", entry.subject)
    if said["event"] == "missed_heartbeats":
        _keep(view, "executions", entry.subject, row, missed_heartbeats=said["count"])
        return
    state = advance("execution", row.state, entry.state)
    changed: dict[str, Any] = {"attempts": said["attempts"]} if "attempts" in said else {}
    if state == "halting":
        changed["halted_because"] = said["because"]
    else:
        changed["ended"] = row.data["ended"] or entry.at
    if "settle" in said and not row.data["settled"]:
        changed["settled"] = True
        _settle(view, row.data["warrant_id"], 1, commit=said["settle"] == "commit")
    _keep_execution(view, entry.subject, row, state=state, **changed)
    if state not in ("started", "halting"):
        warrant = _must(view, "warrants", row.data["warrant_id"])
        running = [e for e in warrant.data["running"] if e != entry.subject]
        _keep(view, "warrants", row.data["warrant_id"], warrant, running=running)


def _keep_execution(view: View, id_: str, row: RowLike, *, state: str = "", **changed: Any) -> None:
    """Write an execution; it stays due at `report_by` until it has ended and its verdict can no longer improve."""
    state = state or row.state
    data = {**row.data, **changed}
    done = state not in ("started", "halting") and (
        data["verdict"] in ("conforming", "deviating") or not data["provisional"]
    )
    _keep(view, "executions", id_, row, state=state, due=0 if done else data["report_by"], **changed)


def _move_rollback(view: View, entry: EntryLike, _: Mapping[str, Any]) -> None:
    row = _must(view, "executions", entry.subject)
    state = advance("rollback", row.data["rollback"], entry.state)
    _keep(view, "executions", entry.subject, row, rollback=state)


def _shares(view: View, warrant_id: str) -> list[tuple[str, RowLike]]:
    intent = view.row("intents", intent_of(warrant_id))
    ids = [f"{r['counter']}|{r['key']}|{warrant_id}" for r in intent.data.get("reserves", ())] if intent else []
    return [(id_, _must(view, "counters", id_)) for id_ in ids]


def _settle(view: View, warrant_id: str, shares: int, *, commit: bool) -> None:
    """One execution settles one share: committed, or released on proven failure (contracts section 3)."""
    for id_, row in _shares(view, warrant_id):
        _keep(
            view,
            "counters",
            id_,
            row,
            open=row.data["open"] - shares,
            committed=row.data["committed"] + (shares if commit else 0),
        )
        head = _must(view, "counters", row.owner)
        _keep(view, "counters", row.owner, head)  # its version moves: whoever read the sum asks again


def _settle_rest(view: View, warrant_id: str, row: RowLike) -> None:
    """When a warrant ends, the shares of its unused uses are released."""
    if row.data["uses_left"]:
        _settle(view, warrant_id, row.data["uses_left"], commit=False)


def _refusal(view: View, entry: EntryLike) -> None:
    """A refusal that ends an intent names the state it enters; any other changes nothing."""
    if entry.state:
        _move_intent(view, entry, {"because": entry.content()["code"]})


def _report(view: View, entry: EntryLike) -> None:
    row = _must(view, "executions", entry.subject)
    _keep(view, "executions", entry.subject, row, reports=[*row.data["reports"], entry.content()])


def _observation(view: View, entry: EntryLike) -> None:
    row = _must(view, "executions", entry.subject)
    _keep(view, "executions", entry.subject, row, observations=[*row.data["observations"], entry.content()])


def _verification(view: View, entry: EntryLike) -> None:
    said = entry.content()["verification"]
    row = _must(view, "executions", entry.subject)
    provisional = entry.at < row.data["report_by"] or row.data["verdict"] == "pending"
    _keep_execution(
        view,
        entry.subject,
        row,
        verdict=advance_verdict(row.data["verdict"], said["verdict"], provisional=provisional),
        verification_id=said["verification_id"],
        provisional=said["provisional"],
        deviations=said["deviations"],
    )


def _containment(view: View, entry: EntryLike) -> None:
    row = _must(view, "executions", entry.subject)
    _keep(view, "executions", entry.subject, row, contained=[*row.data["contained"], *entry.content()["acts"]])


def _alert(view: View, entry: EntryLike) -> None:
    said = entry.content()
    view.put("alerts", entry.subject, state=entry.state, owner=said["about"], data={**said, "at": entry.at})


def _arming(view: View, entry: EntryLike) -> None:
    view.put("installation", "gate", state=entry.state, data=entry.content())


_BUNDLE: Mapping[str, Any] = {"author": "", "built": NOTHING.plain(), "accepted": [], "activated_at": 0}


def _bundle(view: View, entry: EntryLike) -> None:
    said = entry.content()
    if said["event"] == "taken":
        data = {**_BUNDLE, **{name: said[name] for name in ("sequence", "contract", "built")}, "author": said["by"]}
        view.put("bundles", entry.subject, state="archived", data={**data, "taken_at": entry.at})
    elif said["event"] == "figures":
        _keep(view, "bundles", entry.subject, _must(view, "bundles", entry.subject), built=said["built"])
    elif said["event"] == "accepted":
        row = _must(view, "bundles", entry.subject)
        given = {name: said[name] for name in ("against", "codes", "by", "reason")}
        _keep(view, "bundles", entry.subject, row, accepted=[*row.data["accepted"], given])
    else:
        promotion = said["promotion"]
        act = promotion["intent_id"] if promotion["live_warrants"] == "revoke" else ""
        _activate(view, entry, promotion, act=act)


def _activate(view: View, entry: EntryLike, bundle: Mapping[str, Any], *, act: str = "") -> None:
    """A bundle comes into force, and the one before it retires.

    `act` names the act that ends the warrants which bundles before this one decided, its own aside; "" ends none.
    """
    before = _must(view, "installation", "active")
    old = _must(view, "bundles", before.data["bundle"])
    _keep(view, "bundles", before.data["bundle"], old, state=advance("bundle", old.state, "retired"))
    digest = bundle["digest"]
    past = sorted({*before.data["past"], before.data["bundle"]})
    row = view.row("bundles", digest)
    known = dict(row.data) if row else {**_BUNDLE, "sequence": bundle["sequence"], "contract": bundle["contract"]}
    state = advance("bundle", row.state if row else "archived", "active")
    view.put("bundles", digest, state=state, data={**known, "activated_at": entry.at})
    view.put(
        "installation",
        "active",
        state="active",
        data={
            "bundle": digest,
            "sequence": bundle["sequence"],
            "highest": max(before.data["highest"], bundle["sequence"]),
            "author": known["author"],
            "leaf": entry.leaf_digest,
            "past": past,
            "ended": sorted((set(past) if act else set(before.data["ended"])) - {digest}),
            "spared": act or before.data["spared"],
        },
    )


def _agent(view: View, entry: EntryLike) -> None:
    said = entry.content()
    row = view.row("agents", entry.subject)
    if row is None:
        _begin_count(view, "agent", entry.subject)
    data = {**(row.data if row else {"credential": "", "enrolled_at": entry.at}), **said["agent"]}
    if said["credential"]:
        if data["credential"]:
            old = _must(view, "credentials", data["credential"])
            _keep(view, "credentials", data["credential"], old, state="replaced")
        data["credential"] = said["credential"]["sha256"]
        _credential(view, "agent", entry.subject, said["credential"])
    view.put(
        "agents",
        entry.subject,
        state=entry.state,
        owner=data.get("owner", ""),
        data={**data, "because": said["because"]},
    )


def _credential(view: View, type_: str, id_: str, credential: Mapping[str, Any]) -> None:
    if view.row("credentials", credential["sha256"]) is not None:
        raise Conflict("credential.known", "this API key is already somebody's: make a new one")
    view.put(
        "credentials",
        credential["sha256"],
        state="active",
        owner=id_,
        data={"type": type_, "id": id_, "expires_at": credential["expires_at"]},
    )


def _operator(view: View, entry: EntryLike) -> None:
    said = entry.content()
    row = view.row("operators", entry.subject)
    if row is None:
        people = _must(view, "installation", "people")
        _keep(view, "installation", "people", people, operators=people.data["operators"] + 1)
        _begin_count(view, "operator", entry.subject)
    data = {**(row.data if row else {"enrolled_at": entry.at}), **said["operator"]}
    view.put("operators", entry.subject, state=entry.state, data=data)


def _observer(view: View, entry: EntryLike) -> None:
    said = entry.content()
    who = said["observer"]
    view.put("watchers", entry.subject, state=entry.state, owner=who["owner"], data={**who, "enrolled_at": entry.at})
    _credential(view, who["type"], entry.subject, said["credential"])


def _recovery(view: View, entry: EntryLike) -> None:
    said = entry.content()
    view.put("installation", f"recovery/{said['what']}", state="recovered", data={**said, "at": entry.at})
    if said["what"] == "bundle":
        _activate(view, entry, said["bundle"])


def _key(view: View, entry: EntryLike) -> None:
    said = entry.content()
    id_ = f"key/{said['role']}"
    before = view.row("installation", id_)
    retired = [*before.data["retired"], {**_public(before.data), "until": entry.at}] if before else []
    view.put("installation", id_, state="current", data={**said, "at": entry.at, "retired": retired})


def _public(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in ("algorithm", "key_id", "public_key")}


_MOVES: dict[str, Callable[[View, EntryLike, Mapping[str, Any]], None]] = {
    "intent": _move_intent,
    "warrant": _move_warrant,
    "execution": _move_execution,
    "rollback": _move_rollback,
}
_RULES: dict[str, Callable[[View, EntryLike], None]] = {
    "genesis": _genesis,
    "intent": _intent,
    "decision": _decision,
    "approval": _approval,
    "refusal": _refusal,
    "warrant": _warrant,
    "revocation": _revocation,
    "admission": _admission,
    "lifecycle": _lifecycle,
    "report": _report,
    "observation": _observation,
    "verification": _verification,
    "containment": _containment,
    "alert": _alert,
    "arming": _arming,
    "bundle": _bundle,
    "agent": _agent,
    "operator": _operator,
    "observer": _observer,
    "recovery": _recovery,
    "key": _key,
    # redaction and pulse change no row: what follows from them is an entry of its own
}
TABLES = (
    "installation",
    "intents",
    "decisions",
    "warrants",
    "executions",
    "agents",
    "operators",
    "watchers",
    "credentials",
    "counters",
    "tallies",
    "alerts",
    "bundles",
)
