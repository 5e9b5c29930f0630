"""Every change that is reported was asked of OPA and does what it says; whole numbers are found to the last one."""

from __future__ import annotations

import pytest

from magistrate.core.errors import NoAnswer
from magistrate.core.values import thaw
from magistrate.policy import batches, explaining
from magistrate.policy.nearest import Change
from magistrate.policy.sidecar import Sidecar
from magistrate.policy.states import state
from tests.policy import explained as by

LIMITS = by.bundle().data["policies"]


def flips(explanation, **wanted):
    return [
        flip
        for flip in explanation.nearest.flips
        if all(getattr(flip.state, name) == value for name, value in wanted.items())
    ]


def change(flip):
    (only,) = flip.changes
    return only.pointer, only.before, only.after


def hold_true(question, explanation, document="decision"):
    """Each flip's state is OPA's own answer to the changed question, asked by another way."""
    found = explanation.nearest.flips
    got = by.answers(document, [by.changed(question, flip.changes) for flip in found])
    for flip, answer in zip(found, got, strict=True):
        assert state(document, answer) == flip.state, flip.changes
        assert flip.state.place != explanation.state.place
    assert explanation.nearest.asked <= explanation.nearest.bound


@pytest.mark.parametrize("name", by.SAMPLES)
def test_every_change_does_what_it_says(name):
    question = by.SAMPLES[name]
    explanation = by.explained(question)
    assert explanation.nearest.flips
    hold_true(question, explanation)


@pytest.mark.parametrize("name", sorted(by.bundle().data["canaries"]))
def test_every_change_to_any_document_does_what_it_says(name):
    canary = thaw(by.bundle().data["canaries"][name])
    explanation = by.explained(canary["question"], canary["document"])
    hold_true(canary["question"], explanation, canary["document"])


def test_limits_are_found_to_the_last_unit():
    small, daily = (LIMITS["refunds"]["limits"][name] for name in ("small", "daily"))
    explanation = by.explained(by.refund(small + 1))
    changes = [change(flip) for flip in explanation.nearest.flips if len(flip.changes) == 1]
    assert ("/intent/parameters/amount", small + 1, small) in changes
    assert ("/intent/parameters/amount", small + 1, daily + 1) in changes
    assert ("/facts/refunded_today", 0, daily - small) in changes


def test_a_limit_that_stands_in_no_data_and_no_rule_is_found_by_bisection():
    """What is compared is a sum here: no number of the bundle is the boundary."""
    daily = LIMITS["refunds"]["limits"]["daily"]
    explanation = by.explained(by.refund(4321, today=1234))
    changes = [change(flip) for flip in flips(explanation, outcome="deny") if len(flip.changes) == 1]
    assert ("/facts/refunded_today", 1234, daily - 4321 + 1) in changes


def test_no_nearer_number_flips_it():
    found = by.explained(by.SAMPLES["batch"]).nearest.flips
    numbers = [flip for flip in found if len(flip.changes) == 1 and type(flip.changes[0].before) is int]
    assert {change(flip)[0] for flip in numbers} >= {"/intent/parameters/seconds", "/proposer/open_intents"}
    for flip in numbers:
        pointer, before, after = change(flip)
        nearer = Change(pointer, "", before, after + (1 if before > after else -1))
        answer = by.answers("decision", [by.changed(by.SAMPLES["batch"], [nearer])])[0]
        assert state("decision", answer).place != flip.state.place


def test_whose_fact_it_is_is_said():
    explanation = by.explained(by.SAMPLES["deploys"])
    whose = {c.pointer: c.whose for flip in explanation.nearest.flips for c in flip.changes}
    assert whose["/intent/target"] == "proposer"
    assert whose["/intent/claims/context/risk"] == "claims"
    assert whose["/proposer/state"] == "world"
    assert whose["/now/unix"] == "world"
    assert whose["/approvals"] == "people"


def test_claims_only_ever_make_it_harder():
    order = {"allow": 0, "ask": 1, "deny": 2}
    ranks = {name: row["rank"] for name, row in by.bundle().data["tiers"].items()} | {"": 99}
    for name, question in by.SAMPLES.items():
        explanation = by.explained(question)
        base = (order[explanation.state.outcome], ranks[explanation.state.tier])
        for flip in explanation.nearest.flips:
            if len(flip.changes) == 1 and flip.changes[0].whose == "claims":
                assert (order[flip.state.outcome], ranks[flip.state.tier]) >= base, name


