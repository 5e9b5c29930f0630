"""YAML that is what it looks like: a plain word is taken only where every version of YAML reads it alike.

`no` is false in one version and a word in another; `012`, `1_000`, `12:30`, `0o17` and `2026-03-25` are numbers, times
or texts. Such a word is refused and the author puts quotes around it. So are anchors, aliases, tags, merge keys,
duplicate keys and second documents: nothing in a table is to be worked out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from magistrate.core.errors import Malformed

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 16
_JSON: Final = re.compile(r"null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_OTHERS: Final = re.compile(  # what YAML 1.2, or 1.1 as written, reads as something else than a text
    r"[yYnN]|0o[0-7]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)|"
)
_TEXT: Final = "tag:yaml.org,2002:str"

Lines = dict[tuple[str | int, ...], int]  # the line of each value, by its path


def load(raw: bytes, name: str) -> tuple[Any, Lines]:
    """Return the one document in a file, as JSON values, and the line each of them stands on.

    Raises:
        Malformed: `table.yaml`, it is no YAML or uses more than a table needs; `table.lookalike`, a word is not what
            it looks like; `table.twice`, a key stands twice.
    """
    if len(raw) > MAX_BYTES:
        raise Malformed("table.yaml", f"{name}: more than {MAX_BYTES} bytes")
    try:
        reader = _Reader(name, yaml.parse(raw.decode("utf-8"), Loader=yaml.SafeLoader))
        return reader.document(), reader.lines
    except UnicodeDecodeError:
        raise Malformed("table.yaml", f"{name}: not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise Malformed("table.yaml", f"{name}{line}: {getattr(error, 'problem', None) or error}") from None


class _Reader:
    """Builds values from YAML's events, so that nothing is resolved on the way."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.lines: Lines = {}
        self._name = name
        self._events = events
        self._resolver = yaml.SafeLoader("")

    def document(self) -> Any:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise self._refused("table.yaml", after, "a second document; a table is one")
        return value

    def _value(self, event: Any, path: tuple[str | int, ...]) -> Any:
        self.lines[path] = event.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise self._refused("table.yaml", event, f"nested deeper than {MAX_DEPTH}")
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise self._refused("table.yaml", event, "anchors, aliases and tags are not for tables: write it out")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(inner, (*path, n)) for n, inner in enumerate(self._until(yaml.SequenceEndEvent))]
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        return self._scalar(event)

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise self._refused("table.yaml", event, "a name is a text", 'write it in quotes: "1"')
            if key in held:
                raise self._refused("table.twice", event, f"`{key}` stands twice")
            held[key] = self._value(next(self._events), (*path, key))
            self.lines[(*path, key)] = event.start_mark.line + 1
        return held

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style is not None:
            return text
        if _JSON.fullmatch(text):
            return json.loads(text)
        resolved = self._resolver.resolve(yaml.ScalarNode, text, (True, False))
        if resolved != _TEXT or _OTHERS.fullmatch(text):
            shown = f"`{text}`" if text else "nothing"
            hint = f"write it in quotes: {json.dumps(text, ensure_ascii=False)}"
            raise self._refused("table.lookalike", event, f"{shown} is not what it looks like in every YAML", hint)
        return text

    def _until(self, end: type[Any]) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _refused(self, code: str, event: Any, detail: str, hint: str = "") -> Malformed:
        return Malformed(code, f"{self._name}:{event.start_mark.line + 1}: {detail}", hint=hint)
