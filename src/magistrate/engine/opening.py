"""Opening an installation: its folder, keys, ledger, bundles and OPA, in the order in which each needs the last."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import platformdirs

from magistrate import shipped
from magistrate.core import canonical
from magistrate.core.errors import Conflict, Malformed, Unavailable
from magistrate.core.state import fold
from magistrate.engine import activation, arming, deadlines, pulling
from magistrate.engine.installation import Clock, Installation, Keys, every
from magistrate.engine.setup import Setup
from magistrate.keys import files, kek, private
from magistrate.policy.archive import Archive
from magistrate.policy.binary import Binary
from magistrate.policy.sidecars import Sidecars
from magistrate.store import mark as high_water
from magistrate.store.folder import held
from magistrate.store.reads import Reader
from magistrate.store.sqlite import Store
from magistrate.store.tree import node_reader
from magistrate.store.txn import Txn

LEDGER = "ledger.db"
PLAN = "installation.json"  # what was said at the first start, until genesis says it for ever
ROLES: tuple[Literal["warrant", "checkpoint", "policy"], ...] = ("warrant", "checkpoint", "policy")
STOP_SECONDS = 5.0
PULSE_SECONDS = 600  # contracts section 4: when idle, an entry every 10 minutes


@dataclass(frozen=True)
class Settings:
    """What a start is told. `origin`, `demo` and `bundle` matter at the first start and must agree ever after."""

    data: Path
    binary: Binary
    state: Path = field(default_factory=lambda: platformdirs.user_state_path("magistrate"))
    origin: str = ""
    demo: bool | None = None
    bundle: Path | None = None
    resolve: Mapping[str, str] = field(default_factory=dict)
    secret: Callable[[str], str] | None = None
    clock: Clock = field(default_factory=Clock)
    opa_seconds: float = 1.0


@dataclass
class Open:
    """An open installation and what keeps it going."""

    house: Installation
    setup: Setup
    _kept: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self) -> None:
        """Arm, settle what a crash left, and keep deadlines, canaries and pulse. Nothing before genesis."""
        if self._kept or not self.setup.done:
            return
        # arming is asked at every start: what an OPA answered in another life says nothing of this one
        await arming.check(self.house, arming.MISSES - 1)
        await deadlines.after_crash(self.house)
        await pulling.begin(self.house)
        for keeper in (deadlines.keep, arming.keep, _pulse):
            task = asyncio.create_task(keeper(self.house))
            task.add_done_callback(self._ended)
            self._kept.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A keeper never ends by itself: one that did leaves a service that issues nothing."""
        if not task.cancelled():
            self.house.fault = repr(task.exception())

    async def close(self) -> None:
        """Finish what is in flight, halt what would not end, flush, stop OPA."""
        for task in self._kept:
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        self._kept.clear()
        under_way = self.house.under_way()
        if under_way:
            await asyncio.wait(under_way, timeout=STOP_SECONDS)
            for run in tuple(self.house.running.values()):
                run.stop("shutdown")
            await asyncio.gather(*self.house.under_way(), return_exceptions=True)
        await self.house.sidecars.stop()
        await self.house.store.close()


async def open_installation(settings: Settings) -> Open:
    """Open the installation in `settings.data`, making it at a first start.

    Raises:
        Conflict: origin, demo or bundle differ from what the ledger says (`start.differs`).
        Unavailable, Broken: a key, the ledger or its mark, the folder or OPA is not as it must be.
    """
    # 1. the folder, and what it was said to be
    private.folder(settings.data, what="data")
    first = not (settings.data / LEDGER).exists()
    archive = archive_of(settings.data, settings.binary)
    plan = _plan(settings, archive, first=first)
    # 2. keys: made once, never made again
    keys = _keys(settings, first=first)
    # 3. the ledger, which from genesis on says what this installation is
    store = Store(
        settings.data / LEDGER,
        origin=plan["origin"],
        fold=fold,
        signer=keys.checkpoint,
        mark_path=mark_path(settings.state, settings.data),
        clock=settings.clock.now,
    )
    try:
        return await _open(settings, plan, keys, store, archive)
    except BaseException:
        await store.close()
        raise


