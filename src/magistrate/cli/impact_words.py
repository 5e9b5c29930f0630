"""Words that every form of an impact has."""

from __future__ import annotations

from typing import Final

WHY_NOT: Final = "changed, erased, not to be read, or too slow to answer"  # what was not compared
NOTHING: Final = "no recorded question lies there, so nothing was compared"


def looked(at: dict[str, int]) -> str:
    """Which part of the record was looked at, in words."""
    found = f"entries {at['first']} to {at['end'] - 1} of {at['size']}" if at["end"] > at["first"] else "no entries"
    older = "; older ones were not looked at" if at["first"] else ""
    return f"looked at {found}{older}" + (
        f"; {at['left_out']} questions among them not asked" if at["left_out"] else ""
    )
