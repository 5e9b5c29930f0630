"""An activation under load: what those who ask meanwhile notice of it, beside the same load without one.

The same generator asks intent after intent at 16 in flight, first undisturbed, then while another bundle is started,
asked its canaries and put in force. No request may fail, and the slowest hundredth may take three times as long.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magistrate import shipped
from magistrate.client import Client, Credential
from magistrate.client import operator as words
from magistrate.demo.cast import story
from magistrate.keys import operator
from magistrate.policy.binary import Binary
from magistrate.policy.build import build

IN_FLIGHT = 16
AHEAD = 1000  # sequences above the shipped ones: nothing else will have them
LEAD_SECONDS = 0.3  # the load has settled when the act begins
REASON = "a measure of the exchange"


def measured(
    run: Callable[[float], dict[str, Any]], binary: Binary, folder: Path, url: str, *, seconds: float, rounds: int = 3
) -> dict[str, Any]:
    """The median of `rounds` pairs: `run` drives the load for as many seconds as it is told.

    Returns a measure as the contracts shape it, with `p99_ratio`: during the exchange to before it.
    """
    pairs = [_pair(run, binary, folder, url, seconds, number) for number in range(rounds)]
    pairs.sort(key=lambda pair: pair[1]["p99_ms"] / pair[0]["p99_ms"])
    before, during = pairs[len(pairs) // 2]
    return {
        "name": "activation",
        **during,
        "in_flight": IN_FLIGHT,
        "throughput_ratio": round(during["per_second"] / before["per_second"], 3),
        "p50_ratio": round(during["p50_ms"] / before["p50_ms"], 2),
        "p99_ratio": round(during["p99_ms"] / before["p99_ms"], 2),
    }


def _pair(
    run: Callable[[float], dict[str, Any]], binary: Binary, folder: Path, url: str, seconds: float, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    finish = _prepared(binary, folder, url, AHEAD + number)
    before = run(seconds)
    failed: list[BaseException] = []

    def act() -> None:
        try:
            time.sleep(LEAD_SECONDS)
            finish()
        except BaseException as error:  # noqa: BLE001 - handed on to who waits for this thread
            failed.append(error)

    acting = threading.Thread(target=act)
    acting.start()
    during = run(seconds)
    acting.join()
    if failed:
        raise failed[0]
    return before, during


def _prepared(binary: Binary, folder: Path, url: str, sequence: int) -> Callable[[], Any]:
    """Another bundle, handed in, proposed and approved: what is left is to carry the act out."""
    people = [person["id"] for person in story()["operators"]]
    (first, one), (second, two) = (_person(folder, id_, url) for id_ in people[:2])
    file = base64.b64encode(_bundle(binary, sequence)).decode()
    digest = first.post("/v1/bundles", {"file": file, "reason": REASON})["digest"]
    shown = words.administer(
        first,
        action="bundle.activate",
        parameters={"digest": digest, "live_warrants": "keep"},
        reason=REASON,
        operator=people[0],
        signer=one,
    )
    again = second.get(f"/v1/intents/{shown['intent']['intent_id']}")
    approved = words.act(second, again, operator=people[1], signer=two, verdict="approve", reason=REASON)
    return lambda: words.finish(first, approved)


def _person(folder: Path, id_: str, url: str) -> tuple[Client, Any]:
    people = folder / "people"
    signer = operator.load(people, id_, operator.lock(people, folder / "state"), role="operator").signer
    return Client(url, Credential(signer=signer)), signer


def _bundle(binary: Binary, sequence: int) -> bytes:
    """The shipped policy under another sequence: the same rules, another bundle."""
    with tempfile.TemporaryDirectory(prefix="mb-") as scratch:
        rego = Path(scratch) / "rego"
        shutil.copytree(shipped.folder("rego"), rego)
        said = json.loads((rego / ".manifest").read_bytes())
        said |= {"revision": str(sequence), "metadata": {**said["metadata"], "sequence": sequence}}
        (rego / ".manifest").write_text(json.dumps(said), "utf-8")
        return build(binary, rego)
