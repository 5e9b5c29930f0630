"""The high-water mark: what a database cannot tell of itself."""

import asyncio
import shutil
import time

import pytest

from magistrate.core.errors import Conflict, Malformed, Unavailable
from magistrate.core.merkle import empty_root
from magistrate.store import mark as high_water
from magistrate.store.mark import Mark


def files(house):
    return [p for p in house.path.parent.iterdir() if p.name.startswith("ledger.db")]


def copied(house, to):
    to.mkdir(exist_ok=True)
    for old in to.iterdir():
        old.unlink()
    for file in files(house):
        shutil.copy(file, to / file.name)


def put_back(house, source):
    for file in files(house):
        file.unlink()
    for file in source.iterdir():
        shutil.copy(file, house.path.parent / file.name)


async def grown(house, step, *ns):
    store = house.open()
    for n in ns:
        await store.commit(step(n))
    await store.close()
    return store


async def refused(house, step, code):
    """Opened, it can be read, refuses to grow with this code, and nothing was written to file or mark."""
    before = house.mark.read_bytes() if house.mark.exists() else None
    store = house.open()
    assert store.stopped.code == code
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(999))
    assert caught.value.code == code
    size = store.size
    store.entries()
    await store.close()
    assert (house.mark.read_bytes() if house.mark.exists() else None) == before
    raw = house.raw()
    assert raw.execute("SELECT count(*) FROM entries").fetchone() == (size,)
    raw.close()


def test_a_mark_reads_back_to_itself():
    mark = Mark("acme/test", 7, bytes(range(32)))
    assert high_water.parse(mark.bytes()) == mark
    assert high_water.parse(mark.bytes()).bytes() == mark.bytes()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"origin":"a","root":"00","size":1}',
        b'{"origin":"a","root":"' + b"00" * 32 + b'","size":-1}',
        b'{"origin":"a","root":"' + b"00" * 32 + b'","size":true}',
        b'{"origin":"a","root":"' + b"00" * 32 + b'","size":"1"}',
        b'{"origin":3,"root":"' + b"00" * 32 + b'","size":1}',
        b'{"origin":"a","root":"' + b"zz" * 32 + b'","size":1}',
        b'{"origin":"a","size":1}',
    ],
)
def test_what_is_no_mark_is_refused(raw):
    with pytest.raises(Malformed) as caught:
        high_water.parse(raw)
    assert caught.value.code == "ledger.mark_unreadable"


def test_a_mark_of_size_0_is_written_before_genesis(store, house):
    assert high_water.read(house.mark) == Mark(house.origin, 0, empty_root)
    assert house.mark.stat().st_mode & 0o077 == 0
    assert house.path.parent not in house.mark.parents


async def test_the_mark_follows_at_most_every_200_ms_and_at_stop(store, house, step, monkeypatch):
    writes = []
    real = high_water.write
    monkeypatch.setattr(high_water, "write", lambda path, mark: (writes.append(mark.size), real(path, mark)))
    start = time.monotonic()
    for n in range(300):
        await store.commit(step(n))
    took = time.monotonic() - start
    assert len(writes) <= took / 0.2 + 1
    await asyncio.sleep(0.5)
    assert high_water.read(house.mark) == Mark(house.origin, 300, store.root)
    await store.commit(step(300))
    await store.commit(step(301))
    await store.close()
    assert high_water.read(house.mark) == Mark(house.origin, 302, store.root)


async def test_a_ledger_ahead_of_its_mark_is_normal(house, step):
    await grown(house, step, 1, 2)
    old = house.mark.read_bytes()
    await grown(house, step, 3, 4, 5)
    house.mark.write_bytes(old)

    store = house.open()
    assert store.stopped is None
    await store.commit(step(6))
    assert store.size == 6


async def test_a_restored_backup_does_not_grow(house, step, tmp_path):
    await grown(house, step, 1, 2, 3)
    copied(house, tmp_path / "backup")
    await grown(house, step, 4, 5)
    put_back(house, tmp_path / "backup")
    await refused(house, step, "ledger.mark_behind")


