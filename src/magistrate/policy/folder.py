"""A folder whose socket's path fits: the kernel allows 108 bytes, whatever the length of the data folder's path."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from magistrate.core.errors import Unavailable

MAX_SOCKET_PATH: Final = 107  # 108 with the final zero
PREFIX: Final = "magistrate-"


def short_folder() -> Path:
    """Make a 0700 folder, as near as a socket's path allows to where run-time files belong.

    Raises:
        Unavailable: `opa.folder`, there is no place to make one.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - mkdtemp, 0700
    for place in places:
        if place.startswith("/") and len(os.fsencode(place)) + len(PREFIX) + 16 <= MAX_SOCKET_PATH:
            try:
                return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            except OSError:
                continue
    raise Unavailable("opa.folder", f"no place for OPA's socket among {', '.join(filter(None, places))}")
