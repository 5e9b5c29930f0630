"""Why was this allowed? The verb that explains a recorded answer, over HTTP or from a data folder."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from magistrate.cli import say
from magistrate.cli.me import Json, me
from magistrate.cli.service import find_opa
from magistrate.client import Client
from magistrate.core import canonical
from magistrate.core.administration import ACTS
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken
from magistrate.core.recorded import OFFLINE, Recorded, entry_of, pick
from magistrate.core.values import DIGEST, moment, thaw

if TYPE_CHECKING:
    from magistrate.policy.binary import Binary
    from magistrate.policy.bundle import Bundle
    from magistrate.policy.explaining import Explanation, Told
    from magistrate.policy.nearest import Flip, Nearest

BY = {
    "proposer": "had the proposer asked for something else",
    "claims": "had the proposer claimed something else",
    "people": "had people spoken otherwise",
    "world": "had the world been otherwise",
}


def explain(
    decision: Annotated[
        str, typer.Argument(help="An intent's id, an entry's index, a leaf digest or a decision digest.")
    ],
    round_: Annotated[int, typer.Option("--round", help="Of this round; any when left out.")] = 0,
    asking: Annotated[int, typer.Option(help="The first, the second, … asking; the last when left out.")] = 0,
    document: Annotated[
        str, typer.Option(help="decision, approval, admission, verification or access: which question is meant.")
    ] = "",
    data: Annotated[Path | None, typer.Option(help="Read this data folder; no service is asked.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Also how the governing policies were evaluated.")] = False,
    trace_engine: Annotated[bool, typer.Option("--trace-engine", help="Also how the engine's Rego was.")] = False,
    search: Annotated[bool, typer.Option(help="Look for what would have changed it.")] = True,
    as_input: Annotated[
        str, typer.Option(metavar="FILE", help="Only write the question, as the input.json an editor picks up.")
    ] = "",
    as_test: Annotated[str, typer.Option(metavar="FILE", help="Only write the answer, as a Rego test.")] = "",
    as_json: Json = False,
) -> None:
    """Say which rules spoke, what they saw, and the nearest facts that would have changed the answer.

    The recorded question is asked again first: exit 5 where the recorded bundle does not give the recorded answer.

    Example: magistrate policy explain int-0198...
    """
    from magistrate.policy import explaining

    opa = find_opa()
    recorded, bundle = (
        _offline(data, decision, document, round_, asking, opa) if data else _online(decision, document, round_, asking)
    )
    writing = bool(as_input or as_test)
    question, answer = thaw(recorded.question), thaw(recorded.answer)
    told = asyncio.run(
        explaining.explain(opa, bundle, recorded.document, question, answer, search=search and not writing)
    )
    if writing:
        _write(opa, recorded, told, as_input, as_test)
        return
    lines = told.lines(engine=trace_engine) if trace or trace_engine else []
    if as_json:
        shown = {"entry": recorded.plain(), "overruled": thaw(recorded.overruled), **told.plain(), "trace": lines}
        say.data({**shown, "question": question, "answer": answer}, as_json=True)
        return
    if recorded.sha256 != f"sha256:{opa.sha256}":
        say.words(f"recorded with OPA {recorded.version}, explained with another build, {opa.version}")
    for line in _page(recorded, bundle, told):
        typer.echo(say.visible(line))
    if lines:
        typer.echo("\nHow it was evaluated (> begins, x fails, < holds)")
        typer.echo("\n".join(f"  {say.visible(line)}" for line in lines))


# -- where it stands


def _offline(data: Path, said: str, document: str, round_: int, asking: int, opa: Binary) -> tuple[Recorded, Bundle]:
    from magistrate.engine import named
    from magistrate.policy.archive import Archive

    found = pick(named.entries(data, said), document=document, round_=round_, asking=asking)
    return found, Archive(data / "bundles", opa).load(found.bundle)


def _online(said: str, document: str, round_: int, asking: int) -> tuple[Recorded, Bundle]:
    """Ask the service, believing of it only what hashes: each entry to its header, the bundle to its digest."""
    from magistrate.policy.bundle import Bundle

    client = me().client
    found = pick(_entries(client, said), document=document, round_=round_, asking=asking)
    raw = client.raw(f"/v1/bundles/{found.bundle}")
    if canonical.digest(raw) != found.bundle:
        raise Broken("bundle.changed", f"the service shows other bytes than those of {found.bundle}", hint=OFFLINE)
    return found, Bundle.read(raw)


def _entries(client: Client, said: str) -> list[Entry]:
    import re

    if re.fullmatch(DIGEST, said):
        named = entry_of(client.get(f"/v1/decisions/{said}"))
        return [named] if named.leaf_digest == said else _askings(_entries(client, named.subject), said)
    if said.isdigit():
        return [entry_of(client.get(f"/v1/entries/{said}/proof"))]
    return [entry_of(step) for step in client.get(f"/v1/intents/{said}/chain")["steps"]]


def _askings(chain: list[Entry], digest: str) -> list[Entry]:
    """The entries of one decision in its intent's chain: as many as there were askings under it."""
    return [entry for entry in chain if not entry.erased and entry.content().get("decision_digest") == digest]


# -- files


def _write(opa: Binary, recorded: Recorded, told: Explanation, as_input: str, as_test: str) -> None:
    from magistrate.policy import as_test as tests

    if as_input:
        _put(as_input, json.dumps(thaw(recorded.question), indent=2, sort_keys=True) + "\n")
    if as_test:
        entry = recorded.entry
        at = f"{recorded.document} entry {entry.index} of {entry.subject}, {entry.head.at}\nbundle {recorded.bundle}"
        text = tests.as_test(
            opa,
            name=f"{recorded.leaf.removeprefix('sha256:')[:12]} {told.state.outcome}",
            about=f"Recorded: {at}",
            governing=told.governing,
            document=recorded.document,
            question=recorded.question,
            answer=recorded.answer,
        )
        _put(as_test, text)


