"""The public rules of a folder and what their METADATA says: the source of every reason, and of the page about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from magistrate.core.values import Count, Document


class Rule(Document):
    """One definition of a public rule; what its METADATA does not say is ""."""

    file: str
    line: Count
    package: str
    word: str  # the rule's name: deny, tier, …; the engine has words of its own
    code: str
    title: str
    description: str
    remedy: str
    floor: str
    severity: str


def public(trees: Mapping[str, Any]) -> list[Rule]:
    """Every definition of a public rule in these syntax trees, by file and line."""
    return [rule for name, tree in sorted(trees.items()) for rule in _of(name, tree)]


def _of(name: str, tree: Mapping[str, Any]) -> Iterator[Rule]:
    package = ".".join(str(part["value"]) for part in tree["package"]["path"][1:])
    for rule in tree.get("rules", ()):
        word = str(rule["head"]["ref"][0]["value"])
        if not word.startswith("_"):
            yield _read(name, package, word, rule)


def _read(name: str, package: str, word: str, rule: Mapping[str, Any]) -> Rule:
    notes = [note for note in rule.get("annotations", ()) if note.get("scope") in ("rule", "document")]
    note: Mapping[str, Any] = notes[0] if notes else {}
    custom = note.get("custom")
    said = custom if isinstance(custom, dict) else {}
    return Rule(
        file=name,
        line=rule["location"]["row"],
        package=package,
        word=word,
        title=str(note.get("title", "")),
        description=" ".join(str(note.get("description", "")).split()),
        **{key: str(said.get(key, "")) for key in ("code", "remedy", "floor", "severity")},
    )
