"""The forms of an impact: in words and as JSON here, the others beside this."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import typer

from magistrate.cli import impact_html, impact_markdown, impact_sarif, say
from magistrate.cli.impact_words import NOTHING, WHY_NOT, looked
from magistrate.core.looseness import RECORDED, SILENT

OUTCOMES = ("allow", "ask", "deny", SILENT)
WORDS = {"loosened": "LOOSENED", "tightened": "tightened", "other": "other"}


def text_of(said: dict[str, Any]) -> str:
    """The comparison in words."""
    return "\n".join([*lines(said), summary(said)])


def lines(said: dict[str, Any]) -> Iterator[str]:
    """All of it but whether it passes; whatever the record and the bundles say, each line is one line and plain."""
    return (say.visible(line) for line in _lines(said))


def _lines(said: dict[str, Any]) -> Iterator[str]:
    if said["was"] == RECORDED:
        yield f"{said['questions']} recorded questions asked of B; A is the answers on record"
    else:
        asked = f"{said['questions']} recorded questions asked of both"
        yield f"{asked}; {said['reproduced']} answers of A are those on record"
    yield looked(said["range"])
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
                    yield f"    {_moved(changed)}"
    yield from _data(said)
    yield from _touched(said)


def _data(said: dict[str, Any]) -> Iterator[str]:
    """Changed data that stands under no rule: it may matter to what is asked next."""
    told = {name for row in said["rules"] for name in row["names"]}
    rest = [changed for changed in said["data"] if changed["name"] not in told]
    if rest:
        yield "data that changed, and no answer above by it alone:"
        yield from (f"    {_moved(changed)}" for changed in rest)
    if said["data_untold"]:
        yield f"    … and {said['data_untold']} more changed values"
    for row in said["unseen"]:
        yield f"NOT SEEN BY ANY ANSWER{' (accepted)' if row['accepted'] else ''}: {_moved(row)}"


def _moved(changed: dict[str, Any]) -> str:
    was, now = (say.visible(changed[side]) or "(none)" for side in ("was", "now"))
    return f"{changed['name']} {was} → {now}"


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
    found = say.visible(_verdict(said)) if said["questions"] else NOTHING
    if not said["unread"]:
        return found
    return f"NOT COMPARED: {said['unread']}, {WHY_NOT} (`magistrate replay` says which); of the rest, {found}"


def passes(said: dict[str, Any]) -> bool:
    """Whether something was compared, all of it, and nothing got looser that was not accepted by name."""
    return bool(said["questions"]) and not said["uncovered"] and not said["unread"]


def _verdict(said: dict[str, Any]) -> str:
    names = [
        *(row["code"] for row in said["rules"] if row["uncovered"] and row["code"] not in said["accepted"]),
        *(row["name"] for row in said["unseen"] if not row["accepted"]),
    ]
    blind = sum(not row["accepted"] for row in said["unseen"])
    found = _loosened(said, said["uncovered"] - blind)
    if blind:
        found += f"; {blind} changed that no recorded answer can show, not accepted"
    if not said["uncovered"]:
        return found
    flags = " ".join(f"--accept {shlex.quote(name)}" for name in names)
    return f"{found}; if they are meant: {flags}"


def _loosened(said: dict[str, Any], uncovered: int) -> str:
    if not said["loosened"]:
        return "nothing on record got looser" if said["unseen"] else "nothing got looser"
    if not uncovered:
        return f"{said['loosened']} loosened, all accepted by name"
    return f"{said['loosened']} loosened, {uncovered} of them not accepted"


def form_of(said: str) -> Callable[[dict[str, Any]], str]:
    """The form by its name.

    Raises:
        BadParameter: there is no such form.
    """
    if said not in FORMS:
        raise typer.BadParameter(f"--format is {', '.join(FORMS)}")
    return FORMS[said]


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "text": text_of,
    "json": say.json_of,
    "markdown": lambda said: impact_markdown.page(said, text_of),
    "sarif": lambda said: say.json_of(impact_sarif.log(said)),
    "html": impact_html.page,
}
