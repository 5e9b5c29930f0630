"""RFC 6962's tree: one hash over every entry, and short proofs that one is in it or that it only grew.

Throughout, a *leaf* is the leaf hash of an entry's exact bytes (`leaf_hash` makes it), never the bytes. A node has an
address (level, index): it stands for the leaves from index * 2^level, 2^level of them, and exists once they all do.
Nodes never change, so whoever stores them can prove any size that ever was.

Verifying raises `ProofFailed`; it never returns a bool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

from magistrate.core.errors import ProofFailed

Node: TypeAlias = tuple[int, int, bytes]  # level, index, hash
NodeAt: TypeAlias = Callable[[int, int], bytes]

HASH_BYTES: Final = 32


def leaf_hash(entry: bytes) -> bytes:
    """The leaf that stands for an entry's exact bytes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The node above two others; its prefix keeps it from ever passing for a leaf."""
    return sha256(b"\x01" + left + right).digest()


empty_root: Final = sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All of a tree that appending needs: its complete subtrees, largest first. `append` makes the next one."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> tuple[Frontier, tuple[Node, ...]]:
        """The tree with one leaf more, and the nodes that became complete by it: the leaf first."""
        _want_hash(leaf, "leaf")
        peaks = list(self.peaks)
        made: list[Node] = [(0, self.size, leaf)]
        level, index, above = 0, self.size, leaf
        while index & 1:  # a left neighbour of the same size waits: together they are complete
            level, index, above = level + 1, index >> 1, node_hash(peaks.pop(), above)
            made.append((level, index, above))
        return Frontier(self.size + 1, (*peaks, above)), tuple(made)

    def root(self) -> bytes:
        """The one hash of the whole tree."""
        return _folded(self.peaks)


def frontier_at(size: int, node: NodeAt) -> Frontier:
    """The frontier of any size that ever was, from stored nodes."""
    return Frontier(size, tuple(node(level, index) for level, index in _complete(0, size)))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier, _ = frontier.append(leaf)
    return frontier.root()


def inclusion_path(index: int, size: int, node: NodeAt) -> list[bytes]:
    """The hashes that prove the leaf at `index` to whoever knows the root at `size`.

    Raises:
        ProofFailed: there is no such leaf at this size.
    """
    if not 0 <= index < size:
        raise ProofFailed("proof.range", f"no leaf {index} in a tree of {size}")
    return _path(index, 0, size, node)


def consistency_path(old: int, new: int, node: NodeAt) -> list[bytes]:
    """The hashes that prove the tree of size `old` to be the beginning of the tree of size `new`.

    Raises:
        ProofFailed: the sizes are not in order, or the old tree is empty (everything begins with nothing).
    """
    if not 0 < old <= new:
        raise ProofFailed("proof.range", f"no proof leads from size {old} to {new}")
    if old == new:
        return []
    # RFC 6962, 2.1.2: walk to the last complete subtree of the old tree; unless it is the whole of it, name it
    last_level, last_index = list(_complete(0, old))[-1]
    seed = [] if last_index == 0 else [node(last_level, last_index)]
    return seed + _path(last_index << last_level, 0, new, node, floor=1 << last_level)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Return only if the path proves that `leaf` stands at `index` of the tree with this root and size.

    Raises:
        ProofFailed: it does not.
    """
    _want_hashes((leaf, root, *path))
    if not 0 <= index < size:
        raise ProofFailed("proof.range", f"no leaf {index} in a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()  # below here the path alternates; above, all siblings are on the left
    border = (index >> inner).bit_count()
    if len(path) != inner + border:
        raise ProofFailed("proof.length", f"{len(path)} hashes where {inner + border} are needed")
    found = _up_inner(leaf, path[:inner], index)
    for left in path[inner:]:
        found = node_hash(left, found)
    if found != root:
        raise ProofFailed("proof.inclusion", f"the path does not lead from leaf {index} to the root of {size}")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Return only if the path proves that the old tree is the beginning of the new one: nothing changed or vanished.

    Raises:
        ProofFailed: it does not, or the old tree is empty: then there is nothing to prove, and the caller says so.
    """
    if not 0 < old_size <= new_size:
        raise ProofFailed("proof.range", f"no proof leads from size {old_size} to {new_size}")
    if old_size == new_size:
        _want_same(path, old_root, new_root)
        return
    _want_hashes((old_root, new_root, *path))
    # 1. how many hashes there must be: exactly so many, or somebody added some
    shift = (old_size & -old_size).bit_length() - 1  # height of the old tree's last complete subtree
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length() - shift
    border = ((old_size - 1) >> (inner + shift)).bit_count()
    whole = old_size == 1 << shift  # then that subtree is the old tree, and its root the seed
    if len(path) != inner + border + (not whole):
        raise ProofFailed("proof.length", f"{len(path)} hashes where {inner + border + (not whole)} are needed")
    # 2. one walk, two results: the old root uses only left siblings, the new root all of them
    seed, steps = (old_root, path) if whole else (path[0], path[1:])
    mask = (old_size - 1) >> shift
    older = newer = seed
    for height, sibling in enumerate(steps):
        if height >= inner or (mask >> height) & 1:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
        else:
            newer = node_hash(newer, sibling)
    # 3. both must be what was claimed
    if older != old_root:
        raise ProofFailed("proof.consistency", f"the path does not lead to the root of the old size {old_size}")
    if newer != new_root:
        raise ProofFailed("proof.consistency", f"the path does not lead to the root of the new size {new_size}")


def _want_hash(value: bytes, what: str) -> None:
    if len(value) != HASH_BYTES:
        raise ProofFailed("proof.hash", f"a {what} is {HASH_BYTES} bytes, not {len(value)}")


def _want_hashes(values: Iterable[bytes]) -> None:
    for value in values:
        _want_hash(value, "hash")


def _want_same(path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    if path:
        raise ProofFailed("proof.length", f"{len(path)} hashes where the sizes are equal")
    if old_root != new_root:
        raise ProofFailed("proof.consistency", "two roots for one size")


def _up_inner(found: bytes, path: Sequence[bytes], index: int) -> bytes:
    for height, sibling in enumerate(path):
        found = node_hash(sibling, found) if (index >> height) & 1 else node_hash(found, sibling)
    return found


def _folded(peaks: Sequence[bytes]) -> bytes:
    """One hash over complete subtrees, largest first: the smallest are joined first."""
    if not peaks:
        return empty_root
    above = peaks[-1]
    for left in reversed(peaks[:-1]):
        above = node_hash(left, above)
    return above


def _complete(start: int, end: int) -> list[tuple[int, int]]:
    """Addresses of the complete subtrees that make up [start, end), where `start` is the start of such a range."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _path(index: int, start: int, end: int, node: NodeAt, *, floor: int = 1) -> list[bytes]:
    """Siblings from the subtree of `floor` leaves that holds `index` up to the root of [start, end)."""
    siblings: list[bytes] = []
    while end - start > floor:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if index < split:
            sibling, end = (split, end), split
        else:
            sibling, start = (start, split), split
        siblings.append(_folded([node(level, at) for level, at in _complete(*sibling)]))
    return siblings[::-1]
