"""The power goes: what was acknowledged is still there, for every order in which a disk may lose unsynced writes.

A file system of our own lies between SQLite and the disk. It passes everything through and keeps, for each file, what
was synced and which writes came after. A cut takes the synced bytes and any of the later writes: none, all, some, out
of order, torn at a sector. Each cut is opened with plain SQLite and audited.

The control runs show that the test can fail: with `synchronous=NORMAL` or `OFF` the same cuts lose acknowledged
entries. MAGISTRATE_CUTS sets how many cuts the long form makes.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from magistrate.core.errors import Broken, MagistrateError
from magistrate.core.merkle import frontier_at
from magistrate.core.signature import admit, signer_from_seed
from magistrate.store.batch import Ledger, Step
from magistrate.store.connect import harden, open_reader, open_writer
from magistrate.store.rebuild import rebuild
from magistrate.store.tree import node_reader
from magistrate.store.verify import verify_ledger

SHORT = 300
CUTS = int(os.environ.get("MAGISTRATE_CUTS", SHORT))
SECTOR = 512
BATCHES = 60  # in one run
EVENTS = 3000  # about so many writes and syncs reach the files in one run
PER_RUN = 12  # cuts of one run
SIGNER = signer_from_seed(bytes(range(32)))
_NAMES = itertools.count()


@dataclass
class Medium:
    """One file: what certainly is on the disk, and what may be."""

    synced: bytearray
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut off here

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.synced, *change)
        self.pending.clear()

    def after_a_cut(self, draw: random.Random) -> bytes:
        image = bytearray(self.synced)
        chance = draw.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in self.pending:
            if draw.random() < chance:
                _apply(image, offset, _torn(data, draw))
        return bytes(image)


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    image.extend(bytes(max(0, offset - len(image))))
    image[offset : offset + len(data)] = data


def _torn(data: bytes | None, draw: random.Random) -> bytes | None:
    if data is None or len(data) <= SECTOR or draw.random() < 0.8:
        return data
    return data[: draw.randrange(1, len(data) // SECTOR) * SECTOR] if len(data) >= 2 * SECTOR else data


class Disk(apsw.VFS):
    """The file system in between, and the cuts taken from it."""

    def __init__(self, draw: random.Random, cut_at: set[int]) -> None:
        self.name = f"power-{next(_NAMES)}"
        super().__init__(self.name, "")
        self.draw = draw
        self.cut_at = cut_at
        self.files: dict[str, Medium] = {}
        self.events = 0
        self.acknowledged: list[bytes] = []
        self.cuts: list[tuple[int, dict[str, bytes]]] = []

    def xOpen(self, name, flags):  # noqa: N802
        return File(self, name, flags)

    def xDelete(self, filename, syncdir):  # noqa: N802
        self.files.pop(str(filename), None)
        return super().xDelete(filename, syncdir)

    def moment(self) -> None:
        """Between any two things that reach a file, the power may go."""
        self.events += 1
        if self.events in self.cut_at:
            images = {name: medium.after_a_cut(self.draw) for name, medium in self.files.items()}
            self.cuts.append((len(self.acknowledged), images))


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name, flags) -> None:
        path = name.filename() if hasattr(name, "filename") else str(name)
        before = Path(path).read_bytes() if Path(path).exists() else b""
        super().__init__("", name, flags)
        self.disk = disk
        self.medium = disk.files.setdefault(path, Medium(bytearray(before)))

    def xWrite(self, data, offset):  # noqa: N802
        self.disk.moment()
        self.medium.pending.append((offset, bytes(data)))
        return super().xWrite(data, offset)

    def xTruncate(self, newsize):  # noqa: N802
        self.disk.moment()
        self.medium.pending.append((newsize, None))
        return super().xTruncate(newsize)

    def xSync(self, flags):  # noqa: N802
        self.disk.moment()
        self.medium.sync()
        self.disk.moment()
        return super().xSync(flags)


class Wire:
    """An APSW connection as the ledger uses one."""

    def __init__(self, conn: apsw.Connection) -> None:
        self.conn = conn

    def execute(self, sql, values=()):
        return self.conn.execute(sql, tuple(values))

    @property
    def total_changes(self) -> int:
        return self.conn.total_changes()

    @property
    def in_transaction(self) -> bool:
        return self.conn.in_transaction


def fold(view, entry):
    """A warrant of 3 uses, used by each admission: state that must never run ahead of its entries or behind."""
    if entry.kind == "warrant":
        view.put("warrants", entry.subject, state="live", due=1, data={"left": 3})
    if entry.kind == "admission":
        row = view.row("warrants", entry.subject)
        left = row.data["left"] - 1
        view.put("warrants", entry.subject, state="live" if left else "spent", data={"left": left})


def a_step(draw: random.Random, n: int) -> Step:
    def write(txn):
        known = draw.randrange(max(1, n))
        row = txn.row("warrants", f"wrt-{known}")
        if row is not None and row.state == "live":
            entry = txn.append("admission", f"wrt-{known}", body={"words": "x" * draw.randrange(2000)})
        else:
            entry = txn.append("warrant", f"wrt-{n}", body={"words": "y" * draw.randrange(2000)}, chain=f"int-{n}")
        if draw.random() < 0.1:
            raise Broken("test.no", "this step is dropped")
        return entry

    return Step(write)


def run(folder: Path, draw: random.Random, synchronous: str) -> Disk:
    """Load a ledger on the disk in between, with cuts at random moments."""
    path = folder / "ledger.db"
    open_writer(path).close()  # made by the shipped code, and wholly on the disk
    disk = Disk(draw, set(draw.sample(range(1, EVENTS), PER_RUN)))
    conn = apsw.Connection(str(path), vfs=disk.name)
    wire = Wire(conn)
    wire.execute("PRAGMA locking_mode=EXCLUSIVE")  # this VFS shares no memory, so WAL needs it
    assert wire.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    harden(wire)
    assert wire.execute("PRAGMA synchronous").fetchone() == (2,)
    wire.execute(f"PRAGMA synchronous={synchronous}")
    wire.execute(f"PRAGMA wal_autocheckpoint={draw.choice((20, 200, 1000))}")
    ledger = Ledger(wire, origin="acme/power", fold=fold, signer=SIGNER, clock=lambda: 1774447200)
    n = 0
    for _ in range(BATCHES):
        steps = [a_step(draw, n + i) for i in range(draw.randrange(1, 9))]
        n += len(steps)
        ledger.apply(steps)
        disk.acknowledged += [step.value.leaf for step in steps if step.error is None]
        assert all(step.error is None or step.error.code == "test.no" for step in steps)
    conn.close()
    disk.unregister()
    assert len(disk.acknowledged) > BATCHES
    print("events", disk.events, "cuts", len(disk.cuts), "entries", len(disk.acknowledged))
    return disk


def audit(folder: Path, images: dict[str, bytes], acknowledged: list[bytes], *, whole: bool) -> None:
    """Open what the cut left with plain SQLite, and find everything that was acknowledged in it.

    Raises:
        MagistrateError: something is lost, or does not agree with the rest.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, image in images.items():
        if not name.endswith("-shm"):
            (folder / Path(name).name).write_bytes(image)
    path = folder / "ledger.db"
    found = verify_ledger(path, key=admit(SIGNER.public))
    if found.size < len(acknowledged):
        raise Broken("test.lost", f"{len(acknowledged)} entries were acknowledged, {found.size} are there")
    conn = open_reader(path)
    leaves = [leaf for (leaf,) in conn.execute("SELECT leaf FROM entries ORDER BY seq LIMIT ?", (len(acknowledged),))]
    uses = conn.execute("SELECT subject FROM entries WHERE kind = 'admission' GROUP BY subject HAVING count(*) > 3")
    if leaves != acknowledged or uses.fetchall():
        raise Broken("test.differs", "the entries are not those that were acknowledged")
    frontier_at(found.size, node_reader(conn))
    conn.close()
    if whole and rebuild(path, fold).differences:
        raise Broken("test.rows", "the rows are not what the entries say")


