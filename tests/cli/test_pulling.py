"""The configuration for an OPA that pulls: what is printed, and what the page for operators shows of it."""

import json
import re
from types import SimpleNamespace

import pytest

from magistrate.cli import pulling
from magistrate.core import p256
from magistrate.core.errors import Broken, Forged
from tests.support.reference import ROOT

ROW = {"origin": "acme/prod", "key_id": "sha256:" + "a" * 64, "algorithm": "ES256", "pem": "-----BEGIN\nx\n-----END\n"}


def test_the_page_for_operators_shows_what_the_program_prints():
    page = (ROOT / "docs" / "operating.md").read_text()
    shown = re.search(r" {3}```yaml\n(.+?) {3}```", page, re.DOTALL)[1]
    printed = pulling.yaml(pulling.configuration("https://gate.acme.example", [ROW], pulling.TOKEN))

    before_the_keys = printed.partition("keys:\n")[0]
    assert re.sub(r"^ {3}", "", shown, flags=re.MULTILINE).partition("keys:\n")[0] == before_the_keys
    assert f"{pulling.TOKEN}=mk_" in page


def test_a_key_of_several_lines_is_a_block_and_everything_else_is_quoted():
    assert pulling.yaml({"a": {"b-c": 'x"y', "n": 1}, "k": "one\ntwo\n"}) == (
        'a:\n  "b-c": "x\\"y"\n  n: 1\nk: |\n  one\n  two\n'
    )


@pytest.mark.parametrize("token", ["MY_TOKEN", "T"])
def test_the_credential_is_a_variable_never_a_value(token):
    made = pulling.configuration("http://127.0.0.1:8420", [ROW], token)
    assert made["services"]["magistrate"]["credentials"] == {"bearer": {"token": f"${{{token}}}"}}
    assert "keyid" not in json.dumps(made)


REAL, STRANGER = (p256.signer_from_scalar(bytes([n]) * 32) for n in (1, 2))
LISTED = {
    **ROW,
    "key_id": REAL.key_id,
    "public_key": REAL.public.hex(),
    "pem": p256.pem(REAL.public),
    "role": "bundle",
    "state": "current",
}


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"pem": p256.pem(STRANGER.public)}, "key.id"),
        ({"public_key": STRANGER.public.hex(), "pem": p256.pem(STRANGER.public)}, "key.id"),
        ({"public_key": STRANGER.public.hex()}, "key.id"),
        ({"algorithm": "HS256"}, "key.id"),
        ({"public_key": "x"}, "key.id"),
        ({"public_key": "00" * 32}, "key.length"),
    ],
)
def test_a_fingerprint_of_another_key_than_the_one_opa_would_trust_prints_nothing(monkeypatch, capsys, lie, code):
    served = SimpleNamespace(url="http://x", get=lambda _: {"items": [{**LISTED, **lie}]})
    monkeypatch.setattr(pulling, "me", lambda: SimpleNamespace(client=served))

    with pytest.raises((Broken, Forged), match=re.escape(code)):
        pulling.pull_config()

    assert capsys.readouterr() == ("", "")


def test_a_key_that_is_what_its_fingerprint_says_is_printed(monkeypatch, capsys):
    served = SimpleNamespace(url="http://x", get=lambda _: {"items": [LISTED]})
    monkeypatch.setattr(pulling, "me", lambda: SimpleNamespace(client=served))

    pulling.pull_config(as_json=True)

    printed = capsys.readouterr()
    assert json.loads(printed.out)["keys"] == {REAL.key_id: {"algorithm": "ES256", "key": p256.pem(REAL.public)}}
    assert REAL.key_id in printed.err
