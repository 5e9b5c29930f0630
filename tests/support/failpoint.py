"""The service, with one place at which it kills itself: `python -m tests.support.failpoint POINT FILE COMMAND...`.

It dies by SIGKILL the first time it comes to the place once FILE is there. The shipped program holds no such switch:
the place is put in from here, around a function of its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS: dict[str, tuple[str, str, bool]] = {
    # between what and what: module, function, whether it still happens
    "in the transaction": ("magistrate.store.batch", "write_answers", False),
    "between commit and reply": ("magistrate.store.sqlite", "_tell", False),
    "between redeem and executor": ("magistrate.engine.router", "_carry", False),
    "between start of the program and its end": ("magistrate.executors.command", "start", True),
    "between effect and record": ("magistrate.engine.router", "_end", False),
    "between commit and mark": ("magistrate.store.mark", "write", False),
}


def plant(point: str, armed: Path) -> None:
    """Put the place in."""
    name, function, after = POINTS[point]
    module: Any = __import__(name, fromlist=["*"])
    happen: Callable[..., Any] = getattr(module, function)

    def die() -> None:
        if armed.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    def before_it(*args: Any, **more: Any) -> Any:
        die()
        return happen(*args, **more)

    async def after_it(*args: Any, **more: Any) -> Any:
        value = await happen(*args, **more)
        die()
        return value

    setattr(module, function, after_it if after else before_it)


def main() -> None:
    """Plant, then be the command line."""
    _, point, armed, *command = sys.argv
    plant(point, Path(armed))
    sys.argv = ["magistrate", *command]
    from magistrate.cli import main as run

    run()


if __name__ == "__main__":
    main()
