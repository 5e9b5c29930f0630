"""The stored tree: leaves lie in their entries' rows, every node above them in `nodes`."""

from __future__ import annotations

import sqlite3

from magistrate.core.errors import Broken
from magistrate.core.merkle import NodeAt


def node_reader(conn: sqlite3.Connection) -> NodeAt:
    """How core's proofs read stored nodes through this connection."""

    def node(level: int, index: int) -> bytes:
        if level:
            found = conn.execute("SELECT hash FROM nodes WHERE level = ? AND idx = ?", (level, index)).fetchone()
        else:
            found = conn.execute("SELECT leaf FROM entries WHERE seq = ?", (index,)).fetchone()
        if found is None:
            raise Broken("ledger.node", f"the node {index} of level {level} is missing")
        return bytes(found[0])

    return node
