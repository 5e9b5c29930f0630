"""Examination: what a ledger file proves to someone who trusts only the keys they pinned themselves.

1. The file agrees with itself: entries, tree, checkpoints (`store.verify`).
2. The newest checkpoint is signed by a pinned key; without a pin the verdict is UNVERIFIABLE, never a pass.
3. What is signed inside bodies stands: genesis, every approval by an operator then enrolled, every warrant under the
   warrant key genesis names, no wider than the decision it names.
4. Every act of administration kept its floor, followed from genesis; nothing below it counts.
5. Recoveries are told, not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magistrate.core import checkpoint
from magistrate.core.checkpoint import Checkpoint
from magistrate.core.errors import Absent, Broken, MagistrateError
from magistrate.core.state import fold
from magistrate.engine.meaning import Meaning
from magistrate.keys import pins
from magistrate.store import mark as high_water
from magistrate.store.reads import Reader
from magistrate.store.rebuild import rebuild
from magistrate.store.verify import Verified, verify_ledger

LEDGER = "ledger.db"
PAGE = 500


@dataclass
class Examined:
    """What was found, ready to be told."""

    verdict: str  # VERIFIED, UNVERIFIABLE or INVALID
    entries: int = 0
    origin: str = ""
    genesis: str = ""
    signed_by: str = ""
    approvals: int = 0
    warrants: int = 0
    administration: int = 0
    erased: int = 0
    demo: bool = False
    recoveries: list[str] = field(default_factory=list)
    end: str = ""
    finding: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        """As words, one check a line; what was not reached is not told as found."""
        told = []
        if self.entries:
            told += [
                f"ok   {self.entries} entries, no gaps, every leaf and body as committed ({self.erased} erased)",
                f"note the end of the ledger is {self.end}",
                f"ok   genesis {self.genesis}" + (" (a demo)" if self.demo else ""),
            ]
        if self.signed_by:
            told.append(f"ok   checkpoint signed by the pinned key {self.signed_by}")
        if self.verdict == "VERIFIED":
            told += [
                f"ok   {self.approvals} approvals and {self.warrants} warrants signed, none wider than decided",
                f"ok   {self.administration} acts of administration, each signed by enough operators",
                "ok   every state row is what the entries say",
            ]
        told += [f"note {recovery}" for recovery in self.recoveries]
        if self.finding:
            told.append(f"FAIL {self.finding}")
        if self.verdict == "UNVERIFIABLE":
            told.append("hint: magistrate keys pin checkpoint.key.json --fingerprint FINGERPRINT")
        return [*told, self.verdict]


def examine(data: Path, pinned: Path, *, genesis: str = "", mark: Path | None = None) -> Examined:
    """Examine the ledger of a data folder; reads only, with or without a service running.

    `mark` is its high-water mark, where it can be had: without one nothing is known about what was cut from the end.
    """
    path = data / LEDGER
    if not path.exists():
        raise Absent("ledger.absent", f"no ledger lies in {data}", hint="magistrate up --demo")
    told = Examined("INVALID")
    try:
        remembered = high_water.read(mark) if mark else None
        known = [Checkpoint(remembered.origin, remembered.size, remembered.root)] if remembered else []
        found = verify_ledger(path, known=[point for point in known if point.size])
        told.end = "no earlier than its high-water mark" if remembered else "unknown: no high-water mark was given"
        told.entries, told.origin, told.genesis, told.erased = found.size, found.origin, found.genesis, found.erased
        if genesis and found.genesis != genesis:
            raise Broken("ledger.genesis", f"entry 0 is {found.genesis}, not the pinned {genesis}")
        told.signed_by = _signed(found, pinned)
        _understand(path, told)
        differences = rebuilt(path)
        if differences:
            raise Broken("state.differs", f"a state row is not what the entries say: {differences[0]}")
    except MagistrateError as broken:
        told.finding = f"{broken.code}: {broken.detail}"
        told.verdict = "UNVERIFIABLE" if broken.code == "key.unpinned" else "INVALID"
        return told
    told.verdict = "VERIFIED"
    return told


def _signed(found: Verified, pinned: Path) -> str:
    """Which pinned key signed the newest checkpoint."""
    keys = pins.pinned(pinned, found.origin, "checkpoint")
    for key in keys[:-1]:
        try:
            checkpoint.verify(found.checkpoint, found.origin, key)
        except Broken:
            continue
        return key.key_id
    checkpoint.verify(found.checkpoint, found.origin, keys[-1])
    return keys[-1].key_id


def _understand(path: Path, told: Examined) -> None:
    """Read what every entry says, in order.

    Raises:
        Broken: the first thing that does not stand, with its index.
    """
    meaning, reader = Meaning(), Reader(path)
    try:
        start = 0
        while page := reader.entries(start, PAGE):
            for entry in page:
                meaning.read(entry)
            start = page[-1].index + 1
    finally:
        reader.close()
    told.approvals, told.warrants = meaning.approvals, meaning.warrants
    told.administration, told.demo, told.recoveries = meaning.administration, meaning.demo, meaning.recoveries


def rebuilt(path: Path) -> list[str]:
    """Where stored state differs from what the entries say; [] when it does not."""
    return [str(difference) for difference in rebuild(path, fold).differences]
