"""What the auditor's reading finds: every kind of edit, by somebody who may write the file and drops the triggers."""

import asyncio
import random

import pytest

from magistrate.core import canonical
from magistrate.core.checkpoint import Checkpoint, signed
from magistrate.core.checkpoint import verify as verify_note
from magistrate.core.errors import Absent, Broken, Forged, Unavailable
from magistrate.core.merkle import leaf_hash
from magistrate.core.signature import admit, signer_from_seed
from magistrate.store.mark import read as read_mark
from magistrate.store.verify import verify_ledger

SIZE = 40


def test_an_honest_ledger_verifies(filled):
    seen = []
    found = verify_ledger(filled.path, origin=filled.origin, key=filled.key, progress=seen.append)

    assert (found.origin, found.size, found.erased) == (filled.origin, SIZE, 0)
    assert found.signed_by == filled.key.key_id
    assert verify_note(found.checkpoint, filled.origin, filled.key).root == found.root
    assert seen == list(range(1, SIZE + 1))
    mark = read_mark(filled.mark)
    assert (mark.size, mark.root) == (found.size, found.root)
    again = verify_ledger(
        filled.path, genesis=found.genesis, known=[Checkpoint(filled.origin, SIZE, found.root)], fixed=True
    )
    assert again.signed_by == ""
    assert again.genesis == found.genesis


def test_an_empty_ledger_verifies_and_is_signed_by_nobody(house):
    house.open().close_now()
    found = verify_ledger(house.path, key=house.key)
    assert (found.size, found.signed_by, found.genesis) == (0, "", "")


async def test_a_ledger_is_verified_while_it_grows(house, step):
    store = house.open()

    async def grow():
        for n in range(200):
            await store.commit(step(n))

    growing = asyncio.create_task(grow())
    sizes = []
    while not growing.done():
        sizes.append((await asyncio.to_thread(verify_ledger, house.path, key=house.key)).size)
    await growing
    assert sizes == sorted(sizes)
    assert verify_ledger(house.path, key=house.key).size == 200


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(Absent):
        verify_ledger(tmp_path / "none.db")
    (tmp_path / "text.db").write_bytes(b"words " * 1000)
    with pytest.raises((Broken, Unavailable)):
        verify_ledger(tmp_path / "text.db")


def test_erased_bodies_are_counted_and_no_fault(filled):
    filled.tampered(("DELETE FROM bodies WHERE seq IN (3, 7)",))
    assert verify_ledger(filled.path, key=filled.key).erased == 2


EDITS = [
    ("a header that says another state", "UPDATE entries SET header = CAST(replace(CAST(header AS TEXT), 'waiting', 'expired') AS BLOB) WHERE seq = 5", "ledger.leaf"),
    ("a column that says another kind", "UPDATE entries SET kind = 'agent' WHERE seq = 5", "ledger.column"),
    ("a column that says another subject", "UPDATE entries SET subject = 'int-7' WHERE seq = 5", "ledger.column"),
    ("a column that says another time", "UPDATE entries SET at = at - 1 WHERE seq = 5", "ledger.column"),
    ("another leaf", "UPDATE entries SET leaf = zeroblob(32) WHERE seq = 5", "ledger.leaf"),
    ("another body", "UPDATE bodies SET body = CAST('{\"n\":9}' AS BLOB) WHERE seq = 5", "ledger.body"),
    ("another salt", "UPDATE bodies SET salt = zeroblob(32) WHERE seq = 5", "ledger.body"),
    ("two bodies swapped", "UPDATE bodies SET seq = CASE seq WHEN 5 THEN -5 ELSE 5 END WHERE seq IN (5)", "ledger.body"),
    ("a body after the end", "INSERT INTO bodies SELECT 40, salt, body FROM bodies WHERE seq = 5", "ledger.body"),
    ("an entry taken out", "DELETE FROM entries WHERE seq = 5", "ledger.gap"),
    ("the first entry taken out", "DELETE FROM entries WHERE seq = 0", "ledger.gap"),
    ("the last entry taken out", "DELETE FROM entries WHERE seq = 39", "ledger.checkpoint"),
    ("an entry before the first", "INSERT INTO entries SELECT -1, kind, subject, chain, at, header, zeroblob(32) FROM entries WHERE seq = 0", "ledger.gap"),
    ("a node changed", "UPDATE nodes SET hash = zeroblob(32) WHERE level = 2 AND idx = 3", "ledger.node"),
    ("a node taken out", "DELETE FROM nodes WHERE level = 2 AND idx = 3", "ledger.node"),
    ("the last node taken out", "DELETE FROM nodes WHERE level = 5", "ledger.node"),
    ("a node too many", "INSERT INTO nodes VALUES (1, 20, zeroblob(32))", "ledger.node"),
    ("a node of a level too many", "INSERT INTO nodes VALUES (6, 0, zeroblob(32))", "ledger.node"),
    ("an earlier checkpoint changed", "UPDATE checkpoints SET note = replace(note, 'acme', 'asme') WHERE size = 7", "ledger.checkpoint"),
    ("an earlier checkpoint's root changed", "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 8) WHERE size = 7", "ledger.checkpoint"),
    ("the last checkpoint taken out", "DELETE FROM checkpoints WHERE size = 40", "ledger.checkpoint"),
    ("a checkpoint past the end", "INSERT INTO checkpoints SELECT 41, note FROM checkpoints WHERE size = 40", "ledger.checkpoint"),
    ("all checkpoints taken out", "DELETE FROM checkpoints", "ledger.checkpoint"),
    ("a signature changed", "UPDATE checkpoints SET note = substr(note, 1, length(note) - 12) || 'AAAA' || substr(note, -8) WHERE size = 40", "signature.wrong"),
    ("a signature taken off", "UPDATE checkpoints SET note = substr(note, 1, instr(note, '—') - 1) WHERE size = 40", "ledger.checkpoint"),
    ("a table taken out", "DROP TABLE checkpoints", "ledger.database"),
    ("an index that lies", "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'entries_kind') WHERE name = 'entries_subject'", "ledger.database"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "sql", "code"), EDITS, ids=[e[0] for e in EDITS])
