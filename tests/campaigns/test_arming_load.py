"""Load alone never disarms: with three times what it can do waiting all the while, the canaries are answered."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest

from magistrate.api.server import CONNECTIONS
from magistrate.client import Client
from magistrate.core.errors import MagistrateError
from magistrate.store.reads import Reader
from tests.campaigns.forms import rounds
from tests.campaigns.load import RESTART
from tests.support.service import AGENTS, Service, service

CALM = 16  # in flight where capacity is measured
TIMES = 3  # seconds of work that wait at any moment: three times what is answered within one question's deadline
OURS = 16  # connections left for whoever watches
CANARY_SECONDS = 6.0  # two rounds of canaries
LOOK = 0.2


def order(at: Service, in_flight: int, seconds: float) -> dict[str, Any]:
    """So many agents that ask again as soon as they are answered."""
    host, port = at.url.removeprefix("http://").split(":")
    body = json.dumps(RESTART).encode()
    lines = [
        "POST /v1/intents HTTP/1.1",
        f"Host: {host}:{port}",
        f"Authorization: Bearer {at.keys[AGENTS[0]]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    raw = "\r\n".join([*lines, "", ""]).encode() + body
    said = {"connect": [host, int(port)], "requests": [base64.b64encode(raw).decode()], "once": False}
    return {**said, "in_flight": in_flight, "seconds": seconds}


class Generator:
    """The load, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "magistrate.demo.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, said: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()

    def ended(self) -> dict[str, Any]:
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def watched(client: Client, seconds: float) -> tuple[list[bool], list[str]]:
    """Whether it said that it is ready each time it was asked, and what it said where it was not."""
    until, ready, why = time.monotonic() + seconds, [], []
    while time.monotonic() < until:
        try:
            client.get("/readyz")
            ready.append(True)
        except MagistrateError as no:
            ready.append(False)
            why.append(f"{no.code}: {no.detail}")
        time.sleep(LOOK)
    return ready, why


@pytest.mark.campaign
def test_load_alone_never_disarms(tmp_path):
    seconds = rounds(60, 15)
    with service(tmp_path / "s") as at, Client(at.url, seconds=60.0) as client, closing(Generator()) as load:
        load.begin(order(at, CALM, 2.0))
        calm = load.ended()
        capacity = calm["count"] / calm["seconds"]
        in_flight = int(min(CONNECTIONS - OURS, max(TIMES * capacity, 4 * CALM)))
        client.get("/livez")  # its connection is there before the others
        load.begin(order(at, in_flight, seconds))
        ready, why = watched(client, seconds)
        busy = load.ended()
        with closing(Reader(at.ledger)) as reader:
            armings = [entry.content() for entry in _all(reader, "arming")]
            alerts = [entry.content() for entry in _all(reader, "alert")]
        assert at.stop() == 0
    print(f"capacity {capacity:.0f} a second at {CALM} in flight; {in_flight} in flight for {seconds} s:")
    print(f"  {busy['count'] / busy['seconds']:.0f} a second, p99 {busy['p99_ms']:.0f} ms, {busy['refused']} refused,")
    print(f"  ready {sum(ready)} times of {len(ready)}, armings {armings}, alerts {len(alerts)}, {why[:3]}")
    assert busy["p50_ms"] > TIMES * calm["p50_ms"], "that was no overload"
    assert [said for said in armings if not said["armed"]] == []
    assert alerts == []
    assert not [said for said in why if "gate.disarmed" in said]
    assert any(ready[-int(CANARY_SECONDS / LOOK) :]), "the canaries were not answered any more"


def _all(reader: Reader, kind: str) -> list[Any]:
    found, start = [], 0
    while page := reader.entries(start, 1000, kind=kind):
        found += page
        start = page[-1].index + 1
    return found
