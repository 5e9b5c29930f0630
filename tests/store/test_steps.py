"""A step is whole or nothing, alone or among others."""

import asyncio
import sqlite3

import pytest

from magistrate.core.errors import Broken, Conflict, Malformed, Moved, Refused, Unavailable
from magistrate.core.merkle import root_of, verify_consistency, verify_inclusion
from magistrate.store.batch import Step


async def test_what_was_awaited_is_seen_by_every_reader(store, house, step):
    entry = await store.commit(step(1, owner="bot"))

    row = store.row("intents", "int-1")
    assert (row.id, row.version, row.state, row.owner, row.data) == (
        "int-1",
        1,
        "waiting",
        "bot",
        {"n": 1, "owner": "bot"},
    )
    assert store._reader.row("intents", "int-1") == row
    assert [r.id for r in await store.rows("intents")] == ["int-1"]
    assert store.entry(0).leaf == entry.leaf
    assert store.size == 1
    raw = house.raw()
    assert raw.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    raw.close()


async def test_a_step_may_append_several_entries_and_sees_its_own_rows(store):
    def write(txn):
        first = txn.append("intent", "int-1", "waiting", body={"owner": "bot"}, chain="int-1")
        assert txn.row("intents", "int-1").state == "waiting"
        second = txn.append("intent", "int-1", "denied", [first.leaf_digest], {"owner": "bot"}, chain="int-1")
        assert txn.rows("intents", owner="bot")[0].state == "denied"
        return first.index, second.index, txn.size

    assert await store.commit(write) == (0, 1, 2)
    assert store.row("intents", "int-1").version == 2
    assert store.row("tallies", "bot").data == {"n": 2}
    assert store.entry(1).parents == (store.entry(0).leaf_digest,)
    assert store.commits == 1


async def test_a_step_that_raises_leaves_nothing(store, step):
    await store.commit(step(1))
    before = store.size, store.root, store.checkpoint(), list(store._conn.iterdump())

    def write(txn):
        txn.append("intent", "int-2", "waiting", body={})
        txn.remember("s", "k", "d", 201, b"{}")
        raise Refused("no", "a rule said no")

    with pytest.raises(Refused):
        await store.commit(write)
    assert (store.size, store.root, store.checkpoint(), list(store._conn.iterdump())) == before
    assert store.row("intents", "int-2") is None
    assert store.answer("s", "k") is None


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda txn: txn.append("unheard", "int-1"), Malformed),
        (lambda txn: txn.append("intent", "a name with blanks"), Malformed),
        (lambda txn: txn.append("intent", "int-1", "waiting", body={"n": 2**53}), Malformed),
        (lambda txn: txn.append("intent", "int-1", "waiting", body={"n": object()}), Malformed),
        (lambda txn: txn.append("refusal", "int-1"), Refused),
        (lambda txn: txn.append("pulse", "", parents=["sha256:" + "ab" * 32]), Broken),
        (lambda txn: txn.erase(""), Broken),
        (lambda txn: txn.row("entries", "0"), Broken),
        (lambda txn: txn.row("intents; DROP TABLE intents", "0"), Broken),
        (lambda txn: 1 // 0, ZeroDivisionError),
    ],
)
async def test_what_a_step_is_refused(store, write, error):
    with pytest.raises(error):
        await store.commit(write)
    assert store.size == 0
    assert store.stopped is None


async def test_a_refused_entry_cannot_be_swallowed(store):
    def write(txn):
        try:
            txn.append("refusal", "int-1")
        except Refused:
            txn.append("intent", "int-1", "waiting", body={})

    with pytest.raises(Broken) as caught:
        await store.commit(write)
    assert caught.value.code == "store.spoiled"
    assert store.size == 0


async def test_a_step_that_has_ended_writes_nothing_more(store, step):
    kept = []
    await store.commit(lambda txn: (kept.append(txn), txn.append("intent", "int-1", "waiting", body={}))[1])

    for late in (
        lambda txn: txn.append("intent", "int-2", "waiting", body={}),
        lambda txn: txn.remember("s", "k", "d", 201, b""),
        lambda txn: txn.erase("int-1"),
        lambda txn: txn.forget("s", "k"),
    ):
        with pytest.raises(Broken, match="ended"):
            late(kept[0])
    await store.commit(step(3))
    assert store.size == 2


