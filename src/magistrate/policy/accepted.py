"""Which OPA files were accepted: kept beside the cache, read at every start."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Annotated, Final

from pydantic import StringConstraints, ValidationError

from magistrate.core.errors import Broken, Unavailable
from magistrate.core.values import Document

FILE: Final = "accepted.json"


class _Row(Document):
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    origin: str
    source: str


class _Rows(Document):
    accepted: tuple[_Row, ...]


class Accepted:
    """The digests accepted so far; `folder` is where the cached OPA lies too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE

    def __contains__(self, sha256: str) -> bool:
        return any(row.sha256 == sha256 for row in self._rows())

    def digests_from(self, source: str) -> set[str]:
        """What was accepted from one file or address."""
        return {row.sha256 for row in self._rows() if row.source == source}

    def keep(self, sha256: str, origin: str, source: str) -> None:
        """Accept from now on what was accepted now.

        Raises:
            Unavailable: `opa.cache`, it cannot be written down.
        """
        rows = self._rows()
        row = _Row(sha256=sha256, origin=origin, source=source)
        if row in rows:
            return
        try:
            self._write(*rows, row)
        except OSError as error:
            raise Unavailable("opa.cache", f"{self.folder} cannot be written: {error.strerror}") from error

    def _write(self, *rows: _Row) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{FILE}.{secrets.token_hex(8)}")
        with part.open("x", encoding="utf-8") as file:
            json.dump({"accepted": [each.plain() for each in rows]}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        part.rename(self._path)

    def _rows(self) -> tuple[_Row, ...]:
        try:
            return _Rows.model_validate_json(self._path.read_bytes()).accepted
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise Unavailable("opa.cache", f"{self._path} cannot be read: {error.strerror}") from error
        except ValidationError:
            detail = f"{self._path} is damaged; look at it first: without it OPA is accepted anew"
            raise Broken("opa.accepted", detail, hint=f"rm {shlex.quote(str(self._path))}") from None
