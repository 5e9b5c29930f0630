"""The tree: what is in it can be proven, and what is not cannot."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.errors import ProofFailed
from magistrate.core.merkle import (
    Frontier,
    consistency_path,
    empty_root,
    frontier_at,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.support.conformance import vectors

MOST = 70  # two sizes past 64: every shape of tree up to there


class Log:
    """A tree of `MOST` leaves with its nodes as a store would keep them, and the root of every size."""

    def __init__(self) -> None:
        self.leaves = [leaf_hash(b"entry %d" % n) for n in range(MOST)]
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.roots = [empty_root]
        frontier = Frontier()
        for leaf in self.leaves:
            frontier, made = frontier.append(leaf)
            for level, index, found in made:
                assert (level, index) not in self.nodes, "a node is made once"
                self.nodes[level, index] = found
            self.roots.append(frontier.root())

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


LOG = Log()


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(plain_root(leaves[:split]), plain_root(leaves[split:]))


# -- roots ------------------------------------------------------------------------------------------------------------


def test_the_roots_of_the_eight_entries_that_everybody_tests_with():
    """RFC 6962 trees of size 0 to 8."""
    known = vectors("tree.json")
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in known["entries_hex"]]

    assert [root_of(leaves[:size]).hex() for size in range(9)] == known["roots_hex"]


def test_leaves_and_nodes_are_hashed_apart():
    """Else an inner node would pass for an entry of 64 bytes."""
    left, right = LOG.leaves[:2]

    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"x") == sha256(b"\x00x").digest()
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()
    assert node_hash(left, right) != node_hash(right, left)


def test_appending_builds_the_same_tree_as_the_definition():
    """The compact way and the recursive one agree at every size."""
    assert LOG.roots == [plain_root(LOG.leaves[:size]) for size in range(MOST + 1)]


def test_every_complete_subtree_is_given_to_the_store_once():
    """With these nodes, any past size can be proven; nothing else needs keeping."""
    expected = {
        (level, index): plain_root(LOG.leaves[index << level : (index + 1) << level])
        for level in range(7)
        for index in range(MOST >> level)
    }

    assert LOG.nodes == expected


def test_a_frontier_never_changes():
    """Appending makes the next one: a step that fails leaves the old tree."""
    before, _ = frontier_at(6, LOG.node).append(LOG.leaves[6])
    root = before.root()

    after, made = before.append(LOG.leaves[7])

    assert (before.size, before.root()) == (7, root)
    assert (after.size, after.root()) == (8, LOG.roots[8])
    assert made[0] == (0, 7, LOG.leaves[7])
    assert made[-1] == (3, 0, LOG.roots[8])


@pytest.mark.parametrize("size", range(MOST + 1))
def test_a_frontier_is_found_again_from_stored_nodes(size):
    """After a start, appending goes on as if nothing had been."""
    frontier = frontier_at(size, LOG.node)

    assert frontier.size == size
    assert frontier.root() == LOG.roots[size]
    for leaf in LOG.leaves[size:]:
        frontier, _ = frontier.append(leaf)
    assert frontier.root() == LOG.roots[MOST]


@pytest.mark.parametrize("leaf", [b"", b"x" * 31, b"x" * 33, b"the entry itself, not its hash"])
def test_only_a_hash_is_a_leaf(leaf):
    """Whoever passes an entry instead of its hash is told."""
    with pytest.raises(ProofFailed, match=r"^proof\.hash"):
        Frontier().append(leaf)


# -- proofs that prove ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_leaf_of_every_size_is_proven(size):
    """Exhaustive up to 70, with the shortest path each time."""
    for index in range(size):
        path = inclusion_path(index, size, LOG.node)
        verify_inclusion(LOG.leaves[index], index, size, path, LOG.roots[size])
        assert len(path) <= (size - 1).bit_length()


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_every_size_is_proven_to_begin_every_later_one(new):
    """Exhaustive up to 70."""
    for old in range(1, new + 1):
        path = consistency_path(old, new, LOG.node)
        verify_consistency(old, LOG.roots[old], new, LOG.roots[new], path)


# -- proofs that do not -----------------------------------------------------------------------------------------------


def bent(path: list[bytes]) -> list[list[bytes]]:
    """All the simple ways to spoil a path: a bit, a hash too few, too many, twice, or in another order."""
    flipped = [[*path[:n], bytes([step[0] ^ 1]) + step[1:], *path[n + 1 :]] for n, step in enumerate(path)]
    dropped = [path[:n] + path[n + 1 :] for n in range(len(path))]
    added = [[*path[:n], extra, *path[n:]] for n in range(len(path) + 1) for extra in (bytes(32), LOG.leaves[0])]
    swapped = [[*path[:n], path[n + 1], path[n], *path[n + 2 :]] for n in range(len(path) - 1)]
    cut = [[*path[:n], step[:-1], *path[n + 1 :]] for n, step in enumerate(path)]
    return flipped + dropped + added + swapped + cut


@pytest.mark.parametrize("size", range(1, 20))
def test_no_bent_path_proves_a_leaf(size):
    """Every single defect, for every leaf of small trees."""
    for index in range(size):
        path = inclusion_path(index, size, LOG.node)
        for wrong in bent(path):
            with pytest.raises(ProofFailed):
                verify_inclusion(LOG.leaves[index], index, size, wrong, LOG.roots[size])


@pytest.mark.parametrize("size", range(2, 20))
def test_a_path_proves_its_leaf_at_its_place_only(size):
    """Not another leaf, not another place, not another root."""
    for index in range(size):
        path = inclusion_path(index, size, LOG.node)
        for other in set(range(size)) - {index}:
            with pytest.raises(ProofFailed):
                verify_inclusion(LOG.leaves[index], other, size, path, LOG.roots[size])
            with pytest.raises(ProofFailed):
                verify_inclusion(LOG.leaves[other], index, size, path, LOG.roots[size])
        with pytest.raises(ProofFailed, match=r"^proof\.inclusion"):
            verify_inclusion(LOG.leaves[index], index, size, path, LOG.roots[size - 1])


@pytest.mark.parametrize("new", range(1, 20))
def test_no_bent_path_proves_growth(new):
    """Every single defect, for every pair of small sizes."""
    for old in range(1, new + 1):
        for wrong in bent(consistency_path(old, new, LOG.node)):
            with pytest.raises(ProofFailed):
                verify_consistency(old, LOG.roots[old], new, LOG.roots[new], wrong)


@pytest.mark.parametrize("new", range(2, 20))
def test_a_path_has_exactly_the_hashes_it_needs(new):
    """None, one too few, one too many: counted before anything is computed."""
    for old in range(1, new):
        path = consistency_path(old, new, LOG.node)
        for wrong in ([], path[:-1], [*path, bytes(32)], [*path, *path]):
            with pytest.raises(ProofFailed, match=r"^proof\.length"):
                verify_consistency(old, LOG.roots[old], new, LOG.roots[new], wrong)
        path = inclusion_path(old, new, LOG.node)
        for wrong in ([], path[:-1], [*path, bytes(32)], [*path, *path]):
            with pytest.raises(ProofFailed, match=r"^proof\.length"):
                verify_inclusion(LOG.leaves[old], old, new, wrong, LOG.roots[new])


@pytest.mark.parametrize("new", range(1, 20))
def test_a_rewritten_past_is_never_consistent(new):
    """Changing one old leaf, or dropping the last, leaves no path that fits."""
    for old in range(1, new + 1):
        path = consistency_path(old, new, LOG.node)
        for place in range(old):
            forged = root_of([*LOG.leaves[:place], leaf_hash(b"rewritten"), *LOG.leaves[place + 1 : old]])
            with pytest.raises(ProofFailed, match=r"^proof\.consistency"):
                verify_consistency(old, forged, new, LOG.roots[new], path)
        with pytest.raises(ProofFailed, match=r"^proof\.consistency"):
            verify_consistency(old, LOG.roots[old], new, LOG.roots[new + 1], path)
        with pytest.raises(ProofFailed, match=r"^proof\.consistency"):
            verify_consistency(old, LOG.roots[old - 1], new, LOG.roots[new], path)


def test_sizes_have_one_root():
    """A tree is consistent with itself and with no other of its size."""
    verify_consistency(5, LOG.roots[5], 5, LOG.roots[5], [])
    with pytest.raises(ProofFailed, match=r"^proof\.consistency: two roots"):
        verify_consistency(5, LOG.roots[5], 5, LOG.roots[6], [])
    with pytest.raises(ProofFailed, match=r"^proof\.length"):
        verify_consistency(5, LOG.roots[5], 5, LOG.roots[5], [LOG.roots[5]])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (9, 5), (-1, 5), (0, -1)])
def test_no_leaf_outside_the_tree(index, size):
    """There is nothing to prove, and nothing is proven."""
    with pytest.raises(ProofFailed, match=r"^proof\.range"):
        inclusion_path(index, size, LOG.node)
    with pytest.raises(ProofFailed, match=r"^proof\.range"):
        verify_inclusion(LOG.leaves[0], index, size, [], LOG.roots[1])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, 0)])
def test_nothing_follows_from_an_empty_or_larger_tree(old, new):
    """Everything begins with nothing, so a proof from size 0 would say nothing; a log that shrank says enough."""
    with pytest.raises(ProofFailed, match=r"^proof\.range"):
        consistency_path(old, new, LOG.node)
    with pytest.raises(ProofFailed, match=r"^proof\.range"):
        verify_consistency(old, empty_root, new, LOG.roots[5], [])


def test_hashes_have_32_bytes():
    """A longer or shorter one would let two trees share a hash."""
    path = inclusion_path(2, 5, LOG.node)
    growth = consistency_path(2, 5, LOG.node)

    for leaf, steps, root in (
        (b"", path, LOG.roots[5]),
        (LOG.leaves[2], [path[0] + path[1], *path[2:]], LOG.roots[5]),
        (LOG.leaves[2], path, LOG.roots[5][:-1]),
    ):
        with pytest.raises(ProofFailed, match=r"^proof\.hash"):
            verify_inclusion(leaf, 2, 5, steps, root)
    for older, newer, steps in (
        (b"", LOG.roots[5], growth),
        (LOG.roots[2], LOG.roots[5] + b"\x00", growth),
        (LOG.roots[2], LOG.roots[5], [b"x", *growth[1:]]),
    ):
        with pytest.raises(ProofFailed, match=r"^proof\.hash"):
            verify_consistency(2, older, 5, newer, steps)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=130), st.data())
def test_any_log_proves_itself_to_a_reader_who_saw_an_earlier_size(entries, data):
    """Whatever is in it: growth is proven, each entry is proven, and an entry that was never there is not."""
    leaves = [leaf_hash(entry) for entry in entries]
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    for leaf in leaves:
        frontier, made = frontier.append(leaf)
        nodes.update({(level, index): found for level, index, found in made})
    old = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, len(leaves) - 1))

    def node(level: int, at: int) -> bytes:
        return nodes[level, at]

    growth = consistency_path(old, len(leaves), node)
    path = inclusion_path(index, len(leaves), node)
    verify_consistency(old, root_of(leaves[:old]), len(leaves), frontier.root(), growth)
    verify_inclusion(leaves[index], index, len(leaves), path, frontier.root())
    with pytest.raises(ProofFailed):
        verify_inclusion(leaf_hash(b"never there"), index, len(leaves), path, frontier.root())


def test_a_log_of_two_to_the_forty_is_proven_by_forty_hashes():
    """Sizes are numbers, not lists: nothing here grows with the log."""
    same = [LOG.leaves[0]]
    for _ in range(41):
        same.append(node_hash(same[-1], same[-1]))
    size = 2**40 + 1

    def node(level: int, _at: int) -> bytes:
        return same[level]

    root = frontier_at(size, node).root()
    verify_inclusion(same[0], 2**39 + 12345, size, inclusion_path(2**39 + 12345, size, node), root)
    verify_consistency(
        2**40 - 1, frontier_at(2**40 - 1, node).root(), size, root, consistency_path(2**40 - 1, size, node)
    )
