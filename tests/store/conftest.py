"""A small ledger to try things on: its fold makes one row for each thing, and counts what each owner has."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from magistrate.core.errors import Refused
from magistrate.core.signature import admit, signer_from_seed
from magistrate.store import Store

SIGNER = signer_from_seed(bytes(range(32)))
ORIGIN = "acme/test"


def fold(view, entry):
    """`intent` makes or moves an intent, `agent` an agent; a `refusal` is one the fold refuses."""
    if entry.kind == "refusal":
        raise Refused("fold.refused", "the fold refuses this")
    if entry.kind == "redaction":
        for row in view.rows("intents", owner=entry.content()["owner"]):
            view.put("intents", row.id, state=row.state, data={})
        return
    if entry.kind == "intent":
        said = entry.content()
        owner = said.get("owner", "")
        view.put("intents", entry.subject, state=entry.state, owner=owner, due=said.get("due", 0), data=said)
        if owner:
            tally = view.row("tallies", owner)
            view.put("tallies", owner, state="counted", data={"n": (tally.data["n"] if tally else 0) + 1})
    if entry.kind == "agent":
        view.put("agents", entry.subject, state=entry.state, data=entry.content())


class Clock:
    def __init__(self, at=1774447200):
        self.at = at

    def __call__(self):
        return self.at


class House:
    """A folder for one ledger, opened as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "data" / "ledger.db"
        self.mark = folder / "state" / "mark"
        self.clock = Clock()
        self.key = admit(SIGNER.public)
        self.fold = fold
        self.signer = SIGNER
        self.origin = ORIGIN
        self.stores: list[Store] = []

    def open(self, **change) -> Store:
        settings = {
            "origin": ORIGIN,
            "fold": fold,
            "signer": SIGNER,
            "mark_path": self.mark,
            "clock": self.clock,
            **change,
        }
        store = Store(self.path, **settings)
        self.stores.append(store)
        return store

    def raw(self) -> sqlite3.Connection:
        """A connection of anybody: none of our settings."""
        return sqlite3.connect(self.path, isolation_level=None)

    def tampered(self, *statements) -> None:
        """Change the file as one who may write it would: triggers dropped."""
        conn = self.raw()
        for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            conn.execute(f"DROP TRIGGER {name}")
        for sql, *values in statements:
            conn.execute(sql, values)
        conn.close()


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    for store in made.stores:
        store.close_now()


@pytest.fixture
def store(house):
    return house.open()


def intent(n, state="waiting", **body):
    """A step that appends one intent."""
    return lambda txn: txn.append("intent", f"int-{n}", state, body={"n": n, **body}, chain=f"int-{n}")


@pytest.fixture
def step():
    return intent


@pytest.fixture
def filled(house):
    """A closed ledger of 40 entries about 20 intents, and one agent."""

    async def fill():
        store = house.open()
        for n in range(20):
            await store.commit(intent(n, owner="bot" if n % 2 else "ann"))
        await asyncio.gather(*(store.commit(intent(n, "denied", owner="bot")) for n in range(19)))
        await store.commit(lambda txn: txn.append("agent", "bot", "active", body={"x": 1}))
        await store.close()

    asyncio.run(fill())
    return house
