"""The engine under other names and numbers: no tier, role, code, threshold or approval count of a bundle is its own.

A script renames every name of the Rego under test and changes every number; the whole suite but this file runs on that
copy, beside the run on the original (`conftest.py`).
"""

from pathlib import Path

from tests.support import world as worlds
from tests.support.rename import names

ROOT = Path(__file__).resolve().parents[2]


def test_no_name_of_the_bundle_stands_in_the_engine():
    """What a bundle calls its tiers, roles and codes, Python does not know."""
    mapping = names(worlds.rego())
    found = []
    for path in sorted((ROOT / "src" / "magistrate").rglob("*.py")):
        text = path.read_text("utf-8")
        for name in (*mapping.tiers, *mapping.roles, *mapping.codes):
            if f'"{name}"' in text:
                found.append((str(path.relative_to(ROOT)), name))
    assert found == []


def test_the_suite_holds_under_other_names_and_numbers(under_other_names):
    code, told = under_other_names.ended()
    assert code == 0, told[-8000:]
    assert " passed" in told
