"""Serving on real sockets: where it may listen, how long it waits, how it ends."""

import asyncio
import contextlib
import ipaddress
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from magistrate.api import Address, serve, server
from magistrate.core.errors import Refused, Unavailable
from magistrate.keys.requests import sign_request
from tests.api.house import LEAD


class Served:
    """The app on a socket of its own, until told to stop."""

    def __init__(self, home, **address):
        self.home = home
        self.url = ""
        self.stopped = 0.0
        self._up = asyncio.Event()
        self._address = Address(**{"port": 0, **address})
        self.task = asyncio.create_task(serve(home.app, self._address, ready=self._ready, stop=self._stop))

    def _ready(self, url):
        self.url = url
        self._up.set()

    async def _stop(self):
        self.stopped = time.monotonic()

    async def __aenter__(self):
        async with asyncio.timeout(5):
            await asyncio.wait({self.task, asyncio.create_task(self._up.wait())}, return_when="FIRST_COMPLETED")
        return self

    async def __aexit__(self, *_):
        if not self.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await self.task

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    async def raw(self, sent: bytes, patience: float = 5.0) -> bytes:
        """What comes back before the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        async with asyncio.timeout(patience):
            got = await reader.read()
        writer.close()
        return got


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
async def test_only_loopback_is_bound_in_the_clear(home, host):
    with pytest.raises(Refused, match=r"serve\.address"):
        await serve(home.app, Address(host, 0), ready=lambda _: None, stop=asyncio.Event().wait)


@pytest.mark.parametrize(
    "how", [{"proxy": "magistrate.example"}, {"certificate": "c", "private_key": "k"}, {"unix": "s"}]
)
def test_more_than_loopback_is_said_to_be_safe(how):
    Address("0.0.0.0", 0, **how).hold_safe()


def test_half_of_tls_is_none():
    with pytest.raises(Refused):
        Address("0.0.0.0", 0, certificate="c").hold_safe()


async def test_a_taken_port_is_told(home):
    async with Served(home) as served:
        with pytest.raises(Unavailable, match="cannot listen"):
            Address(port=served.port).bind()


async def test_it_answers_at_the_address_it_tells(home):
    async with Served(home) as served:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served.url)
        async with httpx2.AsyncClient(base_url=served.url) as http:
            answer = await http.get("/livez")
            assert answer.json() == {"status": "alive"}
            assert "server" not in answer.headers
            path = "/v1/intents?limit=1"
            signed = sign_request("GET", served.url + path, b"", LEAD, home.house.now(), "n" * 32)
            assert (await http.get(path, headers=signed)).status_code == 200
    assert served.stopped


async def test_a_unix_socket_is_its_owners(home, tmp_path):
    path = tmp_path / "s"
    async with Served(home, unix=path):
        assert path.stat().st_mode & 0o777 == 0o600
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            assert (await http.get("/readyz")).status_code == 200
    assert not path.exists()


def self_signed(folder):
    """A key and a certificate for this machine, of today."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return folder / "key.pem", folder / "certificate.pem"


async def test_tls(home, tmp_path):
    key, certificate = self_signed(tmp_path)
    async with Served(home, certificate=certificate, private_key=key) as served:
        trust = ssl.create_default_context(cafile=certificate)
        async with httpx2.AsyncClient(base_url=served.url, verify=trust) as http:
            assert (await http.get("/livez")).status_code == 200


