"""OPA's own tests of a folder, each failed one told in full: line, expected, actual, facts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from magistrate.core.values import Count, Document
from magistrate.policy import gate, source
from magistrate.policy.binary import Binary
from magistrate.policy.failure import Failure, Sources, read

TOLD: Final = 10  # failed tests told in full: a trace may be megabytes, and nobody reads an eleventh


class Tested(Document):
    """One test and what came of it; `seconds` is how long it took."""

    name: str
    file: str
    line: Count
    state: Literal["passed", "failed", "errored", "skipped"]
    seconds: float
    failures: tuple[Failure, ...]
    error: str  # of a test that ended in one: OPA's words and the place
    printed: str  # what its `print` calls said


def outcomes(binary: Binary, folder: Path, only: str = "") -> list[Tested]:
    """Run the tests whose whole name (`data.tests.policies.x.test_y`) matches `only`; all of them for "".

    Raises:
        Malformed: `gate.compile` or `gate.builtin`, the folder does not compile.
    """
    rows = sorted(_run(binary, folder, only), key=lambda row: (row["location"]["file"], row["location"]["row"]))
    told = [row for row in rows if row.get("fail")][:TOLD]
    traced = {_name(row): row for row in _traced(binary, folder, told)}
    sources = Sources(folder)
    return [_tested(row, traced.get(_name(row), {}), sources) for row in rows]


def _traced(binary: Binary, folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same tests once more, with values: OPA traces passed tests too, so only the failed are asked again."""
    if not rows:
        return []
    names = "|".join(re.escape(_name(row)) for row in rows)
    return _run(binary, folder, f"^({names})$", "--var-values")


def _run(binary: Binary, folder: Path, only: str, *more: str) -> list[dict[str, Any]]:
    chosen = ("--run", only) if only else ()
    ran = source.run_purely(binary, folder, "test", *source.TEST_ARGUMENTS, *source.IGNORED, *chosen, *more)
    try:
        return list(json.loads(ran.stdout) or ())
    except ValueError:
        raise gate.refusal(ran.stderr or ran.stdout) from None


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['package']}.{row['name']}"


def _tested(row: Mapping[str, Any], traced: Mapping[str, Any], sources: Sources) -> Tested:
    state: Literal["passed", "failed", "errored", "skipped"] = "passed"
    if row.get("error"):
        state = "errored"
    elif row.get("fail"):
        state = "failed"
    elif row.get("skip"):
        state = "skipped"
    parts = sorted(name for name, part in (row.get("sub_results") or {}).items() if part.get("fail"))
    return Tested(
        name=_name(row),
        file=row["location"]["file"],
        line=row["location"]["row"],
        state=state,
        seconds=row["duration"] / 1e9,
        failures=tuple(read(traced.get("trace") or (), sources, parts)) if traced else (),
        error=_error(row.get("error") or {}),
        printed=base64.b64decode(row.get("output") or "").decode("utf-8", "replace"),
    )


def _error(said: Mapping[str, Any]) -> str:
    """OPA's words for an error, and where it was."""
    if not said:
        return ""
    places = [said.get("location"), *(frame.get("location") for frame in said.get("stack_trace") or ())]
    place: Mapping[str, Any] = next(filter(None, places), {})
    where = f" at {place['file']}:{place['row']}" if place.get("file") else ""
    return f"{said.get('code', '')}: {said.get('message', '')}{where}"
