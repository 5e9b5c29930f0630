"""How the command line speaks: tables for people, JSON for programs, one shape for errors."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from magistrate.cli import hints
from magistrate.core.errors import (
    Absent,
    Broken,
    Conflict,
    MagistrateError,
    Malformed,
    Refused,
    Unauthenticated,
    Unavailable,
)
from magistrate.core.reasons import link

DONE, UNEXPECTED, USAGE, DENIED, WAITING, FAILED, AWAY, CONFLICT = range(8)
EXITS: tuple[tuple[type[MagistrateError], int], ...] = (
    (Malformed, USAGE),
    (Unauthenticated, DENIED),
    (Refused, DENIED),
    (Absent, UNEXPECTED),
    (Conflict, CONFLICT),
    (Unavailable, AWAY),
    (Broken, FAILED),
)
CHECKED = ("bundle", "gate", "table")  # codes of what a bundle or its folder holds: a failed check, and no misuse
OUTCOMES = {"allow": DONE, "ask": WAITING, "deny": DENIED}


def words(text: str) -> None:
    """Say something to the person; never data."""
    typer.echo(text, err=True)


def data(value: Any, *, as_json: bool) -> None:
    """Print data: JSON, or the same readable."""
    if as_json or not isinstance(value, Mapping | list):
        typer.echo(json_of(value) if not isinstance(value, str) else value)
        return
    typer.echo("\n".join(lines(value)))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a list: JSON, or aligned columns with a header."""
    rows = list(rows)
    if as_json:
        typer.echo(json_of(rows))
        return
    cells = [[c.upper() for c in columns], *([_cell(row.get(c, "")) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for number, line in enumerate(cells):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo(typer.style(text, bold=True) if number == 0 and _colour() else text)
    if not rows:
        words("nothing here yet")


def failed(error: MagistrateError) -> int:
    """Say what went wrong and what to do next; returns the exit code."""
    where = f" ({error.pointer})" if error.pointer else ""
    words(f"error: {visible(error.detail)}{where} [{error.code}]")
    for reason in getattr(error, "reasons", ()):
        words(f"  {reason.get('code', '')}: {visible(str(reason.get('title', '')))}")
        if reason.get("remedy"):
            words(f"  remedy: {visible(str(reason['remedy']))}")
        if reason.get("code"):
            words(f"  see {visible(link(str(reason['code'])))}")
    words(f"hint: {error.hint or hints.of(error.code)}")
    if isinstance(error, Malformed) and error.code.partition(".")[0] in CHECKED:
        return FAILED
    return next((code for kind, code in EXITS if isinstance(error, kind)), UNEXPECTED)


def misused(error: TyperException) -> int:
    """Say how the command line was to be used; returns the exit code."""
    said = error.format_message()
    if said.startswith("Usage:"):  # a group without a verb: its help is the answer
        words(said)
        return error.exit_code
    context = getattr(error, "ctx", None)
    words(f"error: {visible(said)}")
    words(f"hint: {context.command_path if context else 'magistrate'} --help")
    return error.exit_code


def broke(fault: Exception) -> int:
    """Say what nobody foresaw, and where; returns the exit code."""
    at = traceback.extract_tb(fault.__traceback__)[-1]
    words(f"error: {type(fault).__name__}: {visible(str(fault))} at {at.filename}:{at.lineno} [unexpected]")
    words(f"hint: {hints.DOCTOR}")
    return UNEXPECTED


def visible(text: str) -> str:
    """Text with every character that is not plainly printable written out: nothing hides, nothing moves the cursor."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def json_of(value: Any) -> str:
    """JSON for programs that fools no person: what is not plainly printable is escaped, as in `visible`."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def loud(text: str) -> str:
    """What nobody should overlook, with and without colours."""
    return typer.style(text.upper(), bold=True, fg="red") if _colour() else text.upper()


def _cell(value: Any) -> str:
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def lines(value: Any, depth: int = 0) -> Iterable[str]:
    pad = "  " * depth
    pairs = value.items() if isinstance(value, Mapping) else (("-", item) for item in value)
    for name, inner in pairs:
        label = f"{visible(str(name))}:" if isinstance(value, Mapping) else "-"
        if isinstance(inner, Mapping | list) and inner:
            yield f"{pad}{label}"
            yield from lines(inner, depth + 1)
        else:
            yield f"{pad}{label} {_cell(inner)}"


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