async def test_a_parent_is_an_earlier_entry_of_any_age(house, step, monkeypatch):
    monkeypatch.setattr("magistrate.store.batch.RECENT", 3)
    store = house.open()
    leaves = []
    for n in range(12):
        leaves.append((await store.commit(step(n))).leaf_digest)
    await store.commit(lambda txn: txn.append("pulse", "", parents=leaves))
    assert len(store._ledger._recent) <= 5
    await store.close()
    store = house.open()
    entry = await store.commit(lambda txn: txn.append("pulse", "", parents=leaves))
    dropped = Step(lambda txn: (kept.append(txn.append("pulse", "").leaf_digest), 1 // 0))
    kept = []
    orphan = Step(lambda txn: txn.append("pulse", "", parents=kept))
    child = Step(lambda txn: txn.append("pulse", "", parents=[entry.leaf_digest]))
    store._ledger.apply([dropped, orphan, child])
    assert orphan.error.code == "entry.parent"  # a step that was dropped is nobody's parent
    assert child.error is None


# -- needs


async def test_a_row_that_moved_refuses_the_step(store, step):
    await store.commit(step(1))
    await store.commit(step(1, "denied"), [("intents", "int-1", 1)])

    for needs in (
        [("intents", "int-1", 1)],
        [("intents", "int-1", 3)],
        [("intents", "int-1", 0)],
        [("intents", "int-9", 1)],
        [("intents", "int-1", 2), ("agents", "bot", 1)],
    ):
        with pytest.raises(Moved) as caught:
            await store.commit(step(1, "expired"), needs)
        assert caught.value.code == "facts.moved"
    assert store.size == 2
    assert store.row("intents", "int-1").state == "denied"


async def test_of_racing_steps_on_one_version_one_wins(store, step):
    await store.commit(step(1))
    outcomes = await asyncio.gather(
        *(store.commit(step(1, "denied"), [("intents", "int-1", 1)]) for _ in range(64)), return_exceptions=True
    )
    assert sum(not isinstance(o, Exception) for o in outcomes) == 1
    assert all(isinstance(o, Moved) for o in outcomes if isinstance(o, Exception))
    assert store.row("intents", "int-1").version == 2
    assert store.size == 2


async def test_of_racing_steps_that_make_one_thing_one_wins(store, step):
    outcomes = await asyncio.gather(
        *(store.commit(step(1), [("intents", "int-1", 0)]) for _ in range(64)), return_exceptions=True
    )
    assert sum(not isinstance(o, Exception) for o in outcomes) == 1


async def test_unconditional_steps_on_one_row_lose_no_change(store, step):
    await asyncio.gather(*(store.commit(step(n, owner="bot")) for n in range(200)))
    assert store.row("tallies", "bot").data == {"n": 200}
    assert store.row("tallies", "bot").version == 200


# -- neighbours


def test_a_raising_step_does_not_touch_its_neighbours(store, step):
    """One batch, every second step raises at another place: the rest is as if they had been alone."""

    def half(n):
        def write(txn):
            txn.append("intent", f"int-{n}", "waiting", body={"owner": "bot"})
            txn.append("intent", "int-0", "denied", body={"owner": "bot"})
            txn.remember("s", str(n), "d", 201, b"{}")
            if n % 3:
                txn.append("refusal", "int-0")
            raise Conflict("no", "after all")

        return write

    steps = [Step(half(n) if n % 2 else step(n, owner="bot")) for n in range(100)]
    store._ledger.apply(steps)

    assert [s.error is None for s in steps] == [n % 2 == 0 for n in range(100)]
    assert store.size == 50
    assert store.commits == 1
    assert [e.subject for e in store.entries(limit=1000)] == [f"int-{n}" for n in range(0, 100, 2)]
    assert [e.index for e in store.entries(limit=1000)] == list(range(50))
    assert store.row("intents", "int-0").state == "waiting"
    assert store.row("tallies", "bot").data == {"n": 50}
    assert store.answer("s", "1") is None
    assert store.root == root_of(e.leaf for e in store.entries(limit=1000))


async def test_tree_proofs_and_checkpoint_hold_at_every_size(store, house, step):
    from magistrate.core.checkpoint import verify

    roots = {}
    for n in range(33):
        await store.commit(step(n))
        roots[store.size] = store.root
        point = verify(store.checkpoint(), house.origin, house.key)
        assert (point.size, point.root) == (store.size, store.root)
    assert roots[33] == root_of(e.leaf for e in store.entries(limit=1000))
    for index in range(33):
        size, path = store.proof(index)
        verify_inclusion(store.entry(index).leaf, index, size, path, store.root)
        size, path = store.proof(index, index + 1)
        verify_inclusion(store.entry(index).leaf, index, size, path, roots[size])
    for old in range(1, 34):
        size, path = store.consistency(old)
        verify_consistency(old, roots[old], size, store.root, path)
    assert verify(store.checkpoint_at(7), house.origin, house.key).size == 7


# -- time


async def test_times_never_decrease(store, house, step):
    await store.commit(step(1))
    house.clock.at -= 3600
    entry = await store.commit(step(2))
    assert entry.at == store.last_at == house.clock.at + 3600
    house.clock.at += 7200
    assert (await store.commit(step(3))).at == house.clock.at


async def test_times_never_decrease_after_opening_again(house, step):
    store = house.open()
    first = await store.commit(step(1))
    await store.close()
    house.clock.at -= 3600
    store = house.open()
    assert store.last_at == first.at
    assert (await store.commit(step(2))).at == first.at


async def test_a_clock_that_fails_writes_nothing(house, step):
    def gone():
        raise OSError("no clock")

    store = house.open(clock=gone)
    with pytest.raises(OSError, match="no clock"):
        await store.commit(step(1))
    assert store.size == 0


# -- answers kept under idempotency keys


async def test_an_answer_is_kept_with_its_effect_and_once(store, step):
    def answered(n, digest="sha256:a"):
        def write(txn):
            txn.append("intent", f"int-{n}", "waiting", body={})
            txn.remember("ann|/v1/intents", "k1", digest, 201, b'{"id":1}', f"int-{n}")

        return write

    outcomes = await asyncio.gather(*(store.commit(answered(n)) for n in range(8)), return_exceptions=True)
    refused = [o for o in outcomes if o is not None]
    assert [o.code for o in refused] == ["idempotency.repeated"] * 7
    with pytest.raises(Conflict) as caught:
        await store.commit(answered(9, "sha256:b"))
    assert caught.value.code == "idempotency.mismatch"
    assert store.size == 1

    kept = store.answer("ann|/v1/intents", "k1")
    assert (kept.status, kept.body, kept.object_id, kept.digest) == (201, b'{"id":1}', "int-0", "sha256:a")
    assert store.answer("eve|/v1/intents", "k1") is None
    assert store.answers_before(kept.at) == []
    assert store.answers_before(kept.at + 1) == [kept]
    await store.forget([kept])
    assert store.answer("ann|/v1/intents", "k1") is None


# -- erasing


async def test_erasing_takes_bodies_answers_and_bytes_and_leaves_the_tree(store, house):
    secret = "the customer's very own words"
    await store.commit(
        lambda txn: (
            txn.append("intent", "int-1", "waiting", body={"owner": "ann", "words": secret}, chain="int-1"),
            txn.remember("s", "k", "d", 201, secret.encode(), "int-1"),
        )
    )
    await store.commit(lambda txn: txn.append("intent", "int-2", "waiting", body={"words": "stays"}, chain="int-2"))
    root = store.root

    def erase(txn):
        txn.append("redaction", "int-1", body={"owner": "ann"}, chain="int-1")
        txn.erase("int-1")

    await store.commit(erase)

    assert store.entry(0).erased
    assert not store.entry(1).erased
    assert not store.entry(2).erased
    assert store.answer("s", "k") is None
    size, path = store.consistency(2)
    verify_consistency(2, root, size, store.root, path)
    await store.close()
    for file in house.path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


async def test_erasing_while_somebody_reads_is_made_good_when_they_have_gone(store, house):
    secret = "words that must go"
    await store.commit(lambda txn: txn.append("intent", "int-1", "waiting", body={"words": secret}, chain="int-1"))
    reader = house.raw()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM bodies").fetchone()

    def erase(txn):
        txn.append("redaction", "int-1", body={"owner": ""}, chain="int-1")
        txn.erase("int-1")

    await store.commit(erase)
    wal = house.path.with_name("ledger.db-wal")
    assert secret.encode() in wal.read_bytes()
    reader.close()
    for _ in range(100):
        if not wal.stat().st_size:
            break
        await asyncio.sleep(0.05)
    assert wal.stat().st_size == 0
    assert store.stopped is None


async def test_a_wal_that_cannot_be_copied_back_stops_nothing(store, step):
    store._ledger.conn = Failing(store._conn, "PRAGMA wal_checkpoint", failure(sqlite3.SQLITE_FULL))
    store._ledger.tidy()
    await store.commit(step(1))
    assert store.size == 1


# -- failure to write


class Failing:
    """The writer's connection, failing where it is told to."""

    def __init__(self, conn, on, error, *, after=False):
        self.conn, self.on, self.error, self.after = conn, on, error, after
        self.left = 1

    def __getattr__(self, name):
        return getattr(self.conn, name)

    def execute(self, sql, values=()):
        if sql.startswith(self.on) and self.left:
            self.left -= 1
            if self.after:
                self.conn.execute(sql, values)
            raise self.error
        return self.conn.execute(sql, values)


def failure(code):
    error = sqlite3.OperationalError("the disk")
    error.sqlite_errorcode = code
    return error


PLACES = ["BEGIN", "INSERT INTO entries", "INSERT INTO bodies", "INSERT INTO nodes", "INSERT INTO intents", "WITH v"]


@pytest.mark.parametrize("place", [*PLACES, "INSERT INTO checkpoints", "COMMIT"])
async def test_a_full_disk_fails_all_who_wait_and_passes(store, step, place):
    await store.commit(step(0, owner="bot"))
    await store.commit(step(1, owner="bot"))
    before = store.size, store.root, list(store._conn.iterdump())
    store._ledger.conn = Failing(store._conn, place, failure(sqlite3.SQLITE_FULL))

    outcomes = await asyncio.gather(*(store.commit(step(n, owner="bot")) for n in (2, 3, 0)), return_exceptions=True)

    failed = [o for o in outcomes if isinstance(o, Exception)]
    assert failed
    assert {o.code for o in failed} == {"store.failed"}
    assert len({id(o) for o in failed}) == len(failed)
    if len(failed) == 3:
        assert (store.size, store.root, list(store._conn.iterdump())) == before
    assert store.stopped is None
    await store.commit(step(9, owner="bot"))
    assert store.row("tallies", "bot").data["n"] == store.size


@pytest.mark.parametrize("place", ["INSERT INTO entries", "COMMIT"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CORRUPT])
async def test_an_uncertain_write_stops_the_store_until_it_is_opened_anew(house, step, place, code):
    store = house.open()
    await store.commit(step(0))
    store._ledger.conn = Failing(store._conn, place, failure(code))

    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1))
    assert caught.value.code == "store.broken"
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(2))
    assert caught.value.code == "store.broken"
    assert store.row("intents", "int-0").state == "waiting"
    await store.close()

    store = house.open()
    await store.commit(step(3))
    assert [e.subject for e in store.entries()] == ["int-0", "int-3"]


