"""The only place where bytes become values and values become the bytes we hash or sign (RFC 8785).

In: `load` is stricter than JSON. What two parsers could read differently is refused, and the pointer says where.
Out: `canonical` writes RFC 8785 and refuses what JSON cannot carry exactly.

Both have a fast way that proves a value harmless and a careful way that is always right. The fast way may only
say "I am not sure"; the tests hold the two against each other and against two foreign encoders.

A whole number has one form however it was spelt: `1.0`, `10e-1` and `1` all load as the integer 1, and `-0` as 0.
So `canonical(load(raw))` is a fixed point, and a model sees the same types before and after.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType, NoneType
from typing import Any, Final, NoReturn, TypeAlias

import jcs
import orjson

from magistrate.core.errors import Malformed, NotCanonical

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MAX_SAFE: Final = 2**53 - 1  # above this two integers share one JSON number
MAX_INPUT: Final = 64 * 1024  # contracts, section 1: what comes in
MAX_RECORD: Final = 1024 * 1024  # contracts, section 1: questions and entry bodies
MAX_DEPTH: Final = 32  # of what comes in: `[]` is 1 deep
MAX_DEPTH_RECORD: Final = 64  # an intent that came in at 32 lies deeper in its question and its entry

_WRITE: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER  # refuses beyond MAX_SAFE
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_CONTAINERS: Final = frozenset({dict, list, tuple, MappingProxyType})
_EXACT_KINDS: Final = _CONTAINERS | {str, int, bool, NoneType}
# UTF-8 sorts like UTF-16 until a character needs four bytes; a false alarm only costs time.
_FOUR_BYTES: Final = re.compile(rb"[\xf0-\xf7]")
# Possessive, and content with no closing quote: one pass, whatever was sent.
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def load(raw: bytes, *, limit: int = MAX_INPUT, depth: int = MAX_DEPTH) -> Json:
    """Return the one value these bytes hold, or refuse them.

    Refused: over `limit` bytes, empty, a byte order mark, not UTF-8, trailing bytes, NaN and Infinity, a key twice in
    one object, a number whose magnitude exceeds 2^53-1 however spelt, half a surrogate pair, nesting over `depth`.

    Raises:
        Malformed: with a code under `input.`; `input.too_large` for size alone; `pointer` says where.
    """
    if len(raw) > limit:
        raise Malformed("input.too_large", f"{len(raw)} bytes, where at most {limit} are read")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _load_carefully(raw, depth)
    if _surely_exact(value, raw, depth):
        return value  # type: ignore[no-any-return]
    return _load_carefully(raw, depth)


def load_object(raw: bytes, *, limit: int = MAX_INPUT, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """As `load`, for the documents and requests that must be JSON objects.

    Raises:
        Malformed: as `load`, or `input.shape` when the value is not an object.
    """
    value = load(raw, limit=limit, depth=depth)
    if not isinstance(value, dict):
        raise Malformed("input.shape", "the top must be a JSON object")
    return value


def load_canonical(raw: bytes, *, limit: int = MAX_INPUT, depth: int = MAX_DEPTH) -> Json:
    """As `load`, for signed files: exactly the canonical bytes and at most one final newline.

    Raises:
        Malformed: as `load`, or `input.not_canonical` when the bytes are any other spelling of the value.
    """
    body = raw.removesuffix(b"\n")
    value = load(body, limit=limit, depth=depth)
    if canonical(value) != body:
        raise Malformed(
            "input.not_canonical",
            "the bytes are not the RFC 8785 form of the value they hold: a signed file is kept as it was written",
        )
    return value


def canonical(value: object) -> bytes:
    """Return the one byte string (RFC 8785) that stands for `value`.

    Takes dict or any mapping, list, tuple, str, int, float, bool and None; subclasses such as a str enum count as
    what they are made of.

    Raises:
        NotCanonical: `value` holds something JSON cannot carry exactly; `pointer` says where.
    """
    if _surely_plain(value):
        try:
            raw = orjson.dumps(value, default=dict, option=_WRITE)
        except orjson.JSONEncodeError:  # the careful way knows what and where
            raw = b""
        if raw and (raw.isascii() or not _FOUR_BYTES.search(raw)):
            return raw
    return _write_carefully(_exact(value, "", MAX_DEPTH_RECORD))


def digest(raw: bytes) -> str:
    """`sha256:` and the hex digest of these bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def digest_of(value: object) -> str:
    """The digest of the canonical bytes of `value`.

    Raises:
        NotCanonical: see `canonical`.
    """
    return digest(canonical(value))


def pointer_to(pointer: str, step: str | int) -> str:
    """The RFC 6901 pointer one step below `pointer`."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"


# -- the fast ways: "yes", or "not sure" -----------------------------------------------------------------------------


def _surely_exact(value: Any, raw: bytes, depth: int) -> bool:
    """Whether a parsed value lost nothing of `raw`: no repeated key, no float, no big integer, not too deep.

    A repeated key leaves fewer strings in the value than `raw` has pairs of quotes: one count finds all of them.
    """
    strings = 0
    level = [value]
    for _ in range(depth + 1):
        kinds = list(map(type, level))
        if float in kinds or (int in kinds and not _small(level)):
            return False
        strings += kinds.count(str)
        if _CONTAINERS.isdisjoint(kinds):
            return 2 * strings == _quotes(raw)
        level, keys = _children(level)
        strings += keys
    return False


def _surely_plain(value: Any) -> bool:
    """Whether `value` is made of exact JSON kinds without floats, and not too deep."""
    level = [value]
    for _ in range(MAX_DEPTH_RECORD + 1):
        kinds = set(map(type, level))
        if not kinds <= _EXACT_KINDS:
            return False
        if _CONTAINERS.isdisjoint(kinds):
            return True
        level, _keys = _children(level)
    return False


def _children(level: list[Any]) -> tuple[list[Any], int]:
    """All values one level down, and how many keys stood between."""
    children: list[Any] = []
    keys = 0
    for value in level:
        kind = type(value)
        if kind is dict or kind is MappingProxyType:
            keys += len(value)
            children += value.values()
        elif kind is list or kind is tuple:
            children += value
    return children, keys


def _small(level: list[Any]) -> bool:
    return all(-MAX_SAFE <= value <= MAX_SAFE for value in level if type(value) is int)


def _quotes(raw: bytes) -> int:
    """How many quotes open or close a string, in bytes that are known to be valid JSON."""
    if b"\\" in raw:  # every escape is inside a string, and pairs of backslashes are read from the left
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return raw.count(b'"')


# -- the careful way in ----------------------------------------------------------------------------------------------


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text, repeated keys and all."""


