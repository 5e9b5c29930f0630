"""What those who propose and approve an activation are told before they sign."""

from types import SimpleNamespace

import pytest

from magistrate.cli import activating
from magistrate.core.errors import Conflict


def test_every_field_that_changes_beside_policy_is_told_as_it_was_and_is(capsys):
    figures = dict.fromkeys(("tests", "cases", "covered", "lines"), 0)
    changes = {
        "engine": [],
        "actions": [],
        "targets": [],
        "rows": ["/tiers/T1", "/counters/odd\x1b[2K"],
        "data": [
            {"name": "/tiers/T1/warrant/ttl", "was": "300", "now": "9000"},
            {"name": "/counters/odd\x1b[2K", "was": '{"by":"agent"}', "now": ""},
        ],
        "more": 7,
    }
    about = {"digest": "sha256:1", "sequence": 2, "author": "emma", "built": figures, "accepted": []}

    activating.tell({**about, "changes": changes})

    told = capsys.readouterr().err
    assert "IT CHANGES DATA that policies rest on: /tiers/T1, /counters/odd" in told
    assert "/tiers/T1/warrant/ttl: 300 → 9000" in told
    assert '{"by":"agent"} → nothing' in told
    assert "\x1b[2K" not in told
    assert told.rstrip().endswith(": 7")


def test_what_is_in_force_already_is_said_before_anything_is_read_or_signed(monkeypatch, capsys):
    digest = "sha256:" + "1" * 64
    asked = []

    class Service:
        def get(self, path):
            asked.append(path)
            return {"digest": digest, "against": digest}

    monkeypatch.setattr(activating, "me", lambda: SimpleNamespace(client=Service()))
    with pytest.raises(Conflict, match=r"bundle\.active"):
        activating.activate(digest, yes=True)
    assert asked == [f"/v1/bundles/{digest}/changes"]
    assert capsys.readouterr().err == ""
