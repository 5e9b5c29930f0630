"""Bytes in, strictly; one byte string out."""

from __future__ import annotations

import enum
import json
import math
import struct
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType

import jcs
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from magistrate.core import canonical
from magistrate.core.canonical import MAX_DEPTH, MAX_DEPTH_RECORD, MAX_INPUT, MAX_SAFE, digest, digest_of, load
from magistrate.core.canonical import canonical as written
from magistrate.core.errors import Malformed, NotCanonical
from tests.support.conformance import octets, vectors

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SMALL = st.integers(-MAX_SAFE, MAX_SAFE)
FRACTIONS = st.floats(-float(MAX_SAFE), float(MAX_SAFE))
LEAVES = st.none() | st.booleans() | SMALL | FRACTIONS | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5), max_leaves=25
)


def by_name(file: str, field: str = "cases") -> list[object]:
    return [pytest.param(case, id=case.get("name", case.get("bits"))) for case in vectors(file)[field]]


def double(bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def exact_types(value: object) -> object:
    """The value with each type spelt out: 1, 1.0 and True are equal in Python."""
    if isinstance(value, dict):
        return {key: exact_types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact_types(item) for item in value]
    return type(value), value


# -- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_name("refused-input.json"))
def test_refused_with_code_and_place(case):
    """What two readers could read differently is refused, by a stable code and at its place."""
    with pytest.raises(Malformed) as refused:
        load(octets(case, "input"))

    assert (refused.value.code, refused.value.pointer) == (case["code"], case["pointer"])


@pytest.mark.parametrize("case", by_name("refused-input.json"))
def test_the_careful_way_alone_refuses_the_same(case):
    """The fast way decides nothing: it only saves time."""
    with pytest.raises(Malformed) as refused:
        canonical._load_carefully(octets(case, "input"), MAX_DEPTH)

    assert (refused.value.code, refused.value.pointer) == (case["code"], case["pointer"])


def test_a_byte_over_the_limit_is_too_large():
    """Size has a code of its own (413), and is judged before anything is read."""
    fits = b'"' + b"x" * (MAX_INPUT - 2) + b'"'

    assert load(fits) == "x" * (MAX_INPUT - 2)
    with pytest.raises(Malformed, match=r"^input\.too_large: 65537 bytes, where at most 65536 are read$"):
        load(fits + b" ")
    with pytest.raises(Malformed, match=r"^input\.too_large"):
        load(b"not even JSON", limit=12)
    assert load(fits + b" ", limit=MAX_INPUT + 1) == load(fits)


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH, MAX_DEPTH_RECORD])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("inner", [b"[]", b"{}", b'["x",1]', b"[0.5]"])
def test_depth_is_counted_in_containers(depth, opening, closing, inner):
    """As deep as allowed is read, one deeper is not, whichever way looks at it."""
    outer = depth - 1
    load(opening * outer + inner + closing * outer, depth=depth)
    with pytest.raises(Malformed) as refused:
        load(opening * depth + inner + closing * depth, depth=depth)

    assert refused.value.code == "input.too_deep"
    assert refused.value.pointer == ("/0" if opening == b"[" else "/a") * depth


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 500_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'{"a":' * 150_000,
        b'"' + b'\\"' * 500_000,
        b'["' + b"\\" * 999_999,
        b"]" * 999 + b"[" * 999_000,
    ],
    ids=["open lists", "closed lists", "open objects", "quotes", "backslashes", "closing first"],
)
def test_hostile_megabytes_are_refused_in_one_pass(raw):
    """Neither the stack nor the square of the input is spent on refusing it."""
    with pytest.raises(Malformed):
        load(raw, limit=2**20)


@pytest.mark.parametrize("raw", [b"[1" + b"0" * 400_000 + b"e-400000]", b"[0." + b"0" * 900_000 + b"1e900001]"])
def test_a_long_spelling_of_one_is_one(raw):
    """However spelt: long literals are read exactly and without blowing up."""
    assert load(raw, limit=2**20) == [1]


def test_no_value_of_the_input_stands_in_a_syntax_error():
    """Refusals are shown to others: they say where, not what."""
    with pytest.raises(Malformed) as refused:
        load(b'{"password": "hunter2" "x"}')

    assert "hunter2" not in str(refused.value)
    assert "line 1, column" in refused.value.detail