class _Number(str):
    """A number as it stands in the text; `NaN` and `Infinity` arrive here too."""

    __slots__ = ()


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number
)


def _load_carefully(raw: bytes, depth: int) -> Json:
    text = _decoded(raw)
    if _deepest(text) > 2 * MAX_DEPTH_RECORD:  # the reader recurses: it is not led further; `_read` names the place
        raise Malformed("input.too_deep", f"nested deeper than {depth}")
    try:
        tree = _READER.decode(text)
    except json.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise Malformed("input.syntax", detail) from None
    return _read(tree, "", depth)


def _decoded(raw: bytes) -> str:
    if not raw.strip(b" \t\r\n"):
        raise Malformed("input.empty", "no value at all")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("input.encoding", f"byte {error.start} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise Malformed("input.encoding", "starts with a byte order mark")
    return text


def _deepest(text: str) -> int:
    """How deep the brackets outside strings nest, well-formed or not."""
    deepest = depth = 0
    for mark in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _read(node: Any, pointer: str, depth: int) -> Json:
    match node:
        case _Number():
            return _read_number(node, pointer)
        case str():
            return _whole_text(node, pointer, Malformed)
        case _Pairs() | list():
            if not depth:
                raise Malformed("input.too_deep", "nested too deep", pointer=pointer)
            if isinstance(node, _Pairs):
                return _read_object(node, pointer, depth - 1)
            return [_read(item, pointer_to(pointer, i), depth - 1) for i, item in enumerate(node)]
        case _:
            return node  # type: ignore[no-any-return]  # true, false, null


def _read_object(pairs: _Pairs, pointer: str, depth: int) -> Json:
    found: dict[str, Json] = {}
    for key, node in pairs:
        _whole_text(key, pointer, Malformed)
        here = pointer_to(pointer, key)
        if key in found:
            raise Malformed("input.duplicate_key", f"the key {key!r} stands twice in one object", pointer=here)
        found[key] = _read(node, here, depth)
    return found


def _read_number(literal: _Number, pointer: str) -> Json:
    number = float(literal)
    if not math.isfinite(number) or (abs(number) >= MAX_SAFE and Decimal(literal).copy_abs() > MAX_SAFE):
        raise Malformed(
            "input.number",
            f"{literal[:40]} is beyond the numbers JSON carries exactly: amounts are integers in minor units, larger"
            " numbers are strings",
            pointer=pointer,
        )
    return int(number) if number.is_integer() else number


def _whole_text(text: str, pointer: str, error: type[Malformed]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error("input.surrogate", "a string holds half of a surrogate pair", pointer=pointer) from None
    return text


# -- the careful way out ---------------------------------------------------------------------------------------------


def _write_carefully(value: Json) -> bytes:
    if _surely_plain(value):
        raw = orjson.dumps(value, option=_WRITE)
        if not _FOUR_BYTES.search(raw):
            return raw
    return jcs.canonicalize(value)  # type: ignore[no-any-return]


def _exact(value: object, pointer: str, depth: int) -> Json:
    """A copy made of exact JSON kinds only, whole floats as integers; or the reason why there is none."""
    match value:
        case None | True | False:
            return value
        case str():
            return _whole_text(str.__str__(value), pointer, NotCanonical)
        case int():
            return _exact_integer(int.__int__(value), pointer)
        case float():
            return _exact_float(value, pointer)
        case Mapping() | list() | tuple():
            if not depth:
                raise NotCanonical("input.too_deep", f"nested deeper than {MAX_DEPTH_RECORD}", pointer=pointer)
            if isinstance(value, Mapping):
                return _exact_object(value, pointer, depth - 1)
            return [_exact(item, pointer_to(pointer, i), depth - 1) for i, item in enumerate(value)]
        case _:
            raise NotCanonical("input.kind", f"{type(value).__name__} is not a JSON value", pointer=pointer)


def _exact_object(value: Mapping[object, object], pointer: str, depth: int) -> Json:
    found: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotCanonical("input.key", f"a key is {type(key).__name__}, not text", pointer=pointer)
        name = _whole_text(str.__str__(key), pointer, NotCanonical)
        here = pointer_to(pointer, name)
        if name in found:  # a mapping of another make may hold a key twice
            raise NotCanonical("input.duplicate_key", f"the key {name!r} stands twice in one object", pointer=here)
        found[name] = _exact(item, here, depth)
    return found


def _exact_integer(number: int, pointer: str) -> int:
    if abs(number) > MAX_SAFE:
        _beyond(pointer)
    return number


def _exact_float(number: float, pointer: str) -> int | float:
    if not math.isfinite(number) or abs(number) > MAX_SAFE:
        _beyond(pointer)
    return int(number) if number.is_integer() else float(number)


def _beyond(pointer: str) -> NoReturn:
    raise NotCanonical("input.number", "a number is beyond what JSON carries exactly", pointer=pointer)
