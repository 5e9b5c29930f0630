"""The line-drop mutator: every line of every shipped rule must be missed by some test when it is left out.

A mutant is the Rego tree with one expression replaced by ``true``, or with one whole rule or ``else`` left out. It is

- caught: some test fails or errs on it;
- not viable: it does not compile (the line binds what another needs);
- a survivor: every test still passes, so the line is either needless or untested.

``python -m tests.support.mutants [FOLDER…]`` runs all mutants of those folders and names the survivors.
"""

from __future__ import annotations

import base64
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.support.rego_tools import APART, IGNORED, REGO, parsed, policies, run


class Fate(Enum):
    CAUGHT = "caught"
    NOT_VIABLE = "not viable"
    SURVIVED = "survived"


@dataclass(frozen=True)
class Mutant:
    """One thing left out of one file: the bytes from `start` to `end` become `instead`."""

    path: str
    row: int
    start: int
    end: int
    gone: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.row}: {' '.join(self.gone.split())[:100]}"

    def applied(self, raw: bytes) -> bytes:
        return raw[: self.start] + self.instead.encode() + raw[self.end :]


def mutants(path: Path, rego: Path = REGO) -> list[Mutant]:
    """Every mutant of one file, in the order of its lines."""
    raw, name = path.read_bytes(), str(path.relative_to(rego))
    tree = parsed(path)
    found = {
        Mutant(name, row, start, end, raw[start:end].decode(), instead)
        for rule in tree.get("rules", [])
        for row, start, end, instead in _spans(raw, rule)
    }
    return sorted(found, key=lambda mutant: (mutant.start, -mutant.end))


def _spans(raw: bytes, rule: dict[str, Any]) -> Iterator[tuple[int, int, int, str]]:
    """1. the rule as a whole; 2. each `else` with all that follows it; 3. every expression, nested ones too."""
    default = rule.get("default", False)
    yield _default_span(raw, rule) if default else (*_place(raw, rule["location"]), "")
    branch = rule.get("else")
    while branch:
        yield (*_place(raw, branch["location"]), "")
        branch = branch.get("else")
    for expression in _expressions(rule):
        row, start, end = _place(raw, expression["location"])
        gone = raw[start:end]
        declares = gone.startswith(b"some ") and b" in " not in gone
        if not declares and not gone.startswith(b"else") and gone != b"true":
            yield row, start, end, "true"


def _default_span(raw: bytes, rule: dict[str, Any]) -> tuple[int, int, int, str]:
    row, start, _ = _place(raw, rule["location"])
    _, _, end = _place(raw, rule["head"]["value"]["location"])
    return row, start, end, ""


def _expressions(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "body" and isinstance(value, list):
                yield from (expression for expression in value if not expression.get("generated"))
            if key != "annotations":
                yield from _expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value)


def _place(raw: bytes, location: dict[str, Any]) -> tuple[int, int, int]:
    """Row and byte range of what OPA's parser says stands there.

    Raises:
        AssertionError: the file does not read so at that place; the mutator must not guess.
    """
    text = base64.b64decode(location["text"])
    lines = raw.splitlines(keepends=True)
    row, column = location["row"], location["col"]
    before = sum(len(line) for line in lines[: row - 1])
    start = before + len(lines[row - 1].decode()[: column - 1].encode())
    if raw[start : start + len(text)] != text:
        start = before + column - 1
    if raw[start : start + len(text)] != text:
        raise AssertionError(f"row {row}, column {column}: the parser and the file disagree")
    return row, start, start + len(text)


