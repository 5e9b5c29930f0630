"""Looser or tighter: a table of what each change of an answer means."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.looseness import SILENT, Ranks, compare, label

RANKS = Ranks({"low": 0, "high": 1}, {"low": 0, "high": 1})
ISSUE = {
    "ttl": 300,
    "uses": 2,
    "audience": "router",
    "issuer": "policies.a",
    "constraints": {"most": 5, "of": ["a", "b"], "rollback": True},
    "evidence": ["probe"],
    "heartbeat_seconds": 10,
    "report_by_seconds": 60,
    "rollback_seconds": 30,
}
ROW = {"roles": ["lead", "chief"], "count": 1, "proof": "ed25519"}
REQUIREMENT = {"all_of": [ROW], "exclude": ["proposer"], "wait_seconds": 600, "approval_seconds": 300}


def decision(at="ask", **changes):
    made = {
        "terms": {"tier": "low", "requirement": copy.deepcopy(REQUIREMENT), "warrant": copy.deepcopy(ISSUE)},
        "standing": {"outcome": at, "reasons": [], "wanted": [], "issue": copy.deepcopy(ISSUE)},
    }
    for pointer, value in changes.items():
        put(made, pointer.split("__"), value)
    return made


def put(value, steps, new):
    for step in steps[:-1]:
        value = value[step]
    if new is ...:
        del value[steps[-1]]
    else:
        value[steps[-1]] = new


def direction(document, was, now, ranks=RANKS):
    return compare(document, was, now, ranks).direction


LOOSER = {
    "a lower tier": {"terms__tier": ("high", "low")},
    "nobody asked": {"terms__requirement__all_of": ([ROW], [])},
    "one fewer": {"terms__requirement__all_of": ([{**ROW, "count": 2}], [ROW])},
    "one more role": {"terms__requirement__all_of": ([{**ROW, "roles": ["lead"]}], [ROW])},
    "one exclusion gone": {"terms__requirement__exclude": (["proposer", "owner"], ["proposer"])},
    "approvals that last": {"terms__requirement__approval_seconds": (300, 301)},
    "a longer ttl": {"terms__warrant__ttl": (300, 301)},
    "a longer ttl at issue": {"standing__issue__ttl": (100, 101)},
    "more uses": {"terms__warrant__uses": (1, 2)},
    "run by the holder": {"terms__warrant__audience": ("router", "holder")},
    "less evidence": {"terms__warrant__evidence": (["probe", "observer"], ["probe"])},
    "a rarer heartbeat": {"terms__warrant__heartbeat_seconds": (10, 20)},
    "no heartbeat": {"terms__warrant__heartbeat_seconds": (10, 0)},
    "a later report": {"terms__warrant__report_by_seconds": (60, 90)},
    "no time to roll back": {"terms__warrant__rollback_seconds": (30, 0)},
    "a constraint gone": {"terms__warrant__constraints__most": (5, ...)},
    "a wider number": {"terms__warrant__constraints__most": (5, 6)},
    "a wider list": {"terms__warrant__constraints__of": (["a"], ["a", "b"])},
    "a demand dropped": {"terms__warrant__constraints__rollback": (True, False)},
    "fewer wanted": {
        "standing__wanted": ([{"roles": [], "count": 2, "by": ""}], [{"roles": [], "count": 1, "by": ""}])
    },
}


@pytest.mark.parametrize("change", LOOSER.values(), ids=LOOSER)
def test_with_the_same_outcome_it_is_looser_this_way_and_tighter_the_other(change):
    ((pointer, (was, now)),) = change.items()
    one, two = decision(**{pointer: was}), decision(**{pointer: now})
    assert direction("decision", one, two) == "loosened"
    assert direction("decision", two, one) == "tightened"
    assert direction("decision", one, one) == "same"
    # denied is denied, whatever the terms would have been
    one["standing"]["outcome"] = two["standing"]["outcome"] = "deny"
    assert direction("decision", one, two) in ("other", "same")


@pytest.mark.parametrize(("tight", "loose"), [("deny", "ask"), ("deny", "allow"), ("ask", "allow")])
def test_the_outcome_alone_has_a_direction(tight, loose):
    assert direction("decision", decision(tight), decision(loose)) == "loosened"
    assert direction("decision", decision(loose), decision(tight)) == "tightened"


@pytest.mark.parametrize("loose", ["ask", "allow"])
def test_beside_a_denial_terms_count_for_nothing(loose):
    harder = decision(loose, terms__warrant__ttl=1, terms__requirement__all_of=[ROW] * 3)
    assert direction("decision", decision("deny"), harder) == "loosened"
    assert direction("decision", harder, decision("deny")) == "tightened"


@pytest.mark.parametrize(
    ("pointer", "was", "now"), [(pointer, *values) for change in LOOSER.values() for pointer, values in change.items()]
)
def test_to_ask_people_first_does_not_hide_terms_that_got_looser(pointer, was, now):
    allowed, asked = decision("allow", **{pointer: was}), decision("ask", **{pointer: now})
    change = compare("decision", allowed, asked, RANKS)
    assert (change.direction, change.was, change.now) == (
        "loosened",
        label("decision", allowed),
        label("decision", asked),
    )
    assert "/standing/outcome" not in change.fields
    assert direction("decision", decision("allow", **{pointer: now}), decision("ask", **{pointer: was})) == "tightened"


def test_more_time_for_people_to_answer_is_neither():
    longer = decision(terms__requirement__wait_seconds=601)
    assert direction("decision", decision(), longer) == "other"
    stricter = decision(terms__requirement__wait_seconds=9999, terms__tier="high")
    lower = decision(terms__tier="low")
    assert direction("decision", lower, stricter) == "tightened"


def test_both_ways_at_once_counts_as_looser():
    both = decision(terms__warrant__ttl=1, terms__warrant__uses=9)
    assert direction("decision", decision(), both) == "loosened"
    assert direction("decision", both, decision()) == "loosened"


def test_what_has_no_direction_counts_as_looser():
    swapped = decision(terms__requirement__all_of=[{**ROW, "proof": "webauthn"}])
    assert direction("decision", decision(), swapped) == "loosened"
    unranked = decision(terms__tier="unheard of")
    assert direction("decision", decision(), unranked) == "loosened"
    other_people = decision(terms__requirement__all_of=[{**ROW, "roles": ["dba"]}])
    assert direction("decision", decision(), other_people) == "loosened"


def test_a_tier_of_another_rank_moves_though_its_name_stays():
    assert direction("decision", decision(), decision(), Ranks({"low": 1}, {"low": 0})) == "loosened"
    assert direction("decision", decision(), decision(), Ranks({"low": 0}, {"low": 1})) == "tightened"


def test_other_words_about_the_same_permission_are_neither():
    said = decision(standing__reasons=[{"code": "a", "title": "", "remedy": "", "policy": ""}])
    assert direction("decision", decision(), said) == "other"


def test_a_row_split_in_two_asks_for_the_same():
    split = decision(terms__requirement__all_of=[ROW, ROW])
    whole = decision(terms__requirement__all_of=[{**ROW, "count": 2}])
    assert direction("decision", split, whole) == "other"


def test_a_place_is_filled_by_one_person():
    """Two narrow places cover two wide ones in one way only: a greedy match would miss it."""
    wide, narrow = {**ROW, "roles": ["a", "b"]}, {**ROW, "roles": ["a"]}
    was = decision(terms__requirement__all_of=[wide, narrow])
    assert direction("decision", was, decision(terms__requirement__all_of=[narrow, narrow])) == "tightened"
    assert direction("decision", was, decision(terms__requirement__all_of=[narrow])) == "loosened"


VERDICT = {"verdict": "conforming", "deviations": [], "containment": [], "reasons": []}
DEVIATION = {"code": "x", "pointer": "", "expected": "", "observed": "", "severity": "", "source": ""}


@pytest.mark.parametrize(
    ("document", "loose", "tight"),
    [
        ("approval", {"may": True, "reasons": []}, {"may": False, "reasons": []}),
        ("admission", {"admit": True, "violations": []}, {"admit": False, "violations": []}),
        ("access", {"allowed": True, "reason": {}}, {"allowed": False, "reason": {}}),
        ("verification", VERDICT, {**VERDICT, "verdict": "inconclusive"}),
        ("verification", {**VERDICT, "verdict": "inconclusive"}, {**VERDICT, "verdict": "deviating"}),
        ("verification", VERDICT, {**VERDICT, "containment": ["halt"]}),
        ("verification", VERDICT, {**VERDICT, "deviations": [DEVIATION]}),
    ],
)
def test_every_other_document_has_its_order(document, loose, tight):
    assert direction(document, tight, loose) == "loosened"
    assert direction(document, loose, tight) == "tightened"
    assert direction(document, loose, loose) == "same"


def test_no_answer_is_a_denial():
    assert direction("decision", decision("allow"), None) == "tightened"
    assert direction("decision", None, decision("ask")) == "loosened"
    assert direction("decision", None, decision("deny")) == "other"
    assert direction("admission", None, None) == "same"
    assert label("access", None) == label("decision", None) == SILENT
    assert label("decision", decision("allow")) == "allow low"


decisions = st.builds(
    decision,
    st.sampled_from(["allow", "ask", "deny"]),
    terms__tier=st.sampled_from(["low", "high"]),
    terms__requirement__all_of=st.lists(
        st.fixed_dictionaries(
            {
                "roles": st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True),
                "count": st.integers(1, 2),
                "proof": st.just("ed25519"),
            }
        ),
        max_size=3,
    ),
    terms__warrant__ttl=st.integers(1, 3),
    terms__warrant__constraints__most=st.integers(1, 3),
)


@given(decisions, decisions)
def test_what_tightens_one_way_loosens_the_other(one, two):
    there, back = direction("decision", one, two), direction("decision", two, one)
    assert (there == "tightened") <= (back == "loosened")
    assert (there == "same") == (one == two)
    assert (there == "other") == (back == "other")


@given(decisions, decisions, decisions)
def test_tighter_than_tighter_is_tighter(one, two, three):
    calm = ("tightened", "same", "other")
    if direction("decision", one, two) in calm and direction("decision", two, three) in calm:
        assert direction("decision", one, three) in calm
