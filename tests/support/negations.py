"""Where Rego's `not` would say nothing at all.

``not input.a <= 3`` is undefined, not true, when `input.a` is missing: OPA takes the operands out of the negation before
it evaluates it. A `deny` written so never denies. What is negated must be one name (`not _within_limit`), or a call
whose operands are bound before.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.rego_tools import REGO, parsed, policies


def hasty(path: Path) -> list[str]:
    """The negated expressions of a file that are undefined when a part of them is."""
    tree = parsed(path)
    global_names = {rule["head"]["ref"][0]["value"] for rule in tree.get("rules", [])} | set(_imported(tree))
    return [
        f"{path.name}:{negated['location']['row']}: {base64.b64decode(negated['location']['text']).decode()}"
        for negated in _negated(tree.get("rules", []))
        if isinstance(negated["terms"], list)
        and any(_may_be_missing(term, global_names) for term in negated["terms"][1:])
    ]


def everywhere(rego: Path = REGO) -> list[str]:
    return [f"{path.parent.relative_to(rego)}/{found}" for path in policies(rego) for found in hasty(path)]


def _imported(tree: dict[str, Any]) -> Iterator[str]:
    for row in tree.get("imports", []):
        yield row.get("alias") or row["path"]["value"][-1]["value"]


def _negated(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("negated"):
            yield node
        for value in node.values():
            yield from _negated(value)
    elif isinstance(node, list):
        for value in node:
            yield from _negated(value)


def _may_be_missing(term: Any, global_names: set[str]) -> bool:
    """A reference, a nested call, or a rule's name; a literal and a bound variable are there."""
    if isinstance(term, dict):
        if term.get("type") in {"ref", "call"}:
            return True
        if term.get("type") == "var":
            return term["value"] in global_names
        return any(_may_be_missing(value, global_names) for value in term.values())
    return isinstance(term, list) and any(_may_be_missing(value, global_names) for value in term)
