"""Events: each to those who may see it, resumed where they stopped, ended with the service."""

import asyncio
import json

import pytest
from starlette.requests import Request

from magistrate.api import events
from magistrate.api.app import NOBODY
from magistrate.api.visit import Visit
from magistrate.core.errors import Unavailable
from tests.api.house import LEAD


class Stream:
    """A stream read as a client reads it: event by event, with patience."""

    def __init__(self, home, who, path="/v1/events", **headers):
        self._home = home
        self.status = 0
        self._chunks = asyncio.Queue()
        self._gone = asyncio.Event()
        raw = [(b"host", b"127.0.0.1:8420"), *((k.encode(), v.encode()) for k, v in headers.items())]
        if isinstance(who, str):
            raw.append((b"authorization", f"Bearer {home.keys[who]}".encode()))
        else:
            raw += [(k.encode(), v.encode()) for k, v in home.signed(who, "GET", path).items()]
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": raw,
            "server": ("127.0.0.1", 8420),
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.create_task(home.app(scope, self._receive, self._send))

    async def _receive(self):
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if self._gone.is_set():
            raise OSError("the client has gone")
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            await self._chunks.put(message["body"])

    async def chunk(self):
        async with asyncio.timeout(5):
            return await self._chunks.get()

    async def events(self, n):
        found = []
        while len(found) < n:
            for part in (await self.chunk()).split(b"\n\n"):
                lines = dict(line.split(b": ", 1) for line in part.split(b"\n") if line and not line.startswith(b":"))
                if lines:
                    said = json.loads(lines[b"data"])
                    assert lines[b"id"] == str(said["index"]).encode()
                    assert lines[b"event"].decode() == said["kind"]
                    found.append(said)
        return found

    async def leave(self):
        self._gone.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def listen(home):
    open_ = []

    def start(who, path="/v1/events", **headers):
        open_.append(Stream(home, who, path, **headers))
        return open_[-1]

    yield start
    for stream in open_:
        await stream.leave()
    assert home.app.state.porch.streams == 0


async def test_an_agent_hears_of_its_own_chains_only(home, listen):
    stream = listen("bot")
    await stream.chunk()
    await home.intent("other")
    mine = await home.intent("bot")
    heard = await stream.events(3)
    assert [e["kind"] for e in heard] == ["intent", "decision", "warrant"]
    assert heard[0]["subject"] == mine["intent"]["intent_id"]


async def test_an_operator_hears_all_of_it(home, listen):
    stream = listen(LEAD)
    await stream.chunk()
    await home.intent("other")
    await home.intent("bot")
    assert [e["index"] for e in await stream.events(6)] == list(range(home.size - 6, home.size))


async def test_a_stream_goes_on_where_it_stopped(home, listen):
    await home.intent("bot")
    last = home.size - 2
    resumed = listen("ada", **{"last-event-id": str(last - 1)})
    assert [e["index"] for e in await resumed.events(2)] == [last, last + 1]
    first = listen("ada", "/v1/events?after=0")
    assert (await first.events(1))[0]["index"] == 1


@pytest.mark.parametrize("said", ["-1", "x", "1.0", "9" * 20])
async def test_an_event_id_is_an_index(home, said):
    answer = await home.call("ada", "GET", "/v1/events", last_event_id=said)
    assert (answer.status_code, answer.json()["code"]) == (400, "input.event_id")


async def test_a_stream_ends_with_the_service(home, listen):
    stream = listen("ada")
    await stream.chunk()
    home.app.state.porch.stopping.set()
    async with asyncio.timeout(2):
        await stream.task


async def test_a_stream_lives_and_ends_with_its_callers_standing(home, listen, monkeypatch):
    monkeypatch.setattr(events, "BEAT", 0.05)
    await home.enrol("auditor", "brief", expires=60)
    stream = listen("brief")
    await stream.chunk()
    assert await stream.chunk() == b": \n\n"
    home.wall[0] += 60
    async with asyncio.timeout(2):
        await stream.task


async def test_a_stream_ends_when_nobody_can_say_that_it_may_go_on(home, listen, monkeypatch):
    monkeypatch.setattr(events, "BEAT", 0.05)
    stream = listen("ada")
    await stream.chunk()
    home.table.silent = True
    async with asyncio.timeout(2):
        await stream.task


async def test_streams_are_counted(home):
    porch = home.app.state.porch
    porch.streams = events.STREAMS
    request = Request({"type": "http", "query_string": b"", "headers": []})
    visit = Visit(porch, request, {}, b"", "/v1/events", NOBODY)
    visit.principal = type(NOBODY)("auditor", "ada", "api-key")
    with pytest.raises(Unavailable, match=r"events\.full"):
        await events.events(visit)
    porch.streams = 0


async def test_who_may_not_listen_hears_nothing(home):
    assert (await home.call("mesh-watch", "GET", "/v1/events")).status_code == 403


async def test_a_suspended_operator_hears_no_more(home, listen, monkeypatch):
    monkeypatch.setattr(events, "BEAT", 0.05)
    stream = listen(LEAD)
    await stream.chunk()
    assert await stream.chunk() == b": \n\n"
    await home.append("operator", "lead-1", "suspended", {"event": "suspended", "operator": {"id": "lead-1"}})
    async with asyncio.timeout(2):
        await stream.task