def _put(file: str, text: str) -> None:
    if file == "-":
        typer.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        hint = f"ls -ld {shlex.quote(str(Path(file).parent))}"
        raise Absent("input.file", f"{file} cannot be written: {error.strerror}", hint=hint) from None
    say.words(f"wrote {file}")


# -- the page


def _page(recorded: Recorded, bundle: Bundle, told: Explanation) -> Iterator[str]:
    yield from _head(recorded, bundle, told)
    yield ""
    yield "Who spoke"
    for one in told.spoke:
        yield from _spoke(one)
    yield ""
    yield "Who kept silent"
    for one in told.silent:
        yield f"  {one.rule.name} {_named(one)}"
        if facts := _facts(one):
            yield "      " + ", ".join(facts)
    yield f"  and {told.engine_silent} rules of the engine that could have said something"
    if told.nearest:
        yield ""
        yield from _nearest(told.nearest)


def _head(recorded: Recorded, bundle: Bundle, told: Explanation) -> Iterator[str]:
    question = recorded.question
    yield f"{recorded.entry.subject}  {recorded.document}: {told.state.outcome}" + _tier(told.state.tier)
    intent = question.get("intent", {})
    if intent:
        by = intent.get("proposer", {})
        yield f"  {intent.get('action')} {intent.get('target')} by {by.get('type')} {by.get('id')}"
    if actor := _actor(recorded):
        yield f"  {actor}"
    yield f"  entry {recorded.index}, {recorded.entry.head.at}, asking {recorded.number} of {recorded.of}" + (
        f", round {question['round']}" if "round" in question else ""
    )
    yield f"  bundle {recorded.bundle}, sequence {bundle.sequence}, OPA {recorded.version}"
    for approval in question.get("approvals", ()):
        yield f"  {approval['verdict']} by {approval['operator']} ({', '.join(approval['roles'])})"
    if recorded.document == "decision":
        for row in recorded.answer["terms"]["requirement"]["all_of"]:
            yield f"  requires {row['count']} of {', '.join(row['roles'])} ({row['proof']})"
    if recorded.document == "decision" and intent.get("action") in ACTS:
        yield "  an act of administration: beside what OPA says, the program counts signatures of its own floor"
    overruled = recorded.overruled
    if overruled:
        why = ", ".join(f"{reason['code']} {reason['title']}" for reason in overruled["reasons"])
        yield f"  the program narrowed this to {overruled['outcome']}: {why}"
    yield "  asked again, the bundle gives the recorded answer byte for byte"


def _actor(recorded: Recorded) -> str:
    """Who stood before the gate, where it was not the proposer."""
    question = recorded.question
    if recorded.document == "approval":
        return f"{question['statement']['verdict']} by operator {question['operator']['id']}"
    if recorded.document == "admission":
        return f"presented by {question['presenter']['type']} {question['presenter']['id']}"
    if recorded.document == "access":
        who, object_ = question["principal"], question["object"]
        return f"{question['verb']} of {object_['type']} {object_['id']} by {who['type']} {who['id']}"
    return ""


def _spoke(one: Told) -> Iterator[str]:
    yield f"  {one.rule.name} {_named(one)}"
    for text in (one.rule.description, one.rule.remedy and f"remedy: {one.rule.remedy}"):
        yield from (f"      {line}" for line in text.split("\n") if line)
    yield from (f"      | {line.expandtabs(4)}" for line in one.rule.source.split("\n"))
    yield from (f"      {fact}" for fact in _facts(one))


def _named(one: Told) -> str:
    return "  ".join(part for part in (one.rule.code, one.rule.place, one.rule.title) if part)


def _facts(one: Told) -> list[str]:
    from magistrate.policy.tracing import brief

    return [
        f"{fact.of}{fact.pointer} " + (f"= {brief(thaw(fact.value))}" if fact.present else "is not there")
        for fact in one.facts
    ]


def _nearest(found: Nearest) -> Iterator[str]:
    yield f"What would have changed it ({found.asked} questions to OPA, of at most {found.bound})"
    for whose, title in BY.items():
        mine = [flip for flip in found.flips if _last(flip) == whose]
        if mine:
            yield f"  {title}"
        for flip in mine:
            changes = " and ".join(_change(change) for change in flip.changes)
            codes = ", ".join(code for _, code in flip.state.reasons)
            yield f"    {changes}: {flip.state.outcome}{_tier(flip.state.tier)}" + (f" ({codes})" if codes else "")
    for outcome in found.unreached:
        yield f"  no single or double change of these facts that was tried leads to {outcome}"


def _last(flip: Flip) -> str:
    """Under whose name it stands: whose fact has to be another first."""
    return flip.changes[0].whose


def _change(change: Any) -> str:
    before, after = change.before, change.after
    if change.pointer == "/approvals":
        if "deny" in after:
            return "with a no by an operator"
        wanted = " and ".join(f"{row['count']} of {', '.join(row['roles'])} ({row['by']})" for row in after["approve"])
        return f"with approval by {wanted}"
    if change.pointer.startswith("/approvals/"):
        return f"without {change.pointer}"
    if change.pointer == "/now/unix":
        return f"/now {moment(before)} -> {moment(after)}"
    was = "nothing" if before is None else _short(before)
    return f"{change.pointer} {was} -> {_short(after)}"


def _short(value: Any) -> str:
    from magistrate.policy.tracing import brief

    return brief(value)


def _tier(tier: str) -> str:
    return f", tier {tier}" if tier else ""
