"""OPA built by the Go on this machine, whose result must carry the pinned module's sum."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from magistrate.core.errors import Broken, Unavailable

MODULE: Final = "github.com/open-policy-agent/opa"
BUILD_SECONDS: Final = 1800.0  # about two minutes on two cores


def install(version: str, module_sum: str, search: str, folder: Path) -> Path:
    """Return a new file in `folder`: the program, built from exactly the pinned source.

    Raises:
        Unavailable: `opa.go`, there is no Go in `search`, or it fails.
        Broken: `opa.module_sum`, what it built is something else.
    """
    go = _go(search)
    with tempfile.TemporaryDirectory(prefix=".go-", dir=folder) as scratch:
        environment = {**os.environ, "GOBIN": scratch, "CGO_ENABLED": "0", "GOFLAGS": "", "PATH": search}
        built = _run([go, "install", f"{MODULE}@v{version}"], BUILD_SECONDS, environment)
        program = Path(scratch) / "opa"
        if built.returncode != 0 or not program.is_file():
            raise Unavailable("opa.go", f"`go install` failed: {_tail(built.stderr)}")
        check(program, version, module_sum, go)
        part = folder / f".opa-{os.urandom(8).hex()}"
        program.rename(part)
    return part


def built(path: Path, version: str, module_sum: str, search: str) -> bool:
    """Whether there is a Go that says a file was built from the pinned source."""
    try:
        check(path, version, module_sum, _go(search))
    except (Unavailable, Broken):
        return False
    return True


def check(path: Path, version: str, module_sum: str, go: str) -> None:
    """Return if the file was built from the pinned module, by its sum; a release carries none.

    Raises:
        Broken: `opa.module_sum`.
    """
    said = _run([go, "version", "-m", str(path)], 60.0, dict(os.environ))
    lines = [line.split("\t")[1:] for line in said.stdout.decode("utf-8", "replace").splitlines()]
    replaced = [line for line in lines if line[:1] == ["=>"]]
    if said.returncode != 0 or ["path", MODULE] not in lines or ["mod", MODULE, f"v{version}", module_sum] not in lines:
        raise Broken("opa.module_sum", f"{path} was not built from {MODULE} v{version} with sum {module_sum}")
    if replaced:
        raise Broken("opa.module_sum", f"{path} was built with a replaced module: {' '.join(replaced[0])}")


def _go(search: str) -> str:
    found = shutil.which("go", path=search) if search else None
    if found is None:
        raise Unavailable("opa.go", "there is no Go on PATH")
    return found


def _run(arguments: list[str], seconds: float, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(arguments, env=environment, capture_output=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("opa.go", f"`{' '.join(arguments[:2])}` failed: {error}") from None


def _tail(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip()[-400:] or "it said nothing"
