"""The engine under other names and numbers: no tier, role, code, threshold or approval count of a bundle is its own.

A script renames every name of the Rego under test and changes every number; the whole suite but this file runs on that
copy.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import world as worlds
from tests.support.rename import names, renamed

ROOT = Path(__file__).resolve().parents[2]
AGAIN = "MAGISTRATE_TEST_NAMES"


def bootable(folder, mapping):
    """One operator is all there is at first: the tier of administration keeps asking for one.

    Its count is changed as every other; two would be more people than can ever be enrolled, and none is no requirement.
    """
    path = folder / "tiers" / "data.json"
    tiers = json.loads(path.read_text())
    before = json.loads((worlds.rego() / "tiers" / "data.json").read_text())
    first = json.loads((worlds.rego() / "catalogue" / "data.json").read_text())["installation"]["first_operator"]
    for old, row in before.items():
        excluded = set(row["requirement"]["exclude"])
        if "proposer" not in excluded and row["requirement"]["all_of"]:
            assert set(row["requirement"]["all_of"][0]["roles"]) <= set(first["roles"])
            tiers[mapping[old]]["requirement"]["all_of"][0]["count"] = 1
    path.write_text(json.dumps(tiers))


def test_the_suite_holds_under_other_names_and_numbers(tmp_path):
    mapping = renamed(tmp_path / "rego", worlds.rego())
    bootable(tmp_path / "rego", mapping)
    said = {"tiers": mapping.tiers, "roles": mapping.roles, "codes": mapping.codes}
    assert all(said.values())
    (tmp_path / "names.json").write_text(json.dumps(said))

    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "tests/engine",
            "--ignore",
            str(Path(__file__)),
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--no-header",
        ],
        cwd=ROOT,
        env={**os.environ, "MAGISTRATE_TEST_REGO": str(tmp_path / "rego"), AGAIN: str(tmp_path / "names.json")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "passed" in ran.stdout


def test_no_name_of_the_bundle_stands_in_the_engine():
    """What a bundle calls its tiers, roles and codes, Python does not know (the engine's own codes are its own)."""
    mapping = names(worlds.rego())
    # the engine's own codes, which a bundle happens to use as well; neither is read from the other
    ours = set()
    found = []
    for path in sorted((ROOT / "src" / "magistrate").rglob("*.py")):
        text = path.read_text("utf-8")
        for name in (*mapping.tiers, *mapping.roles, *mapping.codes):
            if f'"{name}"' in text and name not in ours:
                found.append((str(path.relative_to(ROOT)), name))
    assert found == []
