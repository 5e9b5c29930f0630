"""The tables, and the triggers that stop accidents. Tampering is what the Merkle tree shows: a trigger can be dropped.

Ledger tables only grow: no UPDATE, no DELETE, no gap, no second writing of a row. A BEFORE INSERT trigger that wants
the next number also stops `INSERT OR REPLACE`, which goes past UPDATE and DELETE triggers on any connection that has
not set `recursive_triggers`. A body may be deleted (that is what erasing is) and never comes back.

State tables are one shape for all: what the fold of the entries says of each thing.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from magistrate.core.errors import Unavailable
from magistrate.core.state import TABLES

_LEDGER = (
    """CREATE TABLE entries(
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        chain TEXT NOT NULL,
        at INTEGER NOT NULL,
        header BLOB NOT NULL,
        leaf BLOB NOT NULL UNIQUE CHECK(length(leaf) = 32)
    ) STRICT""",
    "CREATE INDEX entries_chain ON entries(chain, seq) WHERE chain <> ''",
    "CREATE INDEX entries_subject ON entries(subject, seq) WHERE subject <> ''",
    "CREATE INDEX entries_kind ON entries(kind, seq)",
    """CREATE TABLE bodies(
        seq INTEGER PRIMARY KEY,
        salt BLOB NOT NULL CHECK(length(salt) = 32),
        body BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE nodes(
        level INTEGER NOT NULL CHECK(level > 0),
        idx INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK(length(hash) = 32),
        PRIMARY KEY(level, idx)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
    """CREATE TABLE idempotency(
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        status INTEGER NOT NULL,
        body BLOB NOT NULL,
        object_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY(scope, key)
    ) STRICT""",
    "CREATE INDEX idempotency_at ON idempotency(at)",
    "CREATE INDEX idempotency_object ON idempotency(object_id)",
    # 1. Nothing that was written is written again.
    *(
        f"""CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}
        BEGIN SELECT RAISE(ABORT, 'append-only: {table}'); END"""
        for table, verb in (
            ("entries", "UPDATE"),
            ("entries", "DELETE"),
            ("nodes", "UPDATE"),
            ("nodes", "DELETE"),
            ("checkpoints", "UPDATE"),
            ("checkpoints", "DELETE"),
            ("bodies", "UPDATE"),
        )
    ),
    # 2. What is added is the next thing: no gap, and no replacing of what is there.
    """CREATE TRIGGER entries_next BEFORE INSERT ON entries
        WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM entries)
        BEGIN SELECT RAISE(ABORT, 'append-only: entries'); END""",
    """CREATE TRIGGER nodes_next BEFORE INSERT ON nodes
        WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM nodes WHERE level = NEW.level)
        BEGIN SELECT RAISE(ABORT, 'append-only: nodes'); END""",
    # A checkpoint is the last thing its batch writes, over all entries there are.
    """CREATE TRIGGER checkpoints_next BEFORE INSERT ON checkpoints
        WHEN NEW.size IS NOT (SELECT max(seq) + 1 FROM entries)
            OR NEW.size <= (SELECT coalesce(max(size), 0) FROM checkpoints)
        BEGIN SELECT RAISE(ABORT, 'append-only: checkpoints'); END""",
    # A body comes with its entry, before the checkpoint over it: never later, so never after an erasing.
    """CREATE TRIGGER bodies_next BEFORE INSERT ON bodies
        WHEN NEW.seq < (SELECT coalesce(max(size), 0) FROM checkpoints)
            OR NEW.seq > (SELECT coalesce(max(seq), -1) FROM entries)
            OR EXISTS (SELECT 1 FROM bodies WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'append-only: bodies'); END""",
)

migrations = Migrations("magistrate")


@migrations(name="0001_ledger")
def _ledger(db: Database) -> None:
    for statement in _LEDGER:
        db.execute(statement)


def _state_table(table: str) -> None:
    """One migration for each state table: a later version adds a table by naming it in `core.state`."""

    @migrations(name=f"state_{table}")
    def _create(db: Database) -> None:
        db.table(table).create(
            {"id": str, "version": int, "state": str, "owner": str, "due": int, "data": str},
            pk="id",
            not_null={"version", "state", "owner", "due", "data"},
            strict=True,
        )
        db.execute(f"CREATE INDEX {table}_state ON {table}(state, id)")
        db.execute(f"CREATE INDEX {table}_owner ON {table}(owner, id) WHERE owner <> ''")
        db.execute(f"CREATE INDEX {table}_due ON {table}(due) WHERE due > 0")


for _table in TABLES:
    _state_table(_table)


def migrate(db: Database) -> list[str]:
    """Bring the tables to this program's version; return the names of the steps taken.

    Raises:
        Unavailable: a newer program wrote this database.
    """
    known = {step.name for step in migrations.pending(Database(memory=True))}
    newer = sorted(step.name for step in migrations.applied(db) if step.name not in known)
    if newer:
        raise Unavailable("store.newer", f"this database was written by a newer version ({newer[0]}), which reads it")
    pending = [step.name for step in migrations.pending(db)]
    migrations.apply(db)
    return pending
