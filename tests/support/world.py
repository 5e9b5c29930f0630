"""A whole installation for tests: real ledger, real keys, a real OPA with the bundle of `rego/`, a real target.

People and programs are enrolled by the acts that enrol anybody, once for each bundle; every test works on a copy of
that folder. No tier, role, code, threshold or approval count of the bundle stands here or in the tests: they are read
from the bundle, or go through `code` and `tier`, which know what became of each name in a renamed copy.

Settings: `MAGISTRATE_TEST_REGO`, the Rego folder the bundle is built from; `MAGISTRATE_TEST_NAMES`, a JSON file that
says what its names are called (see `tests/support/rename.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from magistrate.client import operator as words
from magistrate.core import canonical
from magistrate.core.administration import possession
from magistrate.core.errors import Absent, NoAnswer
from magistrate.core.signature import Signer, sign_document, signer_from_seed
from magistrate.core.values import moment
from magistrate.demo.target import Fleet, Handler, _Server
from magistrate.engine import approvals, arming, deadlines, gateway, opening, router
from magistrate.engine.examination import Examined, examine
from magistrate.engine.gateway import Submitted
from magistrate.engine.installation import Asked, Clock, Installation, Principal
from magistrate.keys import pins
from magistrate.policy.binary import PINNED, Binary, sha256_of
from magistrate.policy.build import build
from magistrate.policy.sidecar import Sidecar
from magistrate.policy.sidecars import Sidecars
from magistrate.store.rows import Row
from tests.support.rego_tools import REGO, opa

NAMES = "MAGISTRATE_TEST_NAMES"
ORIGIN = "acme/test"
NOON = 1_774_440_000  # Wednesday, 2026-03-25, 12:00 UTC
FLEET = "fleet.internal:80"
TOKEN = "the fleet's token"
FIRST = "olga"
OPERATORS = ("ann", "ben", "cleo", "dora", "emma", "owen", "rolf")  # owen owns the agents; rolf has no role
AGENTS = ("bot", "other")
OWNER = "owen"
WATCHERS = (("observer", "mesh-watch"), ("observer", "stranger"), ("auditor", "ada"))
PATIENCE = 30.0  # seconds a loaded machine may take

# What is proposed, by what a test needs of it. Whether it is allowed at once is for the bundle to say.
RESTART = {"action": "service.restart", "target": "api-gateway-staging", "parameters": {}}
DEPLOY = {
    "action": "service.deploy",
    "target": "api-gateway-prod",
    "parameters": {"version": "2.4.1", "strategy": "rolling"},
}
CASCADE = {**DEPLOY, "parameters": {"version": "2.4.1", "strategy": "cascade"}}
HANDOVER = {**DEPLOY, "action": "service.handover_deploy"}
SQL = {"action": "sql.free", "target": "orders-db", "parameters": {"sql": "select 1"}}
ROLLING = {
    "action": "service.rolling_restart",
    "target": "api-gateway-staging",
    "parameters": {"count": 1000, "pause_ms": 5},
}


def rego() -> Path:
    """The Rego the suite runs on."""
    return Path(os.environ.get("MAGISTRATE_TEST_REGO") or REGO)


@lru_cache(maxsize=1)
def _names() -> dict[str, dict[str, str]]:
    path = os.environ.get(NAMES)
    return json.loads(Path(path).read_bytes()) if path else {"codes": {}, "tiers": {}, "roles": {}}


def code(said: str) -> str:
    """What a reason code of the shipped bundle is called in the bundle under test."""
    return _names()["codes"].get(said, said)


def refund(amount: int, order: str = "A-1") -> dict[str, Any]:
    """A proposal to pay back."""
    parameters = {"order": order, "amount": amount, "currency": "EUR"}
    return {"action": "refund.create", "target": "refunds-ledger", "parameters": parameters}


def batch(seconds: int) -> dict[str, Any]:
    """A proposal to run a program that takes this long."""
    return {"action": "batch.run", "target": "batch-host", "parameters": {"seconds": seconds}}


@lru_cache(maxsize=1)
def binary() -> Binary:
    """The pinned OPA."""
    path = Path(opa())
    return Binary(path, PINNED, sha256_of(path), "setting")


class Time:
    """A clock that stands still until it is told otherwise. `boot` counts sleep, as the real one does."""

    def __init__(self, at: float = NOON) -> None:
        self._wall, self._boot = float(at), 1_000.0
        self._running_since: float | None = None

    def _ran(self) -> float:
        return 0.0 if self._running_since is None else time.monotonic() - self._running_since

    def wall(self) -> float:
        return self._wall + self._ran()

    def boot(self) -> float:
        return self._boot + self._ran()

    def go(self, seconds: float) -> None:
        """Time passes."""
        self._wall += seconds
        self._boot += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds

    def run(self) -> None:
        """From now on it goes by itself."""
        self._running_since = time.monotonic()


class Pool:
    """One OPA for each bundle, for the whole session."""

    def __init__(self) -> None:
        self.live: dict[str, Sidecar] = {}
        self._one = asyncio.Lock()

    async def of(self, sidecars: Sidecars, digest: str) -> Sidecar:
        async with self._one:
            if digest not in self.live:
                sidecar = Sidecar(binary(), sidecars.bundle(digest), deadline=PATIENCE)
                await sidecar.start()
                self.live[digest] = sidecar
            return self.live[digest]

    async def stop(self) -> None:
        for sidecar in self.live.values():
            await sidecar.stop()


class Pooled(Sidecars):
    """Sidecars that outlive one installation; everything else is as it is."""

    pool: Pool

    async def of(self, digest: str) -> Sidecar:
        return await self.pool.of(self, digest)

    async def stop(self) -> None:
        """The pool goes on."""


@contextmanager
def fleet_server() -> Iterator[type[Handler]]:
    """The demo's target on loopback; its handler's `fleet` is exchanged for each test."""
    handler = type("Bound", (Handler,), {"fleet": Fleet(), "token": TOKEN})
    with _Server(("127.0.0.1", 0), handler) as server:
        handler.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield handler
        server.shutdown()


@dataclass
class Ground:
    """What all tests of one bundle start from: a folder in which everybody is enrolled."""

    folder: Path
    raw: bytes
    pool: Pool
    handler: type[Handler]
    signers: dict[str, Signer] = field(default_factory=dict)
    code: str = ""


@dataclass
class World:
    """One open installation, everybody's credentials, its target, and its clock."""

    root: Path
    time: Time
    opened: opening.Open
    fleet: Fleet
    signers: dict[str, Signer]
    expected: str = "VERIFIED"  # what examining its ledger must come to
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    # -- the house

    @property
    def house(self) -> Installation:
        return self.opened.house

    @property
    def data(self) -> Mapping[str, Any]:
        """The active bundle's data."""
        return self.house.bundle(self.house.active()).data

    def limit(self, policy: str, name: str) -> Any:
        """A number a policy may change."""
        return self.data["policies"][policy]["limits"][name]

    def row(self, table: str, id_: str) -> Row:
        found = self.house.store.row(table, id_)
        assert found is not None, f"{table} {id_} is not there"
        return found

    def state(self, table: str, id_: str) -> str:
        return self.row(table, id_).state

    def entries(self, kind: str = "", subject: str = "", start: int = 0) -> list[Any]:
        """Entries in order, of one kind, of one thing, from an index on."""
        found, at = [], start
        while page := self.house.store.entries(at, 1000, kind=kind or None, subject=subject or None):
            found += page
            at = page[-1].index + 1
        return found

    def kinds(self, start: int) -> list[str]:
        """What was appended since the ledger had this size."""
        return [entry.kind for entry in self.entries(start=start)]

    @property
    def size(self) -> int:
        return self.house.store.size

    async def tick(self) -> None:
        """Do what is due."""
        await deadlines.tick(self.house)

    # -- people

    def agent(self, id_: str = "bot") -> Principal:
        return Principal("agent", id_, "api-key")

    def operator(self, id_: str = FIRST) -> Principal:
        return Principal("operator", id_, "ed25519", self.signers[id_].key_id)

    def observer(self, id_: str = "mesh-watch") -> Principal:
        return Principal("observer", id_, "api-key")

    def roles(self, id_: str) -> set[str]:
        row = self.house.store.row("operators", id_)
        return set(row.data["roles"]) if row is not None and row.state == "active" else set()

    # -- the way of an intent

    async def propose(self, said: Mapping[str, Any], by: Principal | None = None, **more: Any) -> Submitted:
        """Put an intent on record."""
        return await gateway.submit(self.house, by or self.agent(), canonical.canonical({**said, **more}))

    def word(
        self,
        shown: Submitted,
        operator: str,
        verdict: str = "approve",
        *,
        signer: Signer | None = None,
        change: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A signed statement about an intent as it was shown; `change` alters what is said before it is signed."""
        signer = signer or self.signers[operator]
        reason = "" if verdict == "approve" else "not now"
        said = words.statement(
            shown.plain(), operator=operator, signer=signer, verdict=verdict, reason=reason, at=self.house.now()
        )
        return words.signed({**said, **(change or {})}, signer)

    async def send(self, intent_id: str, word: Mapping[str, Any], by: str) -> Submitted:
        """Hand in a signed statement."""
        return await approvals.act(self.house, self.operator(by), intent_id, canonical.canonical(word))

    async def say(
        self, shown: Submitted, operator: str, verdict: str = "approve", *, signer: Signer | None = None, **change: Any
    ) -> Submitted:
        """Sign and hand in."""
        word = self.word(shown, operator, verdict, signer=signer, change=change)
        return await self.send(shown.intent["intent_id"], word, operator)

    def able(self, shown: Submitted) -> list[str]:
        """Operators who hold a role that is wanted and stand in no near relation, in order."""
        wanted = [set(row["roles"]) for row in shown.decision["standing"]["wanted"]]
        kept_out = {OWNER, shown.intent["proposer"]["id"]}
        if shown.intent["proposer"]["type"] == "operator":
            kept_out = {self.row("intents", shown.intent["intent_id"]).data["subject"]["id"]}
        people = (*OPERATORS, FIRST)
        return [
            one
            for one in people
            if one not in kept_out and any(not roles or roles & self.roles(one) for roles in wanted)
        ]

    async def approve(self, shown: Submitted, *, skip: tuple[str, ...] = (), **change: Any) -> Submitted:
        """Have operators say yes, one after the other, for as long as something is wanted.

        Raises:
            AssertionError: it still waits, and nobody is left who could.
        """
        spoken = set(skip)
        while shown.decision["standing"]["outcome"] == "ask":
            left = [one for one in self.able(shown) if one not in spoken]
            assert left, f"nobody is left: {shown.decision['standing']['wanted']}"
            spoken.add(left[0])
            shown = await self.say(shown, left[0], **change)
        return shown

    async def warrant(self, said: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """The warrant of an intent, approved by as many as are wanted.

        Raises:
            AssertionError: it was denied.
        """
        shown = await self.approve(await self.propose(said, **more))
        assert shown.warrant is not None, shown.decision["standing"]
        return shown.warrant

    async def redeem(
        self, warrant: Any, by: Principal | None = None, call: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Use a warrant for its very scope, or for `call`."""
        scope = warrant["scope"] if call is None else call
        return await router.redeem(self.house, by or self._holder(warrant), warrant, scope)

    def _holder(self, warrant: Mapping[str, Any]) -> Principal:
        holder = warrant["holder"]
        return self.operator(holder["id"]) if holder["type"] == "operator" else self.agent(holder["id"])

    async def finished(self, execution: Mapping[str, Any]) -> Row:
        """The execution once it has ended and nothing of ours works on it."""
        id_ = execution["execution_id"]
        await until(lambda: id_ not in self.house.running)
        return self.row("executions", id_)

    async def done(self, said: Mapping[str, Any], **more: Any) -> Row:
        """From proposal to the end of its execution."""
        return await self.finished(await self.redeem(await self.warrant(said, **more)))

    async def administer(self, action: str, parameters: Mapping[str, Any], by: str = FIRST) -> Submitted:
        """Propose an act of administration and have it signed by as many as are wanted, the proposer first."""
        said = {"action": action, "target": "installation", "parameters": parameters}
        shown = await self.propose(said, by=self.operator(by))
        if shown.decision["standing"]["outcome"] == "ask":
            shown = await self.say(shown, by)
        return await self.approve(shown, skip=(by,))

    async def act(self, action: str, parameters: Mapping[str, Any], by: str = FIRST) -> dict[str, Any]:
        """An act of administration, carried out."""
        shown = await self.administer(action, parameters, by)
        assert shown.warrant is not None, shown.decision["standing"]
        return await self.redeem(shown.warrant)

    def joining(self, id_: str, signer: Signer, roles: Any = ()) -> dict[str, Any]:
        """What enrolling an operator says."""
        public = signer.public.hex()
        proof = "0x" + signer.sign(possession(self.house.origin, id_, public)).hex()
        return {"operator": id_, "public_key": public, "proof": proof, "roles": sorted(roles)}

    def credential(self, id_: str) -> dict[str, str]:
        """What enrolling a program says of its API key."""
        return {
            "key_sha256": hashlib.sha256(f"key of {id_}".encode()).hexdigest(),
            "expires_at": moment(self.house.now() + 86_400 * 365),
        }

    # -- what OPA says, and what happens meanwhile

    def between(self, document: str, change: Callable[[], Awaitable[Any]], *, times: int = 1) -> list[Asked]:
        """After each of OPA's next answers to this document, `change` something before the step goes on.

        Returns the answers of that document, filled as they come.
        """
        ask, asked, left = self.house.ask, [], [times]

        async def then(name: str, question: dict[str, Any], *, bundle: str) -> Asked:
            answer = await ask(name, question, bundle=bundle)
            if name == document:
                asked.append(answer)
                if left[0] > 0:
                    left[0] -= 1
                    await change()
            return answer

        self.house.ask = then  # type: ignore[method-assign]
        return asked

    def answering(self, document: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """OPA's answers to this document, altered: for what no sound bundle says."""
        ask = self.house.ask

        async def altered(name: str, question: dict[str, Any], *, bundle: str) -> Asked:
            asked = await ask(name, question, bundle=bundle)
            value = change(asked.answer) if name == document else asked.answer
            return Asked(asked.document, asked.question, value, asked.bundle, asked.opa)

        self.house.ask = altered  # type: ignore[method-assign]

    def instead(self, document: str, value: dict[str, Any]) -> None:
        """This answer to every such question; OPA is not asked. For races, of which no bundle knows."""
        ask = self.house.ask

        async def given(name: str, question: dict[str, Any], *, bundle: str) -> Asked:
            if name != document:
                return await ask(name, question, bundle=bundle)
            await asyncio.sleep(0)
            return Asked(name, question, value, bundle, {"version": PINNED, "sha256": f"sha256:{binary().sha256}"})

        self.house.ask = given  # type: ignore[method-assign]

    @contextmanager
    def silent(self, *documents: str, no: Exception | None = None) -> Iterator[None]:
        """OPA gives no answer to these documents (to any, when none is named)."""
        ask, no = self.house.ask, no or NoAnswer("opa.refused", "nobody answers")

        async def mute(name: str, question: dict[str, Any], *, bundle: str) -> Asked:
            if not documents or name in documents:
                raise no
            return await ask(name, question, bundle=bundle)

        self.house.ask = mute  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.house.ask = ask  # type: ignore[method-assign]

    # -- what its ledger is

    def pin(self, folder: Path | None = None) -> Path:
        """A folder of pins with this installation's checkpoint key."""
        folder = folder or self.root / "pins"
        key = self.house.keys.checkpoint
        pins.pin(folder, pins.export(self.house.origin, "checkpoint", key.public), key.key_id)
        return folder

    def examined(self, **more: Any) -> Examined:
        return examine(self.root / "data", self.pin(), **more)

    async def close(self) -> None:
        """Let it go, and hold its ledger against what every ledger must be."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise AssertionError("what ran beside the requests failed") from task.exception()
        await self.opened.close()
        if self.size == 0 or NAMES in os.environ:
            return  # under other names the ledgers are of the same making: once is enough
        told = self.examined()
        assert told.verdict == self.expected, told.finding  # state folded anew is part of it


def beneath(said: Mapping[str, Any]) -> int:
    """How many people a decision's requirement asks for."""
    return sum(row["count"] for row in said["terms"]["requirement"]["all_of"])


async def until(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until it is so.

    Raises:
        TimeoutError: it never was.
    """
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def settings(root: Path, clock: Time, port: int, **more: Any) -> opening.Settings:
    """How every installation here is opened."""

    def secret(name: str) -> str:
        if name == "fleet-token":
            return TOKEN
        raise Absent("secret.unknown", f"no secret {name}")

    said = {
        "state": root / "state",
        "origin": ORIGIN,
        "demo": False,
        "resolve": {FLEET: f"127.0.0.1:{port}"},
        "secret": secret,
        "opa_seconds": PATIENCE,
        **more,
    }
    return opening.Settings(data=root / "data", binary=binary(), clock=Clock(clock.wall, clock.boot), **said)


async def opened(root: Path, ground: Ground, clock: Time | None = None, *, pooled: bool = True, **more: Any) -> World:
    """Open what lies in `root`, or begin there."""
    clock = clock or Time()
    use = type("Ours", (Pooled,), {"pool": ground.pool}) if pooled else Sidecars
    with patch.object(opening, "Sidecars", use):
        held = await opening.open_installation(settings(root, clock, ground.handler.port, **more))
    ground.handler.fleet = Fleet()
    world = World(root, clock, held, ground.handler.fleet, ground.signers)
    later = held.house.later

    def kept(work: Any) -> asyncio.Task[Any]:
        task = later(work)
        world.tasks.append(task)
        return task

    held.house.later = kept  # type: ignore[method-assign]
    return world


async def begin(world: World, ground: Ground) -> None:
    """Genesis by the first operator, the gate armed."""
    setup, first = world.opened.setup, ground.signers[FIRST]
    said = setup.new_code(lambda: "the code of the day")
    await setup.accept(said, sign_document(setup.offer(said, FIRST, first.public.hex()), first))
    await arm(world)


async def arm(world: World) -> None:
    """Open the gate as a start does: by the bundle's canaries."""
    await arming.check(world.house)
    assert world.state("installation", "gate") == "armed", world.row("installation", "gate").data


async def enrol_everybody(world: World) -> None:
    """The people and programs of every test, by the acts that enrol anybody."""
    roles = world.data["catalogue"]["installation"]["first_operator"]["roles"]
    for id_ in OPERATORS:
        await world.act("operator.enrol", world.joining(id_, world.signers[id_], () if id_ == "rolf" else roles))
    for id_ in AGENTS:
        await world.act("agent.enrol", {"agent": id_, "owner": OWNER, **world.credential(id_)})
    for type_, id_ in WATCHERS:
        owner = {"owner": "ann"} if type_ == "observer" else {}
        await world.act(f"{type_}.enrol", {type_: id_, **owner, **world.credential(id_)})


async def ground_of(folder: Path, raw: bytes, pool: Pool, handler: type[Handler]) -> Ground:
    """Make what all tests of a bundle start from."""
    ground = Ground(folder, raw, pool, handler)
    for id_ in (FIRST, *OPERATORS):
        ground.signers[id_] = signer_from_seed(hashlib.sha256(id_.encode()).digest())
    (folder / "bundle.tar.gz").write_bytes(raw)
    world = await opened(folder, ground, bundle=folder / "bundle.tar.gz")
    await begin(world, ground)
    await enrol_everybody(world)
    await world.close()
    return ground


def copied(ground: Ground, root: Path) -> None:
    """A copy of the ground in `root`: the data folder, and what lies outside it under the name of its path."""
    image(ground.folder, root)


def image(source: Path, root: Path) -> None:
    """What a crash of `source` now would leave, in `root`."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("data", "state"):
        # a mark is written beside and then renamed: what is being written now is not there a moment later
        shutil.copytree(source / name, root / name, ignore=shutil.ignore_patterns("*.mark.new"))
    old, new = (hashlib.sha256(os.fsencode((at / "data").resolve())).hexdigest()[:32] for at in (source, root))
    for path in list((root / "state").iterdir()):
        if path.name.startswith(old):
            path.rename(path.with_name(path.name.replace(old, new)))


@asynccontextmanager
async def live(root: Path, ground: Ground, clock: Time | None = None, **more: Any) -> AsyncIterator[World]:
    """A world for one test; its ledger is held against what every ledger must be."""
    copied(ground, root)
    world = await opened(root, ground, clock, **more)
    try:
        await arm(world)
        yield world
    finally:
        await world.close()


def built(folder: Path) -> bytes:
    """The bundle of a Rego folder, through the gate."""
    return build(binary(), folder)


def variant(target: Path, change: Callable[[Path], None]) -> bytes:
    """The bundle of a copy of the Rego under test in which something was changed."""
    shutil.copytree(rego(), target)
    change(target)
    return built(target)
