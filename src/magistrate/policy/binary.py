"""Which OPA we run: one pinned version, and one file whose SHA-256 was accepted once and is required from then on.

Looked for in this order: the setting, PATH, our cache; then got: the official release, `go install`. What cannot be
checked against something we know (a program on PATH, a release whose digest its own server states) is accepted by a
person, once. What Go built is checked against the module's sum, which stands here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from magistrate.core.errors import Broken, MagistrateError, Unavailable
from magistrate.policy import golang, release
from magistrate.policy.accepted import Accepted
from magistrate.policy.command import run

PINNED: Final = (
    "1.22.2"  # never below: before 1.21.3 a bundle's signature can be bypassed, 1.21.0 to 1.22.0 lose a rule
)
MODULE_SUM: Final = "h1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0="  # of PINNED, by Go's checksum database
INSTALL: Final = "magistrate opa install"


@dataclass(frozen=True)
class Binary:
    """An OPA that was checked: `sha256` is the hex digest of the file, `origin` how it was found."""

    path: Path
    version: str
    sha256: str
    origin: str


@dataclass(frozen=True)
class Candidate:
    """What a person is asked to accept: where it comes from, and the digest that will be required from then on."""

    origin: str  # setting, path, cache or release
    source: str  # a file or an address
    version: str
    sha256: str


Accept = Callable[[Candidate], bool]
Say = Callable[[str], None]


def accept_none(_: Candidate) -> bool:
    """Nobody is there to ask."""
    return False


def accept_digests(digests: Collection[str]) -> Accept:
    """Accept what the setting names by its SHA-256 (hex)."""
    known = {digest.removeprefix("sha256:").lower() for digest in digests}
    return lambda candidate: candidate.sha256 in known


def say_nothing(_: str) -> None:
    """Nobody is there to tell."""


def folder_of(cache: Path) -> Path:
    """Where the pinned OPA and what was accepted of it lie."""
    return cache / "opa" / PINNED


def find(
    cache: Path, *, setting: str = "", path: str = "", accept: Accept = accept_none, say: Say = say_nothing
) -> Binary:
    """Return the OPA of this machine, without getting one; `path` is the PATH to look in.

    Raises:
        Unavailable: `opa.missing` with the reason at each place, or what is wrong with the one that the setting names.
        Broken: `opa.changed`, the file that the setting names is not the one accepted before.
    """
    accepted = Accepted(folder_of(cache))
    if setting:
        return _from_setting(Path(setting), accepted, accept)
    reasons = []
    for look in (_from_path, _from_cache):
        try:
            return look(cache, path, accepted, accept)
        except MagistrateError as error:
            reasons.append(error.detail)
            say(error.detail)
    raise Unavailable("opa.missing", f"no OPA {PINNED}: {'; '.join(reasons)}", hint=INSTALL)


def other(cache: Path, said: str) -> Binary:
    """An OPA that decides nothing here, to replay history on before it is accepted: by its path, or by a version kept.

    Raises:
        Unavailable: `opa.missing`, no such file, or it is no OPA that runs here.
    """
    kept = cache / "opa" / said / "opa"
    path = kept if kept.is_file() else Path(said)
    if not path.is_file():
        raise Unavailable("opa.missing", f"no OPA lies at {path}, and none at {kept}", hint="magistrate opa which")
    path = path.resolve()
    return Binary(path, version_of(path), sha256_of(path), "setting")


def install(
    cache: Path,
    *,
    path: str = "",
    accept: Accept = accept_none,
    say: Say = say_nothing,
    base: str = release.BASE,
) -> Binary:
    """Get the pinned OPA into the cache: the official release if it is accepted, else built by the Go on this machine.

    Raises:
        Unavailable: `opa.missing`, with the reason why each way failed.
    """
    accepted = Accepted(folder_of(cache))
    reasons = []
    for get in (_from_release, _from_go):
        try:
            accepted.folder.mkdir(parents=True, exist_ok=True)
            return get(path, base, accepted, accept, say)
        except MagistrateError as error:
            reasons.append(f"{error.code}: {error.detail}")
        except OSError as error:
            reasons.append(f"opa.cache: {accepted.folder} cannot be written: {error.strerror}")
        say(reasons[-1])
    ways = "accept the release when asked, name its digest in MAGISTRATE_OPA_SHA256, or install Go"
    raise Unavailable("opa.missing", f"OPA {PINNED} could not be had: {'; '.join(reasons)}; {ways}", hint=INSTALL)


def find_or_install(
    cache: Path,
    *,
    setting: str = "",
    path: str = "",
    accept: Accept = accept_none,
    say: Say = say_nothing,
    base: str = release.BASE,
) -> Binary:
    """`find`, else `install`; a setting that leads nowhere is never overruled.

    Raises:
        Unavailable, Broken: as these two.
    """
    try:
        return find(cache, setting=setting, path=path, accept=accept, say=say)
    except Unavailable:
        if setting:
            raise
        return install(cache, path=path, accept=accept, say=say, base=base)


def sha256_of(path: Path) -> str:
    """The hex digest of a file.

    Raises:
        Unavailable: `opa.missing`, it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable("opa.missing", f"{path} cannot be read: {error.strerror}", hint=INSTALL) from None