def test_the_next_freeze_is_found_to_the_second():
    (freeze,) = LIMITS["deploys"]["limits"]["freezes"]
    question = by.SAMPLES["deploys"]
    explanation = by.explained(question)
    (flip,) = [f for f in flips(explanation, outcome="deny") if f.changes[0].pointer == "/now/unix"]
    now = by.changed(question, flip.changes)["now"]
    assert now["weekday"] in freeze["weekdays"]
    assert (now["minute_of_day"], now["unix"] % 60) == (freeze["from"], 0)


def test_those_who_are_wanted_are_told_and_would_do():
    explanation = by.explained(by.SAMPLES["secrets"])
    (flip,) = [f for f in flips(explanation, outcome="allow") if len(f.changes) == 1]
    answer = by.answers("decision", [by.SAMPLES["secrets"]])[0]
    assert flip.changes[0].after == {"approve": answer["standing"]["wanted"]}


def test_an_approval_that_was_given_is_seen_to_matter():
    question = by.refund(7501)
    answer = by.answers("decision", [question])[0]
    (row,) = answer["standing"]["wanted"]
    approved = by.changed(question, [Change("/approvals", "people", "", {"approve": [row]})])
    explanation = by.explained(approved)
    assert explanation.state.outcome == "allow"
    assert any(f.changes[0].pointer == "/approvals/0" for f in flips(explanation, outcome="ask"))
    hold_true(approved, explanation)


def test_two_denials_need_two_changes():
    question = by.SAMPLES["mail"]
    explanation = by.explained(question)
    assert explanation.state.outcome == "deny"
    assert all(len(flip.changes) == 2 for flip in explanation.nearest.flips)
    assert {c.pointer.split(" ")[0] for f in explanation.nearest.flips for c in f.changes} == {
        "/intent/parameters/to",
        "/intent/parameters/body",
    }


def test_what_cannot_be_changed_so_is_said_to_be_unreached():
    canary = thaw(by.bundle().data["canaries"]["thief-is-refused"])
    explanation = by.explained(canary["question"], "admission")
    assert explanation.nearest.unreached == ("admit",)
    assert explanation.nearest.asked > 1


def test_parameters_no_schema_allows_are_not_called_facts():
    for flip in by.explained(by.refund(1)).nearest.flips:
        assert not [code for _, code in flip.state.reasons if code == "decision.parameters"]


def test_the_same_record_gives_the_same_explanation():
    again = by.explained(by.SAMPLES["mail"], anew=True)
    assert again.plain() == by.explained(by.SAMPLES["mail"]).plain()


class OneByOne:
    """In the place of `Batches`: an ordinary sidecar, each question by itself."""

    wide = 16

    def __init__(self, binary, bundle, **_):
        self._sidecar = Sidecar(binary, bundle, deadline=30.0)

    async def __aenter__(self):
        await self._sidecar.start()
        return self

    async def __aexit__(self, *_):
        await self._sidecar.stop()

    async def ask(self, questions):
        return [await self._said(*question) for question in questions]

    async def _said(self, document, question):
        try:
            return (await self._sidecar.ask(document, question)).value
        except NoAnswer as none:
            return none


RECORDED = ("cascade-deviates", "thief-is-refused", "deploy-asks")  # to the first's, some questions have no answer


@pytest.mark.parametrize("name", ["mail", "refunds", *RECORDED])
def test_asking_one_by_one_finds_the_very_same(name, monkeypatch):
    canary = thaw(by.bundle().data["canaries"].get(name, {"document": "decision", "question": by.SAMPLES.get(name)}))
    together = by.explained(canary["question"], canary["document"]).plain()
    monkeypatch.setattr(explaining, "Batches", OneByOne)
    assert by.explained(canary["question"], canary["document"], anew=True).plain() == together


def test_a_search_asks_many_questions_in_one_query(monkeypatch):
    asked = []
    ask_many = batches.ReplaySidecar.ask_many

    async def counted(self, questions):
        asked.append(len(questions))
        return await ask_many(self, questions)

    monkeypatch.setattr(batches.ReplaySidecar, "ask_many", counted)
    explanation = by.explained(by.SAMPLES["mail"], anew=True)
    assert max(asked) == batches.MOST
    assert len(asked) < explanation.nearest.asked / 16
    assert sum(asked) > explanation.nearest.asked * 9 / 10