def test_an_edit_is_found(filled, what, sql, code):
    filled.tampered(("PRAGMA writable_schema=1",), (sql,))
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path, origin=filled.origin, key=filled.key)
    assert caught.value.code == code


def recomputed(filled, change, seed=None):
    """Rewrite the whole tree from changed headers, as an attacker with the file but not the key would."""
    from magistrate.core.merkle import Frontier

    conn = filled.raw()
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    rows = conn.execute("SELECT seq, header FROM entries ORDER BY seq").fetchall()
    conn.execute("DELETE FROM nodes")
    conn.execute("UPDATE entries SET leaf = CAST(printf('%032d', seq) AS BLOB)")
    frontier = Frontier()
    for seq, header in change(rows):
        frontier, made = frontier.append(leaf_hash(header))
        conn.execute("UPDATE entries SET header = ?, leaf = ? WHERE seq = ?", (header, leaf_hash(header), seq))
        conn.executemany("INSERT INTO nodes VALUES (?, ?, ?)", made[1:])
    conn.execute("DELETE FROM checkpoints")
    signer = signer_from_seed(seed or bytes(32))
    note = signed(Checkpoint(filled.origin, frontier.size, frontier.root()), signer)
    conn.execute("INSERT INTO checkpoints VALUES (?, ?)", (frontier.size, note))
    conn.close()


def with_header(seq, **fields):
    def change(rows):
        for at, header in rows:
            yield at, canonical.canonical({**canonical.load(header), **fields}) if at == seq else header

    return change


def test_a_history_written_anew_without_the_key_is_found_by_the_key_alone(filled):
    genesis = verify_ledger(filled.path).genesis
    recomputed(filled, lambda rows: rows)
    assert verify_ledger(filled.path).signed_by == ""
    with pytest.raises(Forged) as caught:
        verify_ledger(filled.path, key=filled.key)
    assert caught.value.code == "checkpoint.unsigned"
    with pytest.raises(Forged):
        verify_ledger(filled.path, key=admit(signer_from_seed(bytes(31) + b"\x01").public))
    assert verify_ledger(filled.path, genesis=genesis, key=admit(signer_from_seed(bytes(32)).public)).size == SIZE


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_header(5, origin="acme/other"), "ledger.origin"),
        (with_header(5, at="2026-03-25T14:00:01Z"), "ledger.column"),
        (with_header(5, parents=["sha256:" + "ab" * 32]), "ledger.parent"),
        (with_header(5, v=2), "ledger.header"),
        (with_header(5, at="2026-02-30T14:00:00Z"), "ledger.header"),
        (with_header(5, state=5), "ledger.header"),
        (with_header(5, body_commit="sha256:" + "ab" * 32), "ledger.body"),
    ],
)
def test_a_history_written_anew_with_the_key_must_still_make_sense(filled, change, code):
    recomputed(filled, change, seed=bytes(range(32)))
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path, key=filled.key)
    assert caught.value.code == code


