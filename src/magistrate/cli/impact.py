"""What another bundle would have decided: `policy diff`, in words and as JSON; the other forms lie beside this."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import impact_html, impact_markdown, impact_sarif, places, say
from magistrate.cli.replaying import Data, Limit, Pins, Since, Until, bundle_of, time_of, watcher, write
from magistrate.cli.service import find_opa
from magistrate.core.looseness import SILENT

OUTCOMES = ("allow", "ask", "deny", SILENT)
WORDS = {"loosened": "LOOSENED", "tightened": "tightened", "other": "other"}


def diff(
    was: Annotated[
        str, typer.Argument(metavar="FROM", help="The bundle to compare from: active, a digest, file or folder.")
    ],
    now: Annotated[str, typer.Argument(metavar="TO", help="The bundle to compare to: the same.")],
    since: Since = "",
    until: Until = "",
    limit: Limit = 0,
    form: Annotated[str, typer.Option("--format", help="text, json, markdown, sarif or html.")] = "text",
    accept: Annotated[
        list[str] | None, typer.Option(help="A reason code or changed limit whose loosening is meant; again for each.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    data: Data = None,
    keys: Pins = None,
) -> None:
    """Ask everything that was asked of two bundles: what got looser, what tighter, by which rule. Reads only.

    Exit 0: nothing got looser that was not accepted by name. 5: something did, or part of the record was changed or
    cannot be read, and so was not compared.

    Example: magistrate policy diff active rego --since 7d
    """
    from magistrate.engine.certifying import record_of
    from magistrate.engine.impact import impact
    from magistrate.engine.replaying import Order

    if form not in FORMS:
        raise typer.BadParameter(f"--format is {', '.join(FORMS)}")
    folder, binary, at = data or places.data(), find_opa(), int(time.time())
    order = Order(since=time_of(since, at), until=time_of(until, at), limit=limit)
    sides = [bundle_of(said, folder, binary) for said in (was, now)]
    record = record_of(folder, places.state(), binary, keys or places.configuration() / "pins")
    found = asyncio.run(impact(record, sides[1], was=sides[0], order=order, tell=_sparingly(watcher())))
    said = found.plain(accept or ())
    text = FORMS[form](said)
    if out is None:
        typer.echo(text)
    else:
        write(out, text.encode() + b"\n")
    for name in sorted(set(accept or ()) - {name for row in said["rules"] for name in row["names"]}):
        say.words(f"note: nothing here is because of {say.visible(name)}")
    raise typer.Exit(say.FAILED if said["uncovered"] or said["unread"] else say.DONE)


def _sparingly(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """Passes on one progress in half a second: it comes with every entry."""
    last = [time.monotonic()]

    def told(progress: Any) -> None:
        if time.monotonic() - last[0] >= 0.5:
            last[0] = time.monotonic()
            tell(progress)

    return told


def text_of(said: dict[str, Any]) -> str:
    """The comparison in words; whatever the record and the bundles say, each line is one line and plain."""
    return "\n".join(say.visible(line) for line in _lines(said))


def _lines(said: dict[str, Any]) -> Iterator[str]:
    asked = f"{said['questions']} recorded questions asked of both"
    yield f"{asked}; {said['reproduced']} answers of A are those on record"
    yield f"A {said['was']}"
    yield f"B {said['now']}"
    if said["skipped"]:
        yield "skipped: " + ", ".join(f"{count} {why}" for why, count in said["skipped"].items())
    yield from _table(said)
    for row in said["transitions"]:
        yield f"  {row['document']:12} {row['was']} → {row['now']}: {counts(row)}"
    for row in said["rules"]:
        yield f"{counts(row)}  ← {row['code']} {at(row)} {say.visible(row['title'])}".rstrip()
        for name in row["names"]:
            for changed in said["data"]:
                if changed["name"] == name:
                    yield f"    {name} {say.visible(changed['was'])} → {say.visible(changed['now'])}"
    yield from _touched(said)
    yield summary(said)


def _touched(said: dict[str, Any]) -> Iterator[str]:
    for what in ("agent", "action"):
        rows = said[f"{what}s"]
        if rows:
            yield f"{what}s: " + "; ".join(f"{say.visible(row[what])} ({counts(row)})" for row in rows)
    for row in said["examples"]:
        show = f"magistrate intent show {row['intent_id']}" if row["intent_id"] else f"entry {row['entry']}"
        what = say.visible(f"{row['agent']} {row['action']} {row['was']} → {row['now']}")
        yield f"  {WORDS[row['direction']]} {what} ({', '.join(row['because'])})  {show}"


def _table(said: dict[str, Any]) -> Iterator[str]:
    """The outcomes of decisions, before against after."""
    grid = outcomes(said)
    names = [name for name in OUTCOMES if any(name in pair for pair in grid)]
    if not names:
        return
    yield "decision".ljust(14) + "".join(f"now {name}".rjust(14) for name in names)
    for name in names:
        cells = "".join(str(grid.get((name, other), 0)).rjust(14) for other in names)
        yield f"was {name}".ljust(14) + cells


def outcomes(said: dict[str, Any]) -> dict[tuple[str, str], int]:
    """How many decisions went from which outcome to which, tiers aside."""
    grid: dict[tuple[str, str], int] = {}
    for row in said["unmoved"]:
        if row["document"] == "decision":
            name = _outcome(row["answer"])
            grid[name, name] = grid.get((name, name), 0) + row["count"]
    for row in said["transitions"]:
        if row["document"] == "decision":
            pair = _outcome(row["was"]), _outcome(row["now"])
            grid[pair] = grid.get(pair, 0) + sum(row[way] for way in WORDS)
    return grid


def _outcome(label: str) -> str:
    return label if label == SILENT else label.partition(" ")[0]


def counts(row: dict[str, Any]) -> str:
    """How many in each direction, in words: `LOOSENED 7, tightened 2`."""
    return ", ".join(f"{word} {row[way]}" for way, word in WORDS.items() if row[way]) or "none"


def at(row: dict[str, Any]) -> str:
    """Where a rule is, before and after."""
    if row["was_at"] == row["now_at"] or not row["was_at"] or not row["now_at"]:
        only = row["now_at"] or row["was_at"]
        gone = "" if row["now_at"] or not only else " (gone)"
        new = "" if row["was_at"] or not only else " (new)"
        return f"{only}{gone}{new}"
    return f"{row['was_at']} → {row['now_at']}"


def summary(said: dict[str, Any]) -> str:
    """The last line: does it pass?"""
    found = _verdict(said)
    if not said["unread"]:
        return found
    found = "of the rest, " + found
    return f"NOT COMPARED: {said['unread']}, changed or not to be read (`magistrate replay` says which); {found}"


def _verdict(said: dict[str, Any]) -> str:
    if not said["loosened"]:
        return "nothing got looser"
    if not said["uncovered"]:
        return f"{said['loosened']} loosened, all accepted by name"
    names = [row["code"] for row in said["rules"] if row["loosened"] and not set(row["names"]) & set(said["accepted"])]
    flags = " ".join(f"--accept {shlex.quote(name)}" for name in names)
    return f"{said['loosened']} loosened, {said['uncovered']} of them not accepted; if they are meant: {flags}"


def _json(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=2, ensure_ascii=False)


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "text": text_of,
    "json": _json,
    "markdown": lambda said: impact_markdown.page(said, text_of),
    "sarif": lambda said: json.dumps(impact_sarif.log(said), indent=2, ensure_ascii=False),
    "html": impact_html.page,
}
