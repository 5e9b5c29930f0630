"""Where a reason code comes from: the rule in a bundle whose METADATA carries it, as OPA itself reads it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magistrate.core.errors import Unavailable
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.command import run


@dataclass(frozen=True, slots=True)
class Place:
    """A rule: its file in the bundle, its line, and what its METADATA says it is."""

    file: str
    line: int
    title: str

    def text(self) -> str:
        """File and line, as editors read them."""
        return f"{self.file}:{self.line}"


def places(binary: Binary, bundle: Bundle) -> dict[str, Place]:
    """The rule of every reason code in a bundle.

    Raises:
        Unavailable: `opa.start`, OPA does not read the bundle's annotations.
    """
    with tempfile.TemporaryDirectory(prefix="magistrate-places-") as scratch:
        (Path(scratch) / "bundle.tar.gz").write_bytes(bundle.raw)
        ran = run(binary, "inspect", "--annotations", "--format", "json", "bundle.tar.gz", cwd=Path(scratch))
    if ran.returncode != 0:
        raise Unavailable("opa.start", f"OPA cannot inspect {bundle.digest}: {ran.stderr[-300:]!r}")
    found: dict[str, Place] = {}
    for row in json.loads(ran.stdout).get("annotations") or ():
        said: dict[str, Any] = row.get("annotations") or {}
        code = (said.get("custom") or {}).get("code")
        at = row.get("location") or {}
        if isinstance(code, str):
            place = Place(str(at.get("file", "")).lstrip("/"), int(at.get("row", 0)), str(said.get("title", "")))
            found.setdefault(code, place)
    return found