def test_a_parent_that_comes_later_is_found(filled):
    later = filled.raw().execute("SELECT leaf FROM entries WHERE seq = 9").fetchone()[0]
    recomputed(filled, with_header(5, parents=["sha256:" + later.hex()]), seed=bytes(range(32)))
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path)
    assert caught.value.code == "ledger.parent"


def test_times_that_run_backwards_are_found(filled):
    recomputed(filled, with_header(5, at="2026-03-25T13:00:00Z"), seed=bytes(range(32)))
    filled.tampered(("UPDATE entries SET at = at - 3600 WHERE seq = 5",))
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path)
    assert caught.value.code == "ledger.time"


def test_another_origin_or_genesis_than_the_pinned_is_refused(filled):
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path, origin="acme/other")
    assert caught.value.code == "ledger.origin"
    with pytest.raises(Broken) as caught:
        verify_ledger(filled.path, genesis="sha256:" + "ab" * 32)
    assert caught.value.code == "ledger.genesis"


async def test_a_cut_end_is_found_only_by_what_was_known_before(house, step):
    """A shorter ledger is a valid ledger: the file alone cannot tell. That is why checkpoints are kept elsewhere."""
    store = house.open()
    for n in range(10):
        await store.commit(step(n))
    whole = Checkpoint(house.origin, store.size, store.root)
    middle = verify_note(store.checkpoint_at(6), house.origin, house.key)
    await store.close()
    house.tampered(
        ("DELETE FROM entries WHERE seq >= 7",),
        ("DELETE FROM bodies WHERE seq >= 7",),
        ("DELETE FROM nodes WHERE ((idx + 1) << level) > 7",),
        ("DELETE FROM checkpoints WHERE size > 7",),
    )

    assert verify_ledger(house.path, key=house.key, known=[middle]).size == 7
    with pytest.raises(Broken) as caught:
        verify_ledger(house.path, key=house.key, known=[middle, whole])
    assert caught.value.code == "ledger.behind"


def test_a_fork_is_found_by_what_was_known_before(filled):
    for size in (0, 1, 17, SIZE):
        with pytest.raises(Broken) as caught:
            verify_ledger(filled.path, key=filled.key, known=[Checkpoint(filled.origin, size, bytes(32))])
        assert caught.value.code == "ledger.forked"


def test_any_single_bit_in_what_is_stored_is_found(filled):
    """240 bits, drawn anew from a printed seed: header, leaf, salt, body, node, note."""
    seed = random.randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    places = [
        ("entries", "header", "seq"),
        ("entries", "leaf", "seq"),
        ("bodies", "salt", "seq"),
        ("bodies", "body", "seq"),
        ("nodes", "hash", "level * 100 + idx"),
        ("checkpoints", "note", "size"),
    ]
    verify_ledger(filled.path, key=filled.key)
    filled.tampered()
    conn = filled.raw()
    for table, column, key in places * 40:
        where = draw.choice([k for (k,) in conn.execute(f"SELECT {key} FROM {table}")])
        if table == "checkpoints" and where != SIZE:
            text = conn.execute("SELECT instr(note, '—') FROM checkpoints WHERE size = ?", (where,)).fetchone()[0] - 2
        else:
            text = None  # of an earlier note only the text is compared: one signature answers for the whole
        kept = conn.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (where,)).fetchone()[0]
        raw = bytearray(kept.encode() if isinstance(kept, str) else kept)
        bit = draw.randrange((text or len(raw)) * 8)
        raw[bit // 8] ^= 1 << bit % 8
        cast = "CAST(? AS TEXT)" if isinstance(kept, str) else "?"
        conn.execute(f"UPDATE {table} SET {column} = {cast} WHERE {key} = ?", (bytes(raw), where))
        with pytest.raises(Broken):
            verify_ledger(filled.path, origin=filled.origin, key=filled.key)
        conn.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (kept, where))
    conn.close()
    verify_ledger(filled.path, origin=filled.origin, key=filled.key)


def test_any_single_bit_of_the_file_is_found_or_means_nothing(filled):
    """Flips in the file itself: either it is found, or every entry reads back as it was."""
    raw = filled.raw()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.execute("PRAGMA journal_mode=DELETE")
    raw.close()
    honest = filled.path.read_bytes()
    root = verify_ledger(filled.path, key=filled.key).root
    seed = random.randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    found = 0
    for _ in range(300):
        changed = bytearray(honest)
        bit = draw.randrange(len(honest) * 8)
        changed[bit // 8] ^= 1 << bit % 8
        filled.path.write_bytes(changed)
        try:
            assert verify_ledger(filled.path, key=filled.key, fixed=True).root == root
        except (Broken, Unavailable):
            found += 1
    assert found >= 3  # about one bit in fourteen belongs to anything
