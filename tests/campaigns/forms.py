"""Two forms of every campaign: a short one in each run, the full one with `MAGISTRATE_CAMPAIGN=full`."""

from __future__ import annotations

import os
import random

FULL = os.environ.get("MAGISTRATE_CAMPAIGN") == "full"


def rounds(full: int, short: int) -> int:
    """How many in this run; `MAGISTRATE_ROUNDS` says another number."""
    return int(os.environ.get("MAGISTRATE_ROUNDS") or (full if FULL else short))


def draw() -> random.Random:
    """The run's chance, told so that it can be had again."""
    seed = int(os.environ.get("MAGISTRATE_SEED") or random.randrange(2**32))
    print(f"MAGISTRATE_SEED={seed}")
    return random.Random(seed)
