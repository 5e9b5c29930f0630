"""Writes docs/reference.md from the program itself: verbs, routes, settings, reason codes, error codes, lifecycles.

`python -m tests.support.reference` writes it; a test holds the page against what would be written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

from magistrate.api.app import ENDPOINTS
from magistrate.cli.app import app
from magistrate.cli.settings import SETTINGS
from magistrate.core import lifecycle

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference.md"
ERRORS = {
    "Malformed", "NotCanonical", "Unauthenticated", "Refused", "Absent", "Conflict", "Moved", "Unavailable", "NoAnswer",
    "Broken", "Forged", "ProofFailed", "finding",
}  # fmt: skip
STATUS = {
    "Malformed": "400", "NotCanonical": "400", "Unauthenticated": "401", "Refused": "403", "Absent": "404",
    "Conflict": "409", "Moved": "409", "Unavailable": "503", "NoAnswer": "503", "Broken": "400 or 500",
    "Forged": "400", "ProofFailed": "400", "finding": "-",
}  # fmt: skip
CODE = re.compile(r"^[a-z_]+(\.[a-z_]+)+$")


def verbs() -> Iterator[tuple[str, str, str]]:
    """Every command: its words, its help, its example."""
    yield from _walk(typer.main.get_command(app), "magistrate")


def _walk(command, words: str) -> Iterator[tuple[str, str, str]]:
    inner = getattr(command, "commands", None)
    if inner:
        for name, sub in sorted(inner.items()):
            yield from _walk(sub, f"{words} {name}")
        return
    text = (command.help or "").strip()
    about, _, example = text.partition("Example:")
    yield words, " ".join(about.split()), " ".join(example.split())


def codes() -> dict[str, set[str]]:
    """Every error code in src, with the kinds of error that carry it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            first = node.args[0]
            if name in ERRORS and isinstance(first, ast.Constant) and CODE.match(str(first.value)):
                found.setdefault(str(first.value), set()).add(name)
    return found


def reasons() -> dict[str, str]:
    """Every reason code of the shipped Rego, with its title."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "rego").rglob("*.rego")):
        if path.name.endswith("_test.rego"):
            continue
        title = ""
        for line in path.read_text().splitlines():
            if said := re.match(r"# title: (.+)", line):
                title = said[1]
            if said := re.search(r"\bcode: ([a-z_]+\.[a-z_]+)", line):
                found[said[1]] = title
    return found


def page() -> str:
    """The whole page."""
    lines = ["# Reference", "", "Written by the program itself (`python -m tests.support.reference`).", ""]
    lines += ["## Verbs", "", "| verb | what it does | example |", "|---|---|---|"]
    lines += [f"| `{words}` | {_cell(about)} | `{_cell(example)}` |" for words, about, example in verbs()]
    lines += ["", "Exit codes: 0 done or allowed, 1 unexpected, 2 usage, 3 denied, 4 waiting for approval,"]
    lines += ["5 a check failed, 6 unavailable, 7 conflict.", ""]
    lines += ["## Routes", "", "| method | path | what it does |", "|---|---|---|"]
    lines += [
        f"| {e.method} | `{e.path}` | {_cell(e.summary)} |" for e in sorted(ENDPOINTS, key=lambda e: (e.path, e.method))
    ]
    lines += ["", "## Settings", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{s.name}` | {_cell(s.meaning)} |" for s in SETTINGS]
    lines += ["", "## Lifecycles", ""]
    for name, table in lifecycle.TABLES.items():
        lines += [f"- **{name}**: " + "; ".join(f"{a} → {', '.join(sorted(b))}" for a, b in table.items())]
    lines += ["", "## Reason codes of the shipped Rego", "", "| code | title |", "|---|---|"]
    lines += [f"| `{code}` | {_cell(title)} |" for code, title in sorted(reasons().items())]
    lines += ["", "## Error codes", "", "Answers of the service carry them as `code`; the status follows the kind.", ""]
    lines += ["| code | kind | status |", "|---|---|---|"]
    for code, kinds in sorted(codes().items()):
        names = sorted(kinds)
        lines.append(f"| `{code}` | {', '.join(names)} | {', '.join(sorted({STATUS[n] for n in names}))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
