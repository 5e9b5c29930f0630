"""Entries by whatever name a person has for them, read from a data folder, beside a service or without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from magistrate.core.entry import Entry
from magistrate.core.errors import Absent
from magistrate.engine.examination import LEDGER
from magistrate.store.reads import Reader

PAGE = 500
CHAIN = 1000  # entries of one chain that are read


def entries(data: Path, said: str) -> list[Entry]:
    """The entries that an intent's id, an index, a leaf digest or a decision digest names, each held to its header.

    Raises:
        Absent: there is no ledger, or nothing in it by that name.
        Broken: an entry is not what its header says.
    """
    path = data / LEDGER
    if not path.exists():
        raise Absent("ledger.absent", f"no ledger lies in {data}", hint="magistrate up --demo")
    reader = Reader(path)
    try:
        found = list(_named(reader, said))
    finally:
        reader.close()
    if not found:
        raise Absent("explain.none", "nothing on record has that name", hint="magistrate intent ls")
    for entry in found:
        entry.hold()
    return found


def _named(reader: Reader, said: str) -> Iterator[Entry]:
    if said.isdigit():
        yield reader.entry(int(said))
    elif said.startswith("sha256:"):
        try:
            yield reader.by_leaf(bytes.fromhex(said.removeprefix("sha256:")))
        except (Absent, ValueError):
            yield from _decided(reader, said)
    else:
        yield from reader.entries(chain=said, limit=CHAIN)


def _decided(reader: Reader, digest: str) -> Iterator[Entry]:
    """The decision entries of one decision: as many as there were askings under it."""
    start = 0
    while page := reader.entries(start, PAGE, kind="decision"):
        yield from (e for e in page if not e.erased and e.content().get("decision_digest") == digest)
        start = page[-1].index + 1
