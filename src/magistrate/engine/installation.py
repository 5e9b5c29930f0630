"""One running installation: its doors, held open, and the few promises every step leans on."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import uuid_utils

from magistrate.core import canonical
from magistrate.core.answers import ANSWERS
from magistrate.core.decision import hold_possible
from magistrate.core.errors import Absent, Broken, Moved, NoAnswer, Unavailable
from magistrate.core.signature import Signer
from magistrate.engine.pulling import BundleKeys
from magistrate.engine.unjudged import Unjudged
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecars import Sidecars
from magistrate.store.rows import Row
from magistrate.store.sqlite import Store
from magistrate.store.txn import Txn

T = TypeVar("T")
Keep = Callable[[Txn, str, Any], None]  # keeps an answer for its idempotency key, inside the commit: id, answer
PAGE = 500
TRIES = 5  # contracts section 4: asks again at most five times
BACKWARD = 30  # seconds the clock may be behind the last entry
FORWARD = 300  # seconds it may jump ahead of the clock that counts sleep
TOLD = 256  # faults that are remembered as told

log = logging.getLogger("magistrate.engine")


@dataclass(frozen=True)
class Keys:
    """The installation's signers, one for each role."""

    warrant: Signer
    checkpoint: Signer
    policy: Signer


@dataclass(frozen=True)
class Principal:
    """Who a request comes from, as its credential says; `key_id` is "" for an API key."""

    type: str
    id: str
    credential: str
    key_id: str = ""


@dataclass(frozen=True)
class Asked:
    """One question and its answer, as they are recorded."""

    document: str
    question: dict[str, Any]
    answer: dict[str, Any]
    bundle: str
    opa: dict[str, str]  # version, and sha256 of the binary

    def record(self) -> dict[str, Any]:
        """What the ledger keeps of it: all that is needed to ask the same again; replay sends these bytes."""
        return {
            "document": self.document,
            "question": self.question,
            "answer": self.answer,
            "bundle": self.bundle,
            "opa": self.opa,
            "strict": True,  # builtin errors are errors: `policy.client` never asks otherwise
        }


@dataclass(frozen=True)
class Word:
    """A person's own act on a thing that exists: who, why, and the access question that allowed it."""

    by: str
    reason: str
    asked: Asked | None = None

    def plain(self) -> dict[str, Any]:
        """What the act's entry keeps of it; no question where a narrowing act went ahead without an answer."""
        return {"by": self.by, "reason": self.reason, "asked": [self.asked.record()] if self.asked else []}


class Seen:
    """The rows a step's question read, each with the version it had."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[tuple[str, str], int] = {}

    def row(self, table: str, id_: str) -> Row | None:
        """The row, named in the step's condition; absence is a condition too."""
        row = self._store.row(table, id_)
        self._versions[table, id_] = row.version if row else 0
        return row

    def only(self, names: Sequence[str]) -> Seen:
        """The same condition for some rows alone: those of a table, or one row, named `table/id`."""
        part = Seen(self._store)
        part._versions = {
            key: at for key, at in self._versions.items() if not {key[0], "/".join(key)}.isdisjoint(names)
        }
        return part

    def needs(self) -> list[tuple[str, str, int]]:
        """What must still be so at the commit."""
        return [(table, id_, version) for (table, id_), version in self._versions.items()]


class Clock:
    """Wall time, held against the clock that counts sleep: a jump stops issuing, never silently moves a deadline."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._wall, self._boot = wall, boot
        self._offset = wall() - boot()

    def now(self) -> int:
        """Unix seconds for a question or entry."""
        return int(self._wall())

    def exact(self) -> float:
        """Unix seconds by whichever clock runs ahead: deadlines end at the earlier of the two."""
        return max(self._wall(), self._boot() + self._offset)

    def jump(self) -> float:
        """How far the wall clock ran ahead of the clock that counts sleep since start, or since `settle`."""
        return self._wall() - self._boot() - self._offset

    def settle(self) -> None:
        """Take the wall clock as right from here: an operator said so, on record."""
        self._offset = self._wall() - self._boot()


class Run:
    """What we execute ourselves right now: the part that is stopped by cancelling, and why it was."""

    def __init__(self) -> None:
        self.because = ""
        self.word: Word | None = None
        self._doing: asyncio.Task[Any] | None = None

    def stop(self, because: str) -> None:
        """Stop what is being done, at once; the first reason counts."""
        self.because = self.because or because
        if self._doing is not None:
            self._doing.cancel()

    async def do(self, work: Coroutine[Any, Any, T], deadline: float) -> T | None:
        """The work's value; None when it was stopped or `deadline` seconds passed, and then nothing of it runs."""
        if self.because:
            work.close()
            return None
        self._doing = asyncio.create_task(work)
        done, _ = await asyncio.wait({self._doing}, timeout=max(0.0, deadline))
        if not done:
            self.stop("expired")
            await asyncio.wait({self._doing})
        if self._doing.cancelled():
            return None
        result: T = self._doing.result()
        return result


