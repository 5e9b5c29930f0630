"""Nothing an agent writes makes the answer milder: over every action, target and policy of the shipped bundle.

1. A field taken away, of another type, or unknown to the action's schema: the answer is a denial, without terms.
2. The proposer's claims may raise the answer, and never lower it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rego import questions
from tests.rego.questions import Question
from tests.support.opa_server import Rego, served

HARSHNESS = {"allow": 0, "ask": 1, "deny": 2}


@pytest.fixture(scope="module")
def rego() -> Iterator[Rego]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def world(rego: Rego) -> dict[str, Any]:
    """The bundle's own catalogue, tiers and counters: nothing here names an action or a tier."""
    return {name: rego.value(name) for name in ("catalogue", "tiers", "counters")}


def _asked(world: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Question]]:
    catalogue = world["catalogue"]
    facts = dict.fromkeys(world["counters"], 0)
    roles = catalogue["installation"]["first_operator"]["roles"]
    for action, row in catalogue["actions"].items():
        targets = [name for name, target in catalogue["targets"].items() if target["kind"] in row["targets"]["kinds"]]
        for target in targets:
            for parameters in questions.allowed(row["parameters"]):
                yield row, {**questions.decision(action, target, parameters, row, roles), "facts": facts}


def _rank(world: dict[str, Any], answer: dict[str, Any]) -> tuple[int, float]:
    """How harsh an answer is; a denial without terms is the harshest."""
    tier = answer["terms"]["tier"]
    return HARSHNESS[answer["standing"]["outcome"]], world["tiers"][tier]["rank"] if tier else float("inf")


def test_every_action_has_a_question_that_is_not_denied(rego: Rego, world: dict[str, Any]):
    """Else the properties below would hold of a bundle that denies everything."""
    open_ = {
        question["intent"]["action"]
        for _, question in _asked(world)
        if _rank(world, rego.ask("decision", question))[0] < 2
    }

    assert open_ == set(world["catalogue"]["actions"])


def test_what_is_missing_ill_typed_or_unknown_is_denied_without_terms(rego: Rego, world: dict[str, Any]):
    milder = []
    for row, question in _asked(world):
        for change, spoilt in questions.spoilt(question, row["parameters"]):
            answer = rego.ask("decision", spoilt)
            if answer["standing"]["outcome"] != "deny" or answer["terms"]["tier"] or not answer["standing"]["reasons"]:
                milder.append(f"{question['intent']['action']} {question['intent']['target']}: {change}")

    assert milder == []


def test_claims_never_make_the_answer_milder(rego: Rego, world: dict[str, Any]):
    for _, question in _asked(world):
        bare = _rank(world, rego.ask("decision", question))
        for claims in questions.CLAIMS:
            claimed = _rank(world, rego.ask("decision", questions.with_claims(question, claims)))
            assert all(now >= then for now, then in zip(claimed, bare, strict=True)), (question["intent"], claims)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_claim_anyone_thinks_of_makes_it_milder(rego: Rego, world: dict[str, Any], data: st.DataObject):
    _, question = data.draw(st.sampled_from(list(_asked(world))))
    words = st.sampled_from(["risk", "tier", "approved", "environment", "outcome", "role"])
    claims = {"reason": data.draw(st.text(max_size=50)), "context": data.draw(st.dictionaries(words, JSON))}

    bare = _rank(world, rego.ask("decision", question))
    claimed = _rank(world, rego.ask("decision", questions.with_claims(question, claims)))

    assert all(now >= then for now, then in zip(claimed, bare, strict=True))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_parameters_anyone_thinks_of_are_answered_and_unless_the_schema_allows_them_denied(
    rego: Rego, world: dict[str, Any], data: st.DataObject
):
    row, question = data.draw(st.sampled_from(list(_asked(world))))
    names = st.sampled_from([*row["parameters"]["properties"], "surprise"])
    parameters = data.draw(st.dictionaries(names, JSON, max_size=4))

    other = {**question, "intent": {**question["intent"], "parameters": parameters}}
    answer = rego.ask("decision", other)

    if "surprise" in parameters or not set(row["parameters"]["required"]) <= set(parameters):
        assert answer["standing"]["outcome"] == "deny"
        assert answer["terms"]["tier"] == ""
