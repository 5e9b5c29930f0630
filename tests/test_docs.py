"""What the documentation says is what the program does."""

import json
import re
import subprocess
import sys

import pytest

from tests.support import reference, rego_tools

ROOT = reference.ROOT
PROSE = {"that", "ends", "needs", "starts", "is", "closes", "prints", "and"}
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_reference_page_is_what_the_program_would_write():
    assert reference.PAGE.read_text() == reference.page(), "run: python -m tests.support.reference"


def test_every_verb_has_help_and_an_example():
    for words, about, example in reference.verbs():
        assert about, words
        assert example, f"{words} has no example in its help"


def test_every_verb_the_documents_name_exists():
    known = {words for words, _, _ in reference.verbs()}
    for path in DOCS:
        for said in re.findall(r"(?:magistrate|\./run) ((?:[a-z-]+ ?)+)", path.read_text()):
            words = said.split()
            if not words or words[0] in PROSE or words[0].startswith("--"):
                continue
            candidates = {f"magistrate {' '.join(words[:n])}" for n in (1, 2)}
            groups = {" ".join(k.split()[:2]) for k in known}
            assert candidates & (known | groups), f"{path.name}: magistrate {said}"


def test_every_setting_the_documents_name_exists():
    known = {setting.name for setting in reference.SETTINGS}
    for path in DOCS:
        for name in re.findall(r"MAGISTRATE_[A-Z0-9_]+", path.read_text()):
            assert name in known, f"{path.name}: {name}"


def test_every_setting_the_program_reads_is_listed():
    known = {setting.name for setting in reference.SETTINGS}
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"MAGISTRATE_[A-Z0-9_]+", path.read_text()):
            assert name in known, f"{path.name}: {name}"


def test_every_file_the_readme_links_to_exists():
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_rule_in_the_readme_is_rego(tmp_path):
    opa = rego_tools.opa()
    rule = re.search(r"```rego\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    policy = (ROOT / "rego/policies/deploys/deploys.rego").read_text()
    (tmp_path / "deploys.rego").write_text(f"{policy}\n{rule[1]}")
    subprocess.run([opa, "fmt", "--list", "--fail", str(tmp_path)], check=True, capture_output=True)
    subprocess.run([opa, "parse", str(tmp_path / "deploys.rego")], check=True, capture_output=True)


def test_the_files_to_try_are_proposals():
    from magistrate.core.canonical import canonical, load
    from magistrate.core.intent import Proposal
    from magistrate.core.values import parse

    for path in sorted((ROOT / "bundles/try").glob("*.json")):
        parse(Proposal, canonical(load(path.read_bytes())))


@pytest.mark.parametrize("words", ["", "intent", "policy", "operators", "ledger"])
def test_help_needs_no_service_and_no_folder(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "magistrate", *words.split(), "--help"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_story_names_only_codes_that_the_rego_or_the_program_knows():
    story = json.loads((ROOT / "bundles/demo.json").read_text())["story"]
    known = set(reference.reasons()) | set(reference.codes())
    assert set(story["codes"].values()) <= known, set(story["codes"].values()) - known
