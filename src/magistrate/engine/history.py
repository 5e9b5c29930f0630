"""History: the entries of a range in order, each held to what was committed, with the tree growing along.

It is read page by page, beside a running service or on a copy of its folder; memory does not grow with the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from magistrate.core import checkpoint
from magistrate.core.checkpoint import Checkpoint
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken, MagistrateError, Malformed
from magistrate.core.merkle import Frontier, Node, frontier_at, leaf_hash, verify_consistency, verify_inclusion
from magistrate.core.replay import Finding
from magistrate.core.signature import PublicKey
from magistrate.store.reads import Reader
from magistrate.store.tree import node_reader

PAGE: Final = 64  # a body may reach 1 MiB, and a page is in memory whole


@dataclass(frozen=True)
class Trust:
    """What a ledger's head is held against: keys of the checkpoint, and heads it is known to have had."""

    keys: Sequence[PublicKey] = ()
    pinned: bool = False  # whether the keys were pinned by whoever replays, or are the installation's own
    known: Sequence[Checkpoint] = ()


@dataclass
class Head:
    """The newest checkpoint: the tree that everything in a range must belong to. `root` is "" where there is none."""

    origin: str = ""
    genesis: str = ""
    size: int = 0
    root: str = ""
    signed_by: str = ""
    pinned: bool = False
    checked: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def head_of(path: Path, trust: Trust) -> Head:
    """Read the newest checkpoint, who signed it, and that it grew from those known before.

    That the entries of a range belong to it is for `History.hold_tree`; all else about a ledger (its other entries,
    its columns, what entries mean) is for `ledger verify`.

    Raises:
        Absent, Unavailable: the file cannot be read.
    """
    reader = Reader(path)
    try:
        head = Head(size=reader.size())
        if head.size:
            first = reader.entry(0)
            head.origin, head.genesis = _origin(first), first.leaf_digest
            _read_point(head, reader, trust)
            _hold_known(head, reader, trust)
        return head
    finally:
        reader.close()


def _origin(first: Entry) -> str:
    try:
        return first.head.origin
    except Malformed:  # found again when it is its turn
        return ""


def _read_point(head: Head, reader: Reader, trust: Trust) -> None:
    try:
        note = reader.newest_checkpoint()
        point = checkpoint.read(note.rpartition("\n\n")[0] + "\n")
    except MagistrateError as none:
        head.findings.append(Finding("replay.checkpoint", head.size - 1, "", "", none.detail))
        return
    entries = reader.size()  # again: the ledger may have grown since
    if point.size > entries:
        detail = f"a checkpoint covers {point.size} entries, and there are {entries}"
        head.findings.append(Finding("ledger.behind", max(0, entries - 1), "", "", detail))
        return
    head.size, head.root = point.size, point.root.hex()
    why = f"nobody said which key signs the checkpoints of {head.origin}"
    for key in trust.keys:
        try:
            checkpoint.verify(note, head.origin, key)
        except MagistrateError as error:
            why = error.detail
            continue
        head.signed_by, head.pinned = key.key_id, trust.pinned
        head.checked.append("checkpoint")
        return
    code = "replay.checkpoint" if trust.keys else "replay.unpinned"
    head.findings.append(Finding(code, head.size - 1, "", "", why))


def _hold_known(head: Head, reader: Reader, trust: Trust) -> None:
    """Heads known before are heads of this ledger."""
    for point in trust.known:
        if not point.size or not head.root:
            continue
        if point.size > head.size:
            detail = f"the ledger ends at {head.size} and is known to have had {point.size}"
            head.findings.append(Finding("ledger.behind", head.size - 1, "", "", detail))
            continue
        try:
            path = reader.consistency(point.size, head.size)
            verify_consistency(point.size, point.root, head.size, bytes.fromhex(head.root), path)
        except Broken:
            detail = f"the first {point.size} entries are not those of a known checkpoint"
            head.findings.append(Finding("ledger.forked", point.size - 1, "", "", detail))
        else:
            head.checked.append("mark")


def span(path: Path, since: int, until: int, head: Head) -> tuple[int, int]:
    """The first entry at or after `since`, and the first after `until`; 0 is no bound.

    Only times that stand in the tree under the head are believed: the search looks at the entries on both sides of
    what it finds, and at each it holds header and leaf to the head. One that does not stand is a finding of the head,
    and its bound is none: nothing is left out because of it.
    """
    reader = Reader(path)
    try:
        first = _first(reader, since, head, 0) if since else 0
        end = _first(reader, until + 1, head, head.size) if until else head.size
    finally:
        reader.close()
    return first, max(first, end)


