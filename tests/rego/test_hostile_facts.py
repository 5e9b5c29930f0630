"""What a probe or an observer reports is anyone's JSON: no policy breaks on it, and it silences no other source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rego import questions
from tests.support.opa_server import Rego, served

NAMES = ["services", "api-gateway", "version", "restarts", "replicas", "runs", "free", "count", "rows", "sent", "last"]
LEAF = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=8)
FACTS = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
SERVICE = st.fixed_dictionaries({}, optional=dict.fromkeys(("version", "restarts", "replicas"), LEAF | FACTS))
RUN = st.fixed_dictionaries({}, optional=dict.fromkeys(("count", "rows"), LEAF | FACTS))
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "services": st.fixed_dictionaries({"api-gateway": SERVICE}) | FACTS,
        "runs": st.dictionaries(st.sampled_from(["orders-by-day", "free"]), RUN) | FACTS,
        "sent": LEAF | FACTS,
        "last": st.dictionaries(st.sampled_from(["order", "amount", "to"]), LEAF) | FACTS,
    },
)
STATES = ["started", "succeeded", "failed", "halting", "halted", "unknown", "reconciled"]


@pytest.fixture(scope="module")
def rego() -> Iterator[Rego]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def done(rego: Rego) -> list[tuple[str, dict[str, Any]]]:
    """One execution of every action that has evidence other than the executor's word, with the policy that judges it."""
    catalogue, policies = rego.value("catalogue"), rego.value("policies")
    found = []
    for action, row in catalogue["actions"].items():
        target = next(name for name, one in catalogue["targets"].items() if one["kind"] in row["targets"]["kinds"])
        question = questions.decision(action, target, next(questions.allowed(row["parameters"])), row, [])
        judging = [name for name, policy in policies.items() if action in policy["governs"] and "deviation" in policy]
        found += [(name, {**question, "warrant": {"evidence": row["evidence"]}}) for name in judging]
    return found


def _judged(
    rego: Rego, name: str, question: dict[str, Any], observations: list[dict[str, Any]], **execution: Any
) -> Any:
    done = {"state": "succeeded", "started": 1000, "ended": 1000, **execution}
    return rego.strictly(f"policies/{name}/deviation", {**question, "execution": done, "observations": observations})


def _everywhere(value: Any, depth: int) -> dict[str, Any]:
    """Facts that say `value` wherever a policy may look, at this depth."""
    if depth == 0:
        return dict.fromkeys(("services", "runs", "sent", "last"), value)
    if depth == 1:
        return {"services": {"api-gateway": value}, "runs": {"orders-by-day": value, "free": value}, "sent": value}
    service = dict.fromkeys(("version", "restarts", "replicas"), value)
    return {
        "services": {"api-gateway": service},
        "runs": {name: {"count": value, "rows": value} for name in ("orders-by-day", "free")},
        "last": dict.fromkeys(("order", "amount", "to"), value),
        "sent": value,
    }


def test_every_wrong_value_at_every_place_is_judged(rego: Rego, done: list[tuple[str, dict[str, Any]]]):
    values = [*questions.WRONG, "1.2.3", 5]
    for name, question in done:
        source = question["warrant"]["evidence"][0]
        for depth, before, after in itertools.product(range(3), values, values):
            pair = (("before", _everywhere(before, depth)), ("after", _everywhere(after, depth)))
            seen = [{"source": source, "phase": phase, "facts": facts} for phase, facts in pair]
            assert isinstance(_judged(rego, name, question, seen), list)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_policy_breaks_on_what_anyone_reports(
    rego: Rego, done: list[tuple[str, dict[str, Any]]], data: st.DataObject
):
    name, question = data.draw(st.sampled_from(done))
    counted = st.sampled_from(question["warrant"]["evidence"])
    facts = SHAPED | FACTS
    source = data.draw(counted)
    pair = [{"source": source, "phase": phase, "facts": data.draw(facts)} for phase in ("before", "after")]
    phases = st.sampled_from(["before", "during", "after"])
    other = st.fixed_dictionaries({"source": counted | st.just("holder"), "phase": phases, "facts": facts})

    others = data.draw(st.lists(other, max_size=2))
    execution = {"state": data.draw(st.sampled_from(STATES)), "ended": data.draw(st.integers(0, 2000))}
    said = _judged(rego, name, question, pair + others, **execution)

    assert all(one["seen"]["pointer"].startswith("/") and one["seen"]["source"] for one in said)
