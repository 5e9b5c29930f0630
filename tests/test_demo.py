"""The demo tells the truth: on the shipped bundle all is as told; with its rules of verification taken out it is not."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from magistrate.cli.policy import newest_bundle
from magistrate.core import canonical, schema
from magistrate.core.values import parse
from magistrate.policy import build
from magistrate.policy.binary import PINNED, Binary, sha256_of
from tests.support import rego_tools, rename

ROOT = rego_tools.REGO.parent
STORY = ROOT / "bundles" / "demo.json"
SECONDS = 180


def binary():
    path = Path(rego_tools.opa())
    return Binary(path, PINNED, sha256_of(path), "setting")


def told(tmp_path, *arguments, **settings):
    path = rego_tools.opa()
    env = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "MAGISTRATE_OPA": path,
        "MAGISTRATE_OPA_SHA256": sha256_of(Path(path)),
        "MAGISTRATE_OPA_CACHE": str(tmp_path / "cache"),
        **{name: str(value) for name, value in settings.items()},
    }
    return subprocess.run(
        [sys.executable, "-m", "magistrate", "demo", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def bundled(tmp_path, rego):
    raw = build.build(binary(), rego)
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(raw)
    return path


def copied(tmp_path):
    return Path(shutil.copytree(rego_tools.REGO, tmp_path / "rego"))


def test_the_newest_shipped_bundle_is_what_the_rego_builds_to():
    assert newest_bundle().read_bytes() == build.build(binary(), rego_tools.REGO), "run: magistrate policy build rego"


def test_every_shipped_bundle_is_listed_under_its_digest():
    listed = {row["digest"] for row in json.loads((ROOT / "bundles/index.json").read_text())["bundles"]}
    found = {canonical.digest(path.read_bytes()) for path in (ROOT / "bundles").glob("*.tar.gz")}

    assert listed == found
    assert all((ROOT / "bundles" / f"{d.removeprefix('sha256:')}.tar.gz").exists() for d in listed)


def test_the_whole_story_is_as_told_and_every_question_is_what_its_schema_says(tmp_path):
    ran = told(tmp_path, "--keep")

    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    for step in ("intent", "decision", "approval", "warrant", "execution", "verification", "ledger"):
        assert re.search(rf"^  \d\. {step}", ran.stdout, re.MULTILINE), step
    for attack in "abcdefg":
        assert f"\n  {attack}. " in ran.stdout
    assert re.search(r"All as told: \d+ checks", ran.stdout)
    kept = Path(re.search(r"kept in (\S+)", ran.stderr)[1])
    assert hold_questions(kept / "data" / "ledger.db") >= 20


def hold_questions(ledger):
    """Every recorded question parses by its model; returns how many there were."""
    count = 0
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as conn:
        for (body,) in conn.execute("SELECT body FROM bodies"):
            for asked in json.loads(body).get("asked", ()):
                parse(schema.QUESTIONS[asked["document"]], canonical.canonical(asked["question"]))
                count += 1
    return count


def test_without_its_rules_of_verification_the_bundle_fails_the_story(tmp_path):
    rego = copied(tmp_path)
    for path in sorted((rego / "magistrate/verification").glob("*.rego")):
        path.unlink()
    (rego / "magistrate/verification/verification.rego").write_text(
        "package magistrate\n\n# METADATA\n# title: Nothing is ever wrong\n# entrypoint: true\n"
        'verification := {"verdict": "conforming", "deviations": [], "containment": [], "reasons": []}\n'
    )

    ran = told(tmp_path, MAGISTRATE_DEMO_BUNDLE=bundled(tmp_path, rego))

    assert ran.returncode == 1, ran.stdout[-2000:]
    assert "NOT AS TOLD" in ran.stderr


def _leave_the_first_operator_a_way_in(rego, names):
    """A house of one cannot find a second signature for the enrolment of its second operator."""
    path = rego / "tiers" / "data.json"
    tiers = json.loads(path.read_text())
    for row in tiers[names["A"]]["requirement"]["all_of"]:
        row["count"] = 1
    path.write_text(json.dumps(tiers))


@pytest.mark.parametrize("operators", [2])
def test_the_story_holds_when_every_name_and_number_in_the_bundle_is_another(tmp_path, operators):
    names = rename.renamed(tmp_path / "other", rego_tools.REGO, operators=operators)
    _leave_the_first_operator_a_way_in(tmp_path / "other", names)
    story = json.loads(STORY.read_text())
    for person in story["operators"]:
        person["roles"] = [names[role] for role in person["roles"]]
    story["story"]["codes"] = {name: names[code] for name, code in story["story"]["codes"].items()}
    other = tmp_path / "story.json"
    other.write_text(json.dumps(story))

    ran = told(
        tmp_path,
        MAGISTRATE_DEMO_BUNDLE=bundled(tmp_path, tmp_path / "other"),
        MAGISTRATE_DEMO_STORY=other,
    )

    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]


VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{27}|sha256:[0-9a-f]+…?|0x[0-9a-f]+…?|demo/[0-9a-f]+|\d{4}-\d\d-\d\dT[\d:]+Z|\d+"
)


def _shape(text):
    return [VARYING.sub("#", line).rstrip() for line in text.strip().splitlines()]


def test_the_readme_shows_what_the_demo_prints(tmp_path):
    shown = re.search(r"demo output: begin -->\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]

    assert _shape(shown) == _shape(told(tmp_path).stdout), "paste the demo's output into the README"
