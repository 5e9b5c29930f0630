"""What a rule looks at: the references its syntax holds, through the helpers of its own package, with their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from magistrate.core import canonical
from magistrate.policy.bundle import Bundle
from magistrate.policy.places import Places, Rule, Tree

Path = tuple[str | int, ...]  # begins with "input" or "data"
MISSING: Final = object()
DEEP: Final = 8  # a reference inside a reference inside …


@dataclass(frozen=True)
class Fact:
    """A value that a rule's reference leads to; `present` is false where there is none."""

    of: str  # input or data
    pointer: str
    present: bool
    value: Any

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        shown = {"value": self.value} if self.present else {}
        return {"of": self.of, "pointer": self.pointer, "present": self.present, **shown}


@dataclass
class Seen:
    """What one piece of syntax looks at: paths in order, literal values, builtins called."""

    paths: dict[Path, None] = field(default_factory=dict)
    literals: dict[str | int, None] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)


class Reading:
    """Reads rules of one bundle against one question."""

    def __init__(self, places: Places, bundle: Bundle, question: Mapping[str, Any]) -> None:
        self._places = places
        self._roots: dict[str, Any] = {"input": question, "data": bundle.data}

    def facts(self, rule: Rule) -> list[Fact]:
        """Every value the rule reads of the question and of the bundle's data, in the order it names them."""
        paths = [path for path in self.whole(rule).paths if len(path) > 1]
        ends = [path for path in paths if not any(other != path and other[: len(path)] == path for other in paths)]
        found = [self.fact(path) for path in ends]
        return [fact for fact in found if fact.of == "input" or fact.present]

    def fact(self, path: Path) -> Fact:
        """The value a path leads to."""
        value = self.at(path)
        pointer = ""
        for step in path[1:]:
            pointer = canonical.pointer_to(pointer, step)
        present = value is not MISSING
        return Fact(str(path[0]), pointer, present, value if present else None)

    def at(self, path: Path) -> Any:
        """The value at a path; MISSING where nothing is."""
        value: Any = self._roots[str(path[0])]
        for step in path[1:]:
            known: Any = value if isinstance(value, Mapping) else dict(enumerate(value)) if _list(value) else {}
            if step not in known:
                return MISSING
            value = known[step]
        return value

    def whole(self, rule: Rule) -> Seen:
        """What a rule looks at, through the helpers it names."""
        seen = Seen()
        self._walk(_without_names(rule.tree), rule, seen, {rule.name})
        return seen

    # -- syntax

    def _walk(self, node: Any, rule: Rule, seen: Seen, visited: set[str]) -> None:
        if isinstance(node, list):
            for child in node:
                self._walk(child, rule, seen, visited)
            return
        if not isinstance(node, Mapping):
            return
        kind = node.get("type")
        if kind == "ref":
            self._refer(node["value"], rule, seen, visited)
        elif kind == "var":
            self._refer([node], rule, seen, visited)
        elif kind in ("string", "number"):
            seen.literals[node["value"]] = None
        elif kind == "call":
            function, *arguments = node["value"]
            self._call(function, rule, seen, visited)
            self._walk(arguments, rule, seen, visited)
        else:
            self._walk(_parts(node, rule, seen, self._call, visited), rule, seen, visited)

    def _call(self, function: Tree, rule: Rule, seen: Seen, visited: set[str]) -> None:
        """A call: of a helper of this package, which is read too, or of a builtin or another package, which is not."""
        name = ".".join(str(part["value"]) for part in function["value"])
        seen.calls.add(name)
        self._follow(name, rule, seen, visited)

    def _follow(self, name: str, rule: Rule, seen: Seen, visited: set[str]) -> bool:
        helpers = self._places.named(rule.package, name)
        if helpers and name not in visited:
            visited.add(name)
            for helper in helpers:
                self._walk(_without_names(helper.tree), helper, seen, visited)
        return bool(helpers)

    def _refer(self, ref: list[Tree], rule: Rule, seen: Seen, visited: set[str]) -> None:
        for step in ref[1:]:
            if step["type"] in ("ref", "call"):
                self._walk(step, rule, seen, visited)
        head = str(ref[0]["value"]) if ref[0]["type"] == "var" else ""
        path = self._path(ref, rule, 0)
        if path:
            seen.paths[path] = None
        if head and (not path or path[0] != head):
            self._follow(head, rule, seen, visited)
        elif not head:
            self._walk(ref[0], rule, seen, visited)

    def _path(self, ref: list[Tree], rule: Rule, depth: int) -> Path:
        """The path a reference leads to, up to its first step that only evaluation knows; () for a local name."""
        base = self._base(str(ref[0]["value"]) if ref[0]["type"] == "var" else "", rule, depth)
        if not base:
            return ()
        path = list(base)
        for step in ref[1:]:
            known = self._step(step, rule, depth)
            if known is None:
                break
            path.append(known)
        return tuple(path)

    def _base(self, head: str, rule: Rule, depth: int) -> Path:
        if head in ("input", "data"):
            return (head,)
        imported = self._places.modules[rule.file].imports.get(head)
        if imported:
            return imported
        named = self._places.named(rule.package, head) if depth < DEEP else []
        value = (
            named[0].tree["head"].get("value", {}) if len(named) == 1 and "args" not in named[0].tree["head"] else {}
        )
        if value.get("type") == "ref" and all(part["type"] != "call" for part in value["value"]):
            return self._path(value["value"], named[0], depth + 1)  # a name for another place
        return ()

    def _step(self, step: Tree, rule: Rule, depth: int) -> str | int | None:
        if step["type"] in ("string", "number"):
            return step["value"]  # type: ignore[no-any-return]  # a string or a number, as its type says
        if step["type"] == "ref" and depth < DEEP:
            path = self._path(step["value"], rule, depth + 1)
            value = self.at(path) if path else MISSING
            return value if isinstance(value, str | int) and not isinstance(value, bool) else None
        return None


def _parts(node: Tree, rule: Rule, seen: Seen, call: Any, visited: set[str]) -> Any:
    """What is below a node. Of an expression `f(x, y)` the first term is the function."""
    terms = node.get("terms")
    if isinstance(terms, list) and terms and terms[0].get("type") == "ref":
        call(terms[0], rule, seen, visited)
        return [*terms[1:], *node.get("with", [])]
    return [child for key, child in _without_names(node).items() if key not in ("annotations", "location")]


def _without_names(tree: Tree) -> dict[str, Any]:
    """A rule's or head's syntax without its own name, which would read as a reference."""
    found = {key: child for key, child in tree.items() if key not in ("annotations", "location", "ref", "name")}
    if "head" in found:
        found["head"] = {key: child for key, child in found["head"].items() if key not in ("ref", "name", "location")}
    return found


def _list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def leaves(value: Any) -> Iterator[str | int]:
    """The texts and whole numbers in a value, keys too."""
    if isinstance(value, Mapping):
        yield from (key for key in value if isinstance(key, str))
        for inner in value.values():
            yield from leaves(inner)
    elif _list(value):
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, str) or type(value) is int:
        yield value
