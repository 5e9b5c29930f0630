"""State rows are a view of the entries: made anew from them, they are the same."""

import asyncio

import pytest

from magistrate.core.errors import Broken, Conflict
from magistrate.store.rebuild import rebuild


def test_state_made_anew_is_the_state_that_is_stored(filled):
    found = rebuild(filled.path, filled.fold)
    assert (found.entries, found.rows) == (40, 20 + 2 + 1)
    assert found.differences == ()
    assert found.explained == ()
    assert found.passed_over == 0


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE intents SET state = 'warranted' WHERE id = 'int-3'", "intents int-3: differs in state"),
        ("UPDATE intents SET owner = 'eve' WHERE id = 'int-3'", "intents int-3: differs in owner"),
        ("UPDATE intents SET due = 99 WHERE id = 'int-3'", "intents int-3: differs in due"),
        ("UPDATE intents SET version = 9 WHERE id = 'int-3'", "intents int-3: differs in version"),
        ("UPDATE tallies SET data = '{\"n\":1}' WHERE id = 'bot'", "tallies bot: differs in data"),
        ("DELETE FROM intents WHERE id = 'int-0'", "intents int-0: not stored"),
        ("DELETE FROM agents", "agents bot: not stored"),
        ("INSERT INTO agents VALUES ('eve', 1, 'active', '', 0, '{}')", "agents eve: stored, and no entry made it"),
        (
            "INSERT INTO warrants VALUES ('wrt-1', 1, 'live', '', 0, '{}')",
            "warrants wrt-1: stored, and no entry made it",
        ),
    ],
)
def test_a_row_that_no_entry_accounts_for_is_found(filled, sql, told):
    conn = filled.raw()
    conn.execute(sql)
    conn.close()
    found = rebuild(filled.path, filled.fold)
    assert [str(d) for d in found.differences] == [told]


def test_the_same_data_spelt_otherwise_is_no_difference(filled):
    conn = filled.raw()
    conn.execute("UPDATE agents SET data = '{ \"x\" : 1.0 }'")
    conn.close()
    assert rebuild(filled.path, filled.fold).differences == ()


def test_differences_are_told_up_to_a_hundred(filled):
    conn = filled.raw()
    for n in range(150):
        conn.execute("INSERT INTO alerts VALUES (?, 1, 'x', '', 0, '{}')", (f"alt-{n}",))
    conn.close()
    assert len(rebuild(filled.path, filled.fold).differences) == 100


def test_an_entry_that_cannot_be_folded_is_a_fault(filled):
    def fold(view, entry):
        if entry.index == 7:
            raise Conflict("intent.state", "no such move")

    with pytest.raises(Broken) as caught:
        rebuild(filled.path, fold)
    assert caught.value.code == "ledger.fold"
    assert "entry 7" in caught.value.detail


def test_a_large_ledger_is_folded_in_pieces(house, step, monkeypatch):
    monkeypatch.setattr("magistrate.store.rebuild.FLUSH_ROWS", 7)
    store = house.open()

    async def fill():
        await asyncio.gather(*(store.commit(step(n % 60, owner=f"o{n % 5}")) for n in range(300)))

    asyncio.run(fill())
    seen = []
    found = rebuild(house.path, house.fold, progress=seen.append)
    assert (found.entries, found.rows, found.differences) == (300, 65, ())
    assert seen[-1] == 300


async def test_what_was_erased_is_explained_and_nothing_else_is(house, step):
    store = house.open()
    await store.commit(step(1, owner="ann"))
    await store.commit(step(2, owner="bot"))
    await store.commit(step(3, owner="bot"))

    def erase(txn):
        txn.append("redaction", "int-1", body={"owner": "ann"}, chain="int-1")
        txn.erase("int-1")

    await store.commit(erase)
    found = rebuild(house.path, house.fold)
    assert found.passed_over == 1
    assert [d.id for d in found.explained] == ["int-1"]
    assert [str(d) for d in found.differences] == ["tallies ann: stored, and no entry made it"]
    await store.close()

    conn = house.raw()
    conn.execute("UPDATE intents SET state = 'warranted' WHERE id = 'int-2'")
    conn.close()
    assert "intents int-2: differs in state" in [str(d) for d in rebuild(house.path, house.fold).differences]


async def test_a_bare_deletion_of_a_body_does_not_explain_other_rows(house, step):
    store = house.open()
    await store.commit(step(1))
    await store.commit(step(2))
    await store.close()
    conn = house.raw()
    conn.execute("DELETE FROM bodies WHERE seq = 0")
    conn.execute("UPDATE intents SET state = 'warranted'")
    conn.close()
    found = rebuild(house.path, house.fold)
    assert [d.id for d in found.explained] == ["int-1"]
    assert [d.id for d in found.differences] == ["int-2"]
