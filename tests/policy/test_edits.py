"""Texts that are tried in another's place: always finitely many, whatever an agent wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from magistrate.policy.edits import distance, edited

WORDS = st.lists(st.text(min_size=1, max_size=4), max_size=5)


def test_words_are_taken_out_one_by_one_and_all_at_once():
    made = list(edited("select 1; DROP table", [";", "drop", "alter"]))
    assert made[:3] == ["select 1 DROP table", "select 1;  table", "select 1  table"]
    assert "select 1; DROP table alter" in made


def test_what_taking_out_a_word_makes_is_taken_out_too():
    assert next(edited("ddroprop x", ["drop"])) == " x"


def test_the_last_part_of_a_name_is_replaced():
    made = set(edited("ann@else.example", ["acme.example"]))
    assert {"acme.example", "ann@acme.example", "ann@other"} <= made


@given(st.text(max_size=40), WORDS)
def test_it_ends_for_every_text(value, words):
    made = list(edited(value, words))
    assert len(made) <= len(words) * 6 + 4


def test_letters_that_grow_when_they_are_lowered_do_not_keep_it_busy():
    assert next(iter(edited("\u0130\u0130\u0130; x", [";"]))) == "\u0130\u0130\u0130 x"


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_distance_is_none_only_to_itself(one, two):
    assert distance(one, one) == 0
    assert (distance(one, two) == 0) == (one == two)
