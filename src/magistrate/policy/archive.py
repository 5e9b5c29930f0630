"""The archive of bundles: taken in once through the gate, never edited, never deleted, hashed again at every load.

The files are `<sha256>.tar.gz`; `index.json` says which were taken in, so that a file put beside them is none of ours
and a sequence whose file is gone is not given again. The index is a file like any other: who can write the folder can
name what never passed the gate. So a bundle is put in force only after `judged`, which sends it through the gate once
more; `load` is for the bundle that the ledger names by its digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from magistrate.core import canonical
from magistrate.core.errors import Absent, Broken, Conflict, Malformed, Unavailable
from magistrate.core.values import Count, Digest, Document, parse
from magistrate.policy import gate, tarball
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

INDEX: Final = "index.json"
MAX_INDEX: Final = 1024 * 1024  # some eight thousand bundles
KEPT: Final = 8  # bundles kept parsed, by what was asked last; any other is read again


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
        self._parsed = lru_cache(KEPT)(Bundle.read)  # by its bytes
        self._passed: set[str] = set()  # what went through the gate here, by digest: the same bytes pass again

    def take(self, raw: bytes) -> Bundle:
        """Take a bundle in and return it; one that is already here is loaded.

        Raises:
            Malformed: it is no bundle, or the gate refuses it.
            Conflict: `bundle.sequence_taken`, another bundle has its sequence; `bundle.full`, the index has no room.
            Unavailable: `bundle.unwritten`, the folder does not take it.
        """
        bundle = Bundle.read(raw)
        if bundle.digest in self._known(bundle):
            return self.load(bundle.digest)
        self._pass(bundle)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _held(self._folder):  # two that are taken in at once come one after the other
                index = self._known(bundle)
                index[bundle.digest] = _Row(digest=bundle.digest, sequence=bundle.sequence, contract=bundle.contract)
                listed = _listed(index)
                self._write_once(self.path(bundle.digest), raw)
                self._write_index(listed)  # after this line the bundle is part of history
        except OSError as error:
            raise Unavailable("bundle.unwritten", f"{self._folder}: {error.strerror or error}") from error
        return self.load(bundle.digest)

    def judged(self, digest: str) -> Bundle:
        """Return an archived bundle that passes the gate now: one that is about to come into force.

        Raises:
            Malformed: the gate refuses it, whatever the index says.
            Absent, Broken: as `load`.
        """
        bundle = self.load(digest)
        self._pass(bundle)
        return bundle

    def load(self, digest: str) -> Bundle:
        """Return an archived bundle, its file hashed anew.

        Raises:
            Absent: `bundle.unknown`, it was never taken in.
            Broken: `bundle.lost` or `bundle.changed`, its file is gone or other bytes.
        """
        row = self._index().get(digest)
        if row is None:
            raise Absent("bundle.unknown", f"no bundle {digest} was taken in")
        path = self.path(digest)
        raw = _read(path, tarball.MAX_PACKED)
        if canonical.digest(raw) != digest:
            detail = f"{path.name} holds other bytes than its name says; restore it from a backup"
            raise Broken("bundle.changed", detail, hint="magistrate ledger verify")
        bundle = self._parsed(raw, path)
        if (bundle.sequence, bundle.contract) != (row.sequence, row.contract):
            raise _edited(f"{INDEX} gives {digest} another sequence or contract than it has")
        return bundle

    def digests(self) -> list[str]:
        """Every bundle that was taken in, by sequence."""
        return [row.digest for row in _in_order(self._index())]

    def _pass(self, bundle: Bundle) -> None:
        if bundle.digest not in self._passed:
            gate.check(self._binary, bundle)
            self._passed.add(bundle.digest)

    def _known(self, bundle: Bundle) -> dict[str, _Row]:
        """What was taken in, if none of it stands where this bundle would.

        Raises:
            Conflict: `bundle.sequence_taken`.
        """
        index = self._index()
        for digest in index:
            if digest != bundle.digest and self._sequence(index[digest]) == bundle.sequence:
                detail = f"sequence {bundle.sequence} is {digest}; raise `sequence` and `revision` in .manifest"
                raise Conflict("bundle.sequence_taken", detail, hint="magistrate policy build rego")
        return index

    def _sequence(self, row: _Row) -> int:
        """A bundle's sequence by its own word; by the index where its file is gone or damaged.

        Raises:
            Broken: `bundle.index`, the two differ: somebody made room for another bundle.
        """
        try:
            return self.load(row.digest).sequence
        except Broken as error:
            if error.code == "bundle.index":
                raise
        except Unavailable:
            pass
        return row.sequence

    def path(self, digest: str) -> Path:
        """Where the file of a bundle lies, if it does."""
        return self._folder / (digest.removeprefix("sha256:") + ".tar.gz")

    def _index(self) -> dict[str, _Row]:
        """What was taken in, by digest."""
        path = self._folder / INDEX
        try:
            raw = _read(path, MAX_INDEX)
        except Broken as error:
            if error.code == "bundle.lost":
                return {}
            raise
        try:
            kept = parse(_Index, canonical.canonical(canonical.load_canonical(raw, limit=MAX_INDEX))).bundles
        except Malformed:
            raise _edited(f"{path} is not an index of bundles") from None
        index = {row.digest: row for row in kept}
        if len(index) != len(kept) or len({row.sequence for row in kept}) != len(kept):
            raise _edited(f"{path} names a bundle or a sequence twice")
        return index

    def _write_index(self, raw: bytes) -> None:
        _replace(self._folder / INDEX, raw)

    def _write_once(self, path: Path, raw: bytes) -> None:
        """Put a file under its final name, whole; never over another one."""
        part = _written(path, raw, mode=0o444)
        try:
            os.link(part, path)
        except FileExistsError:
            if _read(path, tarball.MAX_PACKED) != raw:
                raise Broken("bundle.changed", f"{path.name} exists and holds other bytes") from None
        finally:
            part.unlink()
        _sync(path.parent)


def _in_order(index: dict[str, _Row]) -> list[_Row]:
    return sorted(index.values(), key=lambda row: row.sequence)


def _listed(index: dict[str, _Row]) -> bytes:
    """The bytes of an index.

    Raises:
        Conflict: `bundle.full`: it is more than is ever read back, and would lock every bundle in, the active one too.
    """
    raw = canonical.canonical({"bundles": [row.plain() for row in _in_order(index)]}) + b"\n"
    if len(raw) > MAX_INDEX:
        detail = f"{len(index) - 1} bundles are all this archive can list, and none is ever removed; a new one has room"
        raise Conflict("bundle.full", detail, hint="magistrate up --data DIR")
    return raw


def _edited(detail: str) -> Broken:
    return Broken("bundle.index", f"{detail}; restore it from a backup", hint="magistrate ledger verify")


def _read(path: Path, most: int) -> bytes:
    """The bytes of a plain file of the archive: links are not followed, and nothing that is no file is waited for.

    Raises:
        Broken: `bundle.lost`; `bundle.link`; `bundle.changed` where it is larger than anything that was taken in.
        Unavailable: `bundle.unread`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        detail = f"{path.name} was taken in and is gone; restore it from a backup"
        raise Broken("bundle.lost", detail, hint="magistrate ledger verify") from None
    except OSError as error:
        if path.is_symlink():
            raise Broken("bundle.link", f"{path} is a link, not a file that was taken in") from None
        raise Unavailable("bundle.unread", f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unavailable("bundle.unread", f"{path} is not a plain file")
    with os.fdopen(handle, "rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Broken("bundle.changed", f"{path.name} is larger than anything that was taken in")
    return raw


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of the folder, across threads and processes; it ends with the process that holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
