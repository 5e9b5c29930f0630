"""The catalogue of reasons: every code that a folder's Rego can give, as one page of Markdown with an anchor each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from magistrate.core.reasons import anchor
from magistrate.policy.places import Rule

# What a rule's word means to whoever gets the reason.
SAYS: Final = {
    "deny": "denies",
    "refuse": "refuses",
    "tier": "sets the least care",
    "approval": "asks for an approval",
    "deviation": "finds a deviation",
    "found": "finds a deviation",
    "doubt": "leaves the verdict inconclusive",
}
HEAD: Final = """# Reasons

Every code that a decision, an approval, an admission or a verification can give, from the METADATA of the rule that
gives it. Written by `magistrate policy reasons`; run it on your own folder for a page of your own policies.
"""


def page(rules: Sequence[Rule]) -> str:
    """The page: the policies first, by name, then the engine; in each the codes in order."""
    by_package: dict[str, dict[str, list[Rule]]] = {}
    for rule in rules:
        if rule.code:
            by_package.setdefault(rule.package, {}).setdefault(rule.code, []).append(rule)
    packages = sorted(by_package, key=lambda name: (not name.startswith("policies."), name))
    parts = [HEAD, *(part for name in packages for part in _of_package(name, by_package[name]))]
    return "\n".join(parts)


def row(rule: Rule) -> dict[str, Any]:
    """A rule that gives a reason, as JSON."""
    return {
        "file": rule.path,
        "line": rule.row,
        "package": rule.package,
        "word": rule.name,
        "code": rule.code,
        "title": rule.title,
        "description": " ".join(rule.description.split()),
        "remedy": rule.remedy,
        "floor": rule.floor,
        "severity": rule.severity,
    }


def _of_package(name: str, codes: Mapping[str, list[Rule]]) -> Iterator[str]:
    yield f"## `{name}`\n"
    for code in sorted(codes):
        yield from _entry(code, codes[code])


def _entry(code: str, rules: Sequence[Rule]) -> Iterator[str]:
    yield f'<a id="{anchor(code)}"></a>\n\n### `{code}`\n'
    for title in dict.fromkeys(rule.title for rule in rules):
        yield f"{_plain(title)}.\n"
    for description in dict.fromkeys(rule.description for rule in rules if rule.description):
        yield f"{_plain(description)}\n"
    for remedy in dict.fromkeys(rule.remedy for rule in rules if rule.remedy):
        yield f"- What to do: {_plain(remedy)}"
    first = rules[0]
    more = f", of at least {first.floor}" if first.floor else f", {first.severity}" if first.severity else ""
    yield f"- It {SAYS.get(first.name, 'says so')}{more} (`{first.name}` in `rego/{first.path}`)\n"


def _plain(text: str) -> str:
    """An author's words as one line of text: nothing of it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))
