"""A replay asked of a running service: bounded, one at a time, beside the requests, and signed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from magistrate.api import replays
from magistrate.core import canonical
from magistrate.core import replay as documents
from magistrate.core.signature import admit
from tests.api.house import LEAD, redemption
from tests.api.real import digest, opened


async def test_operator_and_auditor_get_a_signed_certificate_and_an_agent_does_not(tmp_path):
    async with opened(tmp_path) as home:
        live = await home.intent()
        for _ in range(5):
            await home.intent()
        await home.call("bot", "POST", "/v1/executions", redemption(live["warrant"]))
        made = await home.call("ada", "POST", "/v1/replays", {})
        assert made.status_code == 201, made.text
        key = admit(home.house.keys.policy.public)
        said = documents.authentic(canonical.canonical(made.json()), key)
        assert said.clean
        assert said.counts.questions > 5
        assert said.checked == ("checkpoint", "entries", "bundles", "answers")
        assert said.tree.root == home.house.store.root.hex()
        some = await home.call(LEAD, "POST", "/v1/replays", {"limit": 3, "bundle": digest()})
        assert some.json()["bundle"] == digest()
        assert some.json()["counts"]["questions"] >= 3
        assert some.json()["range"]["end"] < said.range.end
        later = await home.call(LEAD, "POST", "/v1/replays", {"since": "2126-01-01T00:00:00Z"})
        assert later.json()["counts"]["findings"] == {"replay.nothing_asked": 1}
        size = home.size
        no = await home.call("mesh-watch", "POST", "/v1/replays", {})
        assert (no.status_code, home.size) == (403, size)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"limit": 10_001}, 400),
        ({"limit": 0}, 400),
        ({"limit": "5"}, 400),
        ({"since": "yesterday"}, 400),
        ({"since": "2026-13-01T00:00:00Z"}, 400),
        ({"bundle": "candidate.tar.gz"}, 400),
        ({"bundle": "sha256:" + "0" * 64}, 404),
        ({"path": "/etc/passwd"}, 400),
    ],
)
async def test_an_order_that_does_not_stand_is_refused(tmp_path, body, status):
    async with opened(tmp_path) as home:
        answer = await home.call(LEAD, "POST", "/v1/replays", body)
        assert answer.status_code == status, answer.text


async def test_there_is_one_at_a_time_and_the_service_answers_meanwhile(tmp_path, monkeypatch):
    async with opened(tmp_path) as home:
        begun, go = asyncio.Event(), asyncio.Event()
        apart = replays.certifying.apart

        async def slowly(work):
            begun.set()
            await go.wait()
            return await apart(work)

        monkeypatch.setattr(replays.certifying, "apart", slowly)
        first = asyncio.create_task(home.call("ada", "POST", "/v1/replays", {}))
        await begun.wait()
        busy = await home.call("ada", "POST", "/v1/replays", {})
        assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (503, "replay.busy", "10")
        assert (await home.intent())["decision"]["standing"]["outcome"] == "allow"
        go.set()
        assert (await first).status_code == 201
        assert (await home.call("ada", "POST", "/v1/replays", {"limit": 1})).status_code == 201


async def test_one_that_takes_too_long_ends_and_makes_room_for_the_next(tmp_path, monkeypatch):
    async with opened(tmp_path) as home:
        await home.intent()
        with monkeypatch.context() as short:
            short.setattr(replays, "LONGEST", 0.01)
            late = await home.call("ada", "POST", "/v1/replays", {})
        assert (late.status_code, late.json()["code"]) == (503, "replay.too_long")
        assert "magistrate replay" in late.json()["hint"]
        assert (await home.call("ada", "POST", "/v1/replays", {"limit": 1})).status_code == 201


async def test_whoever_leaves_ends_it():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    task = asyncio.create_task(replays.certifying.apart(work))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_whoever_leaves_before_it_has_a_thread_never_begins_it():
    begun, full = [], threading.Event()

    async def work():
        begun.append(True)

    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    pool.submit(full.wait)
    task = asyncio.create_task(replays.certifying.apart(work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    full.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not begun
