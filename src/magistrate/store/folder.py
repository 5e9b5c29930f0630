"""One process owns a data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from magistrate.core.errors import Unavailable

LOCK = "lock"
DATABASE = "ledger.db"


def own(folder: Path) -> int:
    """Take the folder's lock and return what holds it: it is let go when that is closed, or the process ends.

    Raises:
        Unavailable: another process owns the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Unavailable("store.locked", f"{folder} is in use by another process", hint="magistrate status") from None
    return handle


def held(folder: Path) -> bool:
    """Whether a process owns the folder now."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
