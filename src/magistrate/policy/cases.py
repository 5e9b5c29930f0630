"""Decision tables put to the folder's own Rego: every row's question in one go, each answer held against its row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from magistrate.core import canonical, question, values
from magistrate.core.administration import ACTS, subject_of
from magistrate.core.errors import Malformed
from magistrate.core.values import Count, Document
from magistrate.policy import gate, source
from magistrate.policy.binary import Binary
from magistrate.policy.rows import NONE, Case, Given, Here, Proposer, Table

NOON: Final = "2026-03-25T12:00:00Z"  # a Wednesday
ORIGIN: Final = "cases"
ENGINE: Final = "magistrate.decision"  # as the policy of a reason
_ANSWERS: Final = "{name: answer | some name, asked in input; answer := data.magistrate.decision with input as asked}"


class Cell(Document):
    """One column of a row whose answer was another."""

    column: str
    expected: str
    actual: str


class Judged(Document):
    """One row and what came of it; `spoke` are the reasons in the answer: code, title, remedy."""

    name: str  # cases.<policy>.<row>
    file: str
    line: Count
    passed: bool
    cells: tuple[Cell, ...]
    facts: tuple[str, ...]  # what the row says of its question
    spoke: tuple[str, ...]


def name_of(table: Table, case: Case) -> str:
    """What a row is called beside the tests of Rego."""
    return f"cases.{table.policy}.{case.name}"


def judged(binary: Binary, folder: Path, here: Here, rows: Sequence[tuple[Table, Case]]) -> list[Judged]:
    """Ask the folder's Rego every row's question and return how each came out.

    Raises:
        Malformed: `table.value`, a question cannot be written; `gate.compile`, the folder does not compile.
    """
    asked = {name_of(table, case): _question(table, case, here) for table, case in rows}
    said = _answers(binary, folder, asked)
    return [_judged(table, case, said.get(name_of(table, case), "no answer")) for table, case in rows]


def answers(binary: Binary, folder: Path, here: Here, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the folder's Rego answers to rows that expect nothing yet, by name; no answer is told in words.

    Raises:
        Malformed: as `judged`.
    """
    table = Table(policy="", file="", base=Given(), cases=(), lines=())
    made = {name: _question(table, Given.model_validate(dict(row)), here) for name, row in given.items()}
    found = _answers(binary, folder, made)
    return {name: found.get(name, "no answer") for name in given}


# -- the question ----------------------------------------------------------------------------------------------------


def _question(table: Table, case: Given, here: Here) -> dict[str, Any]:
    """The whole question of contract 1: the row's word, else the base's, else an ordinary one."""
    base = table.base
    action, target = str(_named(case, base, "action")), str(_named(case, base, "target"))
    inherited = base.parameters if action == (base.action or action) else {}
    parameters = {**inherited, **case.parameters}
    now = values.unix(_named(case, base, "now") or NOON)
    proposer = _proposer(case, base, administration=action in ACTS)
    operators = _named(case, base, "operators")
    made = question.decision(
        ORIGIN,
        now,
        intent=_intent(action, target, parameters, proposer, case, base, now),
        proposer=proposer,
        round_=1,
        round_began=now,
        approvals=[_approval(voice.plain(), now) for voice in _named(case, base, "approvals")],
        facts={**_zeros(action, here), **base.facts, **case.facts},
        counters_blind=_named(case, base, "blind"),
        subject=subject_of(action, parameters),
        author=_named(case, base, "author"),
        installation={"operators": 3 if operators is None else operators, "demo": False},
    )
    _check_writable(made, table, case)
    return made


def _named(case: Given, base: Given, column: str) -> Any:
    """What the row says, though it be nothing; else what the base says."""
    return getattr(case if column in case.model_fields_set else base, column)


def _intent(
    action: str,
    target: str,
    parameters: Mapping[str, Any],
    proposer: Mapping[str, Any],
    case: Given,
    base: Given,
    now: int,
) -> dict[str, Any]:
    return {
        "type": "magistrate/intent/v1",
        "intent_id": "int-case",
        "origin": ORIGIN,
        "proposer": {"type": proposer["type"], "id": proposer["id"]},
        "received_at": values.moment(now),
        "nonce": "non-case",
        "action": action,
        "target": target,
        "parameters": parameters,
        "claims": {"reason": _named(case, base, "reason"), "context": {**base.context, **case.context}},
    }


def _proposer(case: Given, base: Given, *, administration: bool) -> dict[str, Any]:
    """Acts of administration are proposed by an operator with a key, all else by somebody's agent."""
    named = [given.proposer.model_dump(exclude_unset=True) for given in (base, case) if given.proposer]
    said = Proposer.model_validate({name: value for part in named for name, value in part.items()})
    type_ = said.type or ("operator" if administration else "agent")
    agent = type_ == "agent"
    return question.actor(
        type_=type_,
        id_=said.id or ("an-agent" if agent else "an-operator"),
        state=said.state,
        roles=said.roles,
        owner=said.owner or ("its-owner" if agent else ""),
        credential=said.credential or ("api-key" if agent else "ed25519"),
        open_intents=said.open_intents,
    )


def _approval(voice: dict[str, Any], now: int) -> dict[str, Any]:
    return {**voice, "at": now - 60, "expires_at": now + 600, "digest": "sha256:" + "0" * 64}


def _zeros(action: str, here: Here) -> dict[str, int]:
    return {name: 0 for name, row in here.get("counters", {}).items() if row.get("action") == action}