def version_of(path: Path) -> str:
    """The version a program says it is.

    Raises:
        Unavailable: `opa.start`, it does not run or does not say.
    """
    said = run(path, "version")
    found = re.search(rb"^Version: (\S+)$", said.stdout, re.MULTILINE)
    if said.returncode != 0 or not found:
        raise Unavailable("opa.start", f"{path} is not an OPA that runs here")
    return found[1].decode("ascii", "replace")


# -- found -----------------------------------------------------------------------------------------------------------


def _from_setting(path: Path, accepted: Accepted, accept: Accept) -> Binary:
    """To name a file is to accept it, once: another file in its place must be accepted anew."""
    sha256 = sha256_of(path)
    known = accepted.digests_from(str(path))
    if known and sha256 not in known and not accept(Candidate("setting", str(path), PINNED, sha256)):
        detail = f"{path} is not the file that was accepted before; if you replaced it, name its digest"
        raise Broken("opa.changed", detail, hint=f"MAGISTRATE_OPA_SHA256={sha256} magistrate opa which")
    _check_version(path)
    accepted.keep(sha256, "setting", str(path))
    return Binary(path, PINNED, sha256, "setting")


def _from_path(_cache: Path, search: str, accepted: Accepted, accept: Accept) -> Binary:
    found = shutil.which("opa", path=search) if search else None
    if found is None:
        raise Unavailable("opa.missing", "there is none on PATH")
    path = Path(found).resolve()
    sha256 = sha256_of(path)
    _check_version(path)
    if sha256 not in accepted:
        if not accept(Candidate("path", str(path), PINNED, sha256)):
            raise Unavailable("opa.not_accepted", f"{path} was not accepted (SHA-256 {sha256})")
        accepted.keep(sha256, "path", str(path))
    return Binary(path, PINNED, sha256, "path")


def _from_cache(cache: Path, search: str, accepted: Accepted, accept: Accept) -> Binary:
    path = folder_of(cache) / "opa"
    if not path.is_file():
        raise Unavailable("opa.missing", "there is none in the cache")
    sha256 = sha256_of(path)
    if sha256 not in accepted:
        source = str(path)
        # Go's word counts for a file nobody vouched for yet; one that took another's place carries any sum it likes
        sound = not accepted.digests_from(source) and golang.built(path, PINNED, MODULE_SUM, search)
        if not sound and not accept(Candidate("cache", source, PINNED, sha256)):
            raise Unavailable("opa.not_accepted", f"{path} was not accepted (SHA-256 {sha256})")
        _check_version(path)
        accepted.keep(sha256, "cache", source)
    return Binary(path, PINNED, sha256, "cache")


def _check_version(path: Path) -> None:
    version = version_of(path)
    if version != PINNED:
        raise Unavailable("opa.version", f"{path} is OPA {version}, not {PINNED}", hint=INSTALL)


# -- got -------------------------------------------------------------------------------------------------------------


def _from_release(_search: str, base: str, accepted: Accepted, accept: Accept, say: Say) -> Binary:
    address = release.address(base, PINNED)
    sha256 = release.published_digest(address)
    if sha256 not in accepted and not accept(Candidate("release", address, PINNED, sha256)):
        raise Unavailable("opa.not_accepted", f"the release at {address} was not accepted (SHA-256 {sha256})")
    say(f"downloading {address}")
    part = release.download(address, sha256, accepted.folder)
    return _kept(part, sha256, "release", accepted)


def _from_go(search: str, _base: str, accepted: Accepted, _accept: Accept, say: Say) -> Binary:
    say(f"building OPA {PINNED} with Go: about two minutes")
    part = golang.install(PINNED, MODULE_SUM, search, accepted.folder)
    return _kept(part, sha256_of(part), "go", accepted)


def _kept(part: Path, sha256: str, origin: str, accepted: Accepted) -> Binary:
    """Put a checked file under its final name; until here nothing stands there, or an older whole one."""
    path = accepted.folder / "opa"
    try:
        part.chmod(0o755)
        _check_version(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        accepted.keep(sha256, origin, str(path))
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return Binary(path, PINNED, sha256, origin)