def test_objects_only():
    """Documents are objects; a caller that needs one says so."""
    assert canonical.load_object(b'{"a":[1]}') == {"a": [1]}
    for raw in (b"[]", b'"a"', b"1", b"null", b"true"):
        with pytest.raises(Malformed, match=r"^input\.shape"):
            canonical.load_object(raw)


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_any_spelling_of_a_value_loads_as_that_value(value, indent, ascii_only):
    """White space, escapes and order of keys change nothing, and whole numbers have one type."""
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()

    found = load(raw)

    assert written(found) == written(value)
    assert exact_types(found) == exact_types(canonical._load_carefully(raw, MAX_DEPTH))


@given(VALUES)
def test_canonical_bytes_are_a_fixed_point(value):
    """Loading and writing again changes neither a byte nor a type."""
    raw = written(value)
    found = load(raw)

    assert written(found) == raw
    assert exact_types(load(written(found))) == exact_types(found)
    assert canonical.load_canonical(raw) == found


KEYS = st.sampled_from(['"a"', '"\\u0061"', '"\\\\"', '"\\u005c"', '"\\""', '""', '"\U0001f600"', '"\\ud83d\\ude00"'])
ODD = st.sampled_from(
    ["1.0", "-0", "1e0", "9007199254740991", "9007199254740992", "1e400", '"\\\\\\""', '"\\ud800"', "NaN", '"', "0.5"]
)
LITERALS = st.sampled_from(["1", '"a"', "null", "true", '"\\\\"'])
SPELLINGS = st.recursive(
    LITERALS | ODD,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]")
        | st.lists(st.tuples(KEYS, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key} :{item}" for key, item in pairs) + "}"
        )
    ),
    max_leaves=12,
)


def outcome(read, raw):
    try:
        return exact_types(read(raw))
    except Malformed as error:
        return error.code, error.pointer


@given(SPELLINGS)
@example('{"\\\\":"\\\\\\"","\\u005c":1}')
@example('{"a":{"a":1},"b":{"a":1}}')
def test_the_fast_way_in_never_differs_from_the_careful_way(text):
    """Repeated keys, odd numbers, escapes: whatever the careful way says, `load` says."""
    raw = text.encode()

    assert outcome(load, raw) == outcome(lambda it: canonical._load_carefully(it, MAX_DEPTH), raw)


@given(st.binary(max_size=40))
def test_any_bytes_load_or_are_malformed(raw):
    """No other error leaves the loader."""
    outcome(load, raw)


# -- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_name("canonical.json"))
def test_written_as_the_vectors_say(case):
    """One form for every spelling, in text and in bytes."""
    raw = written(load(octets(case, "input")))

    assert raw == case["canonical"].encode() == bytes.fromhex(case["canonical_hex"])
    assert written(load(raw)) == raw


@given(VALUES)
def test_byte_equal_with_two_foreign_encoders(value):
    """The fast way, the careful way, jcs and rfc8785 write the same bytes."""
    raw = written(value)

    assert raw == jcs.canonicalize(value)
    assert raw == rfc8785.dumps(value)
    assert raw == canonical._write_carefully(canonical._exact(value, "", MAX_DEPTH_RECORD))


def test_every_character_is_written_as_two_foreign_encoders_write_it():
    """All 1,112,064 Unicode scalar values, as text and as key."""
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    document = {"text": everything, "keys": dict.fromkeys(everything[::97], 0)}

    raw = written(document)

    assert raw == jcs.canonicalize(document)
    assert raw == rfc8785.dumps(document)
    assert load(raw, limit=len(raw)) == document


@pytest.mark.parametrize("case", by_name("numbers.json"))
def test_numbers_of_rfc_8785_appendix_b(case):
    """The encoder writes all of them; our profile then refuses what is beyond 2^53-1."""
    number = double(case["bits"])

    assert canonical._write_carefully(number) == case["text"].encode()
    if abs(number) <= MAX_SAFE:
        assert written(number) == case["text"].encode()
    else:
        with pytest.raises(NotCanonical, match=r"^input\.number"):
            written([number])


