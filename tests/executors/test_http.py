"""What an answer proves, and what its absence does not; one address, one request, no more."""

import asyncio
import json
import socket
import ssl
import time

import pytest

from magistrate.core.canonical import canonical
from magistrate.executors import Outcome, run_template
from tests.executors.conftest import CONTEXT, reply


def fields(request: bytes) -> dict[str, str]:
    """The header fields of a request."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


async def test_the_request_is_what_the_template_says(target, call):
    await call(
        {
            "path": ["services", {"from": "/target/name"}, "a bc"],
            "query": {"by": {"from": "/execution_id"}},
            "json": {"version": {"from": "/parameters/version"}, "key": {"secret": "fleet-token"}},
            "headers": {"Authorization": {"secret": "fleet-token", "prefix": "Bearer "}},
        }
    )

    [request] = target.heard
    assert request.startswith(b"POST /services/api-gateway/a%20bc?by=exe-1 HTTP/1.1\r\n")
    assert fields(request) == {
        "Host": "fleet.internal",
        "Authorization": "Bearer canary-7f3a/+b2 c1==",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Length": str(len(request.partition(b"\r\n\r\n")[2])),
        "Content-Type": "application/json",
        "Connection": "close",
        "Idempotency-Key": "exe-1/1",
        "User-Agent": "magistrate",
    }
    assert request.partition(b"\r\n\r\n")[2] == canonical({"version": "2.4.1", "key": "canary-7f3a/+b2 c1=="})


async def test_a_get_has_no_body(target, call):
    await call({"method": "GET"})

    assert target.heard[0].endswith(b"\r\n\r\n")
    assert "Content-Type" not in fields(target.heard[0])


async def test_a_json_object_becomes_the_facts(target, call):
    target.answer = reply(b'{"services": {"a": {"version": "2.4.1", "n": 3.5, "ok": true}}}', "201 Created")

    outcome = await call()

    assert outcome == Outcome(
        "succeeded", {"services": {"a": {"version": "2.4.1", "n": 3.5, "ok": True}}}, "HTTP 201", sent=True
    )
    assert canonical(outcome.facts)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"7", b"null", b"<html>", b'{"a": 1, "a": 2}', b'{"n": 9007199254740993}', b'{"n": NaN}', b'{"s": "\\ud800"}',
    b"\xff{}", b"{}{}", b'{"a":' * 40 + b"1" + b"}" * 40, b'{"a": "' + b"x" * 300_000 + b'"}',
])  # fmt: skip
async def test_a_success_whose_answer_cannot_be_read_has_no_facts_and_is_no_probe(target, call, body):
    target.answer = reply(body)

    done, seen = await call(), await call(probing=True)

    assert (done.outcome, done.facts) == ("succeeded", {})
    assert done.detail.startswith("HTTP 200, ")
    assert (seen.outcome, seen.facts) == ("failed", {"status": 200})


async def test_a_probe_sees_the_object(target, call):
    target.answer = reply(b'{"version": "2.4.0"}')

    outcome = await call({"method": "GET"}, probing=True)

    assert (outcome.outcome, outcome.facts) == ("succeeded", {"version": "2.4.0"})


async def test_an_answer_of_exactly_the_limit_is_read(target, call):
    target.answer = reply(b'{"a":"' + b"x" * (256 * 1024 - 8) + b'"}')

    assert len((await call()).facts["a"]) == 256 * 1024 - 8


async def test_an_endless_answer_is_left_in_time(target, call):
    target.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000
    target.stay_open = True
    began = time.monotonic()

    outcome = await call()

    assert (outcome.outcome, outcome.facts) == ("succeeded", {})
    assert time.monotonic() - began < 2
    await asyncio.wait_for(target.gone.wait(), 2)


async def test_a_packed_answer_is_not_unpacked(target, call):
    target.answer = reply(b"\x1f\x8b\x08\x00" + b"\0" * 20, extra="Content-Encoding: gzip\r\n")

    assert (await call(probing=True)).outcome == "failed"


@pytest.mark.parametrize("status", [
    "301 Moved", "302 Found", "303 See Other", "304 Not Modified", "307 Temporary", "308 Permanent",
    "400 Bad", "401 No", "403 No", "404 No", "409 Conflict", "422 No", "429 Slow",
])  # fmt: skip
async def test_any_other_answer_is_a_proven_failure(target, call, status):
    target.answer = reply(
        b"" if status.startswith("304") else b'{"secret": 1}',
        status,
        extra="Location: http://fleet.internal/elsewhere\r\n",
    )

    outcome = await call()

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("failed", {"status": int(status[:3])}, True)
    assert len(target.heard) == 1  # no redirect was followed


@pytest.mark.parametrize(
    "status", ["500 Error", "501 No", "502 Bad Gateway", "503 No", "504 Gateway Timeout", "408 Slow", "425 Early"]
)
async def test_a_gateway_that_lost_sight_of_the_target_proves_nothing(target, call, status):
    target.answer = reply(b"{}", status)

    assert (await call()).outcome == "unknown"


async def test_nobody_listening_is_a_proven_failure(call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        outcome = await call(resolve={"fleet.internal:80": address})

    assert (outcome.outcome, outcome.sent) == ("failed", False)
    assert outcome.detail == "nothing was sent: ClientConnectorError"


async def test_a_name_that_does_not_exist_is_a_proven_failure(call):
    outcome = await call({"base": "http://no-such-name.invalid"})

    assert (outcome.outcome, outcome.sent) == ("failed", False)


async def test_no_answer_in_time_is_unknown(target, call):
    target.hold = True
    began = time.monotonic()

    outcome = await call({"timeout_seconds": 0.2})

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("unknown", {}, True)
    assert outcome.detail == "sent, and no whole answer: no answer in time"
    assert time.monotonic() - began < 1
    await asyncio.wait_for(target.gone.wait(), 2)


async def test_the_callers_deadline_counts_when_it_is_shorter(target, call):
    target.hold = True
    began = time.monotonic()

    assert (await call(deadline_seconds=0.2)).outcome == "unknown"
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("seconds", [0, -1.5])
async def test_no_time_left_sends_nothing(target, call, seconds):
    outcome = await call(deadline_seconds=seconds)

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("failed", {"error": "executor.deadline"}, False)
    assert target.connections == 0


async def test_a_reset_after_the_request_is_unknown(target, call):
    target.reset = True

    outcome = await call()

    assert (outcome.outcome, outcome.sent) == ("unknown", True)
    assert len(target.heard) == 1  # and is not sent again


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", b"not http at all\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
])  # fmt: skip
async def test_half_an_answer_is_unknown(target, call, answer):
    target.answer = answer

    outcome = await call()

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("unknown", {}, True)


async def test_a_connection_that_never_forms_is_a_proven_failure(call):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:  # fills the queue: the next SYN hears nothing
            one.setblocking(False)
            one.connect_ex(full.getsockname())

        outcome = await call(
            {"timeout_seconds": 0.3}, resolve={"fleet.internal:80": f"127.0.0.1:{full.getsockname()[1]}"}
        )

        for one in crowd:
            one.close()
    assert (outcome.outcome, outcome.sent, outcome.detail) == (
        "failed",
        False,
        "nothing was sent: no connection in time",
    )


async def test_tls_that_does_not_prove_the_name_is_a_proven_failure(target, call):
    target.answer = b"not tls"

    template = {"base": "https://fleet.internal", "timeout_seconds": 0.5}
    outcome = await call(template, resolve={"fleet.internal:443": f"127.0.0.1:{target.port}"})

    assert (outcome.outcome, outcome.sent) == ("failed", False)


async def test_cancelling_closes_the_connection(target, call):
    target.hold = True
    task = asyncio.create_task(call())
    while not target.heard:
        await asyncio.sleep(0.01)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.wait_for(target.gone.wait(), 2)
    assert target.connections == 1


async def test_an_unmapped_name_is_resolved_once(target, call, monkeypatch):
    loop = asyncio.get_running_loop()
    asked = []

    async def getaddrinfo(host, port, **more):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", target.port))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    assert (await call({"base": f"http://fleet.internal:{target.port}"}, resolve={})).outcome == "succeeded"

    assert asked == ["fleet.internal"]
    assert fields(target.heard[0])["Host"] == f"fleet.internal:{target.port}"


async def test_an_address_needs_no_mapping(target, call):
    assert (await call({"base": f"http://127.0.0.1:{target.port}"}, resolve={})).outcome == "succeeded"


async def test_the_mapping_is_for_that_port_alone(target, call):
    outcome = await call({"base": "http://fleet.invalid:81"}, resolve={"fleet.invalid:80": f"127.0.0.1:{target.port}"})

    assert (outcome.outcome, target.connections) == ("failed", 0)


@pytest.mark.parametrize("address", ["", "127.0.0.1", "localhost:80", "127.0.0.1:http", "fleet:80"])
async def test_a_mapping_to_anything_but_an_address_is_refused(call, address):
    outcome = await call(resolve={"fleet.internal:80": address})

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("failed", {"error": "executor.address"}, False)


async def test_the_environments_proxy_is_not_used(target, call, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert (await call()).outcome == "succeeded"


async def test_nothing_is_kept_between_calls(target, call):
    target.answer = reply(b"{}", extra="Set-Cookie: a=b\r\nConnection: keep-alive\r\n")

    await call()
    await call()

    assert target.connections == 2
    assert "Cookie" not in fields(target.heard[1])


@pytest.mark.parametrize(("template", "code"), [
    ({"json": {"from": "/parameters/absent"}}, "executor.value"), ({"path": [".."]}, "executor.value"),
    ({"verify": False}, "executor.template"), ({"headers": {"X": {"secret": "absent"}}}, "executor.secret"),
    ({"json": {"n": 2**60}}, "input.number"),
])  # fmt: skip
async def test_a_call_that_cannot_be_made_is_failed_with_the_faults_code(target, call, template, code):
    outcome = await call(template)

    assert (outcome.outcome, outcome.sent, target.connections) == ("failed", False, 0)
    assert outcome.facts == {"error": code}


async def test_facts_are_json_the_ledger_takes(target, call):
    target.answer = reply(json.dumps({"f": 1.5, "deep": [[{"é": None}]], "big": 2**53 - 1}).encode())

    assert canonical((await call()).facts)


async def test_https_speaks_the_rows_name(tmp_path, target, monkeypatch):
    """The certificate must be for the name in the row, wherever the mapping leads."""
    certificate(tmp_path, "fleet.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    from magistrate.executors import http

    monkeypatch.setattr(http, "_trust", lambda: ssl.create_default_context(cafile=str(tmp_path / "cert.pem")))
    options = {"secret": {}.__getitem__, "deadline_seconds": 5, "idempotency_key": "k"}

    outcomes = {}
    for name in ("fleet.internal", "other.internal"):
        template = {"kind": "http", "method": "GET", "base": f"https://{name}", "path": ["x"]}
        outcomes[name] = await run_template(template, CONTEXT, resolve={f"{name}:443": f"127.0.0.1:{port}"}, **options)
    server.close()

    assert outcomes["fleet.internal"].outcome == "succeeded"
    assert (outcomes["other.internal"].outcome, outcomes["other.internal"].sent) == ("failed", False)


def certificate(folder, name):
    """A self-signed certificate for one name."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
