"""A copy of the checkout with a demo service on one of its bundles, used at the command line as its people would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from magistrate.client import Client, Credential
from magistrate.keys import operator
from tests.support import pages, processes

START_SECONDS = 90.0


class House:
    """A copy of the checkout, folders of its own, and a demo service on one of the shipped bundles, the oldest unless said otherwise."""

    def __init__(self, root: Path, number: int = 0) -> None:
        self.number = number
        self.root = pages.checkout(root)
        index = json.loads((self.root / "bundles" / "index.json").read_bytes())["bundles"]
        self.bundles = [row["digest"] for row in sorted(index, key=lambda row: row["sequence"])]
        self.data = self.root / "data"
        self.process: subprocess.Popen[str] | None = None

    def environment(self) -> dict[str, str]:
        return {
            **pages.environment(self.root),
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.root / "tmp"),
            "MAGISTRATE_DATA": str(self.data),
            "MAGISTRATE_STATE": str(self.root / "state"),
            "MAGISTRATE_CONFIG": str(self.root / "people"),
            "MAGISTRATE_DEMO_BUNDLE": str(self.file(self.bundles[self.number])),
            "MAGISTRATE_OPA_SECONDS": "10",
        }

    def file(self, digest: str) -> Path:
        return self.root / "bundles" / f"{digest.removeprefix('sha256:')}.tar.gz"

    def start(self) -> None:
        (self.root / "tmp").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "magistrate", "up", "--demo", "--port", "0"],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(iter(self.process.stdout.readline, "")), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not any("Magistrate is at" in line for line in said):
            assert self.process.poll() is None, "".join(said)
            assert time.monotonic() < until, "".join(said)
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0
            self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        assert not processes.left_after(processes.working_in(self.root), 5.0)

    def run(self, *words: str, who: str = "", code: int = 0) -> str:
        """What a command printed; it ends with `code`."""
        ran = subprocess.run(
            [sys.executable, "-m", "magistrate", *(("--profile", who) if who else ()), *words],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == code, f"{words}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        self.words = ran.stderr
        return ran.stdout

    def client(self, who: str) -> Client:
        profile = operator.profile(self.root / "people", who)
        return Client(profile.url, Credential(api_key=profile.api_key), seconds=60.0)

    def propose(self, who: str, said: dict) -> dict:
        with self.client(who) as client:
            return client.post("/v1/intents", said)


def refund(amount: int, number: int) -> dict:
    """A proposal to pay back."""
    parameters = {"order": f"A-{number}", "amount": amount, "currency": "EUR"}
    return {"action": "refund.create", "target": "refunds-ledger", "parameters": parameters}
