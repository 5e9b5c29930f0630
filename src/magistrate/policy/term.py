"""Values inside OPA's traces: terms as its syntax trees hold them, looked up, compared and written as Rego."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

Term = Mapping[str, Any]
Known = Mapping[str, Term]  # what each variable was bound to

_COMPOUND: Final = frozenset({"array", "object", "set"})
_SCALAR: Final = frozenset({"null", "boolean", "number", "string"})


def value(term: Term, known: Known) -> Term | None:
    """The term with every variable replaced by what it was bound to; None where one was bound to nothing."""
    kind = term["type"]
    if kind in _SCALAR:
        return term
    if kind == "var":
        return known.get(term["value"])
    if kind == "ref":
        return _walked(term["value"], known)
    if kind == "object":
        pairs = [(value(key, known), value(inner, known)) for key, inner in term["value"]]
        return None if any(None in pair for pair in pairs) else {"type": kind, "value": pairs}
    if kind in _COMPOUND:
        items = [value(item, known) for item in term["value"]]
        return None if None in items else {"type": kind, "value": items}
    return None  # a call or a comprehension: the trace does not say what it came to


def literal(term: Term) -> bool:
    """Whether the author wrote the value out."""
    return value(term, {}) is not None


def text(term: Term) -> str:
    """The term as Rego writes it, sets and objects in order."""
    kind, held = term["type"], term.get("value")
    if kind == "array":
        return "[" + ", ".join(map(text, held or ())) + "]"
    if kind == "set":
        return "{" + ", ".join(sorted(map(text, held))) + "}" if held else "set()"
    if kind == "object":
        return "{" + ", ".join(sorted(f"{text(key)}: {text(inner)}" for key, inner in held or ())) + "}"
    if kind in _SCALAR:
        return json.dumps(held, ensure_ascii=False)
    if kind == "ref":
        return "".join([str(held[0]["value"]), *map(_step, held[1:])]) if held else ""
    return str(held) if kind == "var" else f"<{kind}>"


def differences(expected: Term, actual: Term, pointer: str = "") -> Iterator[str]:
    """Where two values differ, each place by its JSON pointer."""
    kinds = {expected["type"], actual["type"]}
    if kinds == {"object"}:
        yield from _of_objects(expected, actual, pointer)
    elif kinds == {"set"}:
        wanted, found = ({text(item) for item in term["value"] or ()} for term in (expected, actual))
        yield from (f"{pointer or '/'}: {item} is missing" for item in sorted(wanted - found))
        yield from (f"{pointer or '/'}: {item} is not expected" for item in sorted(found - wanted))
    elif kinds == {"array"} and len(expected["value"] or ()) == len(actual["value"] or ()):
        for index, (one, other) in enumerate(zip(expected["value"] or (), actual["value"] or (), strict=True)):
            yield from differences(one, other, f"{pointer}/{index}")
    elif text(expected) != text(actual):
        yield f"{pointer or '/'}: expected {text(expected)}, actual {text(actual)}"


def _of_objects(expected: Term, actual: Term, pointer: str) -> Iterator[str]:
    wanted, found = ({text(key): (key, inner) for key, inner in term["value"] or ()} for term in (expected, actual))
    for name in sorted(wanted.keys() | found.keys()):
        key = (wanted.get(name) or found[name])[0]
        where = f"{pointer}/{key['value'] if key['type'] == 'string' else name}"
        if name not in found:
            yield f"{where}: expected {text(wanted[name][1])}, actual nothing"
        elif name not in wanted:
            yield f"{where}: expected nothing, actual {text(found[name][1])}"
        else:
            yield from differences(wanted[name][1], found[name][1], where)


def _walked(steps: list[Term], known: Known) -> Term | None:
    """What a reference into a bound variable comes to."""
    here = known.get(steps[0]["value"]) if steps[0]["type"] == "var" else None
    for step in steps[1:]:
        at = value(step, known)
        if here is None or at is None:
            return None
        here = _inside(here, at)
    return here


def _inside(here: Term, at: Term) -> Term | None:
    held = here.get("value") or ()
    if here["type"] == "object":
        return next((inner for key, inner in held if text(key) == text(at)), None)
    if here["type"] == "array" and at["type"] == "number":
        return held[at["value"]] if 0 <= at["value"] < len(held) else None
    return at if here["type"] == "set" and text(at) in map(text, held) else None


def _step(term: Term) -> str:
    held = term["value"]
    plain = term["type"] == "string" and str(held).replace("_", "a").isalnum() and not str(held)[:1].isdigit()
    return f".{held}" if plain else f"[{text(term)}]"
