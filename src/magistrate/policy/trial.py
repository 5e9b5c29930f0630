"""One run of what an author wrote to hold the policies by: tests of Rego, decision tables, and the lines they reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from magistrate.core.errors import Malformed
from magistrate.core.values import Document
from magistrate.policy import cases, coverage, gated, source, suite, tables
from magistrate.policy.binary import Binary
from magistrate.policy.coverage import Gap
from magistrate.policy.gated import Finding


class Trial(Document):
    """What came of a run; `unreached` are lines of policies that no passed test evaluated, where that was looked at."""

    tests: tuple[suite.Tested, ...]
    cases: tuple[cases.Judged, ...]
    unreached: tuple[Gap, ...]
    findings: tuple[Finding, ...]  # what kept tests or tables from being run at all

    @property
    def failed(self) -> bool:
        """Whether anything failed; a run of nothing is a failure too."""
        return bool(
            self.findings
            or any(test.state in ("failed", "errored") for test in self.tests)
            or not all(row.passed for row in self.cases)
            or not (self.tests or self.cases)
        )


def tried(binary: Binary, folder: Path, pattern: str = "", *, reach: bool = False) -> Trial:
    """Run the tests and rows whose whole name matches the pattern.

    `reach` measures what the chosen tests reach; after a failure that is done for the failed tests' own policies.

    Raises:
        Malformed: `input.pattern`, the pattern is no regular expression.
    """
    chosen = _pattern(pattern)
    tests, rows, findings = [], [], []
    try:
        tests = suite.outcomes(binary, folder, pattern)
    except Malformed as refused:
        findings += gated.findings_of(refused)
    try:
        rows = _rows(binary, folder, chosen)
    except Malformed as refused:
        findings += [found for found in gated.findings_of(refused) if found not in findings]
    gaps = () if findings else _unreached(binary, folder, tests, pattern, everywhere=reach)
    return Trial(tests=tuple(tests), cases=tuple(rows), unreached=tuple(dict.fromkeys(gaps)), findings=tuple(findings))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise Malformed(
            "input.pattern", f"{text!r} is no regular expression: {error}", hint="magistrate policy test -r refunds"
        ) from None


def _rows(binary: Binary, folder: Path, chosen: re.Pattern[str]) -> list[cases.Judged]:
    here = source.data(folder)
    rows = [(table, case) for table in tables.tables(folder, here) for case in table.cases]
    wanted = [(table, case) for table, case in rows if chosen.search(cases.name_of(table, case))]
    return cases.judged(binary, folder, here, wanted)


def _unreached(
    binary: Binary, folder: Path, tests: list[suite.Tested], pattern: str, *, everywhere: bool
) -> Iterator[Gap]:
    """The lines that the passed among these tests leave out, of the policies these tests lie beside."""
    failed = {_package(test) for test in tests if test.state == "failed"}
    looked_at = [test for test in tests if everywhere or _package(test) in failed]
    passed = [test.name for test in looked_at if test.state == "passed"]
    folders = {str(Path(test.file).parent) for test in looked_at}
    whole = everywhere and not pattern
    if not looked_at:
        return
    names = "|".join(map(re.escape, passed)) if passed else "no test passed"
    for gap in coverage.measured(binary, folder, f"^({names})$").gaps:
        if whole or str(Path(gap.path).parent) in folders:
            yield gap


def _package(test: suite.Tested) -> str:
    return test.name.rpartition(".")[0]
