"""An author's folder: what of it is loaded, what stays at home, and OPA run over it with nothing impure at hand."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from magistrate.policy import capabilities
from magistrate.policy.binary import Binary
from magistrate.policy.command import run

SCHEMAS: Final = "schemas"
CAPABILITIES: Final = "capabilities.json"
TABLES: Final = ("cases.yaml", "cases.csv")  # decision tables, beside the policy they are about
APART: Final = (SCHEMAS, CAPABILITIES)  # at the top of the folder: read by authors and editors, never loaded
TEST: Final = "_test.rego"
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
        return run(binary, verb, *arguments, "--capabilities", str(pure), cwd=folder, stdin=stdin)
