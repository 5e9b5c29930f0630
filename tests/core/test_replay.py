"""What a recorded question is, where two answers differ, what a changed byte was, and what a certificate must be."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core import canonical, replay
from magistrate.core.entry import Entry, make
from magistrate.core.errors import Absent, Forged, Malformed
from magistrate.core.recorded import recorded
from magistrate.core.signature import admit, signer_from_seed

ROW = {
    "document": "decision",
    "question": {"intent": {"amount": 900}},
    "answer": {"standing": {"outcome": "ask"}},
    "bundle": "sha256:" + "b" * 64,
    "opa": {"version": "1.22.2", "sha256": "sha256:" + "0" * 64},
    "strict": True,
}


def entry(body, **more):
    raw = body if isinstance(body, bytes) else canonical.canonical(body)
    made = make(
        5,
        origin="acme",
        kind="decision",
        at=0,
        subject="",
        state="",
        parents=(),
        body=raw,
        body_type="t",
        salt=b"s" * 32,
    )
    return Entry(5, made.leaf, made.header, made.salt, more.get("stored", raw))


def test_a_question_is_read_with_its_own_bytes():
    (row,) = recorded(entry({"asked": [ROW], "round": 1}))
    assert (row.index, row.place, row.document, row.pointer) == (5, 0, "decision", "/asked/0")
    assert row.raw == canonical.canonical(ROW["question"])
    assert recorded(entry({"reason": "x"})) == recorded(entry({"asked": []})) == []


def test_bytes_that_are_not_the_usual_ones_are_read_with_care():
    spaced = json.dumps({"asked": [{**ROW, "question": {"\U0001f600": 1, "\ufb33": 2.0}}]}).encode()
    (row,) = recorded(entry(spaced))
    assert row.raw == canonical.canonical(row.question)
    with pytest.raises(Malformed, match="duplicate_key"):
        recorded(entry(b'{"asked":[],"asked":[]}'))


def test_an_erased_body_has_no_questions_to_show():
    made = entry({"asked": [ROW]})
    with pytest.raises(Absent):
        recorded(Entry(5, made.leaf, made.header, None, None))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("strict"),
        lambda row: row.pop("document"),
        lambda row: row.update(opa="1.22.2"),
        lambda row: row.update(opa={"version": "1"}),
        lambda row: row.update(strict=1),
        lambda row: row.update(document=7),
        lambda row: row.update(question=[]),
        lambda row: row.update(answer=None),
        lambda row: row.update(bundle=None),
    ],
)
def test_a_question_of_another_shape_is_refused_and_said_where(change):
    row = copy.deepcopy(ROW)
    change(row)
    with pytest.raises(Malformed) as no:
        recorded(entry({"asked": [ROW, row]}))
    assert no.value.code == "replay.unreadable"
    assert no.value.pointer.startswith("/asked/1")
    with pytest.raises(Malformed):
        recorded(entry({"asked": {}}))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values, values)
def test_two_values_differ_exactly_where_their_bytes_do(one, two):
    equal = canonical.canonical(one) == canonical.canonical(two)
    assert replay.same(one, two) == equal
    assert (replay.difference(one, two) is None) == equal
    assert replay.same(one, one)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ({"a": 1}, {"a": 2}, ("/a", "1", "2")),
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": 1}, {"a": True}, ("/a", "1", "true")),
        ({"a": ""}, {}, ("/a", '""', "")),
        ({"b": 1, "a~/c": [1]}, {"b": 2, "a~/c": [1, 2]}, ("/a~0~1c/1", "", "2")),
        ([1], {"0": 1}, ("", "[1]", '{"0":1}')),
    ],
)
def test_the_first_difference_is_named_with_both_values(one, two, expected):
    found = replay.difference(one, two)
    assert (found and (found.pointer, found.recorded, found.now)) == expected


@given(st.integers(0, 200), st.integers(1, 255))
def test_one_changed_byte_is_known_again(place, change):
    body = canonical.canonical({"asked": [ROW]})
    place %= len(body)
    stored = body[:place] + bytes([body[place] ^ change]) + body[place + 1 :]
    assert list(replay.restorations(entry(body, stored=stored))) == [body]


def test_two_changed_bytes_are_not():
    body = canonical.canonical({"a": 11})
    assert not list(replay.restorations(entry(body, stored=body.replace(b"11", b"22"))))
    assert not list(replay.restorations(entry(body, stored=b"x" * 20_000)))


FIRST = replay.first_of(
    replay.Finding("replay.answer_differs", 5, "sha256:" + "0" * 64, "decision", "d", "/a", "1", "2")
)
SAID = {
    "origin": "acme/prod",
    "genesis": "sha256:" + "0" * 64,
    "range": {"since": "", "until": "", "first": 0, "end": 9},
    "tree": {"size": 9, "root": "ab", "signed_by": "", "pinned": False},
    "bundle": "",
    "opa": {"version": "1.22.2", "sha256": "sha256:" + "0" * 64},
    "zone": "UTC",
    "checked": ["ledger"],
    "counts": {"entries": 9, "questions": 3, "identical": 3, "different": 0, "findings": {}},
    "first_difference": replay.first_of(None),
    "impact": [],
    "started": "2026-03-25T14:00:00Z",
    "ended": "2026-03-25T14:00:01Z",
}
SIGNER = signer_from_seed(b"p" * 32)


def certificate(**changes):
    return canonical.canonical(replay.certify({**SAID, **changes}, SIGNER)) + b"\n"


def test_a_certificate_is_its_own_bytes_under_its_own_key():
    raw = certificate()
    said = replay.authentic(raw, admit(SIGNER.public))
    assert said.clean
    assert canonical.canonical(said.plain()) + b"\n" == raw
    with pytest.raises(Forged):
        replay.authentic(raw, admit(signer_from_seed(b"q" * 32).public))


def test_one_changed_byte_anywhere_is_no_certificate():
    raw, key = certificate(), admit(SIGNER.public)
    for place in range(0, len(raw) - 1, 7):
        with pytest.raises((Forged, Malformed)):
            replay.authentic(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], key)


@pytest.mark.parametrize(
    "counts",
    [
        {"findings": {"replay.body_erased": 1}},
        {"identical": 2},
        {"questions": 0, "identical": 0},
        {"different": 1, "identical": 2, "findings": {"replay.answer_differs": 1}},
    ],
)
def test_nothing_but_all_identical_is_clean(counts):
    raw = certificate(counts={**SAID["counts"], **counts}, first_difference=FIRST)
    assert not replay.read(raw).clean


MOVED = {"loosened": 1, "tightened": 1, "other": 0, "uncovered": 0, "accepted": ["a.large"]}
OTHER = {"different": 2, "identical": 1, "findings": {"replay.answer_differs": 2}}


@pytest.mark.parametrize(
    ("counts", "impact", "well"),
    [
        ({}, [], True),
        ({}, [{**MOVED, "loosened": 0, "tightened": 0}], True),
        ({}, [{**MOVED, "loosened": 0, "tightened": 0, "uncovered": 1}], False),  # what no answer can show
        (OTHER, [MOVED], True),
        (OTHER, [], False),
        (OTHER, [{**MOVED, "uncovered": 1}], False),
        ({**OTHER, "findings": {"replay.answer_differs": 2, "replay.unpinned": 1}}, [MOVED], False),
        ({**OTHER, "identical": 0}, [MOVED], False),
        ({"questions": 0, "identical": 0}, [MOVED], False),
    ],
)
def test_another_bundle_passes_if_it_answered_all_and_loosened_nothing_that_was_not_accepted(counts, impact, well):
    said = replay.read(certificate(bundle="b", counts={**SAID["counts"], **counts}, impact=impact))
    assert said.passes == well


@pytest.mark.parametrize("field", sorted({*SAID, "type", "key_id", "signature"}))
def test_every_field_is_always_there(field):
    said = json.loads(certificate())
    del said[field]
    with pytest.raises(Malformed):
        replay.read(canonical.canonical(said))
    with pytest.raises(Malformed):
        replay.read(canonical.canonical({**json.loads(certificate()), "more": 1}))


def test_what_has_not_its_shape_is_not_signed():
    with pytest.raises(Malformed):
        replay.certify({**SAID, "counts": {}}, SIGNER)


def test_long_values_are_cut():
    assert len(replay.shown("x" * 10_000)) == replay.MAX_SHOWN
