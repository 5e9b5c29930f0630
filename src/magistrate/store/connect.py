"""Connections to the one SQLite file: a single writer, and readers that cannot write."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlite_utils import Database

from magistrate.core.errors import Absent, Broken, Unavailable
from magistrate.store.schema import migrate

BUSY_MS = 5000
WAL_PAGES = 1000  # 4 MB of WAL before a COMMIT also copies it back: 4000 costs no less, and longer at a time

_WRITER = (
    "PRAGMA synchronous=FULL",  # a committed entry outlives a power cut; NORMAL gains nothing in group commit
    "PRAGMA fullfsync=1",  # macOS: fsync alone does not reach the disk
    "PRAGMA trusted_schema=0",
    "PRAGMA recursive_triggers=1",
    "PRAGMA secure_delete=1",  # what is erased is overwritten
    "PRAGMA cell_size_check=1",
    "PRAGMA mmap_size=0",
    f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
)
_READER = ("PRAGMA query_only=1", "PRAGMA trusted_schema=0", "PRAGMA mmap_size=0", "PRAGMA wal_autocheckpoint=0")


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes, its durability asserted and its tables at this program's version.

    Raises:
        Unavailable: not a database we can write safely.
    """
    try:
        conn = _connected(f"file:{quote(str(path))}?mode=rwc")
        path.chmod(0o600)
        mode = conn.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        migrate(Database(conn, recursive_triggers=False))
        harden(conn)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise Unavailable("store.open", f"{path.name} cannot be opened for writing: {error}") from error
    if mode != "wal" or conn.execute("PRAGMA synchronous").fetchone()[0] != 2:  # 2 is FULL
        conn.close()
        raise Unavailable("store.unsafe", "the database would not keep what it has acknowledged")
    return conn


def harden(conn: sqlite3.Connection) -> None:
    """Set what the writing connection must have."""
    for pragma in _WRITER:
        conn.execute(pragma)


def open_reader(path: Path, *, fixed: bool = False) -> sqlite3.Connection:
    """A connection that cannot write. `fixed` says that nobody writes the file: a copy, on any medium.

    Raises:
        Absent: there is no such file.
        Unavailable: it cannot be read now.
        Broken: `ledger.database`, it is damaged, or no database.
    """
    if not path.is_file():
        raise Absent("store.absent", f"there is no ledger at {path.name}")
    try:
        conn = _connected(f"file:{quote(str(path))}?{'immutable=1' if fixed else 'mode=ro'}")
        for pragma in _READER:
            conn.execute(pragma)
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # SQLite reads nothing before it is asked
    except (sqlite3.OperationalError, UnicodeDecodeError) as error:
        raise Unavailable("store.open", f"{path.name} cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Broken("ledger.database", f"the database is damaged: {error}") from error
    return conn


def _connected(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,  # transactions are begun and ended here, never by the driver
        check_same_thread=False,  # one thread at a time, but closed by another than the one that used it
        cached_statements=512,
    )


def library() -> str:
    """Which SQLite this Python carries."""
    return f"SQLite {sqlite3.sqlite_version}"