async def _open(settings: Settings, plan: dict[str, Any], keys: Keys, store: Store, archive: Archive) -> Open:
    genesis = store.row("installation", "genesis")
    active = store.row("installation", "active")
    if genesis is not None:
        _hold_same(genesis.data, settings, keys)
    digest = active.data["bundle"] if active else plan["bundle"]
    sidecars = Sidecars(settings.binary, archive, deadline=settings.opa_seconds)
    house = Installation(
        origin=plan["origin"],
        store=store,
        keys=keys,
        sidecars=sidecars,
        binary=settings.binary,
        clock=settings.clock,
        secret=settings.secret or _no_secret,
        resolve=settings.resolve,
        bundle_keys=_bundle_keys(settings, store),
    )
    try:
        activation.hold_promoted(house)
        await sidecars.of(digest)
        async for row in every(house, "warrants", state=("live", "spent")):
            archive.load(row.data["warrant"]["policy"]["bundle"])  # its rules must still be here to be asked
    except BaseException:
        await sidecars.stop()
        raise
    capabilities = canonical.digest((shipped.folder("rego") / "capabilities.json").read_bytes())
    return Open(house, Setup(house, bundle=digest, demo=plan["demo"], capabilities=capabilities))


def open_store(data: Path, state: Path) -> tuple[Store, str]:
    """The ledger alone, under the folder's lock, and its origin: for recovery while the service is stopped.

    Raises:
        Unavailable: a service runs on it, or a key is missing.
    """
    said = canonical.load(private.read(data / PLAN, what="plan"))
    if not isinstance(said, dict):
        raise Malformed("start.plan", f"{data / PLAN} is not what a first start wrote")
    lock = kek.find(data, _places(state))
    signer = files.load(data / "keys", "checkpoint", lock).signer
    origin = str(said["origin"])
    return Store(data / LEDGER, origin=origin, fold=fold, signer=signer, mark_path=mark_path(state, data)), origin


def archive_of(data: Path, binary: Binary) -> Archive:
    """The archive of a data folder, whether or not a service runs on it."""
    return Archive(data / "bundles", binary)


def in_use(data: Path) -> bool:
    """Whether a service runs on this data folder: its lock ends with its process, whatever a killed one left behind."""
    return held(data)


def mark_path(state: Path, data: Path) -> Path:
    """Where the high-water mark of this data folder lies: in the user's state folder, never inside the data."""
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]
    return private.folder(state, what="state") / f"{name}.mark"


def _no_secret(name: str) -> str:
    raise Unavailable("secret.unknown", f"no secret named {name} is configured", hint="magistrate config show")


def _plan(settings: Settings, archive: Archive, *, first: bool) -> dict[str, Any]:
    """What this installation is to be: written at the first start, read at every other."""
    path = settings.data / PLAN
    if path.exists():
        said = canonical.load(private.read(path, what="plan"))
        if not isinstance(said, dict):
            raise Malformed("start.plan", f"{path} is not what a first start wrote")
        wanted = _wanted(settings, archive)
        for name, value in wanted.items():
            if value != said[name]:
                raise Conflict("start.differs", f"--{name} {value} is not what this installation is: {said[name]}")
        return said
    if not first:
        raise Unavailable("start.plan", f"{path} is missing beside a ledger: the data folder is not whole")
    if settings.bundle is None:
        raise Malformed("start.bundle", "a first start needs a bundle", hint="magistrate up --demo")
    plan = {
        "origin": settings.origin or f"local/{os.urandom(4).hex()}",
        "demo": bool(settings.demo),
        **_wanted(settings, archive),
    }
    private.make(path, canonical.canonical(plan), what="plan")
    return plan


