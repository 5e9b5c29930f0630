"""Certifying: from a data folder to a signed certificate of its replay, and back from the file to what it says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from magistrate import shipped
from magistrate.core import replay as replays
from magistrate.core.checkpoint import Checkpoint
from magistrate.core.errors import Absent, Broken, Forged, MagistrateError, Malformed
from magistrate.core.replay import Certificate
from magistrate.core.signature import Signer, admit
from magistrate.engine.history import Trust
from magistrate.engine.installation import Installation
from magistrate.engine.opening import LEDGER, kek_of
from magistrate.engine.replaying import Record, Replayed
from magistrate.keys import files, pins
from magistrate.policy.archive import Archive
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.store import mark as high_water
from magistrate.store.reads import Reader

T = TypeVar("T")


def record_of(data: Path, state: Path, binary: Binary, pinned: Path, *, opas: int = 0) -> Record:
    """The record of a data folder, held against pinned keys, or its own where none is pinned.

    Raises:
        Absent: no ledger lies there.
        Broken, Forged: a pin is damaged or may not be trusted.
    """
    ledger = data / LEDGER
    if not ledger.exists():
        raise Absent("ledger.absent", f"no ledger lies in {data}", hint="magistrate up --demo")
    archive = Archive(data / "bundles", binary)
    trust = _trust(data, state, ledger, pinned)
    return Record(ledger, archive, binary, trust, reference_in(binary), opas, _seal(data, state))


def in_force(data: Path) -> str:
    """The digest of the bundle in force, by the ledger of a data folder.

    Raises:
        Absent: no ledger lies there, or it has not begun.
    """
    if not (data / LEDGER).exists():
        raise Absent("ledger.absent", f"no ledger lies in {data}", hint="magistrate up --demo")
    reader = Reader(data / LEDGER)
    try:
        row = reader.row("installation", "active")
    finally:
        reader.close()
    if row is None:
        raise Absent("ledger.absent", f"the ledger in {data} has not begun", hint="magistrate operators setup CODE")
    return str(row.data["bundle"])


def record_beside(house: Installation, data: Path) -> Record:
    """The record of the service that runs on this folder: held against its own key, on one OPA beside its own."""
    trust = Trust((admit(house.keys.checkpoint.public),))
    archive = Archive(data / "bundles", house.binary)
    return Record(data / LEDGER, archive, house.binary, trust, reference_in(house.binary), opas=1)


async def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run this on a loop of its own in a thread of its own, so that whoever waits goes on answering others.

    Raises:
        Whatever `work` raises. Cancelled, it cancels the work, and ends when that has.
    """
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    left = threading.Event()

    async def here() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is some task's
        begun.append((asyncio.get_running_loop(), task))
        if left.is_set():  # cancelled while it waited for a thread: nobody knew whom to tell
            raise asyncio.CancelledError
        return await work()

    thread = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(here())))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        left.set()
        for loop, task in begun:
            with suppress(RuntimeError):  # it ended this moment, and its loop with it
                loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait({thread})
        raise


def reference_in(binary: Binary) -> Callable[[str], Bundle | None]:
    """A sound copy of a bundle among those that were shipped."""
    try:
        archive = Archive(shipped.folder("bundles"), binary)
    except MagistrateError:
        return lambda _: None

    def found(digest: str) -> Bundle | None:
        try:
            return archive.load(digest)
        except MagistrateError:
            return None

    return found


def signer_of(data: Path, state: Path) -> Signer:
    """The installation's policy key.

    Raises:
        Unavailable, Broken: it is missing, damaged, or its installation key is not here.
    """
    return files.load(data / "keys", "policy", kek_of(data, state)).signer


def certified(replayed: Replayed, signer: Signer) -> dict[str, Any]:
    """The signed certificate."""
    return replays.certify(replayed.said, signer)


def verified(raw: bytes, pinned: Path) -> Certificate:
    """The certificate of a file, if a pinned policy key of its origin signed it.

    Raises:
        Malformed: no certificate, byte for byte.
        Broken: `key.unpinned`.
        Forged: `certificate.not_authentic`.
    """
    said = replays.read(raw)
    for key in pins.pinned(pinned, said.origin, "policy"):
        try:
            return replays.authentic(raw, key)
        except (Forged, Malformed):
            continue
    raise Forged("certificate.not_authentic", "no pinned policy key signed this certificate")


def _trust(data: Path, state: Path, ledger: Path, pinned: Path) -> Trust:
    reader = Reader(ledger)
    try:
        origin = reader.entry(0).head.origin if reader.size() else ""
    except MagistrateError:
        origin = ""  # whatever is wrong with entry 0 is found when it is replayed
    finally:
        reader.close()
    known = _mark(data, state)
    try:
        return Trust(tuple(pins.pinned(pinned, origin, "checkpoint")), pinned=True, known=known)
    except Broken as none:
        if none.code != "key.unpinned":
            raise
    try:
        own = files.load(data / "keys", "checkpoint", kek_of(data, state)).signer
    except MagistrateError:
        return Trust(known=known)
    return Trust((admit(own.public),), known=known)


def _seal(data: Path, state: Path) -> bytes:
    """The key for state files. Where there is none, as on a copy of the folder, nothing is signed either."""
    try:
        return kek_of(data, state).derived("replay-state")
    except MagistrateError:
        return b""


def _mark(data: Path, state: Path) -> tuple[Checkpoint, ...]:
    """The high-water mark of this folder, where this machine keeps one: it is read, never made."""
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]
    mark = high_water.read(state / f"{name}.mark")
    return (Checkpoint(mark.origin, mark.size, mark.root),) if mark is not None and mark.size else ()
