"""OPA is killed under load, again and again: no answer is a no, and answers are back within two seconds."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import closing

import pytest

from magistrate.store.reads import Reader
from tests.campaigns.forms import rounds
from tests.campaigns.load import Answer, Load, Told
from tests.support.processes import Process
from tests.support.service import Service, service

ACKNOWLEDGED = 20  # between two kills
BACK_SECONDS = 2.0


def only(found: set[Process]) -> Process:
    assert len(found) == 1, found
    return next(iter(found))


def kill_opa(at: Service) -> tuple[float, float]:
    """Kill it; when it certainly was dead, and when its successor was there."""
    victim = only(at.opa())
    os.kill(victim.pid, signal.SIGKILL)
    while victim.alive():
        time.sleep(0.0005)
    dead = time.clock_gettime(time.CLOCK_BOOTTIME)
    while not (found := at.opa()):
        assert time.clock_gettime(time.CLOCK_BOOTTIME) - dead < 30, "OPA was not started again"
        time.sleep(0.002)
    return dead, only(found).began


def first_done(told: Told, path: str, after: float) -> float:
    """When the first request that was sent after this had been done."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        came = [a.came for a in list(told.answers) if a.order.path == path and not a.code and a.sent > after]
        if came:
            return min(came)
        time.sleep(0.002)
    raise AssertionError(f"nothing was done again: {told.refusals()}")


def hold_only_refusals(answers: list[Answer], dead: float, born: float) -> int:
    """Nobody whose question fell into the time without OPA was given anything; how many were refused."""
    meanwhile = [a for a in answers if a.sent > dead and a.came < born]
    assert [a for a in meanwhile if not a.code] == []
    return sum(1 for a in answers if a.sent > dead - 1 and a.code.startswith("opa."))


@pytest.mark.campaign
def test_without_opa_everything_is_refused_and_soon_decided_again(tmp_path):
    kills = rounds(20, 3)
    told, back, refused = Told(), [], []
    with service(tmp_path / "s") as at:
        load = Load(at, told).asking(3).agents(3, patient=True)
        for _ in range(kills):
            load.wait_for(ACKNOWLEDGED)
            before = len(told.answers)
            dead, born = kill_opa(at)
            back.append(first_done(told, "/v1/intents", dead) - dead)
            refused.append(hold_only_refusals(told.answers[before:], dead, born))
        load.wait_for(ACKNOWLEDGED)
        load.end()
        assert at.stop() == 0
        recorded = hold_recorded(at, told)
    codes = told.refusals()
    print(f"{kills} kills of OPA under load: {told.acknowledged} acknowledged, refused {dict(codes)},")
    print(
        f"  decisions back after {sorted(back)[len(back) // 2]:.2f} s, {max(back):.2f} s at most; {recorded} on record"
    )
    assert all(refused), "a kill that nobody noticed shows nothing"
    assert max(back) < BACK_SECONDS
    # three canaries in a row may meet a dead OPA: then the gate is shut, until one is answered
    unlike = {code for code in codes if not code.startswith("opa.")} - {"admission.spent", "gate.disarmed"}
    assert not unlike, "a refusal by something else than a missing answer"


def hold_recorded(at: Service, told: Told) -> dict[str, int]:
    """Every warrant and admission rests on a recorded answer that said yes; every missing answer is a refusal entry."""
    kinds: Counter[str] = Counter()
    answered = {"decision": set(), "admission": set()}
    silences = 0
    with closing(Reader(at.ledger)) as reader:
        position = 0
        while page := reader.entries(position, 1000):
            position = page[-1].index + 1
            for entry in page:
                kinds[entry.kind] += 1
                said = entry.content()
                if entry.kind == "decision" and said["asked"][-1]["answer"]["standing"]["outcome"] == "allow":
                    answered["decision"].add(entry.leaf_digest)
                if entry.kind == "warrant":
                    assert said["policy"]["entry"] in answered["decision"]
                if entry.kind == "admission":
                    assert said["asked"][-1]["answer"]["admit"] is True
                if entry.kind == "refusal" and said["code"].startswith("opa."):
                    silences += 1
    noticed = sum(count for code, count in told.refusals().items() if code.startswith("opa."))
    assert silences >= noticed, "somebody was told of a missing answer that is not on record"
    return {"warrants": kinds["warrant"], "admissions": kinds["admission"], "refusals": kinds["refusal"]}
