"""The Rego tree is formatted, typed, pure, tested to the last line, and every line of it is missed by some test.

MAGISTRATE_MUTANTS sets how many lines the long form leaves out, 0 for every one; MAGISTRATE_SEED picks others.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import negations, rego_tools
from tests.support.mutants import Bench, Fate, all_mutants, mutants, report, sample
from tests.support.rego_tools import IGNORED, REGO, coverage_gaps, run

SHORT = 60
MUTANTS = int(os.environ.get("MAGISTRATE_MUTANTS", SHORT))
SEED = int(os.environ.get("MAGISTRATE_SEED", "20260325"))


# Test twins ask with half a question on purpose: they are typed by what they test.
TYPED = ("--schema", "schemas/input.json", *IGNORED, "--ignore", "*_test.rego")


def test_every_file_is_as_opa_fmt_writes_it():
    ran = run("fmt", "--list", "--fail", "rego")

    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_tree_passes_the_strict_check_with_pure_capabilities():
    ran = run("check", "--strict", "--capabilities", "capabilities.json", ".", *IGNORED, cwd=REGO)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_rule_asks_only_what_a_question_holds():
    ran = run("check", "--strict", "--capabilities", "capabilities.json", ".", *TYPED, cwd=REGO)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_rego_test_passes():
    ran = run("test", ".", *IGNORED, "--fail-on-empty", cwd=REGO)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_capabilities_are_what_the_recipe_yields():
    assert (REGO / "capabilities.json").read_text("utf-8") == rego_tools.capabilities_text()


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "GET", "url": "http://x"})',
        'io.jwt.decode_verify("x", {})',
        "io.jwt.encode_sign({}, {}, {})",
        'io.jwt.encode_sign_raw("", "", "")',
        "json.verify_schema({})",
        'net.lookup_ip_addr("x")',
        "opa.runtime()",
        'rand.intn("x", 2)',
        "time.now_ns()",
        'uuid.rfc4122("x")',
        'crypto.x509.parse_and_verify_certificates("x")',
        'crypto.x509.parse_and_verify_certificates_with_options("x", {})',
        "time.clock(0)",
        "time.date(0)",
        "time.weekday(0)",
        "time.add_date(0, 1, 1, 1)",
        "time.diff(0, 1)",
        "time.format(0)",
        'time.parse_ns("2006", "2020")',
    ],
)
def test_what_could_make_a_replay_differ_is_no_builtin(tmp_path: Path, call: str):
    (tmp_path / "impure.rego").write_text(f"package impure\n\nx := {call}\n", "utf-8")

    ran = run("check", "--capabilities", str(REGO / "capabilities.json"), str(tmp_path))

    assert ran.returncode == 1
    assert "undefined function" in ran.stderr


def test_nothing_is_negated_that_may_be_undefined():
    assert negations.everywhere() == []


@pytest.mark.parametrize(
    "negated",
    ["input.a <= 3", "count(input.a) > 0", 'input.a in {"x"}', "is_number(input.a)", "f(input.a)", "_b <= 3", "f(_b)"],
)
def test_an_expression_with_a_missing_part_is_not_denied(tmp_path: Path, negated: str):
    path = _write(tmp_path, "p.rego", f"package p\n\n_b := input.b\n\nf(x) if x == 1\n\nx if not {negated}\n")

    assert (
        run("eval", "--data", str(path), "--input", "/dev/stdin", "--format", "raw", "data.p", stdin="{}").stdout
        == "{}\n"
    )
    assert negations.hasty(path) == [f"p.rego:7: not {negated}"]


def test_a_negated_name_is_true_when_it_is_missing(tmp_path: Path):
    path = _write(
        tmp_path,
        "p.rego",
        "package p\n\n_b if input.b <= 3\n\nf(x) if x == 1\n\nx if not _b\n\n"
        "y if not input.c\n\nz if {\n\tsome n in [2]\n\tnot f(n)\n\tnot n <= 1\n}\n",
    )

    answer = run("eval", "--data", str(path), "--input", "/dev/stdin", "--format", "raw", "data.p", stdin="{}").stdout

    assert json.loads(answer) == {"x": True, "y": True, "z": True}
    assert negations.hasty(path) == []


def test_the_tests_cover_every_line_that_ships():
    assert [str(gap) for gap in coverage_gaps()] == []


def test_a_file_that_no_test_touches_is_a_gap(tmp_path: Path):
    _write(tmp_path, "seen.rego", "package seen\n\nx := 1\n")
    _write(tmp_path, "seen_test.rego", "package tests.seen\n\ntest_x if data.seen.x == 1\n")
    _write(tmp_path, "unseen.rego", "package unseen\n\nx := 1\n")

    assert "unseen.rego:1-3 (not in the report)" in [str(gap) for gap in coverage_gaps(tmp_path)]


def test_a_rule_that_no_test_matches_is_a_gap_whatever_the_kind(tmp_path: Path):
    _write(tmp_path, "p.rego", 'package p\n\nx := 1 if input.a == "a"\n\nx := 2 if input.a == "b"\n')
    _write(tmp_path, "p_test.rego", 'package tests.p\n\ntest_x if data.p.x == 1 with input as {"a": "a"}\n')

    assert [(gap.path, gap.first) for gap in coverage_gaps(tmp_path)] == [("p.rego", 5), ("p.rego", 5)]


def test_the_mutator_tells_tested_lines_from_untested_ones(tmp_path: Path):
    _write(tmp_path, "p.rego", "package p\n\nx if {\n\tinput.a > 1\n\tinput.b > 1\n\tn := input.c\n\tn > 1\n}\n")
    _write(
        tmp_path,
        "p_test.rego",
        "package tests.p\n\n"
        'test_x if data.p.x with input as {"a": 2, "b": 2, "c": 2}\n\n'
        'test_a if not data.p.x with input as {"a": 1, "b": 2, "c": 2}\n\n'
        'test_c if not data.p.x with input as {"a": 2, "b": 2, "c": 1}\n',
    )

    judged = Bench(tmp_path).judge(all_mutants(tmp_path))

    assert [(mutant.gone.split("\n")[0], fate) for mutant, fate in judged] == [
        ("x if {", Fate.CAUGHT),
        ("input.a > 1", Fate.CAUGHT),
        ("input.b > 1", Fate.SURVIVED),
        ("n := input.c", Fate.NOT_VIABLE),
        ("n > 1", Fate.CAUGHT),
    ]


def test_the_mutator_sees_nested_lines_branches_and_whole_rules(tmp_path: Path):
    path = _write(
        tmp_path,
        "p.rego",
        'package p\n\ndefault y := 0\n\ny := 1 if {\n\tevery k in input["é"] {\n\t\tk > 1\n\t}\n'
        '\tnot x with input.a as {\n\t\t"b": 1,\n\t}\n} else := 2 if {\n'
        "\tz := [k | some k in input.l; k > 2]\n\tcount(z) > 1\n}\n\nx contains 1\n",
    )

    assert [(mutant.row, mutant.gone.split("\n")[0], mutant.instead) for mutant in mutants(path, tmp_path)] == [
        (3, "default y := 0", ""),
        (5, "y := 1 if {", ""),
        (6, 'every k in input["é"] {', "true"),
        (7, "k > 1", "true"),
        (9, "not x with input.a as {", "true"),
        (12, "else := 2 if {", ""),
        (13, "z := [k | some k in input.l; k > 2]", "true"),
        (13, "some k in input.l", "true"),
        (13, "k > 2", "true"),
        (14, "count(z) > 1", "true"),
        (17, "x contains 1", ""),
    ]


@pytest.mark.campaign
def test_no_line_can_be_left_out_unnoticed():
    judged = Bench().judge(sample(all_mutants(), size=MUTANTS, seed=SEED))

    assert [str(mutant) for mutant, fate in judged if fate is Fate.SURVIVED] == [], report(judged)


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path
