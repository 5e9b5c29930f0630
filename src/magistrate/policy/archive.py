"""The archive of bundles: taken in once through the gate, never edited, never deleted, hashed again at every load.

The files are `<sha256>.tar.gz`; `index.json` says which were taken in, so that a file put beside them is none of ours
and a sequence whose file is gone is not given again.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from magistrate.core import canonical
from magistrate.core.errors import Absent, Broken, Conflict, Unavailable
from magistrate.core.values import Count, Digest, Document
from magistrate.policy import gate
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

INDEX: Final = "index.json"


class _Row(Document):
    digest: Digest
    sequence: Count
    contract: Count


class _Index(Document):
    bundles: tuple[_Row, ...]


class Archive:
    """One folder of bundles; `binary` is the OPA whose check a new one must pass."""

    def __init__(self, folder: Path, binary: Binary) -> None:
        self._folder = folder
        self._binary = binary
        self._read: dict[str, Bundle] = {}

    def take(self, raw: bytes) -> Bundle:
        """Take a bundle in and return it; one that is already here is loaded.

        Raises:
            Malformed: it is no bundle, or the gate refuses it.
            Conflict: `bundle.sequence_taken`, another bundle has its sequence.
            Unavailable: `bundle.unwritten`, the folder does not take it.
        """
        bundle = Bundle.read(raw)
        index = self._index()
        if bundle.digest in index:
            return self.load(bundle.digest)
        for digest, row in index.items():
            if row["sequence"] == bundle.sequence:
                hint = "raise `sequence` in .manifest"
                raise Conflict("bundle.sequence_taken", f"sequence {bundle.sequence} is {digest}", hint=hint)
        gate.check(self._binary, bundle)
        index[bundle.digest] = {"sequence": bundle.sequence, "contract": bundle.contract}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write_once(self.path(bundle.digest), raw)
            self._write_index(index)  # after this line the bundle is part of history
        except OSError as error:
            raise Unavailable("bundle.unwritten", f"{self._folder}: {error.strerror or error}") from error
        return self.load(bundle.digest)

    def load(self, digest: str) -> Bundle:
        """Return an archived bundle, its file hashed anew.

        Raises:
            Absent: `bundle.unknown`, it was never taken in.
            Broken: `bundle.lost` or `bundle.changed`, its file is gone or other bytes.
        """
        if digest not in self._index():
            raise Absent("bundle.unknown", f"no bundle {digest} was taken in")
        path = self.path(digest)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            hint = "restore the file from a backup"
            raise Broken("bundle.lost", f"{path.name} was taken in and is gone", hint=hint) from None
        except OSError as error:
            raise Unavailable("bundle.unread", f"{path}: {error.strerror}") from error
        if canonical.digest(raw) != digest:
            hint = "restore the file from a backup"
            raise Broken("bundle.changed", f"{path.name} holds other bytes than its name says", hint=hint)
        if digest not in self._read:
            self._read[digest] = Bundle.read(raw, path)
        return self._read[digest]

    def digests(self) -> list[str]:
        """Every bundle that was taken in, by sequence."""
        index = self._index()
        return sorted(index, key=lambda digest: index[digest]["sequence"])

    def path(self, digest: str) -> Path:
        """Where the file of a bundle lies, if it does."""
        return self._folder / (digest.removeprefix("sha256:") + ".tar.gz")

    def _index(self) -> dict[str, dict[str, int]]:
        """What was taken in: sequence and contract by digest."""
        path = self._folder / INDEX
        try:
            kept = _Index.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise Unavailable("bundle.unread", f"{path}: {error.strerror}") from error
        except ValidationError:
            hint = "restore it from a backup"
            raise Broken("bundle.index", f"{path} is not an index of bundles", hint=hint) from None
        return {row.digest: {"sequence": row.sequence, "contract": row.contract} for row in kept.bundles}

    def _write_index(self, index: dict[str, dict[str, int]]) -> None:
        rows = [{"digest": digest, **index[digest]} for digest in sorted(index, key=lambda key: index[key]["sequence"])]
        _replace(self._folder / INDEX, canonical.canonical({"bundles": rows}) + b"\n")

    def _write_once(self, path: Path, raw: bytes) -> None:
        """Put a file under its final name, whole; never over another one."""
        part = _written(path, raw, mode=0o444)
        try:
            os.link(part, path)
        except FileExistsError:
            if path.read_bytes() != raw:
                raise Broken("bundle.changed", f"{path.name} exists and holds other bytes") from None
        finally:
            part.unlink()
        _sync(path.parent)


def _replace(path: Path, raw: bytes) -> None:
    part = _written(path, raw, mode=0o644)
    part.rename(path)
    _sync(path.parent)


def _written(path: Path, raw: bytes, *, mode: int) -> Path:
    """The bytes, on disk, under a name of their own beside `path`."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with part.open("xb") as file:
        file.write(raw)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return part


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
