"""A hint is a command that can be run: by every code, and wherever an error says its own."""

import ast
import re
from pathlib import Path

import pytest

from magistrate.cli import hints, say
from magistrate.core.errors import Conflict
from tests.support import reference

SRC = Path(__file__).parents[2] / "src" / "magistrate"
VERBS = {words for words, _, _ in reference.verbs()}
TOOLS = ("MAGISTRATE_OPA_SHA256=X magistrate ", "chmod ", "chronyc ", "cp ", "ls ", "pip install ", "readlink ", "rm ")
# an author's hints are lines of Rego and YAML, beside the file they mend
AUTHORS = [
    f"policy/{name}.py"
    for name in ("blank", "build", "gate", "gated", "scaffold", "strict_yaml", "tables", "vocabulary")
]


def can_be_run(hint):
    """Whether it begins with a verb that exists; a value that is filled in later is taken as it comes."""
    words = hint.split(" ")
    return hint.startswith((*TOOLS, "magistrate --", "magistrate X ", "X --")) or any(
        " ".join(words[:n]) in VERBS for n in range(1, len(words) + 1)
    )


def known():
    """What begins a hint, as far as the source states it: place and text."""
    for path in sorted(SRC.rglob("*.py")):
        where = path.relative_to(SRC).as_posix()
        if where in AUTHORS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for said in getattr(node, "keywords", ()):
                if said.arg == "hint" and (text := _text(said.value)):
                    yield f"{where}:{node.lineno}", text
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "hint" and (text := _text(node.value)):
                yield f"{where}:{node.lineno}", text


def _text(value):
    if isinstance(value, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in value.values)
    return value.value if isinstance(value, ast.Constant) else ""


def test_every_hint_in_the_source_can_be_run():
    assert [(where, hint) for where, hint in known() if not can_be_run(hint)] == []


@pytest.mark.parametrize("hint", [*hints.BY_FAMILY.values(), *hints.BY_CODE.values()])
def test_every_hint_of_the_table_can_be_run(hint):
    assert can_be_run(hint)
    for flag in re.findall(r"--[a-z-]+", hint):
        assert flag in ("--help", "--check")


def test_every_code_of_the_program_has_a_family_and_every_family_a_code():
    families = {code.partition(".")[0] for code in reference.codes()}
    assert families - set(hints.BY_FAMILY) == set()
    said = families | {reason.partition(".")[0] for reason in reference.reasons()}
    assert set(hints.BY_FAMILY) - said == set()
    assert set(hints.BY_CODE) <= set(reference.codes())


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("intent.state", "magistrate intent ls"),
        ("approval.denied", "magistrate approvals ls"),
        ("execution.ended", "magistrate execution ls"),
        ("entry.parent", "magistrate ledger verify"),
        ("state.differs", "magistrate ledger rebuild --check"),
        ("opa.eval_error", "magistrate opa which"),
        ("signature.wrong", "magistrate keys pin --help"),
        ("signature.type", "magistrate doctor"),
        ("nobody.knows", "magistrate doctor"),
        ("", "magistrate doctor"),
    ],
)
def test_an_error_that_says_nothing_is_helped_by_its_code(capsys, code, hint):
    assert say.failed(Conflict(code, "no")) == say.CONFLICT
    assert capsys.readouterr().err.splitlines()[-1] == f"hint: {hint}"


def test_what_an_error_says_itself_stands(capsys):
    say.failed(Conflict("intent.state", "no", hint="magistrate intent show int-1"))
    assert capsys.readouterr().err.splitlines()[-1] == "hint: magistrate intent show int-1"
