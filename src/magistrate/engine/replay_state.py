"""How far a long replay has come, in a small file that is written as it goes and read when it is taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from magistrate.core import canonical
from magistrate.core.errors import Conflict, Malformed
from magistrate.core.values import Count, Document, Text, parse
from magistrate.keys import private


class Kept(Document):
    """One finding."""

    code: Text
    entry: Count
    leaf: Text
    document: Text
    detail: Text
    pointer: Text
    recorded: Text
    now: Text


class State(Document):
    """What is being replayed, and how far it is. Only entries whose every answer was compared are behind `next`."""

    v: Annotated[int, Field(ge=1, le=1)]
    genesis: Text
    order: dict[str, Text]  # what was asked for, and with what
    end: Count
    next: Count
    entries: Count
    questions: Count
    identical: Count
    different: Count
    findings: dict[str, Count]
    kept: tuple[Kept, ...]
    first: tuple[Kept, ...]
    started: Text


@dataclass(frozen=True)
class StateFile:
    """The file, or none: then nothing is kept."""

    path: Path | None

    def load(self, genesis: str, order: dict[str, str]) -> State | None:
        """What it says, if it is about this; None where there is no file yet.

        Raises:
            Malformed: `replay.resume`, it is no such file.
            Conflict: `replay.resume`, another ledger, range, bundle or OPA.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            said = parse(
                State,
                canonical.canonical(
                    canonical.load_canonical(private.read(self.path, what="state", limit=canonical.MAX_INPUT))
                ),
            )
        except Malformed as error:
            hint = "name another file, or remove this one to begin anew"
            raise Malformed("replay.resume", f"{self.path}: {error.detail}", hint=hint) from None
        if said.genesis != genesis:
            raise Conflict("replay.resume", f"{self.path} is about another ledger")
        for name, wanted in order.items():
            if said.order.get(name) != wanted:
                detail = f"{self.path} is about {name} {said.order.get(name)!r}, not {wanted!r}"
                raise Conflict("replay.resume", detail, hint="name another file to begin anew")
        return said

    def save(self, state: State) -> None:
        """Put it in place whole.

        Raises:
            Unavailable: it cannot be written.
        """
        if self.path is not None:
            private.replace(self.path, canonical.canonical(state.plain()) + b"\n", what="state")

    def drop(self) -> None:
        """It is done: nothing is left to take up."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
