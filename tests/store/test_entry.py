"""An entry's header and the commitment to its body: what is refused, and that reading gives back the same bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core import canonical
from magistrate.core.entry import KINDS, MAX_BODY, Entry, Header, body_commit, make, read_header
from magistrate.core.errors import Absent, Broken, Malformed
from magistrate.core.merkle import leaf_hash

SALT = bytes(range(32))
BODY = canonical.canonical({"type": "magistrate/decision/v1", "n": 1})
PARENT = "sha256:" + "ab" * 32


def made(**change):
    fields = {
        "origin": "acme/prod",
        "kind": "decision",
        "at": 1774447200,
        "subject": "int-019a",
        "state": "waiting",
        "parents": [PARENT],
        "body": BODY,
        "body_type": "magistrate/decision/v1",
        "salt": SALT,
        **change,
    }
    return make(7, **fields)


def test_the_header_is_canonical_and_reads_back_to_itself():
    entry = made()

    assert entry.header == canonical.canonical(canonical.load(entry.header))
    assert read_header(entry.header) == entry.head
    assert read_header(entry.header).bytes() == entry.header
    assert entry.leaf == leaf_hash(entry.header)
    assert entry.leaf_digest == "sha256:" + entry.leaf.hex()


def test_an_entry_read_from_its_parts_is_the_entry_that_was_made():
    entry = made()
    again = Entry(7, entry.leaf, entry.header, SALT, BODY)

    again.hold()
    assert (again.kind, again.subject, again.state, again.at, again.parents) == (
        "decision",
        "int-019a",
        "waiting",
        1774447200,
        (PARENT,),
    )
    assert again.content() == {"type": "magistrate/decision/v1", "n": 1}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    at=st.integers(0, 253402300799),
    subject=st.just("") | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", fullmatch=True),
    parents=st.lists(st.binary(min_size=32, max_size=32), max_size=4),
    body=st.dictionaries(st.text(), st.integers(-(2**53) + 1, 2**53 - 1) | st.text(), max_size=4),
    salt=st.binary(min_size=32, max_size=32),
)
def test_every_header_reads_back_to_its_own_bytes(kind, at, subject, parents, body, salt):
    raw = canonical.canonical(body)
    entry = made(kind=kind, at=at, subject=subject, parents=["sha256:" + p.hex() for p in parents], body=raw, salt=salt)
    again = Entry(7, entry.leaf, entry.header, salt, raw)

    again.hold()
    assert again.head == entry.head
    assert again.at == at
    assert again.head.bytes() == entry.header
    assert again.content() == body


def test_the_commitment_is_the_one_of_the_contract():
    import hashlib

    expected = hashlib.sha256(b"magistrate/body/v1" + b"\x00" + SALT + BODY).hexdigest()

    assert body_commit(SALT, BODY) == "sha256:" + expected
    assert made().head.body_commit == "sha256:" + expected


def test_the_salt_hides_the_body():
    assert body_commit(SALT, BODY) != body_commit(bytes(32), BODY)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_salt_of_another_length_is_refused(size):
    with pytest.raises(ValueError, match="salt"):
        body_commit(bytes(size), BODY)


@pytest.mark.parametrize("kind", ["", "Intent", "intents", "intent\n", "auditor", "redemption"])
def test_an_unknown_kind_is_refused_when_made(kind):
    with pytest.raises(Malformed) as caught:
        made(kind=kind)
    assert caught.value.code == "entry.kind"


@pytest.mark.parametrize(
    "change",
    [
        {"origin": ""},
        {"origin": "acme prod"},
        {"subject": "Ana López"},
        {"subject": "int-1\n"},
        {"state": "Waiting"},
        {"state": "a b"},
        {"parents": ["sha256:" + "AB" * 32]},
        {"parents": ["ab" * 32]},
        {"parents": [PARENT + "\n"]},
        {"body_type": ""},
        {"body": b"x" * (MAX_BODY + 1)},
        {"parents": [PARENT] * 1000},
    ],
)
def test_a_malformed_field_is_refused_when_made(change):
    with pytest.raises(Malformed):
        made(**change)


def plain(**change):
    return {**made().head.plain(), **change}


def test_a_reader_keeps_what_it_does_not_know():
    raw = canonical.canonical(plain(kind="handover", added_later={"b": [1, "x"], "a": None}))
    header = read_header(raw)

    assert header.kind == "handover"
    assert header.further == {"added_later": {"a": None, "b": [1, "x"]}}
    assert header.bytes() == raw


@pytest.mark.parametrize("field", sorted(made().head.plain()))
def test_a_header_without_a_field_is_refused(field):
    rest = plain()
    del rest[field]
    with pytest.raises(Malformed):
        read_header(canonical.canonical(rest))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": "1"},
        {"at": 1774447200},
        {"at": "2026-03-25T14:00:00+00:00"},
        {"kind": 3},
        {"parents": "sha256:" + "ab" * 32},
        {"parents": [3]},
        {"body_commit": "sha256:" + "0" * 63},
        {"subject": None},
        {"state": ["waiting"]},
    ],
)
def test_a_header_with_a_wrong_field_is_refused(change):
    with pytest.raises(Malformed):
        read_header(canonical.canonical(plain(**change)))


def test_a_time_outside_the_calendar_is_refused():
    raw = canonical.canonical(plain(at="2026-02-30T14:00:00Z"))
    with pytest.raises(Malformed):
        _ = Entry(0, leaf_hash(raw), raw, None, None).at


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"v":1,"v":1}', b"null"])
def test_bytes_that_are_no_header_are_refused(raw):
    with pytest.raises(Malformed):
        read_header(raw)


def test_an_erased_body_is_absent_and_no_fault():
    entry = made()
    erased = Entry(7, entry.leaf, entry.header, None, None)

    erased.hold()
    assert erased.erased
    with pytest.raises(Absent) as caught:
        erased.content()
    assert caught.value.code == "entry.erased"


def flipped(raw, bit):
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("bit", [0, 1, 7, 8, 255])
def test_one_bit_anywhere_breaks_the_entry(bit):
    e = made()
    for broken in (
        Entry(7, flipped(e.leaf, bit), e.header, e.salt, e.body),
        Entry(7, e.leaf, flipped(e.header, bit), e.salt, e.body),
        Entry(7, e.leaf, e.header, flipped(e.salt, bit), e.body),
        Entry(7, e.leaf, e.header, e.salt, flipped(e.body, bit)),
    ):
        with pytest.raises(Broken):
            broken.hold()


@pytest.mark.parametrize(("salt", "body"), [(None, BODY), (SALT, None), (SALT[:31], BODY)])
def test_half_an_erasing_is_a_fault(salt, body):
    e = made()
    with pytest.raises(Broken):
        Entry(7, e.leaf, e.header, salt, body).hold()


def test_a_header_is_frozen():
    with pytest.raises(AttributeError):
        made().head.kind = "intent"
    assert isinstance(made().head, Header)
