"""What raw connections, with none of our settings, are refused on every ledger table."""

import sqlite3

import pytest

REFUSED = [
    # entries
    "UPDATE entries SET kind = 'intent' WHERE seq = 3",
    "UPDATE entries SET seq = 999 WHERE seq = 39",
    "UPDATE OR REPLACE entries SET header = x'00' WHERE seq = 0",
    "DELETE FROM entries WHERE seq = 39",
    "DELETE FROM entries",
    "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 0",
    "REPLACE INTO entries SELECT seq, 'x', subject, chain, at, header, leaf FROM entries WHERE seq = 39",
    "INSERT INTO entries SELECT 39, kind, subject, chain, at, header, zeroblob(32) FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT 41, kind, subject, chain, at, header, zeroblob(32) FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT -1, kind, subject, chain, at, header, zeroblob(32) FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT NULL, kind, subject, chain, at, header, zeroblob(32) FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT 40, kind, subject, chain, at, header, leaf FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT 40, kind, subject, chain, at, header, zeroblob(31) FROM entries WHERE seq = 0",
    "INSERT INTO entries SELECT 40, kind, subject, chain, 'now', header, zeroblob(32) FROM entries WHERE seq = 0",
    # bodies: they may be erased, and never change or come back
    "UPDATE bodies SET body = x'00' WHERE seq = 3",
    "INSERT OR REPLACE INTO bodies SELECT * FROM bodies WHERE seq = 3",
    "INSERT INTO bodies SELECT 40, salt, body FROM bodies WHERE seq = 3",
    "INSERT INTO bodies SELECT -1, salt, body FROM bodies WHERE seq = 3",
    # nodes
    "UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 0",
    "DELETE FROM nodes WHERE level = 1",
    "DELETE FROM nodes",
    "INSERT OR REPLACE INTO nodes VALUES (1, 0, zeroblob(32))",
    "INSERT OR REPLACE INTO nodes VALUES (1, 19, zeroblob(32))",
    "INSERT INTO nodes VALUES (1, 21, zeroblob(32))",
    "INSERT INTO nodes VALUES (7, 1, zeroblob(32))",
    "INSERT INTO nodes VALUES (0, 0, zeroblob(32))",
    "INSERT INTO nodes VALUES (1, 20, zeroblob(33))",
    # checkpoints
    "UPDATE checkpoints SET note = '' WHERE size = 40",
    "DELETE FROM checkpoints WHERE size = 40",
    "DELETE FROM checkpoints",
    "INSERT OR REPLACE INTO checkpoints VALUES (40, '')",
    "INSERT OR REPLACE INTO checkpoints VALUES (20, '')",
    "INSERT INTO checkpoints VALUES (41, '')",
    # state rows: one row for each thing, of one shape
    "INSERT INTO intents SELECT * FROM intents WHERE id = 'int-3'",
    "INSERT INTO intents VALUES ('int-x', 'one', 's', '', 0, '{}')",
    "INSERT INTO intents VALUES ('int-x', 1, NULL, '', 0, '{}')",
]


@pytest.mark.parametrize("sql", REFUSED)
@pytest.mark.parametrize("recursive", [0, 1])
def test_history_is_not_rewritten_by_accident(filled, sql, recursive):
    conn = filled.raw()
    before = list(conn.iterdump())
    conn.execute(f"PRAGMA recursive_triggers={recursive}")

    with pytest.raises(sqlite3.IntegrityError):
        conn.execute(sql)
    conn.close()

    conn = filled.raw()
    assert list(conn.iterdump()) == before
    conn.close()


def test_an_erased_body_never_comes_back(filled):
    conn = filled.raw()
    salt, body = conn.execute("SELECT salt, body FROM bodies WHERE seq = 3").fetchone()
    conn.execute("DELETE FROM bodies WHERE seq = 3")

    with pytest.raises(sqlite3.IntegrityError, match="append-only: bodies"):
        conn.execute("INSERT INTO bodies VALUES (3, ?, ?)", (salt, body))
    conn.close()


def test_the_same_append_that_is_refused_with_a_gap_is_taken_without(filled):
    """The refusals above are for what they say, not for some other fault in the statements."""
    conn = filled.raw()
    conn.execute("INSERT INTO entries SELECT 40, kind, subject, chain, at, header, zeroblob(32) FROM entries LIMIT 1")
    conn.execute("INSERT INTO bodies SELECT 40, salt, body FROM bodies LIMIT 1")
    conn.execute("INSERT INTO nodes VALUES (1, 20, zeroblob(32))")
    conn.execute("INSERT INTO checkpoints VALUES (41, 'x')")
    assert conn.execute("SELECT count(*) FROM entries").fetchone() == (41,)
    conn.close()


def test_a_reader_cannot_write(filled):
    from magistrate.store.connect import open_reader

    conn = open_reader(filled.path)
    for sql in ("DELETE FROM intents", "INSERT INTO nodes VALUES (1, 20, zeroblob(32))", "CREATE TABLE t(a)"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            conn.execute(sql)
    conn.close()


def test_the_writer_is_durable_and_hardened(store):
    values = {
        name: store._conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "trusted_schema", "recursive_triggers", "secure_delete")
    }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "trusted_schema": 0,
        "recursive_triggers": 1,
        "secure_delete": 1,
    }


def test_the_file_is_private(store, house):
    assert house.path.stat().st_mode & 0o077 == 0
    assert house.path.parent.stat().st_mode & 0o077 == 0


def test_rows_are_updated_through_their_key(store):
    """A join order that reads the whole table for each batch would grow with the ledger."""
    conn = store._conn
    plan = conn.execute(
        "EXPLAIN QUERY PLAN WITH v(id, version, state, owner, due, data, prior) AS (VALUES (?,?,?,?,?,?,?),(?,?,?,?,?,?,?))"
        " UPDATE intents SET version = v.version FROM v WHERE intents.id = v.id AND intents.version = v.prior",
        ("a",) * 14,
    ).fetchall()
    assert any("SEARCH intents USING INDEX" in step[3] for step in plan)
    assert not any("SCAN intents" in step[3] for step in plan)


@pytest.mark.parametrize(
    "by",
    [
        {"due_before": 5},
        {"owner": "bot"},
        {"state": "waiting", "due_before": 5},
        {"state": ["live", "spent"], "owner": "bot", "due_before": 5},
    ],
)
def test_lists_are_read_through_an_index(store, by):
    """A tick over deadlines must not read every thing there ever was."""
    asked = []
    store._reader.conn.set_trace_callback(asked.append)
    store.select("intents", **by)
    store._reader.conn.set_trace_callback(None)
    plan = store._reader.conn.execute("EXPLAIN QUERY PLAN " + asked[-1]).fetchall()
    assert [step[3] for step in plan if step[3].startswith("SCAN")] == []
    assert not any("autoindex" in step[3] for step in plan)


def test_a_file_that_is_no_database_is_said_to_be_damaged(filled):
    from magistrate.core.errors import Broken
    from magistrate.store.connect import open_reader

    raw = bytearray(filled.path.read_bytes())
    raw[5] ^= 1
    filled.path.write_bytes(raw)
    with pytest.raises(Broken, match=r"ledger\.database"):
        open_reader(filled.path)
