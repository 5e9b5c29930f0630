"""What one step may do: read rows, append entries, keep an answer, erase a chain's bodies.

Everything is kept in memory until the step has ended well; then its batch takes it over. A step that raises leaves
no trace, and its neighbours do not notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from magistrate.core import canonical
from magistrate.core.entry import SALT_SIZE, Entry, make
from magistrate.core.errors import Broken, Conflict, Moved
from magistrate.core.merkle import Frontier, Node
from magistrate.store.rows import Layer, Row

Need: TypeAlias = tuple[str, str, int]  # table, id, version; 0: there must be none


class View(Protocol):
    """What the fold writes through."""

    def row(self, table: str, id_: str, /) -> Row | None: ...
    def put(
        self, table: str, id_: str, /, *, state: str, owner: str = "", due: int = 0, data: Mapping[str, Any]
    ) -> None: ...
    def rows(self, table: str, /, *, owner: str) -> list[Row]: ...


Fold: TypeAlias = Callable[[View, Entry], None]


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer that was given under an idempotency key."""

    scope: str
    key: str
    digest: str
    status: int
    body: bytes
    object_id: str
    at: int


@dataclass(slots=True)
class Work:
    """What steps have made and the database does not hold yet."""

    frontier: Frontier
    last_at: int
    entries: list[tuple[Entry, str]] = field(default_factory=list)  # with its chain
    nodes: list[Node] = field(default_factory=list)
    answers: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    erasures: list[tuple[str, int]] = field(default_factory=list)  # chain, and the first index that is spared
    forgotten: list[tuple[str, str]] = field(default_factory=list)

    def empty(self, rows: Mapping[Any, Any]) -> bool:
        return not (self.entries or self.answers or self.erasures or self.forgotten or rows)


class Txn:
    """One step, while it runs."""

    __slots__ = ("_answer", "_fold", "_known", "_open", "_origin", "_spoiled", "at", "layer", "work")

    def __init__(
        self,
        *,
        origin: str,
        at: int,
        frontier: Frontier,
        fold: Fold,
        layer: Layer,
        answer: Callable[[str, str], Remembered | None],
        known: Callable[[bytes], bool],
    ) -> None:
        self.at = at
        self.layer = layer
        self.work = Work(frontier, at)
        self._origin = origin
        self._fold = fold
        self._answer = answer
        self._known = known
        self._open = True
        self._spoiled: BaseException | None = None

    @property
    def size(self) -> int:
        """How many entries the ledger has, this step's own included."""
        return self.work.frontier.size

    def row(self, table: str, id_: str) -> Row | None:
        """The row as this step's entries have left it."""
        return self.layer.row(table, id_)

    def rows(self, table: str, *, owner: str) -> list[Row]:
        """The rows of one owner, in order of id."""
        return self.layer.rows(table, owner=owner)

    def append(
        self,
        kind: str,
        subject: str,
        state: str = "",
        parents: Sequence[str] = (),
        body: Mapping[str, Any] | bytes = b"{}",
        body_type: str = "magistrate/entry/v1",
        chain: str = "",
    ) -> Entry:
        """Append one entry and fold it into the rows. A body given as bytes is canonical already.

        Raises:
            Malformed: an unknown kind or a malformed field.
            Broken: a parent that is no earlier entry.
            MagistrateError: whatever the fold refuses; the step can then no longer succeed.
        """
        self._hold_open()
        raw = body if isinstance(body, bytes) else canonical.canonical(body)
        entry = make(
            self.size,
            origin=self._origin,
            kind=kind,
            at=self.at,
            subject=subject,
            state=state,
            parents=parents,
            body=raw,
            body_type=body_type,
            salt=os.urandom(SALT_SIZE),
        )
        self._hold_parents(entry)
        work = self.work
        try:
            self._fold(self.layer, entry)
        except BaseException as error:
            self._spoiled = error
            raise
        work.frontier, made = work.frontier.append(entry.leaf)
        work.nodes.extend(made[1:])  # the leaf lies in its entry's row
        work.entries.append((entry, chain))
        return entry

    def remember(self, scope: str, key: str, digest: str, status: int, body: bytes, object_id: str = "") -> None:
        """Keep the answer to be given again under this key.

        Raises:
            Conflict: `idempotency.repeated` when the same request was answered meanwhile: give that answer;
                `idempotency.mismatch` when another request used the key.
        """
        self._hold_open()
        before = self.work.answers.get((scope, key)) or self._answer(scope, key)
        if before is not None:
            if before.digest == digest:
                raise Conflict("idempotency.repeated", "this request was answered before")
            raise Conflict("idempotency.mismatch", "this key was used for another request")
        self.work.answers[scope, key] = Remembered(scope, key, digest, status, body, object_id, self.at)

    def forget(self, scope: str, key: str) -> None:
        """Drop a kept answer."""
        self._hold_open()
        self.work.forgotten.append((scope, key))

    def erase(self, chain: str) -> None:
        """Erase the bodies of all earlier entries of a chain, and the answers kept about its objects."""
        self._hold_open()
        if not chain:
            raise Broken("store.chain", "entries of no chain are never erased")
        first = self.work.entries[0][0].index if self.work.entries else self.size
        self.work.erasures.append((chain, first))

    def finish(self) -> None:
        """End the step: nothing can be added any more.

        Raises:
            Broken: the fold refused an entry and the step went on as if it had not.
        """
        self._open = False
        if self._spoiled is not None:
            raise Broken("store.spoiled", "a refused entry was swallowed inside a step") from self._spoiled

    def _hold_parents(self, entry: Entry) -> None:
        """An entry that names what is not there would make the whole ledger fail its verification, for ever."""
        for parent in entry.parents:
            leaf = bytes.fromhex(parent[7:])
            if not self._known(leaf) and all(leaf != mine.leaf for mine, _ in self.work.entries):
                raise Broken("entry.parent", f"{parent} is the leaf of no earlier entry")

    def _hold_open(self) -> None:
        if not self._open:
            raise Broken("store.ended", "this step has ended")


def hold_needs(layer: Layer, needs: Sequence[Need]) -> None:
    """Return if every row is still at the version the step's question read.

    Raises:
        Moved: one is not.
    """
    for table, id_, version in needs:
        row = layer.row(table, id_)
        now = row.version if row else 0
        if now != version:
            raise Moved("facts.moved", f"{table} {id_} is at version {now}, the question read {version}")