@pytest.mark.parametrize("bits", vectors("numbers.json")["refused_bits"])
def test_no_number_no_form(bits):
    """NaN and the infinities have no JSON."""
    with pytest.raises(NotCanonical) as refused:
        written({"a": [double(bits)]})

    assert (refused.value.code, refused.value.pointer) == ("input.number", "/a/0")


def es6_numbers() -> Iterator[float]:
    """The sequence that cyberphone/json-canonicalization publishes hashes of."""
    known = vectors("es6-numbers.json")
    yield from (0.0, -0.0, 5e-324, -5e-324)
    yield from (-third for third in known["thirds"])
    yield from known["thirds"]
    yield from known["others"]
    yield from (struct.unpack(">d", struct.pack(">Q", 0x0010000000000000 + i))[0] for i in range(2000))
    block = bytes(32)
    while True:
        block = sha256(block).digest()
        yield from (found for found in struct.unpack("<4d", block) if found != 0 and math.isfinite(found))


def test_a_hundred_thousand_numbers_by_hash():
    """Shortest round-trip forms, as ECMAScript writes them, checked against published hashes."""
    hashes = vectors("es6-numbers.json")["sha256_of_first_lines"]
    seen, found = sha256(), {}
    for line, number in enumerate(es6_numbers(), start=1):
        text = canonical._write_carefully(number)
        bits = struct.unpack(">Q", struct.pack(">d", number))[0]
        seen.update(b"%x,%b\n" % (bits, text))
        if abs(number) <= MAX_SAFE:
            assert written(number) == text
        if str(line) in hashes:
            found[str(line)] = seen.hexdigest()
            if len(found) == len(hashes):
                break

    assert found == hashes


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    HIGH = 3


def test_subclasses_and_views_count_as_what_they_are_made_of():
    """A str enum is its text, an int enum its number, a read-only view its mapping."""
    plain = {"dark": ["dark", 3, True, None], "z": {"a": [1, 2]}}
    dressed = MappingProxyType(
        OrderedDict(
            [("z", UserDict(a=(1, 2.0))), (Shade.DARK, (Shade.DARK, Level.HIGH, True, None))],
        )
    )
    view = MappingProxyType({"z": MappingProxyType({"a": (1, 2)}), "dark": ("dark", 3, True, None)})

    assert written(dressed) == written(view) == written(plain) == jcs.canonicalize(plain)


