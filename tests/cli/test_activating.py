"""What those who propose and approve an activation are told before they sign."""

from magistrate.cli import activating


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
