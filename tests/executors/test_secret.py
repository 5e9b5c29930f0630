"""Canary secrets: they reach the target, and nothing else ever shows them."""

import base64
import logging
from urllib.parse import quote, quote_plus

import pytest

from magistrate.core.canonical import canonical
from magistrate.core.errors import Refused, Unavailable
from magistrate.executors.secret import Purse, Secret
from magistrate.executors.template import fill
from tests.executors.conftest import CANARIES, CONTEXT, reply

TOKEN = CANARIES["fleet-token"]
SPELLINGS = [
    TOKEN, quote(TOKEN), quote(TOKEN, safe=""), quote_plus(TOKEN), TOKEN.encode().hex(),
    base64.b64encode(TOKEN.encode()).decode(), base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("="),
]  # fmt: skip


def clean(text: str) -> bool:
    """Whether no spelling of the token stands in a text."""
    return not any(spelling in text for spelling in SPELLINGS)


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_target_that_echoes_the_secret_does_not_put_it_in_the_facts(target, call, spelling):
    target.answer = reply(canonical({"you-sent": f"<{spelling}>", "list": [spelling], spelling: 1}))

    outcome = await call({"headers": {"Authorization": {"secret": "fleet-token", "prefix": "Bearer "}}})

    assert TOKEN.encode() in target.heard[0]
    assert outcome.facts == {"you-sent": "<[secret]>", "list": ["[secret]"], "[secret]": 1}


async def test_a_secret_that_json_escapes_is_struck_out_however_it_is_written(target, call):
    target.answer = reply(rb'{"a": "canary\"\u00e9\\x", "b": "canary\"' + "é".encode() + rb'\\x"}')

    outcome = await call({"json": {"key": {"secret": "quoted"}}})

    assert outcome.facts == {"a": "[secret]", "b": "[secret]"}


async def test_a_probes_facts_hold_no_secret(target, call):
    target.answer = reply(canonical({"token": TOKEN}))

    outcome = await call({"headers": {"X": {"secret": "fleet-token"}}}, probing=True)

    assert outcome.facts == {"token": "[secret]"}


@pytest.mark.parametrize("probing", [False, True])
async def test_a_program_that_prints_the_secret_does_not_put_it_in_the_facts(command, probing):
    script = """printf '{"t": "%s"}' "$TOKEN"; echo "bad token $TOKEN" >&2; exit $CODE"""

    for code in ("0", "1"):
        outcome = await command(script, {"env": {"TOKEN": {"secret": "fleet-token"}, "CODE": code}}, probing=probing)
        assert clean(repr(outcome))
        assert "[secret]" in repr(outcome)


async def test_a_secret_across_the_cut_of_long_output_is_struck_out(command):
    """The tail is cut after the secrets are out, so no half of one is left at its edge."""
    for pad in range(2030, 2052, 2):
        script = f"""printf %s "$TOKEN"; head -c {pad} /dev/zero | tr '\\0' x"""
        outcome = await command(script, {"env": {"TOKEN": {"secret": "fleet-token"}, "PATH": "/usr/bin:/bin"}})
        assert "canary" not in outcome.facts["stdout_tail"]
        assert "c1==" not in outcome.facts["stdout_tail"]


async def test_failures_do_not_show_the_secret(target, call):
    headers = {"headers": {"Authorization": {"secret": "fleet-token"}}, "json": {"k": {"secret": "fleet-token"}}}
    target.reset = True
    assert clean(repr(await call(headers)))
    target.reset, target.answer = False, b"HTTP/1.1 200 " + TOKEN.encode() + b"\r\nX: " + b"y" * 70_000
    assert clean(repr(await call(headers)))
    target.answer = reply(TOKEN.encode(), f"403 {TOKEN}")
    assert clean(repr(await call(headers)))


async def test_logs_do_not_show_the_secret(target, call, command, caplog):
    caplog.set_level(logging.DEBUG)
    await call({"headers": {"Authorization": {"secret": "fleet-token"}}})
    await command("echo $TOKEN", {"env": {"TOKEN": {"secret": "fleet-token"}}})

    assert clean(caplog.text)


async def test_a_call_and_its_purse_show_names_only():
    template = {"kind": "http", "method": "POST", "base": "http://a", "json": {"secret": "fleet-token"}}
    purse = Purse(CANARIES.__getitem__)
    assert purse.filled({"k": [Secret("fleet-token")]}) == {"k": [TOKEN]}

    assert clean(repr(purse))
    assert "fleet-token" in repr(fill(template, CONTEXT))


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "ü", "\t"])
async def test_a_secret_that_no_header_can_carry_is_not_sent(target, call, value):
    outcome = await call({"headers": {"X": {"secret": "k"}}}, secret={"k": value}.__getitem__)

    assert (outcome.outcome, outcome.facts, target.connections) == ("failed", {"error": "executor.secret"}, 0)
    assert value not in repr(outcome)


async def test_a_secret_the_row_does_not_list_is_refused(target, call):
    template = {"json": {"k": {"from": "/parameters/version"}}, "headers": {"X": {"secret": "fleet-token"}}}

    assert (await call(template, secrets=["fleet-token"])).outcome == "succeeded"
    refused = await call(template, secrets=["other"])

    assert refused.facts == {"error": "executor.secret"}
    assert target.connections == 1


async def test_the_secret_is_asked_for_at_the_last_moment_and_only_then():
    asked = []

    def secret(name: str) -> str:
        asked.append(name)
        return "v"

    fill({"kind": "http", "method": "POST", "base": "http://a", "json": {"secret": "k"}}, CONTEXT)
    assert asked == []
    assert Purse(secret).value(Secret("k", "Bearer ")) == "Bearer v"
    assert asked == ["k"]


@pytest.mark.parametrize("value", ["", "\ud800"])
def test_a_secret_without_a_value_that_can_be_sent_is_none(value):
    with pytest.raises(Unavailable) as refused:
        Purse(lambda _: value).value(Secret("k"))
    assert refused.value.code == "executor.secret"


def test_an_unknown_secret_is_none():
    with pytest.raises(Unavailable):
        Purse({}.__getitem__).value(Secret("k"))
    with pytest.raises(Refused):
        Purse({"k": "v"}.__getitem__, allowed=[]).value(Secret("k"))