async def test_a_head_that_does_not_come_is_not_waited_for(home, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with Served(home) as served:
        for started in (b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            began = time.monotonic()
            assert await served.raw(started) == b""
            assert time.monotonic() - began < 2


async def test_a_second_request_on_a_connection_is_not_waited_for_either(home, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with Served(home) as served:
        whole = f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
        got = await served.raw(whole + b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert got.count(b"HTTP/1.1 200") == 1


async def test_a_head_without_end_is_cut(home):
    async with Served(home) as served:
        got = await served.raw(b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * (server.HEAD_BYTES + 1))
        assert got.startswith(b"HTTP/1.1 431 ")
        assert b"application/problem+json" in got


async def test_a_head_of_many_fields_is_refused(home):
    async with Served(home) as served:
        fields = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 90) for i in range(400))
        got = await served.raw(b"GET /livez HTTP/1.1\r\n" + fields + b"\r\n")
        assert got.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /v1/setup HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/setup HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/setup HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost : h\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_a_problem(home, sent):
    async with Served(home) as served:
        got = await served.raw(sent)
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in got


async def test_a_body_that_does_not_come_is_not_waited_for(home, monkeypatch):
    monkeypatch.setattr("magistrate.api.wire.BODY_SECONDS", 0.3)
    async with Served(home) as served:
        head = f"POST /v1/setup HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 10\r\n\r\nhalf"
        got = await served.raw(head.encode())
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b"input.slow" in got


async def test_a_body_over_the_cap_ends_the_connection(home):
    async with Served(home) as served:
        head = f"POST /v1/setup HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 99999999\r\n\r\n"
        got = await served.raw(head.encode() + b"x" * 1000)
        assert got.startswith(b"HTTP/1.1 413 ")


async def test_too_many_connections_are_not_taken(home, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    async with Served(home) as served:
        held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert await served.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        for _, writer in held:
            writer.close()


async def test_what_is_in_flight_is_finished_and_streams_end(home):
    release = asyncio.Event()
    ask = home.table.ask

    async def slow(document, question, model):
        if document == "decision":
            await release.wait()
        return await ask(document, question, model)

    home.table.ask = slow
    async with Served(home) as served, httpx2.AsyncClient(base_url=served.url) as http:
        who = {"authorization": f"Bearer {home.keys['bot']}"}
        body = {"action": "note.write", "target": "wall", "parameters": {}}
        asked = asyncio.create_task(http.post("/v1/intents", json=body, headers=who))
        listening = asyncio.create_task(http.get("/v1/events", headers=who))
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not served.stopped
        assert (await listening).status_code == 200
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", served.port)
        release.set()
        assert (await asked).status_code == 201
    assert served.stopped


async def test_what_does_not_finish_is_cut_within_ten_seconds(home, monkeypatch):
    monkeypatch.setattr(server, "DRAIN_SECONDS", 1)
    home.table.ask = lambda *_: asyncio.Event().wait()
    began = 0.0
    async with Served(home) as served, httpx2.AsyncClient(base_url=served.url) as http:
        who = {"authorization": f"Bearer {home.keys['bot']}"}
        asked = asyncio.create_task(
            http.post("/v1/intents", json={"action": "a", "target": "b", "parameters": {}}, headers=who)
        )
        await asyncio.sleep(0.2)
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(httpx2.HTTPError):
            (await asked).raise_for_status()
    assert served.stopped - began < 5


async def test_a_stop_that_hangs_does_not_hold_the_service(home):
    async def never():
        await asyncio.Event().wait()

    began = time.monotonic()
    up = lambda _: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    await serve(home.app, Address(port=0), ready=up, stop=never, seconds=1.5)
    assert time.monotonic() - began < 4


async def test_a_start_that_fails_ends_the_service(home):
    stopped = []

    async def stop():
        stopped.append(True)

    def ready(_):
        raise Unavailable("setup.failed", "no")

    with pytest.raises(Unavailable, match=r"setup\.failed"):
        await serve(home.app, Address(port=0), ready=ready, stop=stop)
    assert stopped


def test_an_interrupt_ends_it_with_exit_0(tmp_path):
    script = """
import asyncio, pathlib, sys
from magistrate.api import Address, serve
from tests.api.house import bare, begin

async def main():
    async with bare(pathlib.Path(sys.argv[1])) as home:
        await begin(home)
        async def stop():
            print("stopped", flush=True)
        await serve(home.app, Address(port=0), ready=lambda url: print(url, flush=True), stop=stop)

runner = asyncio.run
if sys.argv[2] == "uvloop":
    import uvloop
    runner = uvloop.run
runner(main())
"""
    for loop, number in (("asyncio", signal.SIGINT), ("uvloop", signal.SIGTERM)):
        folder = tmp_path / loop
        folder.mkdir()
        child = subprocess.Popen([sys.executable, "-c", script, str(folder), loop], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().startswith("http://127.0.0.1:")
        child.send_signal(number)
        out, _ = child.communicate(timeout=10)
        assert (child.returncode, out) == (0, "stopped\n"), loop


async def test_a_body_that_is_cut_off_does_nothing(home):
    async with Served(home) as served:
        before = home.size
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /v1/intents HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 90\r\n"
        key = f"Authorization: Bearer {home.keys['bot']}\r\nContent-Type: application/json\r\n\r\n"
        writer.write(f'{head}{key}{{"action"'.encode())
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.2)
        assert home.size == before
