"""An explanation is of the recorded answer or there is none; who spoke, and what they saw, is what OPA did."""

from __future__ import annotations

import asyncio
import copy
import json

import pytest

from magistrate.core.errors import Broken
from magistrate.policy import places, tracing
from magistrate.policy.explaining import explain
from tests.policy import explained as by
from tests.support.rego_tools import REGO
from tests.support.world import binary


def told(explanation, code):
    return next(one for one in (*explanation.spoke, *explanation.silent) if one.rule.code == code)


def seen(one):
    return {f"{fact.of}{fact.pointer}": fact.value if fact.present else None for fact in one.facts}


# -- nothing but the recorded answer is explained


@pytest.mark.parametrize(
    ("spoil", "pointer"),
    [
        (lambda answer: answer["standing"].update(outcome="allow"), "/standing/outcome"),
        (lambda answer: answer["terms"]["warrant"].update(ttl=301), "/terms/warrant/ttl"),
        (lambda answer: answer["standing"]["reasons"][0].update(title="another"), "/standing/reasons/0/title"),
        (lambda answer: answer["terms"].pop("tier"), "/terms/tier"),
        (lambda answer: answer["standing"].update(reasons=[]), "/standing/reasons/0"),
    ],
)
def test_another_answer_than_the_recorded_one_is_not_explained(spoil, pointer):
    question = by.SAMPLES["refunds"]
    answer = by.answers("decision", [question])[0]
    spoil(answer)
    with pytest.raises(Broken, match=r"explain\.differs") as no:
        asyncio.run(explain(binary(), by.bundle(), "decision", question, answer))
    assert no.value.pointer == pointer


def test_the_answer_to_another_question_is_not_explained():
    answer = by.answers("decision", [by.refund(7501)])[0]
    with pytest.raises(Broken, match=r"explain\.differs"):
        asyncio.run(explain(binary(), by.bundle(), "decision", by.refund(7502), answer))


# -- places


def test_every_rule_is_where_it_says_and_reads_as_it_is_written():
    bundle = by.bundle()
    found = list(places.read(binary(), bundle).rules())
    assert {rule.file for rule in found} == {name for name in bundle.files if name.endswith(".rego")}
    for rule in found:
        lines = bundle.files[rule.file].decode().split("\n")
        assert "\n".join(lines[rule.row - 1 : rule.last]).startswith(rule.source)  # a comment may follow it


def test_a_rule_is_told_with_its_own_metadata():
    one = told(by.explained(by.refund(600_000), search=False), "refunds.budget")
    text = (REGO / "policies/refunds/refunds.rego").read_text().split("\n")
    assert text[one.rule.row - 1].startswith("deny contains")
    assert one.rule.title in text[one.rule.row - 3]
    assert one.rule.remedy
    assert one.plain()["file"] == "policies/refunds/refunds.rego"


# -- who spoke


@pytest.mark.parametrize("name", by.SAMPLES)
def test_whoever_gave_a_reason_is_among_those_who_spoke(name):
    question = by.SAMPLES[name]
    answer = by.answers("decision", [question])[0]
    explanation = by.explained(question, search=False)
    spoke = {one.rule.code for one in explanation.spoke}
    assert {reason["code"] for reason in answer["standing"]["reasons"]} <= spoke
    assert explanation.governing == (f"policies.{name}",)
    assert not spoke & {one.rule.code for one in explanation.silent} - {""}


def test_rules_that_spoke_beside_a_denial_are_told_though_the_answer_leaves_them_out():
    explanation = by.explained(by.refund(600_000), search=False)
    assert {"refunds.any", "refunds.large", "refunds.budget"} <= {one.rule.code for one in explanation.spoke}


def test_a_silent_policy_rule_is_one_this_document_hears():
    explanation = by.explained(by.refund(1), search=False)
    assert {one.rule.code for one in explanation.silent} == {"refunds.large", "refunds.very_large", "refunds.budget"}


@pytest.mark.parametrize("name", sorted(by.bundle().data["canaries"]))
def test_every_document_is_explained(name):
    canary = json.loads(by.canonical_of(_thawed(by.bundle().data["canaries"][name])))
    explanation = by.explained(canary["question"], canary["document"], search=False)
    answer = by.answers(canary["document"], [canary["question"]])[0]
    said = answer.get("violations") or answer.get("reasons") or [answer.get("reason", {"code": ""})]
    codes = {reason["code"] for reason in said} - {""}
    assert codes <= {one.rule.code for one in explanation.spoke}


def _thawed(value):
    from magistrate.core.values import thaw

    return thaw(value)


def test_of_rules_with_one_code_only_those_that_held_are_told():
    question = copy.deepcopy(_thawed(by.bundle().data["canaries"]["cascade-deviates"]["question"]))
    question["reports"] = [
        {**_report("executor"), "outcome": "failed"},
        {**_report("executor"), "outcome": "succeeded"},
    ]
    explanation = by.explained(question, "verification", search=False)
    spoke = [one.rule for one in explanation.spoke if one.rule.code == "verification.contradiction"]
    written = [r for r in explanation.places.rules() if r.code == "verification.contradiction"]
    assert 0 < len(spoke) < len(written)


def _report(source):
    return {"source": source, "at": "2026-11-23T22:48:46Z", "outcome": "succeeded", "facts": {}}


# -- what they saw


def test_facts_are_read_through_helpers_imports_and_names():
    explanation = by.explained(by.refund(7501, today=7), search=False)
    limits = by.bundle().data["policies"]["refunds"]["limits"]
    assert seen(told(explanation, "refunds.large")) == {
        "input/intent/parameters/amount": 7501,
        "data/policies/refunds/limits/small": limits["small"],
    }
    assert seen(told(explanation, "refunds.budget")) == {
        "input/facts/refunded_today": 7,
        "input/intent/parameters/amount": 7501,
        "data/policies/refunds/limits/daily": limits["daily"],
    }


def test_facts_are_read_through_a_reference_that_another_fact_completes():
    explanation = by.explained(by.SAMPLES["deploys"], search=False)
    facts = seen(told(explanation, "deploys.production"))
    assert facts["input/intent/target"] == "api-gateway-prod"
    assert facts["data/catalogue/targets/api-gateway-prod/environment"] == "production"


def test_what_is_not_there_is_said_not_to_be():
    explanation = by.explained(by.SAMPLES["deploys"], search=False)
    facts = {fact.pointer: fact.present for fact in told(explanation, "deploys.risky").facts}
    assert facts["/intent/claims/context/risk"] is False


# -- the trace


def test_the_trace_shows_the_comparison_and_what_was_compared():
    lines = by.explained(by.refund(7501), search=False).lines(engine=False)
    large = next(line for line in lines if "< tier contains" in line and "limits.small" in line)
    assert "_amount=7501" in large
    assert "limits.small=7500" in large
    assert all(line.startswith("policies/refunds/") for line in lines)


def test_the_trace_of_the_engine_is_shown_on_request():
    explanation = by.explained(by.refund(1), search=False)
    assert any(line.startswith("magistrate/decision/standing.rego") for line in explanation.lines(engine=True))


def test_what_opa_cannot_evaluate_is_no_answer():
    from magistrate.core.errors import NoAnswer

    with pytest.raises(NoAnswer, match=r"opa\.eval_error"):
        tracing.evaluate(binary(), by.bundle(), "1 / 0", b"{}")
    with pytest.raises(NoAnswer, match=r"opa\.undefined"):
        tracing.trace(binary(), by.bundle(), "nothing", b"{}")
