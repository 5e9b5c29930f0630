"""Who the command line speaks as, in this one run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import places
from magistrate.core import canonical
from magistrate.core.errors import Malformed

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="Why; it stands on record.")]
State = Annotated[str, typer.Option(help="Only those in this state.")]


@dataclass
class _Context:
    profile: str = ""
    url: str = ""


CONTEXT = _Context()


def me() -> places.Me:
    """The caller's client and credential."""
    return places.me(CONTEXT.profile, CONTEXT.url)


def read_json(file: str) -> Any:
    """The JSON in a file, or on standard input for `-`, read strictly.

    Raises:
        Malformed: no such file, or not what we read.
    """
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Malformed("input.file", f"{file}: {error.strerror}", hint="magistrate intent submit --help") from None
    return canonical.load(raw)


def sub(help_: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)
