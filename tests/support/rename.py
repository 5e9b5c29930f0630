"""The same policies under other names: every tier, role, reason code and threshold of a Rego tree changed.

What works with the copy as with the original holds no tier name, role name, code, threshold or approval count of its
own. ``python -m tests.support.rename TARGET`` writes such a copy and prints the names.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.rego_tools import REGO, parsed

# Words of the contracts, not of policies: a role that is called like one of them cannot be told from it.
FIXED = frozenset(
    [
        "agent",
        "operator",
        "observer",
        "auditor",
        "proposer",
        "owner",
        "author",
        "subject",
        "router",
        "holder",
        "policy",
        "allow",
        "ask",
        "deny",
        "approve",
    ]
)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')
STATED = re.compile(r"(\b(?:code|floor|roles)\s*:\s*)(\[[^\]]*\]|[^\s,}]+)")
NAMED = re.compile(r"(?<![\w.:/-])[A-Za-z0-9][A-Za-z0-9._:/-]*")


@dataclass(frozen=True)
class Names:
    """Old name to new name, by kind."""

    tiers: dict[str, str]
    roles: dict[str, str]
    codes: dict[str, str]

    def __getitem__(self, old: str) -> str:
        """What `old` is called in the copy; a name of none of the three kinds stays."""
        return self.tiers.get(old) or self.roles.get(old) or self.codes.get(old) or old

    def __contains__(self, old: str) -> bool:
        return self[old] != old


def names(rego: Path = REGO) -> Names:
    """What would be renamed. Higher tiers get names that sort lower, so that nothing rests on their order as text.

    Raises:
        AssertionError: a role bears a word of the contracts.
    """
    rows = _data(rego / "tiers" / "data.json")
    by_rank = sorted((name for name in rows if "rank" in rows[name]), key=lambda name: rows[name]["rank"])
    tiers = {name: f"Level{chr(ord('Z') - n)}" for n, name in enumerate(by_rank)}
    roles = {name: f"guild-{n}-of-{name[::-1]}" for n, name in enumerate(sorted(_roles(rego)))}
    codes = {code: f"renamed.{n}.{code}" for n, code in enumerate(sorted(_codes(rego)))}
    clash = FIXED & (set(tiers) | set(roles) | set(codes))
    if clash:
        raise AssertionError(f"names that the contracts use for something else: {sorted(clash)}")
    return Names(tiers, roles, codes)


def renamed(target: Path, rego: Path = REGO, *, operators: int = 2) -> Names:
    """Write the copy and say what became of each name.

    Every number under a policy's `limits` grows by one, and so does every approval count that stays within `operators`
    people; a count that would not is lowered by one.
    """
    mapping = names(rego)
    shutil.copytree(rego, target, dirs_exist_ok=True)
    for path in sorted(target.rglob("*.rego")):
        path.write_text(_rego(path.read_text("utf-8"), mapping), "utf-8")
    for path in sorted(target.rglob("data.json")):
        _rewrite(path, lambda value: _json(value, mapping))
    for path in sorted(target.glob("policies/*/data.json")):
        _rewrite(path, lambda value: {**value, "limits": _recounted(_moved(value["limits"]), operators)})
    _rewrite(target / "tiers" / "data.json", lambda value: _recounted(value, operators))
    return mapping


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(_data(path)), indent=2, sort_keys=True) + "\n", "utf-8")


def _data(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _annotations(rego: Path) -> Iterator[dict[str, Any]]:
    """The custom part of every METADATA block."""
    for path in sorted(rego.rglob("*.rego")):
        tree = parsed(path)
        for annotated in (tree, *tree.get("rules", [])):
            yield from (note.get("custom", {}) for note in annotated.get("annotations", []))


def _roles(rego: Path) -> set[str]:
    """Every name under a key `roles`, in data and METADATA."""
    data = [row for path in rego.rglob("data.json") for row in _walk(_data(path))]
    found = (row.get("roles", []) for row in (*data, *_annotations(rego)))
    return {role for roles in found if isinstance(roles, list) for role in roles if isinstance(role, str)}


def _codes(rego: Path) -> set[str]:
    return {note["code"] for note in _annotations(rego) if "code" in note}


def _rego(text: str, mapping: Names) -> str:
    """1. names in METADATA; 2. whole string literals; 3. `data.tiers.NAME`."""
    return "\n".join(
        _metadata(line, mapping) if line.lstrip().startswith("#") else _code(line, mapping) for line in text.split("\n")
    )


def _metadata(line: str, mapping: Names) -> str:
    """Only what stands under a key that names something; titles, remedies and prose are for people."""
    return STATED.sub(lambda found: found[1] + NAMED.sub(lambda name: mapping[name[0]], found[2]), line)


def _code(line: str, mapping: Names) -> str:
    line = LITERAL.sub(lambda found: f'"{mapping[found[0][1:-1]]}"' if found[0][1:-1] in mapping else found[0], line)
    return re.sub(r"\bdata\.tiers\.(\w+)", lambda found: f"data.tiers.{mapping.tiers.get(found[1], found[1])}", line)


def _json(value: Any, mapping: Names) -> Any:
    if isinstance(value, dict):
        return {mapping[key]: _json(inner, mapping) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner, mapping) for inner in value]
    return mapping[value] if isinstance(value, str) else value


def _moved(limits: Any) -> Any:
    """Every threshold is another number."""
    if isinstance(limits, dict):
        return {key: inner if key == "count" else _moved(inner) for key, inner in limits.items()}
    if isinstance(limits, list):
        return [_moved(inner) for inner in limits]
    return limits + 1 if isinstance(limits, int) and not isinstance(limits, bool) else limits


def _recounted(value: Any, operators: int) -> Any:
    if isinstance(value, dict):
        return {
            key: _another_count(inner, operators) if key == "count" else _recounted(inner, operators)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_recounted(inner, operators) for inner in value]
    return value


def _another_count(count: int, operators: int) -> int:
    return count + 1 if count < operators else max(count - 1, 1)


if __name__ == "__main__":
    told = renamed(Path(sys.argv[1]))
    sys.stdout.write(json.dumps({"tiers": told.tiers, "roles": told.roles, "codes": told.codes}, indent=2) + "\n")
