"""Files only their owner may read: opened without following links, judged by what was opened, written whole.

Each error code begins with the caller's word for the file (`key`, `kek`, `pin`, `profile`): `key.missing`.
"""

from __future__ import annotations

import os
import secrets
import shlex
import stat
from pathlib import Path

from magistrate.core.errors import Broken, Conflict, Unavailable

PRIVATE = 0o077  # the bits nobody but the owner may have
CREDENTIAL = 0o137  # systemd's credentials may be root's, and show the service's ACL as group read


def read(path: Path, *, what: str, limit: int = 16_384, closed: int = PRIVATE, root: bool = False) -> bytes:
    """Return the bytes of a file that is ours alone.

    `closed` are the mode bits that must be off; `root` allows a file that belongs to root.

    Raises:
        Unavailable: `.missing`, or `.unreadable` by this user.
        Broken: `.symlink`, `.kind` (not a plain file), `.owner`, `.open` (bits), `.size`.
    """
    # 1. open what the name itself stands for; a FIFO must not hang us
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable(f"{what}.missing", f"{path} does not exist") from None
    except OSError as error:
        if path.is_symlink():
            raise Broken(
                f"{what}.symlink", f"{path} is a symbolic link", hint=f"readlink -f {shlex.quote(str(path))}"
            ) from None
        raise Unavailable(f"{what}.unreadable", f"{path}: {error.strerror}") from None
    try:
        # 2. judge the open file, not its name: nothing can be put in its place any more
        _judge(os.fstat(handle), path, what=what, closed=closed, root=root)
        # 3. read one byte beyond the limit, to see that there is none
        with os.fdopen(os.dup(handle), "rb") as stream:
            raw = stream.read(limit + 1)
    finally:
        os.close(handle)
    if len(raw) > limit:
        raise Broken(f"{what}.size", f"{path} is longer than {limit} bytes")
    return raw


def _judge(found: os.stat_result, path: Path, *, what: str, closed: int, root: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Broken(f"{what}.kind", f"{path} is not a plain file")
    if found.st_uid != os.geteuid() and not (root and found.st_uid == 0):
        raise Broken(f"{what}.owner", f"{path} belongs to user {found.st_uid}, not to the user we run as")
    if found.st_mode & closed:
        mode = stat.S_IMODE(found.st_mode)
        raise Broken(
            f"{what}.open",
            f"{path} has mode {mode:04o}: others may read it",
            hint=f"chmod 600 {shlex.quote(str(path))}",
        )


def make(path: Path, raw: bytes, *, what: str) -> None:
    """Write a new 0600 file, whole or not at all; what is there already stays.

    Raises:
        Conflict: `.exists`.
        Unavailable: `.unwritable`.
    """
    temporary = _stage(path, raw, what=what)
    try:
        os.link(temporary, path)  # unlike a rename, it fails where something is
    except FileExistsError:
        raise Conflict(f"{what}.exists", f"{path} exists and is never overwritten") from None
    except OSError as error:
        raise Unavailable(f"{what}.unwritable", f"{path}: {error.strerror}") from None
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def replace(path: Path, raw: bytes, *, what: str) -> None:
    """Write a 0600 file in the place of the old one: a reader sees the one or the other, whole.

    Raises:
        Unavailable: `.unwritable`.
    """
    temporary = _stage(path, raw, what=what)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        raise Unavailable(f"{what}.unwritable", f"{path}: {error.strerror}") from None
    sync_folder(path.parent)


def folder(path: Path, *, what: str) -> Path:
    """Return the folder, made with 0700 if it was not there.

    Raises:
        Unavailable: `.unwritable`.
        Broken: `.folder`: it is no folder of ours, or others may write in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{what}.unwritable", f"{path}: {error.strerror}") from None
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Broken(
            f"{what}.folder", f"others own {path} or may write in it", hint=f"chmod 700 {shlex.quote(str(path))}"
        )
    return path


def sync_folder(path: Path) -> None:
    """Return when the folder's names are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _stage(path: Path, raw: bytes, *, what: str) -> Path:
    """Return a temporary file beside `path`, synced, 0600 whatever the umask says."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{what}.unwritable", f"{temporary}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:  # a full disk
        temporary.unlink()
        raise Unavailable(f"{what}.unwritable", f"{path}: {error.strerror}") from None
    return temporary
