"""Our own figure of what the tests reach: over the files that ship, line by line.

OPA's total counts the test files, which always cover themselves, and leaves out a file that nothing touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magistrate.core.errors import Broken
from magistrate.core.values import Count, Document, Text
from magistrate.policy import gate, source
from magistrate.policy.binary import Binary
from magistrate.policy.command import run


class Gap(Document):
    """Lines of a policy that no test evaluated; `kind` is why, "" when nothing more is known."""

    path: Text
    first: Count
    last: Count
    kind: Text

    def __str__(self) -> str:
        because = f" ({self.kind})" if self.kind else ""
        upto = f"-{self.last}" if self.last > self.first else ""
        return f"{self.path}:{self.first}{upto}{because}"


class Coverage(Document):
    """How many lines of the Rego that ships are evaluated by some test, and where the others are."""

    covered: Count
    lines: Count
    gaps: tuple[Gap, ...]


def measured(binary: Binary, folder: Path, only: str = "") -> Coverage:
    """Run the folder's tests, or those whose whole name matches `only`, and return what they reach.

    Raises:
        Broken: `gate.test`, a test fails, so that nothing can be told.
        Malformed: `gate.compile` or `gate.builtin`, the folder does not compile.
    """
    # one pass: the passes that OPA adds only say more of lines that were missed, and cost as much again
    wanted = ("--coverage", "--coverage-runs", "", *(("--run", only) if only else ()))
    ran = source.run_purely(binary, folder, "test", *source.TEST_ARGUMENTS, *source.IGNORED, *wanted)
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        if ran.stderr:
            raise gate.refusal(ran.stderr) from None
        raise Broken("gate.test", "a test fails", hint="magistrate policy test") from None
    return reported(binary, folder, said["files"])


def reported(binary: Binary, folder: Path, files: Mapping[str, Any]) -> Coverage:
    """OPA's report, read for the files that ship alone; one that is absent is a gap as a whole."""
    covered, lines, gaps = 0, 0, []
    for path in source.rego_files(folder):
        report = files.get(str(path.relative_to(folder)), {})
        here = list(_gaps(binary, folder, path, report))
        missed = {row for gap in here for row in range(gap.first, gap.last + 1)}
        reached = {row for found in report.get("covered", []) for row in _rows(found)} - missed
        covered, lines = covered + len(reached), lines + len(reached) + len(missed)
        gaps += here
    return Coverage(covered=covered, lines=lines, gaps=tuple(gaps))


def _rows(found: Mapping[str, Any]) -> range:
    return range(found["start"]["row"], found["end"]["row"] + 1)


def _gaps(binary: Binary, folder: Path, path: Path, report: Mapping[str, Any]) -> Iterator[Gap]:
    name = str(path.relative_to(folder))
    if not report.get("covered") and _has_rules(binary, path):
        yield Gap(path=name, first=1, last=len(path.read_text("utf-8").splitlines()), kind="not in the report")
        return
    for gap in report.get("not_covered", []):
        yield Gap(path=name, first=gap["start"]["row"], last=gap["end"]["row"], kind="")


def _has_rules(binary: Binary, path: Path) -> bool:
    ran = run(binary, "parse", str(path), "--format", "json")
    if ran.returncode != 0:
        raise gate.refusal(ran.stderr or ran.stdout)
    return bool(json.loads(ran.stdout).get("rules"))
