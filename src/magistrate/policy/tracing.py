"""One question asked with OPA's whole trace: which rules held, and how it got there.

It is `opa eval` on the very bytes of the bundle, a process of its own: the sidecars' rule about who may ask what, which
keeps the trace from everybody, stays as it is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from magistrate.core.errors import NoAnswer
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.command import run
from magistrate.policy.places import Places, Rule, Spot

_SHOWN: Final = {"Enter": ">", "Eval": " ", "Fail": "x", "Exit": "<"}  # Redo and Index are OPA's bookkeeping
_METADATA: Final = ("rego.metadata", "reason")  # what a rule says of itself; it stands beside it
_WIDE: Final = 120  # characters of a value


@dataclass(frozen=True)
class Step:
    """One event of the trace; `rule` says that it is about a whole rule."""

    op: str
    spot: Spot
    rule: bool
    query: int
    parent: int
    known: tuple[tuple[str, Spot, str], ...]  # the names that have a value: the name, where it stands, the value


@dataclass(frozen=True)
class Trace:
    """What OPA answered, and the way there."""

    answer: Any
    steps: tuple[Step, ...] = field(repr=False)

    def held(self) -> frozenset[Spot]:
        """The places of the rules that came to a value."""
        return frozenset(step.spot for step in self.steps if step.rule and step.op == "Exit")

    def entered(self) -> frozenset[str]:
        """The files in which something was evaluated."""
        return frozenset(step.spot[0] for step in self.steps)

    def lines(self, places: Places, files: frozenset[str]) -> Iterator[str]:
        """The trace of these files, readable: a rule begins `>`, fails at `x`, holds at `<`."""
        depths: dict[int, int] = {}
        rules = {rule.spot: rule for rule in places.rules()}
        said = ""
        for step in self.steps:
            about = step.spot[0] in files
            depth = depths.setdefault(step.query, depths.get(step.parent, -1) + (about and step.rule))
            text = _text(step, rules, places) if about and step.op in _SHOWN else ""
            line = f"{step.spot[0].removeprefix('/')}:{step.spot[1]:<4} {'  ' * depth}{_SHOWN.get(step.op)} {text}"
            if not text or line == said:  # OPA evaluates in smaller pieces than people write
                continue
            said = line
            known = "  ".join(dict.fromkeys(_known(step, places)))
            yield f"{line}    {known}" if known else line


def trace(binary: Binary, bundle: Bundle, document: str, question: bytes) -> Trace:
    """Ask once, with the whole trace.

    Raises:
        NoAnswer: `opa.eval_error` or `opa.undefined`, the bundle gives no answer to this question.
        Unavailable: `opa.start`, OPA does not run.
    """
    said = evaluate(binary, bundle, f"data.magistrate.{document}", question, "--explain", "full")
    answer = said["result"][0]["expressions"][0]["value"]
    return Trace(answer, tuple(_step(event) for event in said.get("explanation", [])))


def governing(binary: Binary, bundle: Bundle, action: str) -> list[str]:
    """The packages of the policies that govern an action."""
    query = "sort([name | data.policies[name].governs[input]])"
    said = evaluate(binary, bundle, query, json.dumps(action).encode())
    return [f"policies.{name}" for name in said["result"][0]["expressions"][0]["value"]]


def evaluate(binary: Binary, bundle: Bundle, query: str, question: bytes, *more: str) -> dict[str, Any]:
    """What `opa eval` prints of one query, errors of builtins being errors.

    Raises:
        NoAnswer: as `trace`.
    """
    with tempfile.TemporaryDirectory(prefix="magistrate-trace-") as scratch:
        (Path(scratch) / "bundle.tar.gz").write_bytes(bundle.raw)
        flags = ("--bundle", "bundle.tar.gz", "--stdin-input", "--strict-builtin-errors", "--format", "json")
        ran = run(binary, "eval", *flags, *more, query, cwd=Path(scratch), stdin=question)
    said: dict[str, Any] = json.loads(ran.stdout or b"{}")
    if ran.returncode != 0:
        faults = said.get("errors") or [{"message": ran.stderr.decode("utf-8", "replace")}]
        raise NoAnswer("opa.eval_error", f"the bundle failed on this question: {faults[0].get('message', '')}"[:400])
    if not said.get("result"):
        raise NoAnswer("opa.undefined", "the bundle gives no answer to this question")
    return said


def _step(event: Mapping[str, Any]) -> Step:
    at, node = event["Location"], event["Node"]
    rule = isinstance(node, Mapping) and "head" in node
    shown = event["Op"] in ("Fail", "Exit")
    return Step(
        op=str(event["Op"]),
        spot=(str(at["file"]), int(at["row"]), int(at["col"])),
        rule=rule,
        query=int(event["QueryID"]),
        parent=int(event["ParentID"]),
        known=tuple(_locals(event)) if shown else (),
    )


def _locals(event: Mapping[str, Any]) -> Iterator[tuple[str, Spot, str]]:
    """What had a value at this step."""
    given = event.get("LocalMetadata") or {}
    for local in event.get("Locals") or []:
        about = given.get(local.get("name"), {})
        at = about.get("location") or {}
        spot = (str(at.get("file", "")), int(at.get("row", 0)), int(at.get("col", 0)))
        yield str(about.get("name", "")), spot, brief(_value(local))


def _known(step: Step, places: Places) -> Iterator[str]:
    """The author's own names, and what their references led to."""
    for name, spot, value in step.known:
        text = name if not name.startswith(("__", "$", "_")) else places.term(spot)
        if text and "\n" not in text and not text.startswith(_METADATA):
            yield f"{text}={value}"


def _value(term: Any) -> Any:
    """A term of OPA's syntax as a value, as near as JSON comes."""
    kind, value = term.get("type"), term.get("value")
    if kind in ("array", "set"):
        return [_value(inner) for inner in value]
    if kind == "object":
        return {str(_value(key)): _value(inner) for key, inner in value}
    return value if kind in ("string", "number", "boolean", "null") else f"<{kind}>"


def brief(value: Any) -> str:
    """A value in one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _WIDE else text[: _WIDE - 1] + "…"


def _text(step: Step, rules: Mapping[Spot, Rule], places: Places) -> str:
    """The first line of what the step is about; "" where OPA made it up."""
    if step.rule:
        rule = rules.get(step.spot)
        return rule.source.split("\n")[0] if rule else ""
    if step.op in ("Enter", "Exit"):
        return ""
    return places.text(step.spot).split("\n")[0]