class Fresh(str):
    """Text that is a new key each time."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize(
    ("value", "code", "pointer"),
    [
        (2**53, "input.number", ""),
        ({"a": -(2**53)}, "input.number", "/a"),
        ([[10**400]], "input.number", "/0/0"),
        (Level.HIGH + 2**53, "input.number", ""),
        (float(2**53), "input.number", ""),
        ({"a": {"b": 1e300}}, "input.number", "/a/b"),
        (-math.inf, "input.number", ""),
        ("\ud800", "input.surrogate", ""),
        ({"a": ["ok", "\udfff"]}, "input.surrogate", "/a/1"),
        ({"a": {"\udfff": 1}}, "input.surrogate", "/a"),
        ({1: 2}, "input.key", ""),
        ({"a": [{None: 2}]}, "input.key", "/a/0"),
        ({"a": {True: 2}}, "input.key", "/a"),
        (b"bytes", "input.kind", ""),
        ({"a/~": {1}}, "input.kind", "/a~1~0"),
        ([object()], "input.kind", "/0"),
        ([uuid.UUID(int=0)], "input.kind", "/0"),
        ([datetime(2026, 3, 25, tzinfo=UTC)], "input.kind", "/0"),
        ([enum.Enum("Bare", "A").A], "input.kind", "/0"),
        ([iter(())], "input.kind", "/0"),
        ({Fresh("a"): 1, Fresh("a"): 2}, "input.duplicate_key", "/a"),
    ],
)
def test_refused_with_the_place(value, code, pointer):
    """What JSON cannot carry exactly never becomes bytes: the error says what and where."""
    with pytest.raises(NotCanonical) as refused:
        written(value)

    assert (refused.value.code, refused.value.pointer) == (code, pointer)


@pytest.mark.parametrize("number", [math.nan, math.inf, 2**53, 1e300])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: MappingProxyType({"a": inner}),
        lambda inner: UserDict(a=inner),
        lambda inner: OrderedDict(a=inner),
        lambda inner: {"a": inner},
    ],
)
@pytest.mark.parametrize("around", [list, tuple])
def test_no_container_hides_a_number(number, wrap, around):
    """The fast encoder beneath would write NaN as null: what is inside views and tuples is looked at too."""
    for value in (wrap(around([number])), around([wrap(number)]), wrap(wrap(around([around([number])])))):
        with pytest.raises(NotCanonical, match=r"^input\.number"):
            written(value)


@pytest.mark.parametrize("leaf", [[], {}, "x", 0.5, "\U0001f600"])
def test_records_may_be_deeper_than_input(leaf):
    """A question holds an intent, an entry holds a question: 64 deep is written, 65 is not."""
    value = leaf
    for _ in range(MAX_DEPTH_RECORD - isinstance(leaf, list | dict)):
        value = [value]

    assert load(written(value), depth=MAX_DEPTH_RECORD) == value
    with pytest.raises(NotCanonical, match=r"^input\.too_deep"):
        written([value])


def test_a_value_inside_itself_is_too_deep():
    """A cycle ends."""
    value = {}
    value["a"] = value

    with pytest.raises(NotCanonical, match=r"^input\.too_deep"):
        written(value)


def test_an_ordinary_document_takes_the_fast_ways(monkeypatch):
    """Seven to twelve times the speed of the careful ones: they are for what is odd."""
    warrant = vectors("signatures.json")["document"]["signed"] | {"scope": {"parameters": {"name": "Zürich", "n": [1]}}}
    raw = json.dumps({"question": warrant, "quoted": 'a "b" \\ c', "none": None}).encode()

    for careful in ("_load_carefully", "_write_carefully", "_exact"):
        monkeypatch.delattr(canonical, careful)

    assert load(written(load(raw))) == json.loads(raw)


def test_2_to_the_53_and_its_neighbour_share_no_bytes():
    """The encoder beneath would write both as 9007199254740992; the guard lets neither through."""
    assert jcs.canonicalize(2**53) == jcs.canonicalize(2**53 + 1)
    for number in (2**53, 2**53 + 1):
        with pytest.raises(NotCanonical):
            digest_of({"amount": number})


# -- signed files and digests -----------------------------------------------------------------------------------------


def test_a_signed_file_may_end_in_one_newline():
    """Editors add it; nothing else is forgiven."""
    assert canonical.load_canonical(b'{"a":1}\n') == canonical.load_canonical(b'{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1}\n\n',
        b'{"a":1}\r\n',
        b' {"a":1}',
        b'{"a": 1}',
        b'{"b":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":-0}',
        b'{"a":"\\u0061"}',
        b'{"a":"\\/"}',
        b'{"a":1e0}',
        b'"\\u001F"',
    ],
)
def test_any_other_spelling_of_a_signed_file_is_refused(raw):
    """The bytes that are read are the bytes that were signed."""
    load(raw)
    with pytest.raises(Malformed, match=r"^input\.not_canonical"):
        canonical.load_canonical(raw)


def test_a_signed_file_obeys_the_limits():
    """The newline is no excuse for a byte more, and depth counts as everywhere."""
    assert canonical.load_canonical(b'"abc"\n', limit=5) == "abc"
    with pytest.raises(Malformed, match=r"^input\.too_large"):
        canonical.load_canonical(b'"abcd"\n', limit=5)
    assert canonical.load_canonical(b"[[]]", depth=2) == [[]]
    with pytest.raises(Malformed, match=r"^input\.too_deep"):
        canonical.load_canonical(b"[[]]", depth=1)


def test_digests_are_sha256_of_the_canonical_bytes():
    """One way to write them, one thing they are of."""
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of({"b": 1, "a": "é"}) == "sha256:" + sha256('{"a":"é","b":1}'.encode()).hexdigest()


def test_pointers_escape_as_rfc_6901_says():
    """A key may hold anything and still be found."""
    assert canonical.pointer_to("/a", "b/c~d") == "/a/b~1c~0d"
    assert canonical.pointer_to("", 0) == "/0"
