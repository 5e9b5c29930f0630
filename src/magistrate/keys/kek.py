"""The installation key (KEK): 32 random bytes that lock the key files, kept apart from the data they lock.

Looked for in this order, and the first place that is named decides, even when what lies there is refused:
the file `MAGISTRATE_KEK_FILE` names, systemd's credential `magistrate-kek`, our own file in the user's state folder.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from magistrate.core.errors import Broken, Conflict, Unavailable
from magistrate.keys import private

SIZE = 32
CREDENTIAL = "magistrate-kek"

Source = Literal["file", "systemd", "own"]


@dataclass(frozen=True)
class Places:
    """Where an installation key may lie; None: no such place was named."""

    given: Path | None = None
    credentials: Path | None = None
    state: Path | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Places:
        """The places the environment names. Nothing else in this package reads it."""
        given, credentials = environ.get("MAGISTRATE_KEK_FILE", ""), environ.get("CREDENTIALS_DIRECTORY", "")
        return cls(Path(given) if given else None, Path(credentials) if credentials else None)


@dataclass(frozen=True)
class Kek:
    """An installation key and where it came from; it never shows itself."""

    key: bytes = field(repr=False)
    source: Source
    path: Path

    @property
    def lock(self) -> str:
        """The name by which a key file tells which installation key locked it; it gives nothing of the key away."""
        return hashlib.sha256(b"magistrate/lock/v1\x00" + self.key).hexdigest()[:32]

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose alone (HKDF-SHA256): it gives nothing away of this one, or of any other."""
        return HKDF(SHA256(), SIZE, None, b"magistrate/derived/v1\x00" + purpose.encode()).derive(self.key)


def find(data: Path, places: Places, *, first_start: bool = False) -> Kek:
    """Return the key of the installation whose data folder this is; make our own file only at a first start.

    Raises:
        Unavailable: `kek.missing`, `kek.unreadable`, `kek.unwritable`.
        Broken: `kek.inside` the data folder, `kek.size`, or what `private.read` refuses.
        Conflict: `kek.exists`: another first start was quicker.
    """
    # 1. the file that was named
    if places.given is not None:
        return _read(places.given, "file", data)
    # 2. the credential, if the unit has one
    if places.credentials is not None and os.path.lexists(places.credentials / CREDENTIAL):
        return _read(places.credentials / CREDENTIAL, "systemd", data)
    # 3. our own
    path = own(data, places.state)
    try:
        return _read(path, "own", data)
    except Unavailable as error:
        if error.code != "kek.missing" or not first_start:
            raise
    private.folder(path.parent, what="kek")
    try:
        private.make(path, secrets.token_bytes(SIZE), what="kek")
    except Conflict:
        raise Conflict("kek.exists", f"{path} was made by another start", hint="magistrate up") from None
    return _read(path, "own", data)


def own(data: Path, state: Path | None = None) -> Path:
    """Where our own file for this data folder lies: in the user's state folder, named by the folder's path."""
    name = hashlib.sha256(str(data.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return (state or platformdirs.user_state_path("magistrate")) / f"{name}.kek"


def _read(path: Path, source: Source, data: Path) -> Kek:
    _outside(path, data)
    if source == "systemd":
        raw = private.read(path, what="kek", limit=SIZE, closed=private.CREDENTIAL, root=True)
    else:
        raw = private.read(path, what="kek", limit=SIZE)
    if len(raw) != SIZE:
        raise Broken("kek.size", f"{path} holds {len(raw)} bytes, not {SIZE}")
    return Kek(raw, source, path)


def _outside(path: Path, data: Path) -> None:
    """Return if a copy of the data folder does not carry the key along."""
    if path.resolve().is_relative_to(data.resolve()):
        raise Broken("kek.inside", f"{path} lies inside the data folder {data}; a copy of one must not carry the other")
