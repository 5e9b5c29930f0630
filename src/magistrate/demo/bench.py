"""The benchmark: the service beside bare OPA, on the same bundle, in one run; what counts are the ratios.

One generator in its own process drives both sides. Its own ceiling, against a server that does nothing, must be at
least twice the baseline, or the figures would be the generator's. Bare OPA runs with the sidecar's exact flags and
answers the very question that the service asks it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magistrate.client import Client, Credential
from magistrate.core import canonical
from magistrate.core.errors import Broken
from magistrate.demo import bench_activation
from magistrate.demo.cast import story
from magistrate.keys import operator
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar

FLIGHTS = (1, 16)
WARM_SECONDS = 0.5
START_SECONDS = 60.0
EXCHANGE_SECONDS = 2.0  # the exchange takes about one of them
REDEEMED = 240  # warrants' uses prepared for the redeem measure


def measure(binary: Binary, *, seconds: float = 3.0) -> dict[str, Any]:
    """Run all of it and return the figures, as the contracts shape them.

    Raises:
        Broken: a side answered with refusals, or the generator was too slow to tell.
    """
    with tempfile.TemporaryDirectory(prefix="mb-") as folder, generator() as drive, _service(Path(folder)) as service:
        base = Path(folder)
        ceiling = _ceiling(base, drive, seconds)
        question, bundle = service.question()
        baseline = asyncio.run(bare(binary, bundle, [question], drive, seconds))
        measures = [
            _beside(baseline[n], _run(drive, service.intents(), n, seconds), "intent_to_warrant", n) for n in FLIGHTS
        ]
        measures += [_beside(baseline[n], _run(drive, service.redemptions(), n, 60.0), "redeem", n) for n in FLIGHTS]
        asked = service.intents()
        measures.append(
            bench_activation.measured(
                lambda n: drive(**asked, in_flight=bench_activation.IN_FLIGHT, seconds=n),
                binary,
                base,
                service.url,
                seconds=EXCHANGE_SECONDS,
            )
        )
        peak = service.peak_mb()
    if ceiling["per_second"] < 2 * baseline[16]["per_second"]:
        raise Broken("bench.generator", f"the generator reaches {ceiling['per_second']:.0f}/s: too slow to tell")
    return {
        "baseline": {str(n): baseline[n] for n in FLIGHTS},
        "generator_ceiling": ceiling,
        "measures": measures,
        "peak_memory_mb": peak,
    }


class _Drive:
    """The generator process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - pipes were asked for
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        if said["refused"] or not said["count"]:
            raise Broken("bench.refused", f"{said['refused']} of {said['count']} answers were refusals")
        return {
            "in_flight": order["in_flight"],
            "per_second": round(said["count"] / said["seconds"], 1),
            "p50_ms": round(said["p50_ms"], 3),
            "p99_ms": round(said["p99_ms"], 3),
        }


@contextlib.contextmanager
def generator() -> Iterator[_Drive]:
    """The load generator, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "magistrate.demo.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _Drive(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def _run(drive: _Drive, order: dict[str, Any], in_flight: int, seconds: float) -> dict[str, Any]:
    if not order["once"]:
        drive(**order, in_flight=in_flight, seconds=WARM_SECONDS)
    return drive(**order, in_flight=in_flight, seconds=seconds)


def _beside(baseline: dict[str, Any], found: dict[str, Any], name: str, in_flight: int) -> dict[str, Any]:
    return {
        "name": name,
        **found,
        "in_flight": in_flight,
        "throughput_ratio": round(found["per_second"] / baseline["per_second"], 3),
        "p50_ratio": round(found["p50_ms"] / baseline["p50_ms"], 2),
    }


def _ceiling(folder: Path, drive: _Drive, seconds: float) -> dict[str, Any]:
    path = str(folder / "idle")
    with subprocess.Popen(
        [sys.executable, "-m", "magistrate.demo.load", "idle", path], stdout=subprocess.PIPE, text=True
    ) as idle:
        try:
            assert idle.stdout is not None  # noqa: S101
            idle.stdout.readline()
            request = _request("POST", "/", {}, b"{}")
            return _run(drive, {"connect": path, "requests": [request], "once": False}, 16, seconds)
        finally:
            idle.terminate()


async def bare(
    binary: Binary,
    bundle: Bundle,
    questions: list[bytes],
    drive: _Drive,
    seconds: float,
    flights: tuple[int, ...] = FLIGHTS,
) -> dict[int, dict[str, Any]]:
    """OPA alone, with the sidecar's exact flags, asked these decision questions in turn."""
    sidecar = Sidecar(binary, bundle)
    await sidecar.start()
    try:
        socket, headers = sidecar.access()
        path = "/v1/data/magistrate/decision?strict-builtin-errors=true&provenance=true"
        requests = [_request("POST", path, headers, b'{"input":' + question + b"}") for question in questions]
        order = {"connect": socket, "requests": requests, "once": False}
        return {n: await asyncio.to_thread(_run, drive, order, n, seconds) for n in flights}
    finally:
        await sidecar.stop()


