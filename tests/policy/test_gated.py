"""The author's gate: each thing that keeps a folder out is found, with its code, file and line."""

import json
import shutil

import pytest

from magistrate.core import canonical
from magistrate.core.decision import DecisionAnswer
from magistrate.policy import gated, report
from magistrate.policy.bundle import Bundle
from tests.policy.trees import DATA, tree
from tests.support.rego_tools import ROOT

DECISION = """package magistrate

# METADATA
# title: The decision
# entrypoint: true
decision := {"terms": terms, "standing": standing}

# METADATA
# title: The terms
terms := {"tier": "", "requirement": {"all_of": []}}

# METADATA
# title: The standing
default standing := {"outcome": "allow", "reasons": [], "wanted": [], "issue": {"constraints": {}}}

standing := {"outcome": "deny", "reasons": [], "wanted": [], "issue": {"constraints": {}}} if {
	some name
	data.policies[name].deny[_]
}
"""
REASON = """package magistrate.reason

# METADATA
# title: A rule's reason
of(metadata) := {"code": metadata.custom.code}
"""
POLICY = """package policies.refunds

import data.magistrate.reason
import data.policies.refunds.limits

# METADATA
# title: The actions
governs := {"refund.create"}

# METADATA
# title: Every refund
# custom: {code: refunds.any, floor: low}
tier contains reason.of(rego.metadata.rule()) if input.intent.parameters.x

# METADATA
# title: Too much
# custom: {code: refunds.large}
deny contains reason.of(rego.metadata.rule()) if not _small

_small if input.intent.parameters.x <= limits.small
"""
TESTS = """package tests.policies.refunds

import data.magistrate
import data.policies.refunds

_of(x) := {"intent": {"parameters": {"x": x}}}

test_a_small_one_is_allowed if {
	refunds.governs == {"refund.create"}
	refunds.tier == {{"code": "refunds.any"}} with input as _of(100)
	magistrate.decision.standing.outcome == "allow" with input as _of(100)
}

test_a_large_one_is_not if magistrate.decision.standing.outcome == "deny" with input as _of(101)
"""
CASES = """base: {action: refund.create, target: books}
cases:
  - {name: a small one, parameters: {x: 100}, expect: {outcome: allow}}
  - {name: a large one, parameters: {x: 101}, expect: {outcome: deny}}
"""
CATALOGUE = {**DATA["catalogue"], "targets": {"books": {}}}
CANARIES = {
    "small": {"document": "decision", "question": {"intent": {"parameters": {"x": 1}}}, "expect": {"outcome": "allow"}},
    "large": {"document": "decision", "question": {"intent": {"parameters": {"x": 101}}}, "expect": {"outcome": "deny"}},
}  # fmt: skip
FILE = "policies/refunds/refunds.rego"
TEST = "policies/refunds/refunds_test.rego"
TABLE = "policies/refunds/cases.yaml"


def _folder(tmp_path, changes=None):
    files = {
        "magistrate/decision/decision.rego": DECISION,
        "magistrate/reason.rego": REASON,
        FILE: POLICY,
        TEST: TESTS,
        TABLE: CASES,
        "catalogue/data.json": json.dumps(CATALOGUE),
        "canaries/data.json": json.dumps(CANARIES, indent=1),
        **(changes or {}),
    }
    return tree(tmp_path / "rego", files)


def _found(binary, folder):
    return [(found.code, found.file, found.line) for found in gated.examined(binary, folder, {}).findings]


def test_a_folder_that_holds_is_built_and_its_figures_told(tmp_path, binary):
    found = gated.examined(binary, _folder(tmp_path), {})

    bundle, made = Bundle.read(found.raw), found.report
    assert made.bundle == report.facts_of(bundle, binary)
    assert made.bundle.digest == bundle.digest
    assert made.bundle.opa == report.Opa(version=binary.version, sha256=f"sha256:{binary.sha256}")
    assert (made.tests, made.cases, made.canaries) == (2, 2, 2)
    assert made.coverage.covered == made.coverage.lines == 10


def _line(text, words):
    return next(n for n, line in enumerate(text.splitlines(), 1) if words in line)


