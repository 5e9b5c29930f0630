"""Where a reason's code is explained: one page, one anchor a code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

PAGE: Final = "docs/reasons.md"


def anchor(code: str) -> str:
    """The code as the name of its place on the page."""
    return code.replace(".", "-")


def link(code: str) -> str:
    """The place where a code is explained."""
    return f"{PAGE}#{anchor(code)}"


def links(reasons: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """By code, where each of these reasons is explained; a reason without a code has none."""
    return {code: link(code) for reason in reasons if (code := str(reason.get("code", "")))}
