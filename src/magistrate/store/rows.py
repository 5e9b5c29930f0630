"""State rows, and the layers through which a step sees them: its own, its batch's, what is committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import orjson

from magistrate.core.errors import Broken
from magistrate.core.state import TABLES

Key: TypeAlias = tuple[str, str]  # table, id

COLUMNS = "id, version, state, owner, due, data"
_KNOWN = frozenset(TABLES)
_CHUNK = 64  # rows in one statement; with powers of two below it, few statements are ever prepared


class Row:
    """One thing as it stands after some entry. `version` counts its changes; `data` is this reader's own copy."""

    __slots__ = ("_data", "due", "id", "owner", "raw", "state", "version")

    def __init__(self, id_: str, version: int, state: str, owner: str, due: int, raw: str) -> None:
        self.id = id_
        self.version = version
        self.state = state
        self.owner = owner
        self.due = due
        self.raw = raw
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        if self._data is None:
            self._data = orjson.loads(self.raw)
        return self._data

    def copy(self) -> Row:
        """The same row, with data of its own: what one reader does to it no other sees."""
        return Row(self.id, self.version, self.state, self.owner, self.due, self.raw)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Row)
            and (self.id, self.version, self.state, self.owner, self.due)
            == (other.id, other.version, other.state, other.owner, other.due)
            and (self.raw == other.raw or self.data == other.data)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value, and the value can be written to

    def __repr__(self) -> str:
        return f"Row({self.id!r}, version={self.version}, state={self.state!r}, owner={self.owner!r}, due={self.due})"


class Layer:
    """Rows written here lie over those below; nothing reaches the database before the batch is written."""

    __slots__ = ("_below", "_owned", "own")

    def __init__(self, below: Callable[[str, str], Row | None], owned: Callable[[str, str], Mapping[str, Row]]) -> None:
        self.own: dict[Key, Row] = {}
        self._below = below
        self._owned = owned

    def row(self, table: str, id_: str, /) -> Row | None:
        """The row as it stands here, or None."""
        mine = self.own.get((table, id_))
        return mine.copy() if mine is not None else self._below(table, id_)

    def put(
        self, table: str, id_: str, /, *, state: str, owner: str = "", due: int = 0, data: Mapping[str, Any]
    ) -> None:
        """Give a row its next version."""
        before = self.row(table, id_)
        raw = orjson.dumps(data, default=dict).decode()  # now: who gave `data` may go on writing into it
        self.own[table, id_] = Row(id_, before.version + 1 if before else 1, state, owner, due, raw)

    def owned(self, table: str, owner: str, /) -> Mapping[str, Row]:
        """The rows of one owner, by id."""
        found = dict(self._owned(table, owner))
        for (where, id_), row in self.own.items():
            if where == table:
                found.pop(id_, None)
                if row.owner == owner:
                    found[id_] = row.copy()
        return found

    def rows(self, table: str, /, *, owner: str) -> list[Row]:
        """The rows of one owner, in order of id."""
        found = self.owned(table, owner)
        return [found[id_] for id_ in sorted(found)]


def known(table: str) -> str:
    """The table's name, which may now stand in a statement.

    Raises:
        Broken: there is no such table.
    """
    if table not in _KNOWN:
        raise Broken("store.table", f"there is no state table {table!r}")
    return table


def read_row(conn: sqlite3.Connection, table: str, id_: str) -> Row | None:
    """The committed row, or None."""
    found = conn.execute(f"SELECT {COLUMNS} FROM {known(table)} WHERE id = ?", (id_,)).fetchone()  # noqa: S608 known name
    return Row(*found) if found else None


def read_owned(conn: sqlite3.Connection, table: str, owner: str) -> dict[str, Row]:
    """The committed rows of one owner, by id."""
    found = conn.execute(f"SELECT {COLUMNS} FROM {known(table)} WHERE owner = ? AND owner <> ''", (owner,))  # noqa: S608
    return {values[0]: Row(*values) for values in found.fetchall()}


def write_rows(conn: sqlite3.Connection, rows: Iterable[tuple[str, int, Row]]) -> None:
    """Write rows, each with the version the database must still hold (0: none).

    Raises:
        Broken: the database holds another version: it is not what this process believes.
    """
    fresh: dict[str, list[Sequence[Any]]] = {}
    changed: dict[str, list[Sequence[Any]]] = {}
    for table, prior, row in rows:
        values = (row.id, row.version, row.state, row.owner, row.due, row.raw)
        if prior:
            changed.setdefault(known(table), []).append((*values, prior))
        else:
            fresh.setdefault(known(table), []).append(values)
    for table, added in fresh.items():
        insert(conn, f"{table}({COLUMNS})", added)
    for table, moved in changed.items():
        _update(conn, table, moved)


def insert(conn: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]]) -> None:
    """INSERT many rows in few statements: each statement is one chance for another thread to take the interpreter."""
    for part in _parts(rows):
        conn.execute(f"INSERT INTO {into} VALUES {_places(part)}", tuple(chain.from_iterable(part)))  # noqa: S608


def _update(conn: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    for part in _parts(rows):
        before = conn.total_changes
        conn.execute(
            f"WITH v({COLUMNS}, prior) AS (VALUES {_places(part)}) UPDATE {table} SET"  # noqa: S608
            " version = v.version, state = v.state, owner = v.owner, due = v.due, data = v.data"
            f" FROM v WHERE {table}.id = v.id AND {table}.version = v.prior",
            tuple(chain.from_iterable(part)),
        )
        if conn.total_changes - before != len(part):
            raise Broken("store.moved", f"a row of {table} was changed by something else than this process")


def _places(part: Sequence[Sequence[Any]]) -> str:
    one = f"({','.join('?' * len(part[0]))})"
    return ",".join([one] * len(part))


def _parts(rows: Sequence[Sequence[Any]]) -> Iterable[Sequence[Sequence[Any]]]:
    start, size = 0, _CHUNK
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size