UNTITLED = POLICY.replace("# METADATA\n# title: The actions\n", "")
UNREACHED = """
# METADATA
# title: Never seen
# custom: {code: refunds.never}
deny contains reason.of(rego.metadata.rule()) if input.intent.parameters.y > 3
"""
KEPT_OUT = {
    "not formatted": ({FILE: POLICY.replace(" <= ", "<=")}, "gate.format", FILE, _line(POLICY, "<=")),
    "a test not formatted": ({TEST: TESTS.replace(" == {{", "=={{")}, "gate.format", TEST, _line(TESTS, "== {{")),
    "no Rego": ({FILE: POLICY + "\n_x if {\n"}, "gate.compile", FILE, 23),
    "an unused import": ({FILE: POLICY.replace("limits.small", "100")}, "gate.compile", FILE, 4),
    "a test that does not compile": ({TEST: TESTS + "\ntest_x if nosuch\n"}, "gate.compile", TEST, 16),
    "a builtin that is not pure": ({FILE: POLICY + "\n_x := time.now_ns()\n"}, "gate.builtin", FILE, 22),
    "an impure builtin in a test": ({TEST: TESTS + "\ntest_x if time.now_ns() > 0\n"}, "gate.builtin", TEST, 16),
    "a word outside the vocabulary": (
        {FILE: POLICY.replace("deny contains", "denies contains")}, "gate.public_rule", FILE, _line(POLICY, "deny contains"),
    ),
    "no code": ({FILE: POLICY.replace("# custom: {code: refunds.large}\n", "")}, "gate.metadata", FILE, 17),
    "no title": ({FILE: UNTITLED}, "gate.title", FILE, _line(UNTITLED, "governs")),
    "an engine's rule without a title": (
        {"magistrate/reason.rego": REASON.replace("# METADATA\n# title: A rule's reason\n", "")},
        "gate.title", "magistrate/reason.rego", 3,
    ),
    "a code twice": ({FILE: POLICY.replace("refunds.large", "refunds.any")}, "gate.code_twice", FILE, 18),
    "a test that fails": ({TEST: TESTS.replace("_of(101)", "_of(99)")}, "gate.test", TEST, 14),
    "a test that ends in an error": (
        {TEST: TESTS + "\n_y := 1 if refunds.governs\n\n_y := 2 if refunds.governs\n\ntest_x if _y == 1\n"}, "gate.test", TEST, 20,
    ),
    "a test that is skipped": ({TEST: TESTS + "\ntodo_test_x := true\n"}, "gate.test_skipped", TEST, 16),
    "no test": ({TEST: None}, "gate.no_tests", "", 0),
    "a line that no test reaches": ({FILE: POLICY + UNREACHED}, "gate.coverage", FILE, 25),
    "a file that no test reaches": (
        {"magistrate/more.rego": "package magistrate.more\n\n_x := 1\n"}, "gate.coverage", "magistrate/more.rego", 1,
    ),
    "a row that comes out otherwise": ({TABLE: CASES.replace("deny", "ask")}, "gate.case", TABLE, 4),
    "a row of an unknown action": ({TABLE: CASES.replace("refund.create", "refund.creat")}, "table.action", TABLE, 3),
    "a canary that sings otherwise": (
        {"canaries/data.json": json.dumps({**CANARIES, "x": {**CANARIES["small"], "expect": {"outcome": "ask"}}}, indent=1)},
        "gate.canary", "canaries/data.json", 0,
    ),
    "no canary": ({"canaries/data.json": "{}"}, "gate.canary", "", 0),
    "no sequence": ({".manifest": '{"roots": ["policies"], "rego_version": 1, "metadata": {}}'}, "bundle.sequence", "", 0),
    "a foreign file": ({"policies/refunds/README.md": ""}, "bundle.file", "", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT_OUT)
def test_what_keeps_a_folder_out_is_found_with_its_place(tmp_path, binary, name):
    changes, code, file, line = KEPT_OUT[name]

    found = gated.examined(binary, _folder(tmp_path, changes), {}).findings

    assert {one.code for one in found} == {code}, found
    assert {one.file for one in found} == {file}, found
    assert not line or found[0].line == line, found
    assert all(one.hint for one in found), found


def test_an_answer_that_its_model_refuses_is_a_canary_that_failed(tmp_path, binary):
    found = gated.examined(binary, _folder(tmp_path), {"decision": DecisionAnswer}).findings

    assert {one.code for one in found} == {"gate.canary"}


def test_all_of_one_step_is_found_at_once(tmp_path, binary):
    changes = {
        FILE: POLICY.replace("refunds.large", "refunds.any").replace("# title: Every refund\n", ""),
        TEST: TESTS.replace("_of(101)", "_of(99)"),
        TABLE: CASES.replace("deny", "ask"),
    }

    assert [code for code, _, _ in _found(binary, _folder(tmp_path, changes))] == [
        "gate.title",
        "gate.code_twice",
        "gate.test",
        "gate.case",
    ]


def test_the_facts_of_a_bundle_move_with_what_they_are_about_alone(tmp_path, binary):
    def facts(name, changes):
        found = gated.examined(binary, _folder(tmp_path / name, changes), {})
        assert canonical.digest(found.raw) == found.report.bundle.digest
        return found.report.bundle

    row = CATALOGUE["actions"]["refund.create"]
    engine = DECISION.replace("# title: The terms", "# title: The terms, as drawn")
    executor = {**CATALOGUE, "actions": {"refund.create": {**row, "executor": {"kind": "none"}}}}
    target = {**CATALOGUE, "targets": {"books": {"kind": "ledger"}}}
    first = facts("a", {})

    assert _moved(first, facts("b", {FILE: POLICY.replace("Too much", "Far too much")})) == {"digest"}
    assert _moved(first, facts("c", {"magistrate/decision/decision.rego": engine})) == {"digest", "engine"}
    assert _moved(first, facts("d", {"magistrate/kinds/data.json": "{}"})) == {"digest", "engine"}
    assert _moved(first, facts("e", {"catalogue/data.json": json.dumps(executor)})) == {
        "digest",
        "catalogue",
        "templates",
    }
    assert _moved(first, facts("f", {"catalogue/data.json": json.dumps(target)})) == {"digest", "catalogue"}


def _moved(one, other):
    return {name for name, value in one.plain().items() if other.plain()[name] != value}


def test_the_shipped_folder_passes_and_gives_the_shipped_bundle(tmp_path, binary):
    from magistrate.engine.installation import ANSWERS

    folder = shutil.copytree(ROOT / "rego", tmp_path / "rego")

    found = gated.examined(binary, folder, ANSWERS)

    assert found.findings == ()
    rows = json.loads((ROOT / "bundles/index.json").read_text())["bundles"]
    assert found.report.bundle.digest == max(rows, key=lambda row: row["sequence"])["digest"]
    assert found.report.coverage.covered == found.report.coverage.lines
