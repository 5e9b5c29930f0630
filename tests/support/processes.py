"""Processes as /proc tells of them: who descends from whom, and who is still there."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process; its start makes the number unmistakable."""

    pid: int
    born: int
    parent: int
    line: str

    @property
    def began(self) -> float:
        """When it started, in seconds of the clock that counts sleep."""
        return self.born / TICKS

    def alive(self) -> bool:
        """Whether it still runs: a dead one that nobody buried does not."""
        now = look(self.pid)
        return now is not None and now.born == self.born


def look(pid: int) -> Process | None:
    """The living process of this number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return None if stat[0] in (b"Z", b"X") else Process(pid, int(stat[19]), int(stat[1]), line)


def everybody() -> Iterator[Process]:
    """All living processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := look(int(entry.name))) is not None:
            yield found


def descendants(pid: int) -> set[Process]:
    """All that descend from a process."""
    by_parent: dict[int, list[Process]] = {}
    for process in everybody():
        by_parent.setdefault(process.parent, []).append(process)
    found: set[Process] = set()
    left = [pid]
    while left:
        for child in by_parent.get(left.pop(), ()):
            found.add(child)
            left.append(child.pid)
    return found


def working_in(folder: Path) -> set[Process]:
    """All whose working directory lies in a folder."""
    found = set()
    for process in everybody():
        with contextlib.suppress(OSError):  # it ended while we looked, or is not ours to see
            if Path(f"/proc/{process.pid}/cwd").readlink().is_relative_to(folder):
                found.add(process)
    return found


def left_after(processes: AbstractSet[Process], seconds: float) -> set[Process]:
    """Those still alive when all have had so long to end."""
    until = time.monotonic() + seconds
    while (left := {one for one in processes if one.alive()}) and time.monotonic() < until:
        time.sleep(0.01)
    return left


class Watch:
    """Notes every descendant of a process for as long as it lives, also those that come and go."""

    def __init__(self, pid: int, every: float = 0.03) -> None:
        self.seen: frozenset[Process] = frozenset()
        self._pid, self._every = pid, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(self._every):
            self.seen = self.seen | descendants(self._pid)

    def end(self) -> frozenset[Process]:
        """Stop looking; all that were seen."""
        self._over.set()
        self._thread.join()
        return self.seen
