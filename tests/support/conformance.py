"""Test data that no one here wrote: read where it lies, never copied into this repository.

`MAGISTRATE_CONFORMANCE` names the folder; without it, `../shared/conformance` beside the checkout is looked for. A
folder that was named must be there; one that was not may be absent, and the summary then says what did not run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"
NAMED = os.environ.get("MAGISTRATE_CONFORMANCE", "")
FOLDER = Path(NAMED) if NAMED else Path(__file__).parents[2].parent / "shared" / "conformance"
PARTS = {"jcs": 6, "wycheproof": 151, "merkle": 196}


def runs() -> bool:
    """Whether the tests over outside data are collected: it is there, or somebody said that it is."""
    return bool(NAMED) or FOLDER.is_dir()


def summary() -> str:
    """What to say at the end of a run without the outside data."""
    parts = ", ".join(f"{count} {name}" for name, count in PARTS.items())
    return f"{sum(PARTS.values())} conformance vectors of others did not run ({parts}): set MAGISTRATE_CONFORMANCE"


def vectors(name: str) -> Any:
    """One of our own vector files."""
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def octets(case: dict[str, Any], field: str) -> bytes:
    """The bytes of a case: `<field>_hex` where they are no text, `<field>` where they are."""
    if f"{field}_hex" in case:
        return bytes.fromhex(case[f"{field}_hex"])
    return case[field].encode()
