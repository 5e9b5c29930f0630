"""The author's verbs at the command line: what is printed, in which format, and with which exit code."""

import json
import shutil
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from magistrate import cli
from magistrate.cli import authoring, formats, say
from magistrate.core.errors import Malformed, Refused
from magistrate.engine import installation
from magistrate.policy.archive import Archive
from magistrate.policy.coverage import Gap
from tests.policy.test_gated import CASES, FILE, POLICY, TESTS, _folder
from tests.policy.trees import POLICY as FIRST
from tests.policy.trees import policy
from tests.support.rego_tools import ROOT, opa

TEST = "policies/refunds/refunds_test.rego"
TABLE = "policies/refunds/cases.yaml"
BROKEN = {TEST: TESTS.replace("_of(101)", "_of(99)"), TABLE: CASES.replace("deny", "ask")}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder of our own to stand in, the OPA of the checkout, and answers that need no shape."""
    from magistrate.policy.binary import sha256_of

    monkeypatch.setenv("MAGISTRATE_OPA", opa())
    monkeypatch.setenv("MAGISTRATE_OPA_SHA256", sha256_of(Path(opa())))
    monkeypatch.setenv("MAGISTRATE_OPA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(authoring, "ANSWERS", {})
    monkeypatch.chdir(tmp_path)
    assert installation.ANSWERS


@pytest.fixture
def run(capsys, monkeypatch):
    def one(*words):
        monkeypatch.setattr("sys.argv", ["magistrate", "policy", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return one


def test_a_folder_here_is_found_by_itself_and_its_tests_are_counted(tmp_path, run):
    _folder(tmp_path)

    assert run("test") == (say.DONE, "2 of 2 tests passed, 2 of 2 cases passed\n", "")


def test_a_failure_is_told_in_full(tmp_path, run):
    _folder(tmp_path, BROKEN)

    code, out, _ = run("test")

    assert code == say.FAILED
    for line in (
        f"FAIL {TEST}:14  tests.policies.refunds.test_a_large_one_is_not",
        '     magistrate.decision.standing.outcome == "deny" with input as _of(99)',
        '     expected  "deny"',
        '     actual    "allow"',
        "     hint: magistrate policy test -r 'test_a_large_one_is_not$' --watch",
        f"FAIL {TABLE}:4  cases.refunds.a large one",
        "     outcome   expected ask, actual deny",
        "     facts     parameters.x = 101",
        "     hint: magistrate policy test -r '^cases.refunds' --watch",
        "lines that no passed test reaches:",
        "1 of 2 tests passed, 1 of 2 cases passed",
    ):
        assert line in out.splitlines(), out


def test_only_what_matches_is_run_and_nothing_at_all_is_a_failure(tmp_path, run):
    _folder(tmp_path, BROKEN)

    assert run("test", "-r", "small")[:2] == (say.DONE, "1 of 1 tests passed, 1 of 1 cases passed\n")
    assert run("test", "-r", "nosuch")[:2] == (say.FAILED, "no test has such a name\n")
    assert run("test", "-r", "(")[0] == say.USAGE
    assert run("test", "--format", "xml")[0] == say.USAGE
    assert run("test", "gone")[0] == say.USAGE


def test_what_does_not_compile_and_a_table_that_is_none_are_failures_with_their_places(tmp_path, run):
    _folder(tmp_path, {TEST: TESTS + "\ntest_x if nosuch\n", TABLE: CASES.replace("refund.create", "refund.creat")})

    code, out, _ = run("test")

    assert code == say.FAILED
    assert f"FAIL {TEST}:16  gate.compile" in out
    assert f"FAIL {TABLE}:3  table.action" in out
    assert "did you mean `refund.create`?" in out


UNCOMPILED = {
    "no such name": ("_x if nosuch", 22, "gate.compile", "rego_unsafe_var_error: var nosuch is unsafe"),
    "no Rego": ("_x if {", 23, "gate.compile", "rego_parse_error: unexpected eof token"),
    "another type": ('_x := 1 + "a"', 22, "gate.compile", "rego_type_error: plus: invalid argument(s)"),
    "a clock": ("_x := time.now_ns()", 22, "gate.builtin", "rego_type_error: undefined function time.now_ns"),
}


@pytest.mark.parametrize("name", UNCOMPILED)
def test_a_policy_that_does_not_compile_is_told_once_with_its_place_in_every_format(name, tmp_path, run):
    text, line, code, said = UNCOMPILED[name]
    _folder(tmp_path, {FILE: f"{POLICY}\n{text}\n"})

    told = {format_: run("test", "--format", format_) for format_ in formats.FORMATS}

    assert {ended for ended, _, _ in told.values()} == {say.FAILED}
    assert not [format_ for format_, (_, out, _) in told.items() if '"errors"' in out or "{%0A" in out]
    assert [row for row in told["text"][1].splitlines() if row[:4] in ("FAIL", "    ")][:2] == [
        f"FAIL {FILE}:{line}  {code}",
        f"     {said}",
    ]
    (found,) = json.loads(told["json"][1])["findings"]
    assert (found["file"], found["line"], found["code"], found["detail"]) == (FILE, line, code, said)
    (result,) = json.loads(told["sarif"][1])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == line
    (error,) = [row for row in told["github"][1].splitlines() if row.startswith("::error ")]
    assert error.startswith(f"::error file=rego/{FILE},line={line},title={code}::{said}")
    assert f'line="{line}"' in told["junit"][1]


@pytest.mark.parametrize("name", ["no such name", "a clock"])
def test_a_bundles_file_fails_its_check_as_its_folder_does(name, tmp_path, run):
    text, line, code, said = UNCOMPILED[name]
    (tmp_path / "bad.tar.gz").write_bytes(policy(f"{FIRST}\n{text}\n"))

    ended, out, err = run("check", "bad.tar.gz")
    again, as_json, _ = run("check", "bad.tar.gz", "--json")

    line += FIRST.count("\n") - POLICY.count("\n")
    assert (ended, again, out) == (say.FAILED, say.FAILED, "")
    assert err.startswith(f"error: {FILE}:{line}: {said} [{code}]\nhint: ")
    assert [(found["file"], found["line"]) for found in json.loads(as_json)["findings"]] == [(FILE, line)]


def test_a_file_that_is_no_bundle_fails_its_check_and_the_hint_makes_one(tmp_path, run):
    (tmp_path / "cut.tar.gz").write_bytes(b"PK")

    assert run("check", "cut.tar.gz") == (
        say.FAILED,
        "",
        "error: not a gzip file [bundle.archive]\nhint: magistrate policy build rego\n",
    )
    assert run("check", "gone.tar.gz")[0] == say.USAGE


@pytest.mark.parametrize(
    ("code", "verb"), [("bundle.manifest", "ls"), ("gate.compile", "check rego"), ("table.value", "test")]
)
def test_what_a_bundle_holds_is_a_failed_check_wherever_it_is_found(code, verb, capsys):
    assert say.failed(Malformed(code, "no")) == say.FAILED
    assert capsys.readouterr().err.splitlines()[-1] == f"hint: magistrate policy {verb}"
    assert say.failed(Malformed("input.file", "no")) == say.USAGE


def test_lines_that_no_test_reaches_are_listed(tmp_path, run):
    _folder(tmp_path)

    code, out, _ = run("test", "--coverage", "-r", "test_a_small")

    assert code == say.DONE
    assert "     policies/refunds/refunds.rego:18" in out.splitlines()
    assert "magistrate/" not in out  # not what the chosen tests lie beside


def test_lines_that_lie_together_are_told_together():
    gaps = [Gap(path="a.rego", first=a, last=b, kind="") for a, b in ((3, 3), (5, 6), (7, 7), (6, 6))]

    assert list(formats._by_file([*gaps, Gap(path="b.rego", first=1, last=9, kind="x")])) == [
        "     a.rego:3, 5-7",
        "     b.rego:1-9",
    ]


def test_a_refusal_says_where_its_reasons_are_explained(capsys):
    reason = {"code": "refunds.budget", "title": "Too much", "remedy": "wait", "policy": "policies.refunds"}

    assert say.failed(Refused("a.b", "no", reasons=[reason])) == say.DENIED

    assert "  see docs/reasons.md#refunds-budget" in capsys.readouterr().err.splitlines()


def test_the_page_of_reasons_is_written_and_listed(tmp_path, run):
    _folder(tmp_path)

    assert run("reasons", "--out", "reasons.md")[::2] == (say.DONE, "2 codes in reasons.md\n")
    assert [row["code"] for row in json.loads(run("reasons", "--json")[1])] == ["refunds.any", "refunds.large"]
    assert run("reasons")[1] == Path("reasons.md").read_text()


def test_a_new_policy_is_not_made_inside_an_installed_program(tmp_path, run, monkeypatch):
    packed = tmp_path / "site" / "_shipped" / "rego"
    shutil.copytree(ROOT / "rego", packed)
    monkeypatch.setattr(authoring.shipped, "folder", lambda _: packed)

    code, _, err = run("new", "x", "--action", "refund.create", "--tier", "T1")

    assert code == say.USAGE
    assert f"hint: cp -r {packed} rego" in err


def test_json_holds_every_test_and_row(tmp_path, run):
    _folder(tmp_path, BROKEN)

    code, out, _ = run("test", "--format", "json")

    said = json.loads(out)
    assert code == say.FAILED
    assert [(test["state"], test["line"]) for test in said["tests"]] == [("passed", 8), ("failed", 14)]
    assert said["tests"][1]["failures"][0]["expected"] == '"deny"'
    assert said["cases"][1]["cells"] == [{"column": "outcome", "expected": "ask", "actual": "deny"}]


def test_junit_counts_what_failed(tmp_path, run):
    _folder(tmp_path, BROKEN)

    code, out, _ = run("test", "--format", "junit")

    suite = ET.fromstring(out).find("testsuite")
    assert code == say.FAILED
    assert (suite.get("tests"), suite.get("failures")) == ("4", "2")
    failed = {case.get("name"): case.find("failure").text for case in suite if case.find("failure") is not None}
    assert set(failed) == {"test_a_large_one_is_not", "refunds.a large one"}
    assert 'expected  "deny"' in failed["test_a_large_one_is_not"]


def test_sarif_and_github_name_files_from_where_we_stand(tmp_path, run):
    _folder(tmp_path, BROKEN)

    sarif = json.loads(run("test", "--format", "sarif")[1])["runs"][0]
    github = run("test", "--format", "github")[1].splitlines()

    errors = [result for result in sarif["results"] if result["level"] == "error"]
    places = [result["locations"][0]["physicalLocation"] for result in errors]
    assert [(place["artifactLocation"]["uri"], place["region"]["startLine"]) for place in places] == [
        (f"rego/{TEST}", 14),
        (f"rego/{TABLE}", 4),
    ]
    assert {rule["id"] for rule in sarif["tool"]["driver"]["rules"]} >= {"gate.test", "gate.case"}
    assert github[0].startswith(
        f"::error file=rego/{TEST},line=14,title=tests.policies.refunds.test_a_large_one_is_not::"
    )
    assert "%0A" in github[0]


def test_a_value_cannot_speak_for_the_printer(tmp_path, run):
    """What a test holds is printed as text: it neither moves the cursor nor makes a command of its own."""
    hostile = TESTS + '\ntest_x if refunds.governs == {"\\u001b[2J\\n::error::x"}\n'
    _folder(tmp_path, {TEST: hostile})

    for format_ in ("text", "github", "junit", "sarif"):
        out = run("test", "-r", "test_x", "--format", format_)[1]
        assert "\x1b" not in out
        assert not [line for line in out.splitlines() if line.startswith("::error::x")]


def test_a_change_runs_the_tests_again(tmp_path, run, monkeypatch):
    folder = _folder(tmp_path, BROKEN)

    def mend():
        """Once the first run has ended, between two looks at the files."""
        until = time.monotonic() + 60
        while not waiting.is_set() and time.monotonic() < until:
            time.sleep(0.05)
        (folder / TABLE).write_text(CASES)
        (folder / TEST).write_text(TESTS)

    waiting = threading.Event()
    monkeypatch.setattr(authoring, "LOOK_EVERY", 1.0)
    monkeypatch.setattr(authoring.say, "words", lambda text: (waiting.set(), say.typer.echo(text, err=True)))

    other = threading.Thread(target=mend)
    other.start()
    code, out, err = run("test", "--watch", "--times", "2")
    other.join()

    assert [line for line in out.splitlines() if "tests passed" in line] == [
        "1 of 2 tests passed, 1 of 2 cases passed",
        "2 of 2 tests passed, 2 of 2 cases passed",
    ]
    assert "waiting for a change" in err
    assert code == say.DONE


def test_a_bundle_is_built_into_the_archive_and_its_report_printed(tmp_path, run):
    folder = _folder(tmp_path)

    code, out, err = run("build", "--out", "bundles", "--json")
    again, path, _ = run("build", "--out", "bundles")

    made = json.loads(out)
    assert (code, again) == (say.DONE, say.DONE)
    assert "sequence 1, contract 1: 2 tests, 2 cases, 2 canaries passed, 10 of 10 lines reached" in err
    assert sorted(p.name for p in (tmp_path / "bundles").iterdir()) == [
        made["bundle"]["digest"].removeprefix("sha256:") + ".tar.gz",
        "index.json",
    ]
    assert path.strip() == f"bundles/{made['bundle']['digest'].removeprefix('sha256:')}.tar.gz"
    assert Archive(Path("bundles"), None).digests() == [made["bundle"]["digest"]]
    assert folder.is_dir()


def test_a_second_bundle_under_a_known_sequence_is_refused(tmp_path, run):
    folder = _folder(tmp_path)
    run("build")
    policy = folder / "policies/refunds/refunds.rego"
    policy.write_text(policy.read_text().replace("Too much", "Far too much"))

    code, out, err = run("build")

    assert (code, out) == (say.CONFLICT, "")
    assert "[bundle.sequence_taken]" in err
    assert "; raise `sequence` and `revision` in .manifest [bundle.sequence_taken]" in err
    assert len(list((tmp_path / "bundles").iterdir())) == 2


@pytest.mark.parametrize("verb", ["build", "check"])
def test_what_keeps_a_folder_out_is_told_line_by_line_and_nothing_is_built(tmp_path, run, verb):
    _folder(tmp_path, BROKEN)

    code, out, err = run(verb)
    _, as_json, _ = run(verb, "--json")

    assert (code, out) == (say.FAILED, "")
    assert f"error: {TEST}:14: tests.policies.refunds.test_a_large_one_is_not fails" in err
    assert f"error: {TABLE}:4: cases.refunds.a large one: outcome: expected ask, actual deny [gate.case]" in err
    assert [found["code"] for found in json.loads(as_json)["findings"]] == ["gate.test", "gate.case"]
    assert not (tmp_path / "bundles").exists()


def test_a_folder_that_holds_and_a_bundle_are_checked_with_their_facts(tmp_path, run):
    _folder(tmp_path)
    code, out, _ = run("check", "--json")
    path = run("build")[1].strip()

    again, facts, _ = run("check", path, "--json")

    assert (code, again) == (say.DONE, say.DONE)
    assert json.loads(out)["bundle"] == json.loads(facts)
    assert not json.loads(out).keys() - {"bundle", "tests", "cases", "canaries", "coverage"}


def test_a_new_policy_is_made_where_we_stand_and_its_files_named(tmp_path, run):
    shutil.copytree(ROOT / "rego", tmp_path / "rego")
    words = ("new", "payouts", "--action", "payout.create", "--new-action", "--target-kind", "ledger", "--tier", "T1")

    code, out, err = run(*words, "--limit", "amount=5000")

    assert code == say.DONE
    assert "rego/policies/payouts/payouts.rego" in out.splitlines()
    assert all(Path(name).is_file() for name in out.splitlines())
    assert "next: magistrate policy test -r payouts --watch" in err
    assert run(*words)[0] == say.CONFLICT


@pytest.mark.parametrize("limit", ["amount", "amount=", "amount=x", "amount=-1", "amount=1.5", "=5"])
def test_a_limit_that_is_none_is_refused(tmp_path, run, limit):
    shutil.copytree(ROOT / "rego", tmp_path / "rego")

    code, out, err = run("new", "x", "--action", "refund.create", "--tier", "T1", "--limit", limit)

    assert (code, out) == (say.USAGE, "")
    assert "[new.limit]" in err
    assert not (tmp_path / "rego/policies/x").exists()


def test_on_a_terminal_what_no_flag_says_is_asked(tmp_path, run, monkeypatch):
    shutil.copytree(ROOT / "rego", tmp_path / "rego")
    asked = []
    answers = {"Title": "Big refunds", "Actions": "refund.create", "Lowest": "T2", "Limits,": "amount=200000"}
    monkeypatch.setattr(authoring, "interactive", lambda: True)

    def prompt(text, **_):
        asked.append(text)
        return answers[text.split()[0]]

    monkeypatch.setattr(authoring.typer, "prompt", prompt)

    code, out, _ = run("new", "big_refunds")

    assert code == say.DONE
    assert len(asked) == 4
    assert "# title: Big refunds" in Path(out.splitlines()[0]).read_text()