def lost(tmp_path: Path, cuts: int, synchronous: str) -> tuple[int, int]:
    """How many of so many cuts lost anything, and how many entries had been acknowledged before cuts."""
    seed = int(os.environ.get("MAGISTRATE_SEED", random.randrange(2**32)))
    print("MAGISTRATE_SEED =", seed)
    draw = random.Random(seed)
    failed = tried = before = 0
    for n in itertools.count():
        folder = tmp_path / f"run-{n}"
        folder.mkdir()
        disk = run(folder, draw, synchronous)
        for acknowledged, images in disk.cuts:
            if tried == cuts:
                shutil.rmtree(folder)
                return failed, before
            tried += 1
            before += acknowledged
            try:
                audit(tmp_path / "cut", images, disk.acknowledged[:acknowledged], whole=not tried % 10)
            except MagistrateError as error:
                failed += 1
                print(f"cut {tried}: {error}")
        shutil.rmtree(folder)
    raise AssertionError("unreachable")


@pytest.mark.campaign
def test_no_cut_loses_what_was_acknowledged(tmp_path):
    failed, before = lost(tmp_path, CUTS, "FULL")
    assert before > CUTS * 20, "most cuts must come after much was acknowledged"
    assert failed == 0


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_same_cuts_do_lose_without_full_sync(tmp_path, synchronous):
    failed, _ = lost(tmp_path, 40, synchronous)
    assert failed > 10


def test_the_shipped_writer_asks_for_full_sync(tmp_path):
    conn = open_writer(tmp_path / "ledger.db")
    assert conn.execute("PRAGMA synchronous").fetchone() == (2,)
    conn.close()
