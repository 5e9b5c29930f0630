"""The memory of nonces: bounded, never forgetful, and honest about what it cannot know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.errors import Unauthenticated, Unavailable
from magistrate.keys.nonces import NonceMemory, after_crash
from tests.keys.test_private import refused

NOW = 1_800_000_000


def test_a_nonce_is_new_once():
    memory = NonceMemory(0)
    assert memory.seen("a", NOW) is False
    assert memory.seen("a", NOW) is True
    assert memory.seen("b", NOW) is False
    assert len(memory) == 2


def test_what_was_signed_before_it_began_is_refused():
    memory = NonceMemory(NOW)
    for created in (0, NOW - 1, NOW):
        with refused(Unauthenticated, "signature.unremembered"):
            memory.seen("a", created)
    assert memory.seen("a", NOW + 1) is False


def test_after_a_crash_nothing_that_could_have_been_accepted_is():
    """The life before may have accepted at `NOW` what was signed with a clock 5 s ahead."""
    memory = NonceMemory(after_crash(NOW))
    with refused(Unauthenticated, "signature.unremembered"):
        memory.seen("a", NOW + 5)
    assert memory.seen("a", NOW + 6) is False


def test_the_next_life_begins_where_this_one_ended():
    first = NonceMemory(0)
    first.seen("a", NOW)
    first.seen("b", NOW - 3)
    second = NonceMemory(first.newest)
    for nonce, created in (("a", NOW), ("b", NOW - 3)):
        with refused(Unauthenticated, "signature.unremembered"):
            second.seen(nonce, created)


def test_the_past_is_dropped_and_stays_refused():
    memory = NonceMemory(0, window=60, ahead=5)
    memory.seen("old", NOW)
    memory.seen("edge", NOW + 1)
    memory.seen("new", NOW + 66)  # accepted at NOW + 61 at the earliest: what was signed at NOW has expired
    assert len(memory) == 2
    with refused(Unauthenticated, "signature.unremembered"):
        memory.seen("old", NOW)
    assert memory.seen("edge", NOW + 1) is True


def test_a_full_memory_forgets_nothing():
    memory = NonceMemory(0, capacity=2)
    memory.seen("a", NOW)
    memory.seen("b", NOW)
    with refused(Unavailable, "signature.memory"):
        memory.seen("c", NOW)
    assert memory.seen("a", NOW) is True
    assert memory.seen("c", NOW + 66) is False


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-70, 10), st.integers(0, 40)), max_size=60))
def test_no_request_is_accepted_twice_at_any_pace(asked):
    """Whatever the order and the pace, clock steps back included: a pair (nonce, created) is new at most once."""
    memory, accepted, now = NonceMemory(0), [], NOW
    for nonce, skew, step in asked:
        now += step - 10
        created = now + skew
        if not now - 60 <= created <= now + 5:
            continue
        try:
            if not memory.seen(nonce, created):
                accepted.append((nonce, created))
        except Unauthenticated as error:
            assert error.code == "signature.unremembered"  # noqa: PT017 - the other outcomes are as interesting
    assert len(accepted) == len(set(accepted))
    assert len(memory) <= len(accepted)


@pytest.mark.parametrize("seconds", [1, 10, 300])
def test_it_holds_no_more_than_two_windows(seconds):
    memory = NonceMemory(0)
    for second in range(seconds):
        for n in range(3):
            memory.seen(f"{second}-{n}", NOW + second)
    assert len(memory) <= 3 * (60 + 5 + 1)
