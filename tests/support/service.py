"""A real service in folders of its own: started, stopped and killed as an operating system would.

The target it acts on outlives it, so that what was really done can be counted across kills.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from magistrate.client import Client, Credential
from magistrate.core.signature import signer_from_seed
from magistrate.demo.cast import Cast, Local, Target, story
from magistrate.policy.binary import PINNED, Binary, sha256_of
from magistrate.policy.build import build
from tests.support import processes
from tests.support.rego_tools import REGO, ROOT, opa

FLEET = "fleet.internal:80"
START_SECONDS = 60.0  # what a busy machine may take; the promise itself is measured where it is asked for
AGENTS = ("deploy-bot", "shadow-bot", "night-bot", "refund-bot")
AUDITOR = "audrey"


@lru_cache(maxsize=1)
def bundle() -> bytes:
    """The bundle of the Rego in this tree (or of `MAGISTRATE_TEST_REGO`), through the gate."""
    path = Path(opa())
    rego = Path(os.environ.get("MAGISTRATE_TEST_REGO") or REGO)
    return build(Binary(path, PINNED, sha256_of(path), "setting"), rego)


@dataclass
class Started:
    """One process of the service."""

    process: subprocess.Popen[str]
    began: float
    out: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def read(self) -> None:
        """Gather what it says, so that it never waits for us."""
        for stream, kept in ((self.process.stdout, self.out), (self.process.stderr, self.words)):
            thread = threading.Thread(target=_gather, args=(stream, kept), daemon=True)
            thread.start()
            self.readers.append(thread)

    def ended(self, seconds: float) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        code = self.process.wait(seconds)
        for thread in self.readers:
            thread.join(5)
            assert not thread.is_alive(), f"something that outlived it holds its output: {self.told()}"
        return code

    def told(self) -> str:
        return "".join([*self.out, *self.words])


def _gather(stream: Any, kept: list[str]) -> None:
    with stream:
        kept.extend(iter(stream.readline, ""))


class Service:
    """One installation's service: at most one process of it at a time."""

    def __init__(self, root: Path, *, data: Path | None = None) -> None:
        self.root = root
        self.data = data or root / "data"
        self.scratch = root / "t"
        self.scratch.mkdir(parents=True)
        self.target = Target()
        self.keys: dict[str, str] = {}
        self.genesis: dict[str, Any] = {}
        self.url = ""
        self.now: Started | None = None
        (root / "bundle.tar.gz").write_bytes(bundle())
        held = root / "secrets"
        held.mkdir(mode=0o700)
        token = held / "fleet-token"
        token.touch(mode=0o600)
        token.write_text(self.target.token)

    # -- its life

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAGISTRATE_")}
        return {
            **kept,
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "MAGISTRATE_OPA": opa(),
            "MAGISTRATE_OPA_SHA256": sha256_of(Path(opa())),
            "MAGISTRATE_OPA_CACHE": str(self.root / "cache"),
            "MAGISTRATE_STATE": str(self.root / "state"),
            "MAGISTRATE_CONFIG": str(self.root / "people"),
            "MAGISTRATE_DATA": str(self.data),
            "MAGISTRATE_DEMO_BUNDLE": str(self.root / "bundle.tar.gz"),
            "MAGISTRATE_RESOLVE": f"{FLEET}=127.0.0.1:{self.target.port}",
            "MAGISTRATE_SECRETS": str(self.root / "secrets"),
        }

    def start(self, *, failpoint: str = "") -> float:
        """Start it and return how long it took until it was ready.

        Raises:
            AssertionError: it ended instead, or took too long.
        """
        assert self.now is None, "it runs already"
        by = ["-m", "tests.support.failpoint", failpoint, str(self.armed)] if failpoint else ["-m", "magistrate"]
        self.armed.unlink(missing_ok=True)
        self.now = self.launched([sys.executable, *by, "up", "--demo", "--no-people", "--port", "0"])
        self.said("  ready ")
        took = time.monotonic() - self.now.began
        self.url = json.loads((self.data / "service.json").read_bytes())["url"]
        return took

    def launched(self, command: list[str]) -> Started:
        """A process of the program in this installation's environment, beside the running one if there is one."""
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started = Started(process, began)
        started.read()
        return started

    def run(self, *command: str, seconds: float = START_SECONDS) -> tuple[int, str]:
        """Run one command to its end; its exit code and all it said."""
        started = self.launched([sys.executable, "-m", "magistrate", *command])
        try:
            return started.ended(seconds), started.told()
        finally:
            if started.process.poll() is None:
                started.process.kill()
                started.ended(10)

    def said(self, words: str) -> None:
        """Return once it said this.

        Raises:
            AssertionError: it ended instead, or took too long.
        """
        assert self.now is not None
        until = time.monotonic() + START_SECONDS
        while not any(words in line for line in self.now.words):
            if self.now.process.poll() is not None or time.monotonic() > until:
                told = self.now.told()
                self.kill()
                raise AssertionError(f"the service did not come up: {told}")
            time.sleep(0.005)

    @property
    def armed(self) -> Path:
        """The file whose being there arms the failpoint."""
        return self.root / "armed"

    @property
    def pid(self) -> int:
        assert self.now is not None
        return self.now.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it ended.

        Raises:
            subprocess.TimeoutExpired: it did not.
        """
        assert self.now is not None
        code = self.now.ended(seconds)
        self.now = None
        return code

    def kill(self) -> None:
        """`kill -9`, now."""
        if self.now is not None:
            self.now.process.kill()
            self.wait(10)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.kill()
        self.target.close()
        left = processes.left_after(processes.working_in(self.root), 2.0)
        assert not left, f"still there: {left}"

    # -- its people

    def set_up(self) -> None:
        """Begin the ledger and enrol operators, agents and an auditor, through the API alone."""
        said = story()
        owner = said["operators"][0]["id"]
        people = {
            "operators": said["operators"][:3],
            "agents": [{**one, "owner": owner} for one in said["agents"] if one["id"] in AGENTS],
            "observers": [],
            "auditors": said["auditors"],
        }
        self.said("operators setup ")
        assert self.now is not None
        code = re.search(r"operators setup (\S+)", self.now.told())
        assert code is not None
        with Cast(people, lambda _, id_: Local(id_, signer_from_seed(secrets.token_bytes(32)))) as cast:
            cast.enter()
            self.genesis = cast.begin(self.url, code[1])
            self.keys = {who: cast[who].do("profile")["api_key"] for who in (*AGENTS, AUDITOR)}

    def client(self, who: str, *, seconds: float = 30.0) -> Client:
        """A client with this agent's or auditor's API key."""
        return Client(self.url, Credential(api_key=self.keys[who]), seconds=seconds)

    @property
    def ledger(self) -> Path:
        return self.data / "ledger.db"

    def descendants(self) -> set[processes.Process]:
        """Everything it has started that lives."""
        return processes.descendants(self.pid)

    def opa(self) -> set[processes.Process]:
        """The OPA that runs for it now."""
        return {one for one in self.descendants() if " run --server " in f"{one.line} "}


@contextlib.contextmanager
def service(root: Path, *, data: Path | None = None, people: bool = True) -> Iterator[Service]:
    """A running service with its people, and nothing left of it afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    made = Service(root, data=data)
    try:
        made.start()
        if people:
            made.set_up()
        yield made
    finally:
        made.close()
