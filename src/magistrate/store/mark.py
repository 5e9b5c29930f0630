"""The high-water mark: how far the ledger was, kept outside the data folder (contracts section 4).

A database restored from a backup, or a WAL that lost its end, is a perfectly valid shorter ledger. Only something
that did not travel with it can tell. The mark is that: whoever can write the data folder alone cannot take entries
away unnoticed; whoever can write both can, and then a witness or an auditor's older checkpoint tells.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from magistrate.core.errors import Malformed, Unavailable
from magistrate.core.merkle import HASH_BYTES, NodeAt, empty_root, frontier_at

_HINT = "magistrate ledger recover --help"  # never before somebody has found out why


@dataclass(frozen=True, slots=True)
class Mark:
    """A size of this ledger that was certainly on the disk, and its root."""

    origin: str
    size: int
    root: bytes

    def bytes(self) -> bytes:
        return orjson.dumps({"origin": self.origin, "root": self.root.hex(), "size": self.size}) + b"\n"


def parse(raw: bytes) -> Mark:
    """The mark these bytes hold; the other way of `Mark.bytes`.

    Raises:
        Malformed: they hold none.
    """
    try:
        plain = orjson.loads(raw)
        mark = Mark(plain["origin"], plain["size"], bytes.fromhex(plain["root"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise Malformed("ledger.mark_unreadable", "the high-water mark cannot be read") from None
    shaped = type(plain["origin"]) is str and type(plain["size"]) is int
    if not shaped or mark.size < 0 or len(mark.root) != HASH_BYTES:
        raise Malformed("ledger.mark_unreadable", "the high-water mark is not one")
    return mark


def read(path: Path) -> Mark | None:
    """The mark in this file, or None if there is no file.

    Raises:
        Malformed: it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Malformed("ledger.mark_unreadable", f"the high-water mark cannot be read: {error}") from None
    return parse(raw)


def write(path: Path, mark: Mark) -> None:
    """Put the mark in place whole: after a crash the file holds the old one or the new one.

    Raises:
        OSError: it is not known to be on the disk.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, mark.bytes())
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def judge(path: Path, *, origin: str, size: int, node: NodeAt) -> Unavailable | None:
    """Why this ledger may not grow, or None. A ledger ahead of its mark is normal: the mark is written after.

    Raises:
        Broken: the stored tree lacks a node.
    """
    try:
        mark = read(path)
    except Malformed as error:
        return Unavailable(error.code, error.detail, hint=_HINT)
    if mark is None and not size:
        return None  # the first start: it writes a mark of size 0 before genesis
    if mark is None:
        return Unavailable("ledger.mark_missing", f"{size} entries, and no high-water mark beside them", hint=_HINT)
    return _differs(mark, origin=origin, size=size, node=node)


def _differs(mark: Mark, *, origin: str, size: int, node: NodeAt) -> Unavailable | None:
    if mark.origin != origin:
        return Unavailable("ledger.mark_origin", f"the high-water mark is of {mark.origin}, not {origin}", hint=_HINT)
    if mark.size > size:
        detail = f"the ledger has {size} entries and had {mark.size}: its end is missing"
        return Unavailable("ledger.mark_behind", detail, hint=_HINT)
    root = frontier_at(mark.size, node).root() if mark.size else empty_root
    if mark.root != root:
        return Unavailable("ledger.mark_root", f"the first {mark.size} entries are not those it had", hint=_HINT)
    return None
