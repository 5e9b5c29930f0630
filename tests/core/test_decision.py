"""Terms that OPA answers with and nobody can carry out are no answer."""

import copy

import pytest

from magistrate.core.decision import LONGEST, MOST, hold_possible
from magistrate.core.errors import NoAnswer

ISSUE = {
    "ttl": LONGEST,
    "uses": MOST,
    "heartbeat_seconds": 0,
    "report_by_seconds": 60,
    "rollback_seconds": 60,
    "constraints": {"max_retries": 0, "max_duration_seconds": 300, "anything": "else"},
}
REQUIREMENT = {"all_of": [{"roles": ["r"], "count": 2}], "wait_seconds": 3600, "approval_seconds": 900}
ANSWER = {"terms": {"requirement": REQUIREMENT, "warrant": ISSUE}, "standing": {"issue": ISSUE}}


def test_terms_that_can_be_carried_out_are_an_answer():
    hold_possible(ANSWER)


@pytest.mark.parametrize("value", [-1, 2**53 - 1])
@pytest.mark.parametrize(
    "where",
    [
        "terms/warrant/ttl",
        "terms/warrant/uses",
        "standing/issue/heartbeat_seconds",
        "standing/issue/report_by_seconds",
        "standing/issue/rollback_seconds",
        "terms/warrant/constraints/max_retries",
        "standing/issue/constraints/max_duration_seconds",
        "terms/requirement/wait_seconds",
        "terms/requirement/approval_seconds",
        "terms/requirement/all_of/0/count",
    ],
)
def test_terms_that_nobody_can_carry_out_are_no_answer(where, value):
    _hold(where, value)


@pytest.mark.parametrize("value", ["3", 1.5, True, None, [1]])
def test_a_constraint_of_the_router_that_is_no_number_is_no_answer(value):
    _hold("terms/warrant/constraints/max_retries", value)


def _hold(where, value):
    answer = copy.deepcopy(ANSWER)
    *steps, last = [int(step) if step.isdecimal() else step for step in where.split("/")]
    node = answer
    for step in steps:
        node = node[step]
    node[last] = value
    with pytest.raises(NoAnswer) as caught:
        hold_possible(answer)
    assert caught.value.code == "decision.impossible"
