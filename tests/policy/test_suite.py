"""A failed test says its line, what it expected, what it got, and which line of the policy said no."""

from pathlib import Path

import pytest

from magistrate.core.errors import Malformed
from magistrate.policy import suite
from magistrate.policy.suite import outcomes

POLICY = """package policies.p

x := 1 if input.a == "a"

x := 2 if input.a == "b"

tier contains "T0" if input.amount > 3

governs := {"a", "b"}
"""

TESTS = """package tests.policies.p

import data.policies.p

_of(a) := {"amount": a}

_codes(q) := s if s := p.tier with input as q

_low(x) if x < 3

"""

# each: a test, and of its failure the line's text, expected, actual, differences, one fact, one line that said no
FAILURES = {
    "a bound value": (
        'test_it if {\n\tv := p.tier with input as _of(2)\n\tv == {"T0"}\n}',
        (
            'v == {"T0"}',
            '{"T0"}',
            "set()",
            ('/: "T0" is missing',),
            "v = set()",
            "p.rego:7: input.amount > 3   (2 > 3)",
        ),
    ),
    "a call": (
        'test_it if _codes(_of(3)) == {"T0"}',
        (
            '_codes(_of(3)) == {"T0"}',
            '{"T0"}',
            "set()",
            ('/: "T0" is missing',),
            '_of(3) = {"amount": 3}',
            "p.rego:7: input.amount > 3   (3 > 3)",
        ),
    ),
    "a value written first": (
        'test_it if {"T0"} == _codes(_of(3))',
        (
            '{"T0"} == _codes(_of(3))',
            '{"T0"}',
            "set()",
            ('/: "T0" is missing',),
            '_of(3) = {"amount": 3}',
            "p.rego:7: input.amount > 3   (3 > 3)",
        ),
    ),
    "one of many": (
        'test_it if {\n\tevery amount in [5, 4, 1] {\n\t\t_codes(_of(amount)) == {"T0"}\n\t}\n}',
        (
            '_codes(_of(amount)) == {"T0"}',
            '{"T0"}',
            "set()",
            ('/: "T0" is missing',),
            "amount = 1",
            "p.rego:7: input.amount > 3   (1 > 3)",
        ),
    ),
    "a negation": (
        'test_it if not p.tier["T0"] with input as _of(9)',
        ('not p.tier["T0"] with input as _of(9)', "not to hold", "holds", (), '_of(9) = {"amount": 9}', ""),
    ),
    "nothing": (
        'test_it if {\n\tp.x == 1 with input as {"a": "z"}\n}',
        ('p.x == 1 with input as {"a": "z"}', "1", "p.x is undefined", (), "", ""),
    ),
    "a builtin's error": (
        'test_it if {\n\t1 == to_number("zz")\n}',
        ('1 == to_number("zz")', "a value", 'to_number("zz") is undefined', (), "", ""),
    ),
    "a helper": (
        "test_it if {\n\t_low(7)\n}",
        ("_low(7)", "to hold", "tests.policies.p._low(7) does not", (), "", "p_test.rego:9: x < 3   (7 < 3)"),
    ),
    "a member": (
        'test_it if {\n\t"x" in p.governs\n}',
        ('"x" in p.governs', '"x" among them', '{"a", "b"}', (), 'p.governs = {"a", "b"}', ""),
    ),
    "an order": (
        "test_it if count(p.governs) > 2",
        ("count(p.governs) > 2", "> 2", "2", (), "count(p.governs) = 2", ""),
    ),
    "a sum, in an `every` of an `every`": (
        "test_it if {\n\tevery x in [1, 2] {\n\t\tevery y in [3, 4] {\n\t\t\tx + y < 6\n\t\t}\n\t}\n}",
        ("x + y < 6", "< 6", "6", (), "y = 4", ""),
    ),
    "a path into a value": (
        'test_it if {\n\tx := _of([1, {"b": 2}])\n\tx.amount[1].b == 3\n}',
        ("x.amount[1].b == 3", "3", "2", ("/: expected 3, actual 2",), "x.amount[1].b = 2", ""),
    ),
    "a search that finds nothing": (
        "test_it if {\n\tsome x in [1, 2]\n\tx > 3\n}",
        ("x > 3", "> 3", "2", (), "x = 2", ""),
    ),
    "a builtin that says no": (
        'test_it if {\n\tstartswith(_of("abc").amount, "b")\n}',
        ('startswith(_of("abc").amount, "b")', "to hold", 'startswith("abc", "b") does not', (), "", ""),
    ),
    "an object": (
        'test_it if _of({"a": 1, "b": [1, {2}], "c": 3}) == {"amount": {"a": 1, "b": [1, {4}], "d": 4}}',
        (
            '_of({"a": 1, "b": [1, {2}], "c": 3}) == {"amount": {"a": 1, "b": [1, {4}], "d": 4}}',
            '{"amount": {"a": 1, "b": [1, {4}], "d": 4}}',
            '{"amount": {"a": 1, "b": [1, {2}], "c": 3}}',
            (
                "/amount/b/1: 4 is missing",
                "/amount/b/1: 2 is not expected",
                "/amount/c: expected nothing, actual 3",
                "/amount/d: expected 4, actual nothing",
            ),
            "",
            "",
        ),
    ),
}


