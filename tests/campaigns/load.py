"""Load by agents in threads of their own: each keeps what it was told, and what it was waiting for when it ended."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from magistrate.client import Client
from magistrate.core import checkpoint
from magistrate.core.errors import MagistrateError, Unavailable
from tests.support.service import AGENTS, AUDITOR, Service

RESTART = {"action": "service.restart", "target": "api-gateway-staging", "parameters": {}}
STATEMENT = {"action": "sql.statement", "target": "orders-db", "parameters": {"statement": "orders-open", "limit": 5}}
QUICK = (RESTART, STATEMENT)  # allowed at once, for several uses, and counted by the target


def batch(seconds: int) -> dict[str, Any]:
    """A program on this machine: a shell that waits for a child of its own."""
    return {"action": "batch.run", "target": "batch-host", "parameters": {"seconds": seconds}}


@dataclass(frozen=True)
class Order:
    """One POST as it was sent."""

    who: str
    path: str
    said: dict[str, Any]
    key: str


@dataclass(frozen=True)
class Answer:
    """What came back, and when."""

    order: Order
    sent: float
    came: float
    code: str  # "" when it was done
    made: Any = None


@dataclass
class Told:
    """What clients know."""

    answers: list[Answer] = field(default_factory=list)
    in_flight: list[Order] = field(default_factory=list)
    checkpoints: list[checkpoint.Checkpoint] = field(default_factory=list)
    leaves: dict[int, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # faults of the clients themselves

    def done(self, path: str) -> list[Answer]:
        return [answer for answer in self.answers if not answer.code and answer.order.path == path]

    @property
    def acknowledged(self) -> int:
        """Writes that were answered as done."""
        return sum(1 for answer in self.answers if not answer.code)

    def intents(self) -> list[dict[str, Any]]:
        return [answer.made for answer in self.done("/v1/intents")]

    def executions(self) -> list[dict[str, Any]]:
        return [answer.made for answer in self.done("/v1/executions")]

    def refusals(self) -> Counter[str]:
        return Counter(answer.code for answer in self.answers if answer.code)


class Load:
    """Clients that ask and redeem until they are told to end, or nobody answers any more."""

    def __init__(self, service: Service, told: Told) -> None:
        self.told = told
        self._service = service
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def _spawn(self, work: Callable[[], None]) -> None:
        def kept() -> None:
            try:
                work()
            except Exception as fault:  # told when the load ends: a thread's own end is silent
                self.told.lost.append(repr(fault))

        thread = threading.Thread(target=kept, daemon=True)
        thread.start()
        self._threads.append(thread)

    def agents(self, many: int, *, patient: bool = False) -> Load:
        """Agents that submit intents and redeem every use, and one use more. A patient one outlasts refusals."""
        for n in range(many):
            who = AGENTS[n % 3]
            self._spawn(lambda who=who, n=n: self._ask_and_redeem(who, QUICK[n % 2], patient=patient))
        return self

    def asking(self, many: int) -> Load:
        """Agents that only submit intents, as fast as they are answered."""
        for n in range(many):
            self._spawn(lambda n=n: self._ask(AGENTS[n % 3], QUICK[n % 2]))
        return self

    def batches(self, seconds: int, every: float) -> Load:
        """An agent that has programs run."""
        self._spawn(lambda: self._run_batches(seconds, every))
        return self

    def auditor(self) -> Load:
        """Somebody who keeps every checkpoint and leaf shown to them."""
        self._spawn(self._audit)
        return self

    def wait_for(self, acknowledged: int, seconds: float = 30.0) -> None:
        """Return once so many more writes were acknowledged."""
        until, before = time.monotonic() + seconds, self.told.acknowledged
        while self.told.acknowledged < before + acknowledged:
            assert time.monotonic() < until, f"{self.told.acknowledged - before} writes: {self.told.refusals()}"
            assert not self.told.lost, self.told.lost
            time.sleep(0.002)

    def end(self) -> None:
        """Let everybody finish what they wait for."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.told.lost, self.told.lost

    # -- what they do

    def post(self, client: Client, who: str, path: str, said: dict[str, Any]) -> Answer:
        """Send it; an answer that never came is kept as in flight.

        Raises:
            Unavailable: `service.unreachable`.
        """
        order = Order(who, path, said, secrets.token_urlsafe(18))
        sent = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            made, code = client.post(path, said, key=order.key), ""
        except MagistrateError as no:
            if no.code == "service.unreachable":
                self.told.in_flight.append(order)
                raise
            made, code = None, no.code
        answer = Answer(order, sent, time.clock_gettime(time.CLOCK_BOOTTIME), code, made)
        self.told.answers.append(answer)
        return answer

    def _each(self, who: str, step: Callable[[Client], None]) -> None:
        with contextlib.suppress(Unavailable), self._service.client(who) as client:
            while not self._over.is_set():
                step(client)

    def _ask(self, who: str, said: dict[str, Any]) -> None:
        self._each(who, lambda client: self._pause_after(self.post(client, who, "/v1/intents", said)))

    @staticmethod
    def _pause_after(answer: Answer) -> None:
        if answer.code:
            time.sleep(0.005)

    def _ask_and_redeem(self, who: str, said: dict[str, Any], *, patient: bool) -> None:
        def step(client: Client) -> None:
            asked = self.post(client, who, "/v1/intents", said)
            self._pause_after(asked)
            warrant = asked.made["warrant"] if asked.made else None
            assert patient or warrant is not None, asked
            for _ in range(warrant["uses"] + 1 if warrant else 0):
                body = {"warrant": warrant["warrant_id"], "call": warrant["scope"]}
                self._pause_after(self.post(client, who, "/v1/executions", body))

        self._each(who, step)

    def _run_batches(self, seconds: int, every: float) -> None:
        def step(client: Client) -> None:
            asked = self.post(client, AGENTS[3], "/v1/intents", batch(seconds))
            warrant = asked.made["warrant"] if asked.made else None
            if warrant:
                body = {"warrant": warrant["warrant_id"], "call": warrant["scope"]}
                self.post(client, AGENTS[3], "/v1/executions", body)
            self._over.wait(every)

        self._each(AGENTS[3], step)

    def _audit(self) -> None:
        def step(client: Client) -> None:
            seen = checkpoint.read(client.text("/checkpoint").split("\n\n")[0] + "\n")
            self.told.checkpoints.append(seen)
            shown = client.get(f"/v1/entries/{seen.size - 1}/proof")
            self.told.leaves[shown["index"]] = shown["leaf"]
            self._over.wait(0.02)

        self._each(AUDITOR, step)
