"""Words that every form of an impact has."""

from __future__ import annotations


def looked(at: dict[str, int]) -> str:
    """Which part of the record was looked at, in words."""
    found = f"entries {at['first']} to {at['end'] - 1} of {at['size']}" if at["end"] > at["first"] else "no entries"
    older = "; older ones were not looked at" if at["first"] else ""
    return f"looked at {found}{older}" + (
        f"; {at['left_out']} questions among them not asked" if at["left_out"] else ""
    )
