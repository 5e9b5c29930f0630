"""Questions asked apart are answered however busy the loop is that asks them, and still end at their deadline."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from magistrate.core.errors import NoAnswer
from magistrate.policy.apart import Apart
from magistrate.policy.line import Line
from magistrate.policy.sidecar import Sidecar
from tests.support import fake_opa as fake

ASKED = b'{"x":1}'
DEADLINE = 0.5
BUSY = 3 * DEADLINE


async def while_busy(ask):
    """What comes of a question when the loop that asked it does something else for longer than the deadline."""
    asked = asyncio.create_task(ask)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(BUSY)
    return await asked


@pytest.fixture
async def sidecar(binary, bundle, monkeypatch):
    monkeypatch.setattr("magistrate.policy.sidecar.PATIENCE", DEADLINE)
    made = Sidecar(binary, bundle, deadline=DEADLINE)
    await made.start()
    yield made
    await made.stop()


async def test_a_busy_loop_keeps_no_canary_waiting(sidecar):
    await sidecar.ask("decision", ASKED, apart=True)
    answer = await while_busy(sidecar.ask("decision", ASKED, apart=True))
    assert answer.value["outcome"] == "allow"
    with pytest.raises(NoAnswer, match=r"opa\.timeout"):  # any other question is: its deadline is told by the busy loop
        await while_busy(sidecar.ask("decision", ASKED))


async def test_a_silent_opa_is_silent_to_canaries_too():
    async with fake.fake_opa(deadline=DEADLINE) as (opa, _):
        opa.misbehave(fake.hang)
        apart = Apart(
            Line(
                opa.address,
                "token",
                bundle="sha256:00",
                version=fake.VERSION,
                revisions=fake.REVISIONS,
                deadline=DEADLINE,
                connections=1,
            )
        )
        try:
            with pytest.raises(NoAnswer, match=r"opa\.timeout"):
                await apart.ask("decision", ASKED)
        finally:
            await apart.close()


async def test_nothing_is_left_of_it(sidecar):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "magistrate-apart"]

    before = len(threads())
    apart = Apart(sidecar._connect(1, DEADLINE))
    assert (await apart.ask("decision", ASKED)).value["outcome"] == "allow"
    assert len(threads()) == before + 1
    await apart.close()
    assert len(threads()) == before
