"""OPA as a program: one command, an empty environment, a time limit."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from magistrate.core.errors import Unavailable

if TYPE_CHECKING:
    from magistrate.policy.binary import Binary

ENVIRONMENT: Final = {"TZ": "UTC"}
PATIENCE: Final = 60.0  # seconds; a policy that takes longer to compile is not taken in


def run(
    opa: Binary | Path,
    *arguments: str,
    cwd: Path | None = None,
    stdin: bytes = b"",
    patience: float = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Return what the command printed and its exit code.

    Raises:
        Unavailable: `opa.start`, it cannot be run or does not end.
    """
    path = opa if isinstance(opa, Path) else opa.path
    try:
        return subprocess.run(
            [str(path), *arguments],
            cwd=cwd,
            input=stdin,
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
            timeout=patience or PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable("opa.start", f"`opa {arguments[0]}` did not end within {patience or PATIENCE:g} s") from None
    except OSError as error:
        raise Unavailable("opa.start", f"{path} cannot be run: {error.strerror}") from error
