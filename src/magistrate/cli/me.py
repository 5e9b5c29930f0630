"""Who the command line speaks as, in this one run."""

from __future__ import annotations

import shlex
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


def read_file(file: str | Path) -> bytes:
    """The bytes of a file that was named, or of standard input for `-`.

    Raises:
        Malformed: `input.file`: no such file, or it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else Path(file).read_bytes()
    except OSError as error:
        detail = f"{file}: {error.strerror}"
        raise Malformed("input.file", detail, hint=f"ls -l {shlex.quote(str(file))}") from None


def read_json(file: str | Path) -> Any:
    """The JSON in a file, or on standard input for `-`, read strictly.

    Raises:
        Malformed: no such file, or not what we read.
    """
    return canonical.load(read_file(file))


def read_object(file: str | Path) -> dict[str, Any]:
    """The JSON object in a file, as `read_json`.

    Raises:
        Malformed: as `read_json`; or it is no object.
    """
    return canonical.load_object(read_file(file))


def sub(help_: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)