def everyday() -> dict[str, Any]:
    """The demo's intent that is allowed at once."""
    said: dict[str, Any] = story()["bench"]["intent"]
    return said


def _request(method: str, path: str, headers: dict[str, str], body: bytes) -> str:
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    if "Host" not in headers:
        lines.append("Host: localhost")
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return base64.b64encode("\r\n".join(lines).encode() + body).decode()


class _Service:
    """A service with the demo's people, in a process and a folder of its own."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._folder = folder
        said = story()["bench"]
        profile = operator.profile(folder / "people", said["agent"])
        self.url = profile.url
        self._host, self._port = self.url.removeprefix("http://").split(":")
        self._headers = {"Authorization": f"Bearer {profile.api_key}", "Host": f"{self._host}:{self._port}"}
        self._client = Client(self.url, Credential(api_key=profile.api_key))
        self._intent = said["intent"]

    def question(self) -> tuple[bytes, Bundle]:
        """The very question of such an intent, and the bundle it is asked of."""
        submitted = self._client.post("/v1/intents", self._intent)
        chain = self._client.get(f"/v1/intents/{submitted['intent']['intent_id']}/chain")
        decided = next(step for step in chain["steps"] if step["kind"] == "decision")["body"]
        digest = decided["bundle"].removeprefix("sha256:")
        found = next((self._folder / "data" / "bundles").rglob(f"{digest}*"))
        return canonical.canonical(decided["asked"][0]["question"]), Bundle.read(found.read_bytes())

    def intents(self) -> dict[str, Any]:
        """Intent after intent, each to its warrant."""
        request = _request("POST", "/v1/intents", self._headers, canonical.canonical(self._intent))
        return {"connect": [self._host, int(self._port)], "requests": [request], "once": False}

    def redemptions(self) -> dict[str, Any]:
        """Use after use of fresh warrants."""
        requests: list[str] = []
        while len(requests) < REDEEMED:
            warrant = self._client.post("/v1/intents", self._intent)["warrant"]
            body = canonical.canonical({"warrant": warrant["warrant_id"], "call": warrant["scope"]})
            requests += [_request("POST", "/v1/executions", self._headers, body)] * warrant["uses"]
        return {"connect": [self._host, int(self._port)], "requests": requests, "once": True}

    def peak_mb(self) -> float:
        """The service process's peak resident memory, as the kernel counted it."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[_Service]:
    env = {
        **os.environ,
        "MAGISTRATE_DATA": str(folder / "data"),
        "MAGISTRATE_STATE": str(folder / "state"),
        "MAGISTRATE_CONFIG": str(folder / "people"),
        "PYTHONUNBUFFERED": "1",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "magistrate", "up", "--demo", "--port", "0"],
            env=env,
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        until = time.monotonic() + START_SECONDS
        while "Magistrate is at" not in (folder / "log").read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise Broken("bench.service", (folder / "log").read_text()[-2000:])
            time.sleep(0.05)
        yield _Service(folder, process)
    finally:
        process.terminate()
        process.wait(timeout=30)
