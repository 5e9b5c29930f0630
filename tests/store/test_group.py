"""Many steps share a COMMIT; opening, closing and the folder's one owner."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from magistrate.core.errors import Absent, Broken, Unavailable
from magistrate.store.sqlite import BATCH


async def test_steps_that_wait_together_are_committed_together(store, step):
    await asyncio.gather(*(store.commit(step(n)) for n in range(600)))

    assert store.size == 600
    assert 600 / BATCH <= store.commits <= 60
    assert store._conn.execute("SELECT count(*) FROM checkpoints").fetchone() == (store.commits,)


async def test_steps_that_come_one_by_one_are_committed_one_by_one(store, step):
    for n in range(20):
        await store.commit(step(n))
    assert store.commits == 20


async def test_a_step_that_writes_nothing_costs_no_commit(store):
    assert await store.commit(lambda txn: txn.size) == 0
    assert store.commits == 0
    assert store.checkpoint() == ""


async def test_order_of_submission_is_order_in_the_ledger(store, step):
    entries = await asyncio.gather(*(store.commit(step(n)) for n in range(300)))
    assert [e.index for e in entries] == list(range(300))
    assert [e.subject for e in store.entries(limit=1000)] == [f"int-{n}" for n in range(300)]


async def test_a_waiter_that_gave_up_disturbs_nobody(store, step):
    held = threading.Event()
    first = asyncio.create_task(store.commit(lambda txn: held.wait(5)))
    rest = [asyncio.create_task(store.commit(step(n))) for n in range(10)]
    await asyncio.sleep(0.05)
    rest[3].cancel()
    held.set()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert [o.index for i, o in enumerate(outcomes) if i != 3] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert store.row("intents", "int-3").state == "waiting"  # what was written stays written


def test_a_loop_that_was_closed_disturbs_nobody(house, step):
    store = house.open()
    held = threading.Event()

    async def leave():
        asyncio.create_task(store.commit(lambda txn: held.wait(5)))  # noqa: RUF006  left behind on purpose
        await asyncio.sleep(0.01)

    asyncio.run(leave())
    held.set()
    asyncio.run(store.commit(step(1)))
    assert store.size == 1


async def test_closing_finishes_what_waits_and_refuses_what_comes(house, step):
    store = house.open()
    waiting = [asyncio.create_task(store.commit(step(n))) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert [e.index for e in await asyncio.gather(*waiting)] == list(range(50))
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(99))
    assert caught.value.code == "store.closed"


async def test_opened_again_it_is_the_same_ledger(house, step):
    store = house.open()
    await asyncio.gather(*(store.commit(step(n, owner="bot")) for n in range(37)))
    before = store.size, store.root, store.checkpoint(), store.last_at, store.row("tallies", "bot")
    await store.close()

    store = house.open()
    assert (store.size, store.root, store.checkpoint(), store.last_at, store.row("tallies", "bot")) == before
    await store.commit(step(38))
    assert store.size == 38


async def test_a_second_store_on_the_folder_is_refused(house, store, step):
    with pytest.raises(Unavailable) as caught:
        house.open()
    assert caught.value.code == "store.locked"
    await store.commit(step(1))
    await store.close()
    assert house.open().size == 1


async def test_a_store_of_another_process_is_refused(house, store):
    code = (
        "import sys; from pathlib import Path; from magistrate.store.folder import own\n"
        "from magistrate.core.errors import Unavailable\n"
        "try: own(Path(sys.argv[1]))\n"
        "except Unavailable as e: print(e.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(house.path.parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "store.locked\n"


def test_opening_that_fails_lets_the_folder_go(house):
    house.path.parent.mkdir()
    house.path.write_bytes(b"not a database, but long enough to look like something else" * 20)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            house.open()
        assert caught.value.code == "store.open"
    house.path.unlink()
    assert house.open().size == 0


def test_a_link_in_place_of_the_lock_is_not_followed(house, tmp_path):
    house.path.parent.mkdir()
    (house.path.parent / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        house.open()
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_of_a_newer_version_is_refused(house):
    house.open().close_now()
    raw = house.raw()
    raw.execute("UPDATE _sqlite_migrations SET name = '9999_later' WHERE name = 'state_alerts'")
    raw.close()
    with pytest.raises(Unavailable) as caught:
        house.open()
    assert caught.value.code == "store.newer"


def test_a_database_of_an_older_version_is_brought_up(house):
    house.open().close_now()
    raw = house.raw()
    raw.execute("DROP TABLE alerts")
    raw.execute("DELETE FROM _sqlite_migrations WHERE name = 'state_alerts'")
    raw.close()
    store = house.open()
    assert store.select("alerts") == []


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("DELETE FROM nodes WHERE level = 3 AND idx = 4", "ledger.node"),
        ("UPDATE nodes SET hash = zeroblob(32) WHERE level = 5", "ledger.checkpoint"),
        ("DELETE FROM checkpoints WHERE size = 40", "ledger.checkpoint"),
        (
            "UPDATE checkpoints SET note = 'acme/test' || char(10) || '40' || char(10) WHERE size = 40",
            "ledger.checkpoint",
        ),
        ("DELETE FROM entries WHERE seq = 39", "ledger.checkpoint"),
    ],
)
def test_a_ledger_whose_end_disagrees_with_itself_does_not_open(filled, sql, code):
    filled.tampered((sql,))
    with pytest.raises(Broken) as caught:
        filled.open()
    assert caught.value.code == code


def test_a_ledger_of_another_origin_does_not_open(filled):
    with pytest.raises(Broken) as caught:
        filled.open(origin="acme/other")
    assert caught.value.code == "ledger.checkpoint"


# -- reading


async def test_rows_are_sorted_filtered_paged_and_capped(store, step):
    await asyncio.gather(
        *(
            store.commit(step(f"{n:04}", "waiting" if n % 2 else "denied", owner="ann" if n % 3 else "bot", due=n))
            for n in range(1200)
        )
    )
    ids = [f"int-{n:04}" for n in range(1200)]

    assert [r.id for r in await store.rows("intents")] == ids[:100]
    assert [r.id for r in await store.rows("intents", limit=10**9)] == ids[:1000]
    assert await store.rows("intents", limit=0) == []
    assert await store.rows("intents", limit=-1) == []
    assert [r.id for r in await store.rows("intents", after="int-0099", limit=3)] == ids[100:103]
    assert [r.id for r in await store.rows("intents", state="denied", limit=3)] == ids[0:6:2]
    assert [r.id for r in await store.rows("intents", state=["denied", "waiting"], limit=3)] == ids[:3]
    assert await store.rows("intents", state=[]) == []
    assert [r.id for r in await store.rows("intents", owner="bot", limit=3)] == ids[0:9:3]
    assert await store.rows("intents", owner="") == []
    assert [r.id for r in await store.rows("intents", due_before=3)] == ids[1:4]  # 0 is no deadline
    assert [r.id for r in await store.rows("intents", state="waiting", owner="ann", due_before=7)] == [
        ids[1],
        ids[5],
        ids[7],
    ]
    assert store.select("intents", after="int-1198") == await store.rows("intents", after="int-1198")


async def test_what_a_reader_does_to_its_copy_nobody_else_sees(store, step):
    await store.commit(step(1, tags=["a"]))
    store.row("intents", "int-1").data["tags"].append("b")
    store.entry(0).content()["tags"].append("c")

    def write(txn):
        txn.row("intents", "int-1").data["tags"].append("d")
        assert txn.row("intents", "int-1").data["tags"] == ["a"]

    await store.commit(write)
    assert store.row("intents", "int-1").data["tags"] == ["a"]


async def test_what_was_given_may_be_written_into_afterwards(store):
    body = {"tags": ["a"]}

    def write(txn):
        txn.append("intent", "int-1", "waiting", body=body)
        body["tags"].append("b")

    await store.commit(write)
    assert store.row("intents", "int-1").data == {"tags": ["a"]}
    assert store.entry(0).content() == {"tags": ["a"]}


async def test_entries_by_index_leaf_chain_subject_and_kind(store, step):
    for n in (1, 2, 1, 3, 1):
        await store.commit(step(n))
    await store.commit(lambda txn: txn.append("pulse", ""))
    indexes = lambda **by: [e.index for e in store.entries(**by)]  # noqa: E731

    assert indexes() == [0, 1, 2, 3, 4, 5]
    assert indexes(start=2, limit=2) == [2, 3]
    assert indexes(chain="int-1") == [0, 2, 4]
    assert indexes(chain="int-1", start=1) == [2, 4]
    assert indexes(chain="") == []
    assert indexes(subject="int-2") == [1]
    assert indexes(kind="pulse") == [5]
    assert store.by_leaf(store.entry(3).leaf).index == 3
    assert (store.chain_of(3), store.chain_of(5), store.chain_of(99)) == ("int-3", "", "")
    for entry in store.entries():
        entry.hold()


async def test_what_is_not_there_is_absent(store, step):
    await store.commit(step(1))
    for ask in (
        lambda: store.entry(1),
        lambda: store.entry(-1),
        lambda: store.by_leaf(bytes(32)),
        lambda: store.checkpoint_at(2),
    ):
        with pytest.raises(Absent):
            ask()
    with pytest.raises(Broken):
        store.proof(1)
    with pytest.raises(Broken):
        store.consistency(0)
    with pytest.raises(Broken):
        store.select("entries")
    assert store.row("intents", "int-2") is None


async def test_readers_on_many_threads(store, step):
    await asyncio.gather(*(store.commit(step(n)) for n in range(50)))
    found = await asyncio.gather(
        *(asyncio.to_thread(store.entry, n % 50) for n in range(200)), *(store.rows("intents") for _ in range(20))
    )
    assert [e.index for e in found[:200]] == [n % 50 for n in range(200)]


def test_the_memory_of_rows_is_bounded(store, step):
    from magistrate.store import batch

    cache = batch._Cache()
    for n in range(batch.CACHE_ROWS + 10):
        cache.take({("intents", str(n)): batch.Row(str(n), 1, "s", "", 0, "{}")})
    assert len(cache.rows) == batch.CACHE_ROWS
    assert ("intents", "0") not in cache.rows
    big = "x" * (batch.CACHE_BYTES // 2)
    for n in range(5):
        cache.take({("intents", f"big-{n}"): batch.Row(f"big-{n}", 1, "s", "", 0, big)})
    assert len(cache.rows) <= 2
    cache.take({("intents", "big-4"): batch.Row("big-4", 2, "s", "", 0, "{}")})
    assert cache._bytes == sum(len(r.raw) for r in cache.rows.values())


def test_files_left_open(house, step):
    """Opening and closing many times leaves nothing behind."""

    def once():
        store = house.open()
        asyncio.run(store.commit(step(store.size)))
        store.row("intents", "int-none")
        store.close_now()

    once()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        once()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
