"""A recorded decision as a test: green on the bundle that decided, red where a limit moved, formatted as OPA would."""

from __future__ import annotations

import json
import shutil

import pytest

from magistrate.policy.as_test import as_test
from tests.policy import explained as by
from tests.support.rego_tools import IGNORED, REGO, run
from tests.support.world import binary

# a limit of each policy, and the decision it made
MOVED = {
    "refunds": ("small", 8000),
    "deploys": ("retries", 0),
    "sql": ("forbidden", []),
    "mail": ("never", []),
    "secrets": ("ttl", 60),
    "batch": ("slack", 31),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the Rego with a recorded decision of each policy as a test beside it."""
    folder = tmp_path_factory.mktemp("recorded") / "rego"
    shutil.copytree(REGO, folder)
    for name, question in by.SAMPLES.items():
        (folder / f"policies/{name}/recorded_test.rego").write_text(written(name, question, about="Recorded"))
    return folder


def written(name, question, about):
    answer = by.answers("decision", [question])[0]
    return as_test(
        binary(),
        name=f"{name} 1",
        about=about,
        governing=[f"policies.{name}"],
        document="decision",
        question=question,
        answer=answer,
    )


def run_tests(folder, name=""):
    return run("test", ".", *IGNORED, "--run", f"test_recorded_{name}", "--fail-on-empty", cwd=folder)


def test_it_passes_where_it_was_decided(tree):
    ran = run_tests(tree)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"PASS: {len(by.SAMPLES)}/{len(by.SAMPLES)}" in ran.stdout


def test_it_is_as_opa_fmt_writes_it(tree):
    ran = run("fmt", "--list", "--fail", ".", cwd=tree)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_it_passes_the_strict_check(tree):
    ran = run("check", "--strict", ".", *IGNORED, cwd=tree)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", MOVED)
def test_it_fails_where_a_limit_moved(tree, tmp_path, name):
    shutil.copytree(tree, tmp_path / "rego")
    path = tmp_path / f"rego/policies/{name}/data.json"
    data = json.loads(path.read_text())
    key, value = MOVED[name]
    assert data["limits"][key] != value
    data["limits"][key] = value
    path.write_text(json.dumps(data))
    ran = run_tests(tmp_path / "rego", name)
    assert ran.returncode == 2, ran.stdout


def test_an_answer_of_any_document_is_a_test(tmp_path):
    from magistrate.core.values import thaw

    shutil.copytree(REGO, tmp_path / "rego")
    for name, canary in by.bundle().data["canaries"].items():
        question, document = thaw(canary["question"]), canary["document"]
        text = as_test(
            binary(),
            name=name,
            about=name,
            governing=[],
            document=document,
            question=question,
            answer=by.answers(document, [question])[0],
        )
        assert "package tests.recorded" in text
        (tmp_path / f"rego/policies/{name.replace('-', '_')}_recorded_test.rego").write_text(text)
    ran = run_tests(tmp_path / "rego")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_comment_cannot_end_before_its_line_does():
    text = written("refunds", by.SAMPLES["refunds"], about="a\rdeny contains 1\u2028b")
    assert text.startswith("# a?deny contains 1?b\n")
