"""What of a bundle is more than policy: the engine's own Rego, what is run, and the data that policies rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from magistrate.core.canonical import canonical, digest, pointer_to
from magistrate.core.values import thaw
from magistrate.policy.bundle import Bundle
from magistrate.policy.report import ENGINE, TEMPLATES

DATA: Final = ("tiers", "counters", "catalogue")
FIELDS: Final = 500  # told one by one; of what is beyond, the rows' names alone
TEXT: Final = 400  # characters of one value
_NONE: Final = object()

Field = tuple[str, Any, Any]  # its pointer, what it was, what it is


def changes(old: Bundle, new: Bundle) -> dict[str, Any]:
    """What else than policies differs: files of the engine; actions that run something else, and targets; and of all
    tiers, counters and the catalogue every row, and every field as it was and is."""
    before, after = _templates(old), _templates(new)
    there, here = (thaw(each.data.get("catalogue", {}).get("targets", {})) for each in (old, new))
    files = sorted(name for name in {*_engine(old), *_engine(new)} if old.files.get(name) != new.files.get(name))
    if thaw(old.data.get("magistrate", {})) != thaw(new.data.get("magistrate", {})):
        files.append(ENGINE + "data.json")
    fields = [
        field for root in DATA for field in _fields(f"/{root}", *(each.data.get(root, _NONE) for each in (old, new)))
    ]
    return {
        "engine": files,
        "actions": sorted(name for name in {*before, *after} if before.get(name) != after.get(name)),
        "targets": sorted(name for name in {*there, *here} if there.get(name) != here.get(name)),
        "rows": list(dict.fromkeys(_row(pointer) for pointer, _, _ in fields)),
        "data": [{"name": name, "was": _told(was), "now": _told(now)} for name, was, now in fields[:FIELDS]],
        "more": max(0, len(fields) - FIELDS),
    }


def _engine(bundle: Bundle) -> list[str]:
    return [name for name in bundle.files if name.startswith(ENGINE)]


def _templates(bundle: Bundle) -> dict[str, Any]:
    rows = bundle.data.get("catalogue", {}).get("actions", {})
    return {action: {part: thaw(row[part]) for part in TEMPLATES if part in row} for action, row in rows.items()}


def _fields(pointer: str, was: Any, now: Any) -> Iterator[Field]:
    """Every field that differs; what only one of the two has is told whole."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in sorted({*was, *now}):
            yield from _fields(pointer_to(pointer, name), was.get(name, _NONE), now.get(name, _NONE))
    elif _is_list(was) and _is_list(now) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _fields(pointer_to(pointer, index), one, other)
    elif _text(was) != _text(now):
        yield pointer, was, now


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _row(pointer: str) -> str:
    """The row that a field is of: a tier, a counter, an action, a target."""
    parts = pointer.split("/")
    return "/".join(parts[: 4 if parts[1] == "catalogue" else 3])


def _text(value: Any) -> str:
    """A value as JSON, so that `true` is not 1; nothing where there is none."""
    return "" if value is _NONE else canonical(thaw(value)).decode()


def _told(value: Any) -> str:
    """A value as people see it: two that differ are told differently, however long they are."""
    text = _text(value)
    return text if len(text) <= TEXT else f"{text[:TEXT]}… ({len(text)} characters, {digest(text.encode())})"
