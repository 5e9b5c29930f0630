"""Which OPA we run: one pinned version, and one file whose SHA-256 is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PINNED: Final = "1.22.2"


@dataclass(frozen=True)
class Binary:
    """An OPA that was checked: `sha256` is the hex digest of the file, `origin` how it was found."""

    path: Path
    version: str
    sha256: str
    origin: str


def sha256_of(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
