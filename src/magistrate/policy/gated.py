"""The author's gate: everything that must hold of a folder before its bundle is named, and what was found of it.

1. Every file is as `opa fmt` writes it. 2. Strict check with schemas and pure capabilities, tests too; then the
vocabulary of the gate before the archive. 3. Every public rule has a title, and each code stands once. 4. OPA's tests
pass and are not empty. 5. Every row of every decision table comes out as it says. 6. The tests reach every line that
ships. 7. The built bundle's canaries pass on a real sidecar. A step that cannot be judged before another is mended
waits for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from magistrate.core.errors import Malformed
from magistrate.core.values import Count, Document
from magistrate.policy import build, canaries, cases, coverage, places, report, source, suite, tables, vocabulary
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.command import run
from magistrate.policy.failure import Failure
from magistrate.policy.places import Rule
from magistrate.policy.report import BuildReport, Figures
from magistrate.policy.sidecar import Sidecar

_STRICT: Final = "mend it: unused names, unknown fields of the question and wrong types are errors too"
BRIEF: Final = 200  # characters of a failure in a finding; `policy test` tells all of it
Models = Mapping[str, type[Document]]  # by document: how an answer must read
_PLACE: Final = re.compile(r"/?([A-Za-z0-9_./-]+\.(?:rego|json|yaml|csv|manifest)):(\d+):?\s*(.*)", re.DOTALL)
_OPA_SAYS: Final = re.compile(r"(?:^|: )/?(\S+\.rego):(\d+): (.+)$", re.MULTILINE)


class Finding(Document):
    """One thing that keeps a folder out; `line` is 0 where it is about a whole file, `file` "" about the folder."""

    code: str
    file: str
    line: Count
    detail: str
    hint: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.detail} [{self.code}]"


@dataclass(frozen=True)
class Examined:
    """A folder that was put through the gate: its bundle and report, or what was found."""

    findings: tuple[Finding, ...]
    raw: bytes = b""
    report: BuildReport | None = None


def finding(code: str, detail: str, *, file: str = "", line: int = 0, hint: str = "") -> Finding:
    """One finding, by its code."""
    return Finding(code=code, file=file, line=line, detail=detail, hint=hint)


def examined(binary: Binary, folder: Path, models: Models) -> Examined:
    """Put a folder through the whole gate. It starts an event loop of its own for the sidecar.

    Raises:
        NoAnswer: OPA was silent when the canaries were asked.
        Unavailable: OPA cannot be run.
    """
    if wrong := [*_unformatted(binary, folder), *_uncompiled(binary, folder)]:
        return Examined(tuple(wrong))
    raw, bundle, wrong = _built(binary, folder)
    if bundle is None:
        return Examined(tuple(wrong))
    wrong += _unnoted(places.of(source.trees(binary, folder)).public())
    figures, missed = _tried(binary, folder)
    asked = bundle.data.get("canaries", {})
    wrong += [*missed, *asyncio.run(_canaries(binary, bundle, folder, models))]
    if wrong or figures is None:
        return Examined(tuple(wrong))
    made = BuildReport(bundle=report.facts_of(bundle, binary), canaries=len(asked), **figures)
    return Examined((), raw, made)


# -- 1 to 3: read ----------------------------------------------------------------------------------------------------


def _unformatted(binary: Binary, folder: Path) -> Iterator[Finding]:
    """Files that `opa fmt` would write otherwise, at the first line it would change."""
    ran = run(binary, "fmt", "--list", ".", cwd=folder)
    for name in sorted(ran.stdout.decode("utf-8", "replace").split("\n")):
        if name.endswith(".rego"):
            written = run(binary, "fmt", name, cwd=folder).stdout.split(b"\n")
            now = (folder / name).read_bytes().split(b"\n")
            same = next(
                (n for n, pair in enumerate(zip(now, written, strict=False)) if pair[0] != pair[1]), len(written)
            )
            hint = f"{binary.path} fmt --write {folder / name}"
            yield finding("gate.format", "not as `opa fmt` writes it", file=name, line=same + 1, hint=hint)


def _uncompiled(binary: Binary, folder: Path) -> Iterator[Finding]:
    """What OPA's strict check says of the whole folder, tests among it."""
    ran = source.run_purely(binary, folder, "check", "--strict", ".", *source.IGNORED)
    if ran.returncode != 0:
        yield from _of_opa((ran.stderr or ran.stdout).decode("utf-8", "replace"))


def _of_opa(text: str) -> Iterator[Finding]:
    """OPA's words as findings, each with its place."""
    places = list(_OPA_SAYS.finditer(text))
    for found in places:
        undefined = "undefined function" in found[3] and "data." not in found[3]
        code, hint = ("gate.builtin", "time and facts are in the input") if undefined else ("gate.compile", _STRICT)
        yield finding(code, found[3].strip(), file=found[1], line=int(found[2]), hint=hint)
    if not places:
        yield finding("gate.compile", text.strip() or "OPA refuses the folder", hint=_STRICT)


def _built(binary: Binary, folder: Path) -> tuple[bytes, Bundle | None, list[Finding]]:
    """The folder's bundle, past the gate that stands before every archive too."""
    try:
        raw = build.build(binary, folder)
        return raw, Bundle.read(raw), []
    except Malformed as refused:
        return b"", None, findings_of(refused)


