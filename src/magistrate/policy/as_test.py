"""A recorded answer as a Rego test: it passes on the bundle that gave it, and fails where a rule or a limit moved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from magistrate.core.errors import Unavailable
from magistrate.core.values import thaw
from magistrate.policy.binary import Binary
from magistrate.policy.command import run

APART: Final = "tests.recorded"  # for what no policy governs


def as_test(
    binary: Binary,
    *,
    name: str,
    about: str,
    governing: Sequence[str],
    document: str,
    question: Mapping[str, Any],
    answer: Mapping[str, Any],
) -> str:
    """The text of a test file, formatted as `opa fmt` does; it lies beside the policy whose package it names.

    Raises:
        Unavailable: `opa.start`, OPA cannot format it.
    """
    package = f"tests.{governing[0]}" if governing else APART
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    expected = _decided(answer) if document == "decision" else [f"answer == {_rego(answer, indent=2)}"]
    text = "\n".join(
        [
            *(f"# {line}" for line in _one_line(about)),
            f"package {package}",
            "",
            f"_question_{word} := {_rego(question, indent=2)}",
            "",
            f"test_recorded_{word} if {{",
            f"\tanswer := data.magistrate.{document} with input as _question_{word}",
            *(f"\t{line}" for line in expected),
            "}",
        ]
    )
    ran = run(binary, "fmt", stdin=text.encode())
    if ran.returncode != 0:
        raise Unavailable("opa.start", "`opa fmt` failed: " + ran.stderr.decode("utf-8", "replace")[:400])
    return ran.stdout.decode()


def _decided(answer: Mapping[str, Any]) -> Iterator[str]:
    """All of a decision but the words of its reasons: a title may be written better, a code may not move."""
    standing = answer["standing"]
    codes = sorted({reason["code"] for reason in standing["reasons"]})
    yield f"answer.standing.outcome == {_rego(standing['outcome'])}"
    yield f"{{reason.code | some reason in answer.standing.reasons}} == {_set(codes)}"
    yield f"answer.standing.wanted == {_rego(standing['wanted'])}"
    yield f"answer.standing.issue == {_rego(standing['issue'], indent=2)}"
    yield f"answer.terms == {_rego(answer['terms'], indent=2)}"


def _rego(value: Any, indent: int | None = None) -> str:
    """JSON is Rego."""
    return json.dumps(thaw(value), sort_keys=True, indent=indent)


def _set(values: Sequence[str]) -> str:
    return "{" + ", ".join(_rego(value) for value in values) + "}" if values else "set()"


def _one_line(about: str) -> Iterator[str]:
    """A comment ends where its line does: whatever could begin another is left out."""
    for line in about.split("\n"):
        yield "".join(letter if letter.isprintable() else "?" for letter in line)