async def test_a_wal_that_lost_its_end_does_not_grow(house, step, tmp_path):
    store = house.open()
    for n in range(5):
        await store.commit(step(n))
    wal = house.path.with_name("ledger.db-wal")
    half = wal.stat().st_size
    for n in range(5, 10):
        await store.commit(step(n))
    copied(house, tmp_path / "cut")
    await store.close()
    put_back(house, tmp_path / "cut")
    with wal.open("r+b") as file:
        file.truncate(half)
    await refused(house, step, "ledger.mark_behind")


async def test_another_history_of_the_same_length_does_not_grow(house, step, tmp_path):
    await grown(house, step, 1)
    copied(house, tmp_path / "backup")
    mark = house.mark.read_bytes()
    await grown(house, step, 2, 3)
    kept = house.mark.read_bytes()
    put_back(house, tmp_path / "backup")
    house.mark.write_bytes(mark)
    await grown(house, step, 2, 4, 5)
    house.mark.write_bytes(kept)
    await refused(house, step, "ledger.mark_root")


async def test_entries_without_a_mark_do_not_grow(house, step):
    await grown(house, step, 1)
    house.mark.unlink()
    await refused(house, step, "ledger.mark_missing")


async def test_a_mark_without_its_entries_does_not_grow(house, step):
    await grown(house, step, 1)
    for file in files(house):
        file.unlink()
    await refused(house, step, "ledger.mark_behind")


async def test_a_mark_of_another_ledger_does_not_let_it_grow(house, step):
    await grown(house, step, 1)
    house.mark.write_bytes(Mark("acme/other", 0, empty_root).bytes())
    await refused(house, step, "ledger.mark_origin")


async def test_a_mark_that_cannot_be_read_does_not_let_it_grow(house, step):
    await grown(house, step, 1)
    house.mark.write_bytes(b"\x00" * 50)
    await refused(house, step, "ledger.mark_unreadable")


async def test_a_false_root_at_size_0_is_found(house, step):
    house.open().close_now()
    house.mark.write_bytes(Mark(house.origin, 0, bytes(32)).bytes())
    await refused(house, step, "ledger.mark_root")


async def test_recovery_is_an_entry_and_marks_anew(house, step, tmp_path):
    await grown(house, step, 1, 2, 3)
    copied(house, tmp_path / "backup")
    await grown(house, step, 4, 5)
    put_back(house, tmp_path / "backup")

    store = house.open()
    assert store.stopped.code == "ledger.mark_behind"
    entry = await store.recover(lambda txn: txn.append("recovery", "", body={"what": "mark", "reason": "restored"}))
    assert entry.index == 3
    assert high_water.read(house.mark) == Mark(house.origin, 4, store.root)
    assert store.stopped is None
    await store.commit(step(6))
    await store.close()
    assert house.open().stopped is None


async def test_a_recovery_that_is_refused_recovers_nothing(house, step):
    await grown(house, step, 1)
    house.mark.unlink()
    store = house.open()
    with pytest.raises(Malformed):
        await store.recover(lambda txn: txn.append("unheard", ""))
    assert store.stopped.code == "ledger.mark_missing"
    assert not house.mark.exists()
    with pytest.raises(Unavailable):
        await store.commit(step(2))


async def test_there_is_nothing_to_recover_from_a_sound_ledger(store):
    with pytest.raises(Conflict) as caught:
        await store.recover(lambda txn: txn.append("recovery", ""))
    assert caught.value.code == "ledger.sound"
    assert store.size == 0


async def test_a_ledger_whose_mark_cannot_be_written_does_not_grow_on(store, house, step, monkeypatch):
    real = high_water.write

    def full(path, mark):
        raise OSError(28, "no space")

    monkeypatch.setattr(high_water, "write", full)
    await store.commit(step(1))
    await asyncio.sleep(0.5)
    with pytest.raises(Unavailable) as caught:
        await store.commit(step(2))
    assert caught.value.code == "ledger.mark_unwritable"
    assert store.size == 1

    monkeypatch.setattr(high_water, "write", real)
    await asyncio.sleep(0.5)
    await store.commit(step(3))
    assert store.size == 2


def test_a_link_in_place_of_the_mark_is_not_written_through(house, tmp_path):
    house.mark.parent.mkdir()
    house.mark.with_name("mark.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        high_water.write(house.mark, Mark("a", 0, empty_root))
    assert not (tmp_path / "elsewhere").exists()
