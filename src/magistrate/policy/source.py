"""An author's folder: what of it is loaded, what stays at home, and OPA run over it with nothing impure at hand."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.policy import capabilities, gate
from magistrate.policy.binary import Binary
from magistrate.policy.command import PATIENCE, run

MAX_DATA: Final = 8 * 1024 * 1024  # as much as a packed bundle may have
TYPES: Final = "schemas/input.json"  # what a question may hold, as OPA's checker reads it
SCHEMAS: Final = "schemas"
CAPABILITIES: Final = "capabilities.json"
TABLES: Final = ("cases.yaml", "cases.csv")  # decision tables, beside the policy they are about
APART: Final = (SCHEMAS, CAPABILITIES)  # at the top of the folder: read by authors and editors, never loaded
TEST: Final = "_test.rego"
PATIENCE_FOR_TESTS: Final = 600.0  # seconds, for all of them; OPA gives each one five, too few on a busy machine
TEST_ARGUMENTS: Final = (".", "--timeout", "60s", "--format", "json")
IGNORED: Final = tuple(part for name in (*APART, *TABLES) for part in ("--ignore", name))
SHIPPED_ONLY: Final = (*IGNORED, "--ignore", f"*{TEST}")


def is_table(name: Path) -> bool:
    """Whether a file, named from the folder, is a decision table: it lies beside a policy and nowhere else."""
    return len(name.parts) == 3 and name.parts[0] == "policies" and name.name in TABLES


def rego_files(folder: Path, *, tests: bool = False) -> list[Path]:
    """Every Rego file that ships, or every test file, in order."""
    return sorted(path for path in folder.rglob("*.rego") if path.name.endswith(TEST) is tests)


def run_purely(
    binary: Binary, folder: Path, verb: str, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run an OPA command inside the folder; whatever could differ in a replay is no builtin there.

    Raises:
        Unavailable: `opa.start`, it cannot be run or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="magistrate-author-") as scratch:
        pure = Path(scratch) / CAPABILITIES
        pure.write_text(capabilities.text(binary), "utf-8")
        slow = PATIENCE_FOR_TESTS if verb == "test" else PATIENCE
        return run(binary, verb, *arguments, "--capabilities", str(pure), cwd=folder, stdin=stdin, patience=slow)


def data(folder: Path) -> dict[str, Any]:
    """The folder's data as its bundle holds it: each `data.json` at the place of its folder.

    Raises:
        Malformed: one of them is not JSON that we read, or two say the same differently; the detail names the file.
    """
    whole: dict[str, Any] = {}
    for path in sorted(folder.rglob("data.json")):
        name = path.relative_to(folder)
        try:
            value = canonical.load_object(path.read_bytes(), limit=MAX_DATA, depth=canonical.MAX_DEPTH_RECORD)
        except Malformed as error:
            raise Malformed("gate.data_file", f"{name}: {error.detail}") from None
        for part in reversed(name.parent.parts):
            value = {part: value}
        _merge(whole, value, str(name))
    return whole


def _merge(whole: dict[str, Any], more: dict[str, Any], name: str) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            _merge(whole[key], value, name)
        elif key in whole:
            raise Malformed("gate.data_file", f"{name}: another file says `{key}` too")
        else:
            whole[key] = value


def trees(binary: Binary, folder: Path) -> dict[str, Any]:
    """The syntax tree of every Rego file that ships, with places, by the file's name in the folder.

    Raises:
        Malformed: `gate.compile`, one of them does not parse.
    """
    names = [str(path.relative_to(folder)) for path in rego_files(folder)]
    return dict(zip(names, gate.parsed(binary, folder, names), strict=True))
