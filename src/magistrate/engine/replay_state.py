"""How far a long replay has come, in a small file that is written as it goes and read when it is taken up again.

Any file that this installation sealed is taken, an older one too: somebody may put one back. What may follow from that?

- It counts the entries from `first` up to `next`, and `root` is the root of the tree over all entries before `next`, as
  they were read. Only where today's ledger begins with that very tree is it taken up; so its counts are true of the
  entries that the certificate is about, whichever file it is. Another history, or an entry that was written anew (be it
  before it was read), has another root.
- Nothing is kept beyond an entry at which the stored tree was found to be another one: taken up, it is found again.
- An older one only makes more questions be asked again, or the range end earlier, and a certificate names its range.
- What is not in a header is not in the tree: a body, or a bundle's file, that was spoilt since its answer was compared
  goes unseen. That is so of the newest file too, and a certificate that was taken up says `resumed`.
"""

from __future__ import annotations

import hashlib
import hmac
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from magistrate.core import canonical
from magistrate.core.errors import Conflict, Forged, Malformed
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

    v: Annotated[int, Field(ge=2, le=2)]
    genesis: Text
    root: Text  # of the tree over the entries before `next`
    order: dict[str, Text]  # what was asked for, and with what
    first: Count
    end: Count
    next: Count
    entries: Count
    questions: Count
    identical: Count
    different: Count
    findings: dict[str, Count]
    kept: tuple[Kept, ...]
    lowest: tuple[Kept, ...]
    started: Text


class Sealed(State):
    """The same as it lies in the file, with its seal: HMAC-SHA256 by the installation's key; "" where none was here."""

    seal: Text


@dataclass(frozen=True)
class StateFile:
    """The file, or none: then nothing is kept. Without a key nothing is sealed, and then no certificate is signed."""

    path: Path | None
    key: bytes = field(default=b"", repr=False)

    def load(self, genesis: str, order: dict[str, str]) -> State | None:
        """What it says, if it is about this; None where there is no file yet.

        Raises:
            Malformed: `replay.resume`, it is no such file.
            Forged: `replay.resume_forged`, this installation did not write it so.
            Conflict: `replay.resume`, another ledger, range, bundle or OPA.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            said = parse(
                Sealed,
                canonical.canonical(
                    canonical.load_canonical(private.read(self.path, what="state", limit=canonical.MAX_INPUT))
                ),
            )
        except Malformed as error:
            raise Malformed("replay.resume", f"{self.path}: {error.detail}", hint=self._anew()) from None
        state = State.model_validate({name: getattr(said, name) for name in State.model_fields})
        if not hmac.compare_digest(said.seal.encode(), self._seal(state).encode()):
            detail = f"{self.path} is not as this installation wrote it: what it says was replayed may never have been"
            raise Forged("replay.resume_forged", detail, hint=self._anew())
        if said.genesis != genesis:
            raise Conflict("replay.resume", f"{self.path} is about another ledger", hint=self._anew())
        for name, wanted in order.items():
            if said.order.get(name) != wanted:
                detail = f"{self.path} is about {name} {said.order.get(name)!r}, not {wanted!r}"
                raise Conflict("replay.resume", detail, hint=self._anew())
        return state

    def _anew(self) -> str:
        """The command after which a replay with this file begins anew."""
        return f"rm {shlex.quote(str(self.path))}"

    def save(self, state: State) -> None:
        """Put it in place whole.

        Raises:
            Unavailable: it cannot be written.
        """
        if self.path is not None:
            private.replace(
                self.path, canonical.canonical({**state.plain(), "seal": self._seal(state)}) + b"\n", what="state"
            )

    def _seal(self, state: State) -> str:
        if not self.key:
            return ""
        return hmac.new(self.key, canonical.canonical(state.plain()), hashlib.sha256).hexdigest()

    def drop(self) -> None:
        """It is done: nothing is left to take up."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
