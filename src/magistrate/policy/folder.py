"""A folder whose socket's path fits: the kernel allows 108 bytes, whatever the length of the data folder's path.

Its lock is held for as long as the sidecar lives, so that whoever comes later can tell what a killed service left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from magistrate.core.errors import Unavailable

MAX_SOCKET_PATH: Final = 107  # 108 with the final zero
PREFIX: Final = "magistrate-opa-"
LOCK: Final = "lock"


class Folder:
    """One 0700 folder, ours until `remove`."""

    def __init__(self) -> None:
        """Make it, as near as a socket's path allows to where run-time files belong; remove what the dead left there.

        Raises:
            Unavailable: `opa.folder`, there is no place to make one.
        """
        places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp, 0700
        for place in places:
            if place.startswith("/") and len(os.fsencode(place)) + len(PREFIX) + 16 <= MAX_SOCKET_PATH:
                with contextlib.suppress(OSError):
                    _sweep(Path(place))
                    self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
                    self._lock = _locked(self.path)
                    return
        raise Unavailable("opa.folder", f"no place for OPA's socket among {', '.join(filter(None, places))}")

    def remove(self) -> None:
        """Remove it and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _locked(folder: Path) -> int:
    """Lock a folder; its lock has its name only once it is held, so that nobody takes it for a dead one's."""
    early = folder / f".{LOCK}"
    lock = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    early.rename(folder / LOCK)
    return lock


def _sweep(place: Path) -> None:
    """Remove our user's folders whose holder is gone."""
    for left in place.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):  # held, another user's, or gone already
            lock = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(left.parent, ignore_errors=True)
            finally:
                os.close(lock)
