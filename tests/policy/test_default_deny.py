"""No answer is a denial: every way in which OPA can fail to answer ends as `NoAnswer` with its own code."""

import asyncio
import json
import time

import pytest

from magistrate.core.errors import NoAnswer
from magistrate.core.values import Count, Document, Free
from tests.support import fake_opa as fake
from tests.support.fake_opa import envelope, failing, provenance, result, saying

DEADLINE = 0.5
QUESTION = b'{"contract":1}'


class Shape(Document):
    outcome: str
    reasons: tuple[Free, ...]
    count: Count


def other_bundles(**revisions):
    return saying(envelope(provenance=provenance(bundles={k: {"revision": v} for k, v in revisions.items()})))


BOTH = {"authz": "a1b2", "bundle.tar.gz": "7"}
GOOD = json.dumps(fake.RESULT).encode()
BUILTIN = {"code": "eval_builtin_error", "message": "to_number: bad", "location": {"file": "/a.rego", "row": 3}}
CONFLICT = {"code": "eval_conflict_error", "message": "complete rules must not produce multiple outputs"}

BAD = {
    # time
    "hangs": (fake.hang, "opa.timeout"),
    "one byte at a time": (fake.drip, "opa.timeout"),
    "headers one byte at a time": (fake.drip_headers, "opa.timeout"),
    # connection
    "closes without a word, twice": (fake.close, "opa.cut_short"),
    "breaks off without a word, twice": (fake.reset, "opa.cut_short"),
    "ends within the status line": (fake.cut_head, "opa.cut_short"),
    "ends within the headers": (fake.cut_headers, "opa.cut_short"),
    "ends within the body": (fake.cut_body, "opa.cut_short"),
    "breaks off within the body": (fake.reset_body, "opa.cut_short"),
    "last chunk missing": (fake.cut_chunks, "opa.cut_short"),
    "half a body without a length": (fake.until_closed, "opa.not_json"),
    "not HTTP": (fake.garbage, "opa.not_http"),
    # status
    "500 with an eval conflict": (failing(CONFLICT), "opa.eval_error"),
    "500 with a builtin error": (failing(BUILTIN), "opa.eval_error"),
    "500 without errors": (failing(), "opa.status"),
    "500 with a good answer": (saying(envelope(), status="500 Internal Server Error"), "opa.status"),
    "500 with odd errors": (saying(b'{"errors":{"code":"x"}}', status="500 X"), "opa.status"),
    "500 that is no JSON": (saying(b"oops", status="500 X"), "opa.status"),
    "400": (saying(envelope(), status="400 Bad Request"), "opa.status"),
    "401": (saying(b'{"code":"unauthorized"}', status="401 Unauthorized"), "opa.unauthorized"),
    "404": (saying(envelope(), status="404 Not Found"), "opa.status"),
    "201": (saying(envelope(), status="201 Created"), "opa.status"),
    "204": (saying(b"", status="204 No Content"), "opa.status"),
    "206": (saying(envelope(), status="206 Partial Content"), "opa.status"),
    "301": (saying(envelope(), status="301 Moved", headers="Location: /v1/data\r\n"), "opa.status"),
    "307": (saying(envelope(), status="307 Moved", headers="Location: /v1/data\r\n"), "opa.status"),
    "503": (saying(envelope(), status="503 Unavailable"), "opa.status"),
    # bytes
    "empty body": (saying(b""), "opa.not_json"),
    "50 MB": (fake.huge, "opa.too_large"),
    "50 MB in chunks": (fake.huge_chunks, "opa.too_large"),
    "an answer too large to record": (result(b'{"a":"' + b"a" * (1 << 20) + b'"}'), "opa.too_large"),
    "gzip bomb": (fake.gzip_bomb, "opa.not_utf8"),
    "not UTF-8": (saying(envelope().replace("é".encode(), b"\xe9")), "opa.not_utf8"),
    "UTF-16": (saying(envelope().decode().encode("utf-16")), "opa.not_utf8"),
    "not JSON": (saying(b"allow"), "opa.not_json"),
    "two values": (saying(envelope() + envelope()), "opa.not_json"),
    "trailing brace": (saying(envelope().strip() + b"}\n"), "opa.not_json"),
    "NaN": (result(b'{"count":NaN}'), "opa.not_json"),
    "a number beyond 2^53": (result(b'{"count":9007199254740993}'), "opa.not_json"),
    "1e400": (result(b'{"count":1e400}'), "opa.not_json"),
    "half a surrogate pair": (result(b'{"a":"\\ud800"}'), "opa.not_json"),
    "nested too deep": (result(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"), "opa.not_json"),
    "a key twice in the result": (result(b'{"outcome":"deny","outcome":"allow"}'), "opa.duplicate_key"),
    "a key twice, spelt differently": (result(b'{"a":1,"\\u0061":2}'), "opa.duplicate_key"),
    "two results": (result(GOOD + b',"result":' + GOOD), "opa.duplicate_key"),
    # envelope
    "a list at the top": (saying(b"[]"), "opa.envelope"),
    "an unknown field": (saying(envelope(decision_id="x")), "opa.envelope"),
    "an unknown field behind the result": (result(GOOD + b',"metrics":{}'), "opa.envelope"),
    "a warning": (
        saying(envelope(warning={"code": "api_usage_warning", "message": "'input' key missing"})),
        "opa.warning",
    ),
    "a warning and nothing else": (saying(b'{"warning":{"code":"x"}}'), "opa.warning"),
    # bundle
    "no provenance": (saying(envelope(provenance=...)), "opa.bundle"),
    "{}": (saying(b"{}"), "opa.bundle"),
    "provenance is a list": (saying(envelope(provenance=[])), "opa.bundle"),
    "provenance with an unknown field": (saying(envelope(provenance=provenance(other=1))), "opa.bundle"),
    "no bundles": (saying(envelope(provenance=provenance(bundles={}))), "opa.bundle"),
    "bundles missing": (saying(envelope(provenance={"version": "1.22.2"})), "opa.bundle"),
    "an old bundle": (other_bundles(**BOTH | {"bundle.tar.gz": "6"}), "opa.bundle"),
    "one bundle more": (other_bundles(**BOTH, late="1"), "opa.bundle"),
    "one bundle less": (other_bundles(**{"bundle.tar.gz": "7"}), "opa.bundle"),
    "another start's OPA": (other_bundles(**BOTH | {"authz": "ffff"}), "opa.bundle"),
    "another OPA": (saying(envelope(provenance=provenance(version="1.22.1"))), "opa.version"),
    "no version": (saying(envelope(provenance=provenance(version=None))), "opa.version"),
    # result
    "undefined": (saying(envelope(result=...)), "opa.undefined"),
    "null": (result(b"null"), "opa.null"),
    "true": (result(b"true"), "opa.not_an_object"),
    "a number": (result(b"1"), "opa.not_an_object"),
    "a string": (result(b'"allow"'), "opa.not_an_object"),
    "a list": (result(b"[{}]"), "opa.not_an_object"),
    "a field missing": (result(b'{"outcome":"deny","reasons":[]}'), "opa.answer_shape"),
    "a field too many": (saying(envelope(result={**fake.RESULT, "allow": True})), "opa.answer_shape"),
    "a field of the wrong type": (saying(envelope(result={**fake.RESULT, "count": "3"})), "opa.answer_shape"),
    "true for a number": (saying(envelope(result={**fake.RESULT, "count": True})), "opa.answer_shape"),
    "an empty object": (result(b"{}"), "opa.answer_shape"),
}


@pytest.mark.parametrize("warm", [False, True], ids=["at first", "after good answers"])
@pytest.mark.parametrize("name", BAD)
async def test_each_bad_answer_is_no_answer_with_its_own_code(name, warm):
    way, code = BAD[name]
    async with fake.fake_opa(DEADLINE) as (opa, sidecar):
        for _ in range(2 if warm else 0):
            await sidecar.ask("decision", QUESTION, Shape)
        opa.misbehave(way)

        began = time.monotonic()
        with pytest.raises(NoAnswer) as refused:
            await sidecar.ask("decision", QUESTION, Shape)
        took = time.monotonic() - began
        opa.misbehave(fake.good)
        after = await sidecar.ask("decision", QUESTION, Shape)

    assert refused.value.code == code
    assert took < DEADLINE + 1.5  # the machine may be busy; without a deadline it would be 60 s
    assert after.value == fake.RESULT  # nothing of the bad answer is left in the pool


async def test_a_good_answer_is_canonical_parsed_and_names_its_bundle():
    async with fake.fake_opa() as (opa, sidecar):
        answers = [await sidecar.ask("decision", QUESTION, Shape) for _ in range(3)]

    for answer in answers:
        assert answer.raw == '{"count":3,"outcome":"deny","reasons":[{"code":"a.b","title":"é ✓"}]}'.encode()
        assert answer.parsed == Shape(outcome="deny", reasons=({"code": "a.b", "title": "é ✓"},), count=3)
        assert (answer.bundle, answer.opa_version) == ("sha256:" + "0" * 64, "1.22.2")
    assert opa.bodies == [b'{"input":' + QUESTION + b"}"] * 3
    assert opa.connections == 1


@pytest.mark.parametrize("name", [name for name in BAD if not name.endswith("twice")])
async def test_a_bad_answer_is_never_asked_for_again(name):
    async with fake.fake_opa(DEADLINE) as (opa, sidecar):
        opa.misbehave(BAD[name][0])

        with pytest.raises(NoAnswer):
            await sidecar.ask("decision", QUESTION, Shape)

    assert opa.requests == 1


@pytest.mark.parametrize("way", [fake.close, fake.reset])
async def test_a_connection_closed_before_any_byte_is_made_anew_exactly_once(way):
    async with fake.fake_opa() as (opa, sidecar):
        opa.misbehave(way)
        with pytest.raises(NoAnswer):
            await sidecar.ask("decision", QUESTION)
        twice = opa.requests

        async def once(to):
            opa.misbehave(fake.good)
            await way(to)

        opa.misbehave(once)
        answer = await sidecar.ask("decision", QUESTION)

    assert twice == 2
    assert answer.value == fake.RESULT


async def test_an_idle_connection_that_ended_meanwhile_costs_nothing():
    async with fake.fake_opa() as (opa, sidecar):
        await sidecar.ask("decision", QUESTION)
        await opa.stop()
        await opa.start()

        answer = await sidecar.ask("decision", QUESTION)

    assert answer.value == fake.RESULT


async def test_nobody_there_is_refused():
    async with fake.fake_opa() as (opa, sidecar):
        await opa.stop()

        with pytest.raises(NoAnswer) as refused:
            await sidecar.ask("decision", QUESTION)

    assert refused.value.code == "opa.refused"


async def test_a_socket_left_behind_is_stale():
    async with fake.fake_opa() as (opa, sidecar):
        await opa.leave_a_stale_socket()

        with pytest.raises(NoAnswer) as refused:
            await sidecar.ask("decision", QUESTION)

    assert refused.value.code == "opa.stale_socket"


async def test_a_question_beyond_the_cap_is_not_asked():
    async with fake.fake_opa() as (opa, sidecar):
        with pytest.raises(NoAnswer) as refused:
            await sidecar.ask("decision", b'"' + b"a" * (1 << 20) + b'"')

    assert (refused.value.code, opa.requests) == ("opa.question_too_large", 0)


async def test_one_slow_answer_does_not_delay_the_others():
    async with fake.fake_opa(DEADLINE) as (opa, sidecar):
        opa.misbehave(fake.hang)
        slow = asyncio.create_task(sidecar.ask("decision", QUESTION))
        await asyncio.sleep(0.05)
        opa.misbehave(fake.good)

        quick = await asyncio.gather(*(sidecar.ask("decision", QUESTION) for _ in range(15)))

        assert not slow.done()
        assert [answer.value for answer in quick] == [fake.RESULT] * 15
        with pytest.raises(NoAnswer, match=r"opa\.timeout"):
            await slow


async def test_every_slow_answer_at_once_still_ends_by_the_deadline():
    async with fake.fake_opa(DEADLINE) as (opa, sidecar):
        opa.misbehave(fake.hang)
        began = time.monotonic()

        ended = await asyncio.gather(*(sidecar.ask("decision", QUESTION) for _ in range(64)), return_exceptions=True)

    assert {error.code for error in ended} == {"opa.timeout"}
    assert time.monotonic() - began < DEADLINE + 2


async def test_who_asks_may_stop_asking_and_the_line_stays_whole():
    async with fake.fake_opa() as (opa, sidecar):
        opa.misbehave(fake.hang)
        asked = asyncio.create_task(sidecar.ask("decision", QUESTION))
        await asyncio.sleep(0.05)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        opa.misbehave(fake.good)

        answer = await sidecar.ask("decision", QUESTION)

    assert answer.value == fake.RESULT


async def test_the_reason_of_a_failed_rule_says_where():
    async with fake.fake_opa() as (opa, sidecar):
        opa.misbehave(failing(BUILTIN))

        with pytest.raises(NoAnswer) as refused:
            await sidecar.ask("decision", QUESTION)

    assert "eval_builtin_error: to_number: bad (/a.rego:3)" in refused.value.detail
