"""The replay's benchmark: recorded decisions replayed per second, beside what bare OPA answers over HTTP.

The same questions on the same bundle in one run: bare OPA gets them one by one with 16 in flight, from the generator
that measures the service; the replay finds them in a ledger and reads, checks, asks and compares, in a process of its
own so that its memory can be told. What counts are the ratios.
"""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from magistrate.core import canonical
from magistrate.core.errors import Broken
from magistrate.core.signature import Signer, admit, signer_from_seed
from magistrate.demo import bench
from magistrate.engine.history import Trust
from magistrate.engine.replaying import Order, Record, replay
from magistrate.policy.archive import Archive
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from magistrate.store import Store

ORIGIN = "bench/replay"
IN_FLIGHT = 16
STEP = 500  # entries in one commit
NOON = 1_774_440_000


def measure(binary: Binary, bundle: Path, *, seconds: float = 3.0, questions: int = 20_000) -> dict[str, Any]:
    """Run both sides and return the figures.

    Raises:
        Broken: a side answered with refusals, or the replay was not identical.
    """
    with tempfile.TemporaryDirectory(prefix="mr-") as folder, bench.generator() as drive:
        base = Path(folder)
        held = Archive(base / "bundles", binary).take(bundle.read_bytes())
        asked = asyncio.run(_asked(binary, held))
        asyncio.run(_recorded(base, binary, held, asked, questions))
        rows = [canonical.canonical(row["question"]) for row in asked]
        before = asyncio.run(bench.bare(binary, held, rows, drive, seconds, (IN_FLIGHT,)))[IN_FLIGHT]
        found = _replayed(base, binary)
        after = asyncio.run(bench.bare(binary, held, rows, drive, seconds, (IN_FLIGHT,)))[IN_FLIGHT]
    if found["identical"] != questions:
        raise Broken("bench.replay", f"{found['identical']} of {questions} answers were identical")
    # what the machine gives changes while we measure: bare OPA is measured before and after
    baseline = (before["per_second"] + after["per_second"]) / 2
    return {
        "baseline": {"before": before, "after": after},
        "replay": found,
        "throughput_ratio": round(found["per_second"] / baseline, 3),
    }


def _questions(bundle: Bundle) -> list[dict[str, Any]]:
    """Decision questions of an agent, made from those the bundle carries as canaries."""
    found = []
    for canary in bundle.data["canaries"].values():
        if canary["document"] == "decision":
            said = json.loads(canonical.canonical(canary["question"]))
            found.append(said)
    return found


async def _asked(binary: Binary, bundle: Bundle) -> list[dict[str, Any]]:
    """What the ledger will keep: each question with OPA's answer."""
    sidecar = Sidecar(binary, bundle, deadline=10.0)
    await sidecar.start()
    try:
        rows = []
        for said in _varied(_questions(bundle)):
            answer = await sidecar.ask("decision", canonical.canonical(said))
            opa = {"version": binary.version, "sha256": f"sha256:{binary.sha256}"}
            rows.append(
                {
                    "document": "decision",
                    "question": said,
                    "answer": answer.value,
                    "bundle": bundle.digest,
                    "opa": opa,
                    "strict": True,
                }
            )
        return rows
    finally:
        await sidecar.stop()


def _varied(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every canary's question, and the demo's everyday one, which is allowed at once, as often as all of them."""
    said = bench.everyday()
    usual = copy.deepcopy(questions[0])
    usual["intent"] = {**usual["intent"], **{name: said[name] for name in ("action", "target", "parameters")}}
    usual["proposer"]["state"] = "active"
    return [*questions, *[copy.deepcopy(usual) for _ in questions]]


async def _recorded(base: Path, binary: Binary, bundle: Bundle, asked: list[dict[str, Any]], count: int) -> None:
    """A ledger of so many decisions; each question is one of its own by its intent's id, which no rule reads."""
    del binary, bundle
    store = Store(
        base / "ledger.db",
        origin=ORIGIN,
        fold=lambda _view, _entry: None,
        signer=_signer(),
        mark_path=base / "mark",
        clock=lambda: NOON,
    )
    try:
        for start in range(0, count, STEP):
            numbers = range(start, min(start + STEP, count))

            def write(txn: Any, numbers: range = numbers) -> None:
                for number in numbers:
                    row = asked[number % len(asked)]
                    intent = {**row["question"]["intent"], "intent_id": f"int-{number}", "nonce": f"{number:032x}"}
                    row = {**row, "question": {**row["question"], "intent": intent}}
                    txn.append(
                        kind="decision",
                        subject=f"int-{number}",
                        body={"asked": [row], "bundle": row["bundle"]},
                        body_type="magistrate/decision/v1",
                        chain=f"int-{number}",
                    )

            await store.commit(write)
    finally:
        await store.close()


def _signer() -> Signer:
    return signer_from_seed(b"b" * 32)


def _replayed(base: Path, binary: Binary) -> dict[str, Any]:
    said = [str(base), str(binary.path), binary.version, binary.sha256]
    ran = subprocess.run(
        [sys.executable, "-m", "magistrate.demo.bench_replay", *said], capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        raise Broken("bench.replay", ran.stderr[-2000:])
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def main() -> None:
    """Replay the ledger in a folder and print what it took."""
    folder, path, version, sha256 = sys.argv[1:5]
    binary, base = Binary(Path(path), version, sha256, "setting"), Path(folder)
    trust = Trust((admit(_signer().public),))
    record = Record(base / "ledger.db", Archive(base / "bundles", binary), binary, trust)
    opas = [0.0]
    began = time.perf_counter()
    found = asyncio.run(replay(record, Order(), tell=lambda _: opas.append(_opas_mb())))
    took = time.perf_counter() - began
    counts = found.said["counts"]
    told = {
        "questions": counts["questions"],
        "identical": counts["identical"],
        "seconds": round(took, 2),
        "per_second": round(counts["questions"] / took, 1),
        "peak_memory_mb": _peak_mb("self"),
        "opas_memory_mb": max(opas),
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _peak_mb(process: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024, 1)


def _opas_mb() -> float:
    """What the OPAs of this process hold at most, together."""
    ours, found = {str(_self())}, 0.0
    for entry in sorted((p for p in Path("/proc").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        try:
            comm, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[1] in ours:
                ours.add(entry.name)
                found += _peak_mb(entry.name) if comm == "opa" else 0.0
        except (OSError, StopIteration):
            continue
    return round(found, 1)


def _self() -> int:
    return int(Path("/proc/self").resolve().name)


if __name__ == "__main__":
    main()
