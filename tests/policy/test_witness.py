"""Two engines, one answer; and whatever keeps the second from saying so is a finding, never a pass."""

from __future__ import annotations

import copy
import sys

import pytest

from magistrate.core.errors import Broken, Unavailable
from magistrate.core.values import thaw
from magistrate.policy import witness
from magistrate.policy.bundle import Bundle
from magistrate.policy.witness import Witness, agrees
from tests.policy import explained as by
from tests.policy import trees
from tests.rego import questions
from tests.support.world import binary


@pytest.fixture(scope="module")
def second():
    with Witness(binary(), by.bundle()) as made:
        yield made


def corpus():
    """Decision questions over the whole catalogue, parameters at each of their edges, and with claims of all kinds."""
    data = thaw(by.bundle().data)
    for action, row in data["catalogue"]["actions"].items():
        targets = [name for name, one in data["catalogue"]["targets"].items() if one["kind"] in row["targets"]["kinds"]]
        for parameters in questions.allowed(row["parameters"]):
            asked = questions.decision(action, targets[0], parameters, row, ["admin"])
            asked["facts"] = {name: 0 for name, one in data["counters"].items() if one["action"] == action}
            yield asked
        yield from (questions.with_claims(asked, claims) for claims in questions.CLAIMS)


def test_both_engines_agree_on_the_whole_corpus(second):
    asked = list(corpus())
    assert len(asked) > 150
    for question, answer in zip(asked, by.answers("decision", asked), strict=True):
        second.agrees("decision", question, answer)


@pytest.mark.parametrize("name", sorted(by.bundle().data["canaries"]))
def test_both_engines_agree_on_every_canary(second, name):
    canary = thaw(by.bundle().data["canaries"][name])
    question, document = canary["question"], canary["document"]
    second.agrees(document, question, by.answers(document, [question])[0])


def test_another_answer_is_a_finding(second):
    question = by.SAMPLES["refunds"]
    answer = by.answers("decision", [question])[0]
    answer["terms"]["warrant"]["ttl"] += 1
    with pytest.raises(Broken, match=r"witness\.disagrees"):
        second.agrees("decision", question, answer)


def test_an_answer_to_another_question_is_a_finding(second):
    answer = by.answers("decision", [by.refund(5000)])[0]
    with pytest.raises(Broken, match=r"witness\.disagrees"):
        second.agrees("decision", by.refund(5001), answer)


def test_what_the_witness_has_no_words_for_is_no_agreement(second):
    """Parameters that do not fit are refused with OPA's own description of what is wrong."""
    question = copy.deepcopy(by.SAMPLES["refunds"])
    question["intent"]["parameters"]["amount"] = "5001"
    answer = by.answers("decision", [question])[0]
    with pytest.raises(Unavailable, match=r"witness\.unable"):
        second.agrees("decision", question, answer)


def test_a_builtin_nobody_supplies_is_no_agreement():
    text = trees.POLICY.replace(
        "_small if input.x <= limits.small", "_small if units.parse(input.size) <= limits.small"
    )
    small = Bundle.read(trees.packed({**trees.FILES, **documents(), "/policies/refunds/refunds.rego": text.encode()}))
    with pytest.raises(Unavailable, match=r"witness\.unable.*units\.parse"):
        agrees(binary(), small, "decision", {"x": 1, "size": "1K"}, {"outcome": "deny"})


def documents():
    """The other documents of a bundle that has them all."""
    names = ("approval", "admission", "verification", "access")
    return {f"/magistrate/{n}/{n}.rego": f"package magistrate.{n}\n\nanswer := 1\n".encode() for n in names}


def test_without_the_extra_the_witness_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opapywasm", None)
    with pytest.raises(Unavailable, match=r"witness\.missing") as no:
        Witness(binary(), by.bundle())
    assert "magistrate[witness]" in no.value.hint


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-25T12:00:00Z", 1_774_440_000 * 10**9),
        ("2026-03-25T13:00:00.000000001+01:00", 1_774_440_000 * 10**9 + 1),
    ],
)
def test_times_are_read_as_opa_reads_them(text, ns):
    assert witness._parse_rfc3339_ns(text) == ns


@pytest.mark.parametrize("text", ["", "2026-03-25", "2026-03-25T12:00:00", "2026-13-25T12:00:00Z", "tomorrow"])
def test_what_is_no_time_is_none(text):
    with pytest.raises(ValueError):
        witness._parse_rfc3339_ns(text)