def findings_of(error: Malformed) -> list[Finding]:
    """An error as findings: OPA's words each with their place, ours with the place at the head of its words."""
    if error.code in ("gate.compile", "gate.builtin"):
        return list(_of_opa(error.detail))
    placed = _PLACE.fullmatch(error.detail)
    if placed:
        return [finding(error.code, placed[3], file=placed[1], line=int(placed[2]), hint=error.hint)]
    return [finding(error.code, error.detail, hint=error.hint)]


def _unnoted(found: list[Rule]) -> Iterator[Finding]:
    """Public rules without a title, and codes that stand twice."""
    titled = {(rule.package, rule.name) for rule in found if rule.title}
    codes: dict[str, Rule] = {}
    for rule in found:
        own = rule.package.startswith("policies.") and rule.name in vocabulary.SETS
        if not (rule.title if own else (rule.package, rule.name) in titled):
            hint = "write above it: # METADATA, # title: what it says to a person"
            yield finding("gate.title", f"`{rule.name}` has no title", file=rule.path, line=rule.row, hint=hint)
        first = codes.setdefault(rule.code, rule)
        if rule.code and first is not rule and not _one_reason(first, rule):
            detail = f"the code {rule.code} stands in {first.place} too"
            yield finding("gate.code_twice", detail, file=rule.path, line=rule.row, hint="give each rule its own code")


def _one_reason(first: Rule, other: Rule) -> bool:
    """The engine says some reasons from several definitions of one word; a policy gives each rule its own code."""
    engine = not other.package.startswith("policies.")
    return engine and (first.package, first.name) == (other.package, other.name)


# -- 4 to 6: tried ---------------------------------------------------------------------------------------------------


def _tried(binary: Binary, folder: Path) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Run tests and tables, and if all pass, measure what the tests reach; the figures, where nothing is wrong."""
    tests = suite.outcomes(binary, folder, "")
    rows, wrong = _cases(binary, folder)
    if found := [*_untested(tests), *wrong]:
        return None, found
    measured = coverage.measured(binary, folder)
    if measured.gaps:
        return None, list(dict.fromkeys(map(_unreached, measured.gaps)))
    passed = sum(1 for test in tests if test.state == "passed")
    return {"tests": passed, "cases": rows, "coverage": Figures(covered=measured.covered, lines=measured.lines)}, []


def _untested(tests: list[suite.Tested]) -> Iterator[Finding]:
    if not tests:
        yield finding("gate.no_tests", "the folder holds no test of Rego", hint="magistrate policy new NAME")
    for test in tests:
        name = test.name.removeprefix("data.")
        if test.state in ("failed", "errored"):
            hint = f"magistrate policy test -r '{test.name.rpartition('.')[2]}$'"
            for failure in test.failures or (None,):
                line, file = (failure.line, failure.file) if failure else (test.line, test.file)
                said = f"{name} fails{_briefly(failure, test.error)}"
                yield finding("gate.test", said, file=file, line=line, hint=hint)
        if test.state == "skipped":
            hint = "finish it, or take it away: `todo_` tests hold nothing"
            yield finding("gate.test_skipped", f"{name} is skipped", file=test.file, line=test.line, hint=hint)


def _briefly(failure: Failure | None, error: str) -> str:
    """What a test expected and got, or the error it ended in, short enough for one line."""
    said = " ".join(error.split())
    if failure is not None:
        said = "; ".join(failure.differences) or f"expected {failure.expected}, actual {failure.actual}"
    said = said if len(said) <= BRIEF else said[: BRIEF - 1] + "…"
    return f": {said}" if said else ""


def _unreached(gap: coverage.Gap) -> Finding:
    upto = f" to {gap.last}" if gap.last > gap.first else ""
    hint = f"write a test that needs this line in {gap.path.removesuffix('.rego')}{source.TEST}"
    return finding("gate.coverage", f"no test reaches line {gap.first}{upto}", file=gap.path, line=gap.first, hint=hint)


def _cases(binary: Binary, folder: Path) -> tuple[int, list[Finding]]:
    try:
        here = source.data(folder)
        rows = [(table, case) for table in tables.tables(folder, here) for case in table.cases]
        judged = cases.judged(binary, folder, here, rows)
    except Malformed as refused:
        return 0, findings_of(refused)
    return len(rows), [_of_row(row) for row in judged if not row.passed]


def _of_row(row: cases.Judged) -> Finding:
    said = "; ".join(f"{cell.column}: expected {cell.expected}, actual {cell.actual}" for cell in row.cells)
    hint = f"magistrate policy test -r '^cases.{row.name.split('.')[1]}'"
    return finding("gate.case", f"{row.name}: {said}", file=row.file, line=row.line, hint=hint)


# -- 7: asked --------------------------------------------------------------------------------------------------------


async def _canaries(binary: Binary, bundle: Bundle, folder: Path, models: Models) -> list[Finding]:
    """What the bundle's canaries say of it, on an OPA of its own."""
    async with Sidecar(binary, bundle) as sidecar:
        wrong = await canaries.failures(sidecar, bundle, models)
    hint = "change the rule, or what the canary expects in canaries/data.json"
    return [finding("gate.canary", one, **_where(folder, one.partition(":")[0]), hint=hint) for one in wrong]


def _where(folder: Path, name: str) -> dict[str, Any]:
    """The place of a canary, by its name."""
    for path in sorted((folder / "canaries").rglob("data.json")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if f'"{name}":' in line:
                return {"file": str(path.relative_to(folder)), "line": number}
    return {}