async def test_a_commit_that_took_and_then_failed_is_found_again(house, step):
    store = house.open()
    store._ledger.conn = Failing(store._conn, "COMMIT", failure(sqlite3.SQLITE_FULL), after=True)
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1))
    assert caught.value.code == "store.broken"
    await store.close()
    assert house.open().size == 1


async def test_a_row_changed_by_a_stranger_stops_the_store(store, house, step):
    await store.commit(step(1))
    raw = house.raw()
    raw.execute("UPDATE intents SET version = 7")
    raw.close()
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1, "denied"))
    assert caught.value.code == "store.broken"
    assert "something else" in caught.value.detail


async def test_a_stranger_holding_the_file_is_waited_for_and_then_told(store, house, step):
    store._conn.execute("PRAGMA busy_timeout=50")
    raw = house.raw()
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1))
    assert caught.value.code == "store.failed"
    raw.execute("ROLLBACK")
    raw.close()
    await store.commit(step(1))


async def test_a_signer_that_fails_commits_nothing_and_may_come_back(house, step):
    from magistrate.core.signature import Signer

    away = [True]

    def sign(message):
        if away:
            raise OSError("the key is away")
        return house.signer.sign(message)

    store = house.open(signer=Signer(house.signer.key_id, house.signer.public, sign))
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1))
    assert caught.value.code == "store.failed"
    assert store.size == 0
    away.clear()
    await store.commit(step(1))
    assert store.size == 1


async def test_memory_that_ran_out_during_the_commit_is_an_uncertain_write(store, step):
    store._ledger.conn = Failing(store._conn, "COMMIT", MemoryError())
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(1))
    assert caught.value.code == "store.broken"