def _folder(tmp_path: Path, tests: str) -> Path:
    (tmp_path / "p.rego").write_text(POLICY)
    (tmp_path / "p_test.rego").write_text(TESTS + tests + "\n")
    return tmp_path


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_what_was_expected_and_what_came(tmp_path, binary, name):
    test, (text, expected, actual, differences, fact, because) = FAILURES[name]

    (outcome,) = outcomes(binary, _folder(tmp_path, test), only="")
    (failure,) = outcome.failures

    assert outcome.state == "failed"
    assert (failure.text, failure.expected, failure.actual) == (text, expected, actual)
    assert set(failure.differences) == set(differences)
    assert not fact or fact in failure.facts
    assert len({fact.partition(" = ")[0] for fact in failure.facts}) == len(failure.facts)
    assert not because or because in failure.unmet
    assert text in (tmp_path / failure.file).read_text().splitlines()[failure.line - 1]


def test_of_a_table_each_failed_part_is_told(tmp_path, binary):
    table = 'test_it[name] if {\n\tsome name, amount in {"one": 4, "two": 2, "three": 1}\n\t_codes(_of(amount)) == {"T0"}\n}'

    (outcome,) = outcomes(binary, _folder(tmp_path, table), only="")

    assert [(failure.part, failure.actual) for failure in outcome.failures] == [("three", "set()"), ("two", "set()")]
    assert {"tc = 2", "amount = 2"} & set(outcome.failures[1].facts)


def test_states_and_places_of_every_test(tmp_path, binary):
    tests = "test_a if true\n\ntest_b if false\n\ntodo_test_c if false"

    found = outcomes(binary, _folder(tmp_path, tests), only="")

    assert [(test.name, test.state, test.line) for test in found] == [
        ("data.tests.policies.p.test_a", "passed", 11),
        ("data.tests.policies.p.test_b", "failed", 13),
        ("data.tests.policies.p.todo_test_c", "skipped", 15),
    ]


def test_an_error_is_told_with_its_place_and_what_was_printed_is_kept(tmp_path, binary):
    tests = '_y := 1 if p.governs\n\n_y := 2 if p.governs\n\ntest_it if {\n\tprint("so far")\n\t_y == 1\n}'

    (outcome,) = outcomes(binary, _folder(tmp_path, tests), only="")

    assert (outcome.state, outcome.failures, outcome.printed) == ("errored", (), "so far\n")
    assert outcome.error.startswith("eval_conflict_error: ")
    assert outcome.error.endswith("at p_test.rego:13")


def test_only_what_matches_is_run(tmp_path, binary):
    folder = _folder(tmp_path, "test_a if true\n\ntest_b if false")

    assert [test.name for test in outcomes(binary, folder, only="test_a$")] == ["data.tests.policies.p.test_a"]
    assert outcomes(binary, folder, only="nosuch") == []


def test_an_eleventh_failure_is_named_and_not_told(tmp_path, binary):
    folder = _folder(tmp_path, "\n\n".join(f"test_{n} if 1 == 2" for n in range(suite.TOLD + 1)))

    found = outcomes(binary, folder, only="")

    assert len(found) == suite.TOLD + 1
    assert sum(1 for test in found if not test.failures) == 1


@pytest.mark.parametrize(
    ("tests", "code"), [("test_a if y", "gate.compile"), ("test_a if time.now_ns() > 0", "gate.builtin")]
)
def test_what_does_not_compile_or_could_differ_tomorrow_is_refused(tmp_path, binary, tests, code):
    with pytest.raises(Malformed) as refused:
        outcomes(binary, _folder(tmp_path, tests), only="")

    assert refused.value.code == code
    assert "p_test.rego:11" in refused.value.detail
