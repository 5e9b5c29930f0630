"""Where the shipped Rego and bundles lie: inside the wheel, or in the checkout an editable install points at."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `rego` or `bundles` that came with this program."""
    packed = _HERE / "_shipped" / name
    return packed if packed.is_dir() else _HERE.parents[1] / name
