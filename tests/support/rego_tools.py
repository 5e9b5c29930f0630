"""What the tests ask of the Rego tree: the pinned OPA, pure capabilities, our own coverage figure.

Run as a script it writes the capabilities: ``python -m tests.support.rego_tools capabilities``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from magistrate.policy import coverage
from magistrate.policy.binary import Binary

ROOT = Path(__file__).resolve().parents[2]
REGO = ROOT / "rego"
PINNED = "1.22.2"

# Not Rego's business: read by the gate and by `opa check`, never loaded as data of the bundle.
APART = ("schemas", "capabilities.json", "cases.yaml", "cases.csv")
IGNORED = tuple(part for name in APART for part in ("--ignore", name))

# A replay must give the recorded answer on another day, another machine, another time zone.
ENGINE_ONLY = frozenset({"json.match_schema"})
READS_THE_CLOCK = "crypto.x509.parse_and_verify"
READS_THE_ZONE = frozenset(
    {"time.clock", "time.date", "time.weekday", "time.add_date", "time.diff", "time.format", "time.parse_ns"}
)


def opa() -> str:
    """The pinned OPA: the setting, else PATH, else this checkout's own copy.

    Raises:
        FileNotFoundError: none is there; tests that need a real OPA fail, they do not stand aside.
    """
    kept = ROOT / ".magistrate" / "cache" / "opa" / PINNED / "opa"
    for found in (os.environ.get("MAGISTRATE_OPA"), shutil.which("opa"), str(kept)):
        if found and Path(found).is_file():
            return found
    raise FileNotFoundError(f"no OPA {PINNED}: set MAGISTRATE_OPA or run `magistrate opa install`")


def run(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """OPA's answer to one command, in an environment that holds nothing but the time zone."""
    return subprocess.run(
        [opa(), *arguments], cwd=cwd, input=stdin, env={"TZ": "UTC"}, capture_output=True, text=True, check=False
    )


def is_test(path: Path) -> bool:
    return path.name.endswith("_test.rego")


def policies(rego: Path = REGO) -> list[Path]:
    """Every Rego file that ships, in order."""
    return sorted(path for path in rego.rglob("*.rego") if not is_test(path))


def pure_capabilities() -> dict[str, Any]:
    """OPA's builtins minus those that could make a replay differ."""
    current = json.loads(run("capabilities", "--current").stdout)
    current["builtins"] = [builtin for builtin in current["builtins"] if _is_pure(builtin)]
    current["allow_net"] = []
    return current


def _is_pure(builtin: dict[str, Any]) -> bool:
    name = builtin["name"]
    if name in ENGINE_ONLY:
        return True
    return not (builtin.get("nondeterministic") or name.startswith(READS_THE_CLOCK) or name in READS_THE_ZONE)


def capabilities_text() -> str:
    """The capabilities as they are committed: one builtin a line, so that a new OPA's additions show in review."""
    pure = pure_capabilities()
    builtins = ",\n".join("    " + json.dumps(builtin, sort_keys=True) for builtin in pure.pop("builtins"))
    rest = "".join(f",\n  {json.dumps(key)}: {json.dumps(pure[key], sort_keys=True)}" for key in sorted(pure))
    return f'{{\n  "builtins": [\n{builtins}\n  ]{rest}\n}}\n'


def coverage_gaps(rego: Path = REGO) -> list[coverage.Gap]:
    """What keeps the shipped Rego from 100 %, by the program's own measure."""
    return list(coverage.measured(Binary(Path(opa()), PINNED, "", "test"), rego).gaps)


def parsed(path: Path) -> dict[str, Any]:
    """The file's syntax tree, with places."""
    tree = run("parse", str(path), "--format", "json", "--json-include", "locations,-comments")
    if tree.returncode != 0:
        raise AssertionError(f"opa parse {path}: {tree.stdout}{tree.stderr}")
    return dict(json.loads(tree.stdout))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["capabilities"]:
            (REGO / "capabilities.json").write_text(capabilities_text(), "utf-8")
        case _:
            raise SystemExit("usage: python -m tests.support.rego_tools capabilities")