def _wanted(settings: Settings, archive: Archive) -> dict[str, Any]:
    """What the flags of this start say; an omitted one says nothing."""
    wanted: dict[str, Any] = {}
    if settings.origin:
        wanted["origin"] = settings.origin
    if settings.demo is not None:
        wanted["demo"] = settings.demo
    if settings.bundle is not None:
        wanted["bundle"] = archive.take(settings.bundle.read_bytes()).digest
    return wanted


def _keys(settings: Settings, *, first: bool) -> Keys:
    folder = settings.data / "keys"
    # a first start that was cut short goes on where it was: what is missing is made, what is there is never replaced
    begun = first and any((folder / f"{role}.key").exists() for role in ROLES)
    lock = kek.find(settings.data, _places(settings.state), first_start=first and not begun)
    for role in ROLES if first else ():
        if not (folder / f"{role}.key").exists():
            files.make(folder, role, lock)
    loaded = {role: files.load(folder, role, lock).signer for role in ROLES}
    for signer in loaded.values():
        files.probe(signer)
    return Keys(**loaded)


def _bundle_keys(settings: Settings, store: Store) -> pulling.BundleKeys:
    """The keys that sign for others to pull; those the ledger names are here, or nothing starts."""
    keys = pulling.BundleKeys(settings.data / "keys", kek.find(settings.data, _places(settings.state)))
    named = store.row("installation", pulling.ROW)
    if named is not None:
        keys.hold(named.data)
    return keys


def kek_of(data: Path, state: Path) -> kek.Kek:
    """The installation key of a data folder, where one lies.

    Raises:
        Unavailable, Broken: there is none, or it is not ours alone.
    """
    return kek.find(data, _places(state))


def _places(state: Path) -> kek.Places:
    named = kek.Places.of(os.environ)
    return kek.Places(named.given, named.credentials, state)


def _hold_same(genesis: Mapping[str, Any], settings: Settings, keys: Keys) -> None:
    """The keys and the OPA are those of genesis, or were changed on record."""
    if genesis["keys"]["warrant"] != keys.warrant.public.hex():
        raise Unavailable("start.keys", "the warrant key is not the one genesis names: the key folder is another's")
    if genesis["opa"]["sha256"] != f"sha256:{settings.binary.sha256}":
        raise Conflict(
            "start.opa",
            f"OPA {settings.binary.sha256} is not the one this installation accepted",
            hint="magistrate opa which",
        )


async def _pulse(house: Installation) -> None:
    """When idle, an entry every ten minutes: silence would look like a cut-off tail."""
    while True:
        await asyncio.sleep(PULSE_SECONDS / 10)
        if house.now() - house.store.last_at >= PULSE_SECONDS:
            await house.commit(_append_pulse)


def _append_pulse(txn: Txn) -> None:
    txn.append(kind="pulse", subject="", state="", parents=(), body={}, body_type="magistrate/pulse/v1", chain="")


def probe_keys(data: Path, state: Path) -> str:
    """Sign and verify with every key of an installation; says where its installation key came from.

    Raises:
        Unavailable, Broken: a key is missing, damaged, or not the one its file names.
    """
    lock = kek.find(data, _places(state))
    for role in ROLES:
        files.probe(files.load(data / "keys", role, lock).signer)
    pulling.BundleKeys(data / "keys", lock).probe()
    return f"the keys sign and verify; their installation key is from {lock.source} {lock.path}"


def judge_mark(data: Path, state: Path) -> str:
    """Hold the ledger against its high-water mark; reads only.

    Raises:
        Unavailable: the mark says that it may not grow.
    """
    reader = Reader(data / LEDGER)
    try:
        last = reader.size()
        origin = reader.entry(0).head.origin if last else ""
        stopped = high_water.judge(mark_path(state, data), origin=origin, size=last, node=node_reader(reader.conn))
    finally:
        reader.close()
    if stopped is not None:
        raise stopped
    return f"{last} entries, and the mark agrees"