def _first(reader: Reader, at: int, head: Head, unbound: int) -> int:
    """The first entry at or after a time: entry times never decrease."""
    low, high = 0, head.size
    while low < high:
        middle = (low + high) // 2
        try:
            early = _time_of(reader, middle, head) < at
        except (Absent, Broken, Malformed) as fault:
            detail = f"a time of the range cannot be found: {fault.detail}"
            head.findings.append(Finding("replay.tree_changed", middle, "", "", detail))
            return unbound
        low, high = (middle + 1, high) if early else (low, middle)
    return low


def _time_of(reader: Reader, index: int, head: Head) -> int:
    """When an entry was written.

    Raises:
        Absent, Broken, Malformed: there is none, or its header is not the one that stands under the head.
    """
    entry = reader.entry(index)
    if leaf_hash(entry.header) != entry.leaf:
        raise Broken("ledger.leaf", f"entry {index}: the leaf is not the hash of the stored header")
    if head.root:
        path = reader.proof(index, head.size)
        verify_inclusion(entry.leaf, index, head.size, path, bytes.fromhex(head.root))
    return entry.at


class History:
    """The entries of a range, each compared with the stored tree as well, so that it is known where that differs."""

    def __init__(self, path: Path, first: int, end: int) -> None:
        self._reader = Reader(path)
        self._next, self._end = first, end
        self._node = node_reader(self._reader.conn)
        self._frontier = Frontier()
        self.findings: list[Finding] = []
        try:
            self._frontier = frontier_at(first, self._node)
        except Broken as missing:
            self.findings.append(Finding("replay.tree_changed", first, "", "", missing.detail))

    def close(self) -> None:
        """Let the file go."""
        self._reader.close()

    @property
    def root(self) -> str:
        """The root of the tree over all entries before the next one."""
        return self._frontier.root().hex()

    def entries(self) -> Iterator[tuple[Entry, Broken | None]]:
        """Each entry, and what does not belong together in it."""
        while self._next < self._end:
            page = self._reader.entries(self._next, min(PAGE, self._end - self._next))
            if not page or page[0].index != self._next:
                self._lost(page[0].index if page else self._end)
                if not page:
                    return
            for entry in page:
                self._next = entry.index + 1
                yield entry, self._held(entry)

    def hold_tree(self, head: Head) -> bool:
        """After the last entry that was read: all of them are what the tree under the head stands over.

        True where that was shown. Where it was not, there is a finding: here, or among those of the head.
        """
        if self.findings:
            return False
        try:
            self._hold_tree(head)
        except Broken as broken:
            self.findings.append(Finding("replay.tree_changed", max(0, self._next - 1), "", "", broken.detail))
            return False
        return bool(head.root)

    def _hold_tree(self, head: Head) -> None:
        size = self._next  # where reading stopped, which may be before the range's end
        if frontier_at(size, self._node) != self._frontier:
            raise Broken("ledger.root", f"the first {size} entries are not those the tree was built over")
        if head.root and size:
            path = self._reader.consistency(size, head.size)
            verify_consistency(size, self._frontier.root(), head.size, bytes.fromhex(head.root), path)

    def intent_of(self, entry: Entry) -> Entry | None:
        """The intent that the chain of an entry began with; None where there is none, or it was erased."""
        name = self._reader.chain_of(entry.index)
        found = self._reader.entries(0, 1, chain=name, kind="intent") if name else []
        return found[0] if found and not found[0].erased else None

    def _lost(self, found: int) -> None:
        self.findings.append(Finding("replay.tree_changed", self._next, "", "", f"entries are missing before {found}"))

    def _held(self, entry: Entry) -> Broken | None:
        if self._frontier.size == entry.index:
            self._frontier, made = self._frontier.append(entry.leaf)
            self._compare(made[1:])
        try:
            entry.hold()
            entry.head  # noqa: B018 - read here, so that a header that cannot be read is found here
        except Malformed as error:
            return Broken("ledger.header", error.detail)
        except Broken as broken:
            return broken
        return None

    def _compare(self, made: Sequence[Node]) -> None:
        """Where the stored tree is not over these entries: its lowest wrong node says which."""
        for level, index, wanted in made:
            try:
                if self._node(level, index) == wanted:
                    continue
            except Broken:
                pass
            if not self.findings:
                first = index << level
                detail = f"an entry from {first} to {first + (1 << level) - 1} is not the one the tree was built over"
                self.findings.append(Finding("replay.tree_changed", first, "", "", detail))
            return