class Bench:
    """Two copies of the tree, each changed by one mutant at a time and put right again."""

    def __init__(self, rego: Path = REGO, workers: int = 2) -> None:
        self._rego = rego
        self._workers = workers
        self._twins = {path: _twin_packages(path.parent) for path in policies(rego)}

    def judge(self, wanted: list[Mutant]) -> list[tuple[Mutant, Fate]]:
        """The fate of each, in the order given.

        Raises:
            AssertionError: the tests fail on the tree as it is; nothing can be told from mutants of it.
        """
        copies: SimpleQueue[Path] = SimpleQueue()
        with tempfile.TemporaryDirectory(prefix="mutants-") as room, ThreadPoolExecutor(self._workers) as pool:
            for n in range(self._workers):
                copies.put(shutil.copytree(self._rego, Path(room) / str(n), ignore=shutil.ignore_patterns(*APART)))
            if _verdict(Path(room) / "0", "") is not Fate.SURVIVED:
                raise AssertionError("the Rego tests do not pass: run `opa test` first")

            def one(mutant: Mutant) -> tuple[Mutant, Fate]:
                copy = copies.get()
                try:
                    return mutant, self._fate(copy, mutant)
                finally:
                    copies.put(copy)

            return list(pool.map(one, wanted))

    def _fate(self, copy: Path, mutant: Mutant) -> Fate:
        path = copy / mutant.path
        raw = path.read_bytes()
        path.write_bytes(mutant.applied(raw))
        try:
            return self._of(copy, self._twins[self._rego / mutant.path])
        finally:
            path.write_bytes(raw)

    def _of(self, copy: Path, twins: str) -> Fate:
        """Ask the file's own tests first: they are few, and catch most."""
        if twins:
            near = _verdict(copy, twins)
            if near is not Fate.SURVIVED:
                return near
        return _verdict(copy, "")


def _twin_packages(folder: Path) -> str:
    """A pattern for the tests that lie beside the file, "" when none does."""
    found = set()
    for path in folder.glob("*_test.rego"):
        found |= set(re.findall(r"^package\s+(\S+)", path.read_text("utf-8"), flags=re.MULTILINE))
    return "|".join(rf"^data\.{re.escape(package)}\.test_" for package in sorted(found))


def _verdict(copy: Path, only: str) -> Fate:
    """OPA exits 0 when every test passed, 2 when one did not, and 1 with words when the tree does not compile.

    Raises:
        AssertionError: any other end says nothing about the mutant.
    """
    ran = run("test", ".", *IGNORED, "--parallel", "1", *(["--run", only] if only else []), cwd=copy)
    fates = {0: Fate.SURVIVED, 1: Fate.NOT_VIABLE, 2: Fate.CAUGHT}
    if ran.returncode not in fates:
        raise AssertionError(f"opa test ended {ran.returncode}: {ran.stdout}{ran.stderr}")
    return fates[ran.returncode]


def sample(everything: list[Mutant], size: int, seed: int) -> list[Mutant]:
    """A share of the mutants, the same for the same seed; a size of 0 is all of them."""
    if not 0 < size < len(everything):
        return everything
    return sorted(random.Random(seed).sample(everything, size), key=lambda mutant: (mutant.path, mutant.start))


def all_mutants(rego: Path = REGO, folders: tuple[str, ...] = ()) -> list[Mutant]:
    return [
        mutant
        for path in policies(rego)
        if not folders or str(path.relative_to(rego)).startswith(folders)
        for mutant in mutants(path, rego)
    ]


def report(judged: list[tuple[Mutant, Fate]]) -> str:
    counts = {fate: sum(1 for _, other in judged if other is fate) for fate in Fate}
    lines = [f"survived  {mutant}" for mutant, fate in judged if fate is Fate.SURVIVED]
    total = ", ".join(f"{count} {fate.value}" for fate, count in counts.items())
    return "\n".join([*lines, f"{len(judged)} mutants: {total}"])


if __name__ == "__main__":
    began = time.monotonic()
    outcome = Bench().judge(all_mutants(folders=tuple(sys.argv[1:])))
    print(report(outcome), f"in {time.monotonic() - began:.1f} s")
    sys.exit(5 if any(fate is Fate.SURVIVED for _, fate in outcome) else 0)