@dataclass
class Installation:
    """The doors a step goes through. No rule lives here."""

    origin: str
    store: Store
    keys: Keys
    sidecars: Sidecars
    binary: Binary
    clock: Clock
    secret: Callable[[str], str]
    resolve: Mapping[str, str] = field(default_factory=dict)
    bundle_keys: BundleKeys | None = None  # None: nothing is signed for others to pull
    beats: dict[str, float] = field(default_factory=dict)
    running: dict[str, Run] = field(default_factory=dict)
    unjudged: Unjudged = field(default_factory=Unjudged)
    fault: str = ""  # which keeper ended, and with what: nothing is issued without deadlines, canaries and pulse
    settling: asyncio.Task[None] | None = None
    settled: int = 0  # the version of the row of the active bundle whose consequences were carried out
    canaried: float = 0.0  # when the active bundle's canaries were last answered as they must be
    _turns: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    _background: set[asyncio.Task[Any]] = field(default_factory=set)

    def now(self) -> int:
        """Unix seconds."""
        return self.clock.now()

    def active(self) -> str:
        """The digest of the active bundle, by the ledger."""
        row = self.store.row("installation", "active")
        if row is None:
            raise Unavailable(
                "setup.required", "no operator has set this up yet", hint="magistrate operators setup CODE --id ID"
            )
        return str(row.data["bundle"])

    def bundle(self, digest: str) -> Bundle:
        """The archived bundle, re-hashed when it was loaded."""
        return self.sidecars.bundle(digest)

    async def loaded(self, digest: str) -> Bundle:
        """The same for one that a request names: it is read in a thread, so that nobody else waits for it.

        Raises:
            Absent, Broken, Unavailable: as `Archive.load`.
        """
        return await asyncio.to_thread(self.bundle, digest)

    async def ask(self, document: str, question: dict[str, Any], *, bundle: str) -> Asked:
        """OPA's answer from exactly this bundle, in the shape its model allows.

        Raises:
            NoAnswer: anything else; the code says what.
        """
        try:
            sidecar = await self.sidecars.of(bundle)
        except (Absent, Broken, Unavailable) as none:  # its bundle is lost or changed, or its OPA does not start
            raise NoAnswer(none.code, none.detail, hint=none.hint) from none
        answer = await sidecar.ask(document, canonical.canonical(question), ANSWERS[document])
        if document == "decision":
            hold_possible(answer.value)
        opa = {"version": answer.opa_version, "sha256": f"sha256:{self.binary.sha256}"}
        return Asked(document, question, answer.value, answer.bundle, opa)

    def hold_issuing(self) -> None:
        """Return if new permission may leave now: the gate is armed and the clock is sane.

        Raises:
            Unavailable: it may not.
        """
        if self.fault:
            raise Unavailable("keeper.ended", f"a keeper of this service ended: {self.fault}", hint="magistrate doctor")
        gate = self.store.row("installation", "gate")
        if gate is None or gate.state != "armed":
            why = gate.data["because"] if gate else "not set up"
            raise Unavailable("gate.disarmed", f"the gate is disarmed: {why}", hint="magistrate status")
        self.hold_clock()

    def hold_clock(self) -> None:
        """Return if the clock has neither fallen behind the ledger nor jumped ahead.

        Raises:
            Unavailable: it has.
        """
        if self.store.last_at - self.now() > BACKWARD:
            raise Unavailable("clock.behind", "the clock is behind the last entry", hint="chronyc tracking")
        if self.clock_jumped():
            hint = "magistrate ledger recover --clock --reason 'the clock was set'"
            raise Unavailable("clock.jumped", "the clock jumped ahead", hint=hint)

    def clock_jumped(self) -> bool:
        """Whether the wall clock ran ahead of the clock that counts sleep."""
        return self.clock.jump() > FORWARD

    @asynccontextmanager
    async def turn(self, *keys: str) -> AsyncIterator[None]:
        """First come, first served among steps that write the same thing; always taken in one order."""
        queued: list[str] = []
        held: list[asyncio.Lock] = []
        try:
            for key in sorted(set(keys)):
                lock, waiting = self._turns.get(key, (asyncio.Lock(), 0))
                self._turns[key] = (lock, waiting + 1)
                queued.append(key)
                await lock.acquire()
                held.append(lock)  # cancelled while it waited, a step frees nobody else's turn
            yield
        finally:
            for lock in reversed(held):
                lock.release()
            for key in queued:
                lock, waiting = self._turns[key]
                if waiting == 1:
                    del self._turns[key]
                else:
                    self._turns[key] = (lock, waiting - 1)

    async def again(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step, and again from its gathering when what it read has moved; at most five times.

        Raises:
            Unavailable: `facts.contended`, and nothing was written.
        """
        for _ in range(TRIES):
            try:
                return await step()
            except Moved:
                continue
        raise Unavailable("facts.contended", "what the decision depends on kept changing; a second later it may not")

    def later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do this beside what runs; kept until done, so that stopping can wait for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def under_way(self) -> Sequence[asyncio.Task[Any]]:
        """What runs beside the requests."""
        return tuple(self._background)

    async def commit(self, write: Callable[[Txn], T], seen: Seen | None = None) -> T:
        """One step, one commit, on the condition of what was seen."""
        return await self.store.commit(write, seen.needs() if seen else ())


async def every(house: Installation, table: str, **wanted: Any) -> AsyncIterator[Row]:
    """All rows that are wanted, page by page, in order of id."""
    after: str | None = None
    while True:
        page = await house.store.rows(table, after=after, limit=PAGE, **wanted)
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        after = page[-1].id


def new_id(prefix: str) -> str:
    """A fresh id: a prefix and a UUIDv7."""
    return f"{prefix}-{uuid_utils.uuid7()}"


@lru_cache(TOLD)
def tell_once(fault: str) -> None:
    """Put a fault nobody foresaw into the log, where it was: once, for a keeper meets it again at each look."""
    log.error("fault beside the requests: %s", fault, exc_info=sys.exc_info())
