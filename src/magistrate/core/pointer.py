"""JSON pointers (RFC 6901): reading one value of a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def find(value: Any, pointer: str) -> Any:
    """The value at `pointer`, or None where there is none."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence) and not isinstance(value, str) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
