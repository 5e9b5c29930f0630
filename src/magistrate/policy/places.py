"""The rules of a bundle or a folder: file, lines, METADATA and syntax of each, as OPA itself parses them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from magistrate.policy import gate, vocabulary
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

POLICIES: Final = "policies."
ENGINE: Final = "magistrate"
Tree = Mapping[str, Any]
Spot = tuple[str, int, int]  # file, row, column: how OPA's trace names a place


@dataclass(frozen=True)
class Rule:
    """One rule as it is written; what its METADATA does not say is ""."""

    package: str
    name: str
    file: str
    row: int
    column: int
    code: str
    title: str
    description: str
    remedy: str
    floor: str
    severity: str
    source: str
    tree: Tree = field(repr=False, compare=False)

    @property
    def path(self) -> str:
        """Its file, named from the folder."""
        return self.file.removeprefix("/")

    @property
    def place(self) -> str:
        """File and line, as editors read them."""
        return f"{self.path}:{self.row}"

    @property
    def last(self) -> int:
        """The row it ends in."""
        return self.row + self.source.count("\n")

    @property
    def spot(self) -> Spot:
        """As OPA's trace names it."""
        return self.file, self.row, self.column

    @property
    def spoken(self) -> bool:
        """Whether it says something of its own: a word of a policy's vocabulary, or an engine's rule with a code."""
        return self.name in vocabulary.SETS if self.package.startswith(POLICIES) else bool(self.code)


@dataclass(frozen=True)
class Module:
    """One file: its package, what its imports stand for, its rules, and the text of what stands at each place."""

    package: str
    title: str
    description: str
    imports: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    texts: Mapping[Spot, str]
    terms: Mapping[Spot, str]


@dataclass(frozen=True)
class Places:
    """Every rule of one bundle or folder."""

    modules: Mapping[str, Module]

    def rules(self, package: str = "") -> Iterator[Rule]:
        """Every rule, or those of one package, in the order of the files."""
        for module in self.modules.values():
            if package in ("", module.package):
                yield from module.rules

    def public(self) -> list[Rule]:
        """The rules that others may read, by file and line: the source of every reason."""
        return [rule for rule in self.rules() if not rule.name.startswith("_")]

    def coded(self) -> dict[str, Rule]:
        """The first rule of every code."""
        return {rule.code: rule for rule in reversed(list(self.rules())) if rule.code}

    def named(self, package: str, name: str) -> list[Rule]:
        """The rules that together define one name."""
        return [rule for rule in self.rules(package) if rule.name == name]

    def text(self, spot: Spot) -> str:
        """The expression that stands at a place, "" where OPA made it up."""
        module = self.modules.get(spot[0])
        return module.texts.get(spot, "") if module else ""

    def term(self, spot: Spot) -> str:
        """The term that stands at a place, "" where none does."""
        module = self.modules.get(spot[0])
        return module.terms.get(spot, "") if module else ""


def read(binary: Binary, bundle: Bundle) -> Places:
    """The places of a bundle that the gate has taken in.

    Raises:
        Malformed: `gate.compile`, OPA cannot parse it.
        Unavailable: `opa.start`, OPA does not run.
    """
    return of(gate.trees(binary, bundle))


def of(trees: Mapping[str, Tree]) -> Places:
    """The places in these syntax trees, which are named by their files."""
    return Places({name: _module(name, trees[name]) for name in sorted(trees)})


def _module(name: str, tree: Tree) -> Module:
    package = ".".join(str(part["value"]) for part in tree["package"]["path"][1:])
    about: Tree = next((note for note in tree.get("annotations", []) if note.get("scope") == "package"), {})
    imports = {}
    for made in tree.get("imports", []):
        path = tuple(str(part["value"]) for part in made["path"]["value"])
        imports[str(made.get("alias") or path[-1])] = path
    return Module(
        package=package,
        title=str(about.get("title", "")),
        description=str(about.get("description", "")).strip(),
        imports=imports,
        rules=tuple(_rule(name, package, rule) for rule in tree.get("rules", [])),
        texts=dict(_texts(name, tree.get("rules", []))),
        terms=dict(reversed(list(_terms(name, tree.get("rules", []))))),  # where several begin, the outermost
    )


def _rule(file: str, package: str, tree: Tree) -> Rule:
    notes = [note for note in tree.get("annotations", []) if note.get("scope") in ("rule", "document")]
    note: Tree = notes[0] if notes else {}
    custom = note.get("custom")
    said: Tree = custom if isinstance(custom, dict) else {}
    at = tree["location"]
    return Rule(
        package=package,
        name=str(tree["head"]["ref"][0]["value"]),
        file=file,
        row=at["row"],
        column=at["col"],
        title=str(note.get("title", "")),
        description=str(note.get("description", "")).strip(),
        **{key: str(said.get(key, "")) for key in ("code", "remedy", "floor", "severity")},
        source=f"default {text_of(tree['head']['location'])}" if tree.get("default") else text_of(at),
        tree=tree,
    )


def text_of(location: Tree) -> str:
    """The source text a location carries."""
    return base64.b64decode(location.get("text", "")).decode("utf-8", "replace")


def _texts(file: str, node: Any) -> Iterator[tuple[Spot, str]]:
    """The text of each expression below a node."""
    for child in _below(node):
        if "terms" in child and not child.get("generated"):
            at = child["location"]
            yield (file, at["row"], at["col"]), text_of(at)


def _terms(file: str, node: Any) -> Iterator[tuple[Spot, str]]:
    """The text of each reference, name and call below a node."""
    for child in _below(node):
        if child.get("type") not in ("ref", "var", "call") or "location" not in child:
            continue
        at = child["location"]
        if child["type"] == "call" and child["value"][0]["location"] != at:
            at = at | {"text": ""}
        # of `x + y` OPA says that it stands where x does: two values for one place, so none is told
        yield (file, at["row"], at["col"]), text_of(at)


def _below(node: Any) -> Iterator[Tree]:
    if isinstance(node, Mapping):
        yield node
        for key, child in node.items():
            if key not in ("annotations", "location"):
                yield from _below(child)
    elif isinstance(node, list):
        for child in node:
            yield from _below(child)
