"""A run of tests as text for people, and as JSON, JUnit, SARIF and GitHub's annotations for the machines they use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from magistrate import __version__
from magistrate.cli.say import visible
from magistrate.policy.cases import Judged
from magistrate.policy.coverage import Gap
from magistrate.policy.failure import Failure
from magistrate.policy.suite import Tested
from magistrate.policy.trial import Trial

WIDTH: Final = 400  # characters of one value on a person's screen
SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class _Fault:
    """One thing that went wrong, as every format shows it."""

    code: str
    name: str
    file: str
    line: int
    lines: tuple[str, ...]  # what there is to say, the first line the shortest


def written(trial: Trial, folder: Path, format_: str) -> str:
    """The run in one of the formats."""
    return FORMATS[format_](trial, folder)


def _text(trial: Trial, _: Path) -> str:
    lines = []
    for fault in _faults(trial):
        lines += [f"FAIL {fault.file}{f':{fault.line}' if fault.line else ''}  {visible(fault.name)}"]
        lines += [f"     {visible(line)[:WIDTH]}" for line in fault.lines]
        lines += [f"     hint: {_again(fault)}", ""] if fault.code in ("gate.test", "gate.case") else [""]
    if trial.unreached:
        lines += ["lines that no passed test reaches:", *_by_file(trial.unreached), ""]
    return "\n".join([*lines, _summary(trial)])


def _by_file(gaps: Sequence[Gap]) -> Iterator[str]:
    """The rows of each file, neighbours together."""
    rows: dict[str, set[int]] = {}
    for gap in gaps:
        rows.setdefault(gap.path, set()).update(range(gap.first, gap.last + 1))
    for path, missed in rows.items():
        starts = sorted(row for row in missed if row - 1 not in missed)
        ends = sorted(row for row in missed if row + 1 not in missed)
        runs = (f"{a}-{b}" if b > a else str(a) for a, b in zip(starts, ends, strict=True))
        yield f"     {path}:{', '.join(runs)}"


def _again(fault: _Fault) -> str:
    """What runs the failed one alone, again and again."""
    if fault.code == "gate.test":
        return f"magistrate policy test -r '{fault.name.partition('[')[0].rpartition('.')[2]}$' --watch"
    return f"magistrate policy test -r '^{'.'.join(fault.name.split('.')[:2])}' --watch"


def _summary(trial: Trial) -> str:
    """How many passed, in one line."""
    states = [test.state for test in trial.tests]
    rows = [row.passed for row in trial.cases]
    said = [f"{states.count('passed')} of {len(states)} tests passed"] if states else []
    said += [f"{rows.count(True)} of {len(rows)} cases passed"] if rows else []
    said += [f"{states.count('skipped')} skipped"] if "skipped" in states else []
    if not states and not rows:
        return "no test was run" if trial.findings else "no test has such a name"
    return ", ".join(said)


def _faults(trial: Trial) -> Iterator[_Fault]:
    for found in trial.findings:
        hint = (f"hint: {found.hint}",) if found.hint else ()
        yield _Fault(found.code, found.code, found.file, found.line, (*found.detail.splitlines(), *hint))
    for test in trial.tests:
        if test.state in ("failed", "errored"):
            yield from _of_test(test)
    yield from (_of_row(row) for row in trial.cases if not row.passed)


def _of_test(test: Tested) -> Iterator[_Fault]:
    name = test.name.removeprefix("data.")
    printed = tuple(f"printed   {line}" for line in test.printed.splitlines())
    if not test.failures:
        lines = test.error.splitlines() or ["it fails; run it alone to see how"]
        yield _Fault("gate.test", name, test.file, test.line, (*lines, *printed))
    for failure in test.failures:
        part = f"[{failure.part}]" if failure.part else ""
        yield _Fault("gate.test", name + part, failure.file, failure.line, (*_told(failure), *printed))


def _told(failure: Failure) -> Iterator[str]:
    yield failure.text
    yield f"expected  {failure.expected}"
    yield f"actual    {failure.actual}"
    for label, said in (("differs", failure.differences), ("facts", failure.facts), ("unmet", failure.unmet)):
        yield from (f"{label if n == 0 else '':<9} {line}" for n, line in enumerate(said))


def _of_row(row: Judged) -> _Fault:
    lines = [f"{cell.column:<9} expected {cell.expected}, actual {cell.actual}" for cell in row.cells]
    for label, said in (("facts", row.facts), ("spoke", row.spoke)):
        lines += [f"{label if n == 0 else '':<9} {line}" for n, line in enumerate(said)]
    return _Fault("gate.case", row.name, row.file, row.line, tuple(lines))


def _json(trial: Trial, _: Path) -> str:
    return json.dumps(trial.plain(), indent=2, ensure_ascii=False)


def _junit(trial: Trial, folder: Path) -> str:
    """One suite; a test case's class is its package."""
    faults: dict[tuple[str, str], list[_Fault]] = {}
    for fault in _faults(trial):
        faults.setdefault((fault.code, fault.name.partition("[")[0]), []).append(fault)
    suite = ET.Element("testsuite", name=str(folder))
    for test in trial.tests:
        name = test.name.removeprefix("data.")
        case = _case(suite, name, test.file, test.line, test.seconds, faults.get(("gate.test", name), []))
        if test.state == "skipped":
            ET.SubElement(case, "skipped")
    for row in trial.cases:
        _case(suite, row.name, row.file, row.line, 0.0, [_of_row(row)] if not row.passed else [])
    for found in (fault for fault in _faults(trial) if fault.code not in ("gate.test", "gate.case")):
        _case(suite, found.name, found.file, found.line, 0.0, [found])
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(1 for case in suite if case.find("failure") is not None)))
    suite.set("skipped", str(sum(1 for case in suite if case.find("skipped") is not None)))
    suite.set("time", f"{sum(test.seconds for test in trial.tests):.6f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _case(suite: ET.Element, name: str, file: str, line: int, seconds: float, faults: list[_Fault]) -> ET.Element:
    package, _, last = name.rpartition(".") if not name.startswith("cases.") else ("cases", ".", name[6:])
    told = {"classname": visible(package), "name": visible(last), "file": file, "line": str(line)}
    case = ET.SubElement(suite, "testcase", told, time=f"{seconds:.6f}")
    for fault in faults:
        message = visible(fault.lines[0]) if fault.lines else fault.code
        made = ET.SubElement(case, "failure", type=fault.code, message=message)
        made.text = "\n".join([f"{fault.file}:{fault.line}", *map(visible, fault.lines)])
    return case


def _sarif(trial: Trial, folder: Path) -> str:
    faults = list(_faults(trial))
    unreached = [
        _Fault("gate.coverage", str(gap), gap.path, gap.first, ("no passed test reaches this line",))
        for gap in trial.unreached
    ]
    rules = sorted({fault.code for fault in [*faults, *unreached]})
    results = [_result(fault, folder, "error") for fault in faults]
    results += [_result(fault, folder, "warning") for fault in unreached]
    driver = {"name": "magistrate", "version": __version__, "rules": [{"id": code} for code in rules]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(fault: _Fault, folder: Path, level: str) -> dict[str, Any]:
    message = "\n".join([visible(fault.name), *map(visible, fault.lines)])
    place: dict[str, Any] = {"artifactLocation": {"uri": _from_here(folder, fault.file)}}
    if fault.line:
        place["region"] = {"startLine": fault.line}
    return {
        "ruleId": fault.code,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": place}],
    }


def _from_here(folder: Path, file: str) -> str:
    """A file's name as a checkout knows it: from where the command was run."""
    whole = (folder / file).resolve()
    here = Path.cwd().resolve()
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _github(trial: Trial, folder: Path) -> str:
    lines = []
    for fault in _faults(trial):
        place = [f"file={_property(_from_here(folder, fault.file))}"] if fault.file else []
        place += [f"line={fault.line}"] if fault.line else []
        said = _data("\n".join(map(visible, fault.lines)))
        lines.append(f"::error {','.join([*place, f'title={_property(visible(fault.name))}'])}::{said}")
    for gap in trial.unreached:
        place = [f"file={_property(_from_here(folder, gap.path))}", f"line={gap.first}", f"endLine={gap.last}"]
        lines.append(f"::warning {','.join(place)}::no passed test reaches these lines")
    return "\n".join([*lines, _summary(trial)])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: Final[dict[str, Callable[[Trial, Path], str]]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "github": _github,
}