def _check_writable(made: Mapping[str, Any], table: Table, case: Given) -> None:
    """A question is asked as canonical bytes; a number that they cannot hold is no question."""
    try:
        canonical.canonical(made)
    except Malformed as error:
        at = f"{table.file}:{_line(table, case)}"
        raise Malformed("table.value", f"{at}: {error.detail}", pointer=error.pointer) from None


def _line(table: Table, case: Given) -> int:
    return next((line for row, line in zip(table.cases, table.lines, strict=True) if row is case), 0)


# -- the answer ------------------------------------------------------------------------------------------------------


def _answers(binary: Binary, folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answers by name; an error of one question is its own answer, in words."""
    if not asked:
        return {}
    wanted = ("--stdin-input", "--strict-builtin-errors", "--format", "json", _ANSWERS)
    ran = source.run_purely(
        binary, folder, "eval", "--bundle", ".", *source.SHIPPED_ONLY, *wanted, stdin=json.dumps(asked).encode()
    )
    if ran.returncode == 0:
        return dict(json.loads(ran.stdout)["result"][0]["expressions"][0]["value"])
    if len(asked) == 1:
        return {name: _error(ran.stdout or ran.stderr) for name in asked}
    names = list(asked)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    return {
        name: answer
        for half in halves
        for name, answer in _answers(binary, folder, {name: asked[name] for name in half}).items()
    }


def _error(said: bytes) -> str:
    """What OPA says of a question that it could not answer.

    Raises:
        Malformed: it is about the folder, not about the question.
    """
    try:
        first = json.loads(said)["errors"][0]
    except (ValueError, KeyError, IndexError):
        raise gate.refusal(said) from None
    if not str(first.get("code", "")).startswith("eval_"):
        raise gate.refusal(said)
    place = first.get("location") or {}
    return f"{first.get('message')} at {place.get('file')}:{place.get('row')}"


def _judged(table: Table, case: Case, answer: Any) -> Judged:
    cells = tuple(_cells(table.policy, case, answer))
    standing = answer["standing"] if isinstance(answer, dict) else {"reasons": []}
    return Judged(
        name=name_of(table, case),
        file=table.file,
        line=_line(table, case),
        passed=not cells,
        cells=cells,
        facts=tuple(_facts(case)),
        spoke=tuple(map(_reason, standing["reasons"])),
    )


def codes_of(policy: str, standing: Mapping[str, Any], named: Iterable[str] = ()) -> set[str]:
    """The codes that a policy's own table speaks of: its own and the engine's, and of other policies those it names.

    So a policy that another one joins keeps its table, as long as nothing comes out otherwise.
    """
    others = set(named)
    return {
        str(reason["code"])
        for reason in standing["reasons"]
        if reason["policy"] in (f"policies.{policy}", ENGINE) or reason["code"] in others
    }


def _cells(policy: str, case: Case, answer: Any) -> Iterator[Cell]:
    """Every column that is not as the row says."""
    if not isinstance(answer, dict):
        yield Cell(column="outcome", expected=case.expect.outcome, actual=str(answer))
        return
    for column, expected, actual in _columns(policy, case, answer["terms"], answer["standing"]):
        if expected != actual:
            yield Cell(column=column, expected=expected, actual=actual)


def _columns(
    policy: str, case: Case, terms: Mapping[str, Any], standing: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    wanted, issue = case.expect, standing["issue"]
    yield "outcome", wanted.outcome, standing["outcome"]
    if wanted.tier is not None:
        yield "tier", wanted.tier, terms["tier"] or NONE
    if wanted.reasons is not None:
        yield "reasons", _list(wanted.reasons), _list(codes_of(policy, standing, wanted.reasons))
    for column, demands, rows in (
        ("approvals", wanted.approvals, terms["requirement"]["all_of"]),
        ("wanted", wanted.wanted, standing["wanted"]),
    ):
        if demands is not None:
            yield (
                column,
                _list(map(str, demands)),
                _list(f"{r['count']} of {', '.join(sorted(r['roles']))}" for r in rows),
            )
            yield from _proofs(column, demands, rows)
    for column, number in (("ttl", wanted.ttl), ("uses", wanted.uses)):
        if number is not None:
            yield column, str(number), str(issue[column])
    for kind, value in wanted.constraints.items():
        held = issue["constraints"]
        yield f"constraints.{kind}", _said(value), _said(held[kind]) if kind in held else NONE


def _proofs(column: str, demands: Iterable[Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Where a row names a proof, the demand with its roles asks for that one."""
    for demand in demands:
        if demand.proof is not None:
            found = [row.get("proof") or row.get("by") for row in rows if sorted(row["roles"]) == sorted(demand.roles)]
            yield f"{column}.proof", demand.proof, _list(map(str, found))


def _reason(said: Mapping[str, Any]) -> str:
    remedy = f" ({said['remedy']})" if said["remedy"] else ""
    return f"{said['code']}: {said['title']}{remedy}"


def _list(words: Iterable[str]) -> str:
    return "; ".join(sorted(words)) or NONE


def _said(value: Any) -> str:
    """A constraint's value; lists are sets here."""
    return json.dumps(sorted(value) if isinstance(value, list) else value, ensure_ascii=False)


def _facts(case: Case) -> Iterator[str]:
    """What the row says of its question, as it says it."""
    said = case.model_dump(mode="json", exclude={"name", "expect"}, exclude_defaults=True)
    for column, value in said.items():
        if isinstance(value, dict):
            yield from (f"{column}.{name} = {json.dumps(inner, ensure_ascii=False)}" for name, inner in value.items())
        else:
            yield f"{column} = {json.dumps(value, ensure_ascii=False)}"
