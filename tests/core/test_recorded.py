"""Of the questions an entry holds, the one that is meant; and no entry that does not stand."""

from __future__ import annotations

import copy

import pytest

from magistrate.core import canonical
from magistrate.core.entry import Entry, make
from magistrate.core.errors import Absent, Broken
from magistrate.core.recorded import entry_of, pick

OPA = {"version": "1.22.2", "sha256": "sha256:" + "1" * 64}


def item(document, round_=1, **answer):
    question = {"round": round_, "intent": {"action": "a"}} if document != "access" else {"verb": "v"}
    return {
        "document": document,
        "question": question,
        "answer": answer,
        "bundle": "sha256:" + "0" * 64,
        "opa": OPA,
        "strict": True,
    }


def entry(index, kind, body):
    return make(
        index,
        origin="acme/test",
        kind=kind,
        at=1_774_440_000 + index,
        subject="int-1",
        state="waiting",
        parents=(),
        body=canonical.canonical(body),
        body_type="t",
        salt=bytes(32),
    )


def decision(index, round_=1, *more, standing=None):
    answer = {"standing": {"outcome": "ask", "n": index}}
    asked = [*more, item("decision", round_, **answer)]
    return entry(index, "decision", {"asked": asked, "round": round_, "standing": standing or answer["standing"]})


CHAIN = [
    entry(4, "intent", {"intent": {}}),
    decision(5),
    decision(7, 1, item("approval", may=True)),
    decision(9, 2, item("approval", 1, may=True), item("decision", 1)),
    entry(12, "admission", {"asked": [item("admission", 0, admit=True)]}),
]


def view(made):
    return {
        "index": made.index,
        "leaf": made.leaf_digest,
        "header": made.header.decode(),
        "salt": made.salt.hex() if made.salt else "",
        "body": None if made.erased else copy.deepcopy(made.content()),
    }


# -- which


@pytest.mark.parametrize(
    ("meant", "index", "number", "of"),
    [
        ({}, 9, 4, 4),
        ({"round_": 1}, 9, 3, 3),
        ({"round_": 2}, 9, 1, 1),
        ({"asking": 1}, 5, 1, 4),
        ({"round_": 1, "asking": 2}, 7, 2, 3),
        ({"document": "approval"}, 9, 2, 2),
        ({"document": "admission"}, 12, 1, 1),
    ],
)
def test_the_question_that_is_meant(meant, index, number, of):
    found = pick(reversed(CHAIN), **meant)
    assert (found.index, found.number, found.of) == (index, number, of)
    assert found.document == meant.get("document", "decision")


def test_without_a_decision_it_is_the_last_that_was_asked():
    assert pick(CHAIN[-1:]).document == "admission"


@pytest.mark.parametrize("meant", [{"document": "verification"}, {"round_": 3}, {"asking": 5}])
def test_what_was_not_asked_is_not_made_up(meant):
    with pytest.raises(Absent, match=r"explain\.none") as none:
        pick(CHAIN, **meant)
    assert none.value.hint == "magistrate intent show ID --chain"


def test_where_opa_was_silent_no_rule_spoke():
    refusal = entry(3, "refusal", {"code": "opa.timeout", "question": {"round": 1}, "asked": []})
    with pytest.raises(Absent, match=r"explain\.unanswered.*opa\.timeout") as none:
        pick([refusal])
    assert none.value.hint == "magistrate intent show ID --chain"


def test_an_erased_body_is_said_to_be_erased():
    made = CHAIN[1]
    with pytest.raises(Absent, match=r"entry\.erased") as none:
        pick([Entry(made.index, made.leaf, made.header, None, None)])
    assert none.value.hint == "magistrate intent show ID --chain"


def test_a_standing_the_program_narrowed_is_told_apart_from_the_answer():
    narrowed = {"outcome": "deny", "reasons": []}
    assert pick([decision(5)]).overruled is None
    assert pick([decision(5, standing=narrowed)]).overruled == narrowed
    assert pick(CHAIN, round_=1).overruled is None, "an earlier question of an entry is not what it stands for"


# -- only what stands


def test_a_view_of_an_entry_is_the_entry():
    for made in CHAIN:
        assert entry_of(view(made)).content() == made.content()


def test_an_erased_entry_is_an_entry():
    made = CHAIN[1]
    assert entry_of(view(Entry(made.index, made.leaf, made.header, None, None))).erased


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shown: shown["body"]["asked"][0]["question"].update(round=2),
        lambda shown: shown["body"]["asked"][0]["answer"]["standing"].update(outcome="allow"),
        lambda shown: shown.update(salt="00" * 31 + "01"),
        lambda shown: shown.update(salt=""),
        lambda shown: shown.update(body=None),
        lambda shown: shown.update(leaf="sha256:" + "0" * 64),
        lambda shown: shown.update(leaf="nothing"),
        lambda shown: shown.update(header=shown["header"].replace("int-1", "int-2")),
        lambda shown: shown.pop("header"),
    ],
)
def test_an_entry_that_does_not_stand_is_refused(spoil):
    shown = view(CHAIN[1])
    spoil(shown)
    with pytest.raises(Broken):
        entry_of(shown)


def test_what_is_no_entry_is_asked_of_the_data_folder_instead():
    with pytest.raises(Broken, match=r"entry\.view") as no:
        entry_of({})
    assert no.value.hint == "magistrate policy explain DECISION --data DIR"
