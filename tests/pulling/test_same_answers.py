"""The second OPA and our sidecar say the same, byte for byte: on every question anybody here can think of."""

import json
from collections import Counter
from pathlib import Path

import pytest

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.core.values import thaw
from magistrate.policy.binary import PINNED, Binary, sha256_of
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from magistrate.store.reads import Reader
from tests.pulling.house import AGENT, OBSERVER
from tests.rego import questions
from tests.support.rego_tools import opa
from tests.support.second_opa import LOADED, second_opa
from tests.support.service import bundle

DOCUMENTS = ("decision", "approval", "admission", "verification", "access")


@pytest.fixture(scope="module")
def served():
    return Bundle.read(bundle())


@pytest.fixture(scope="module")
def other(house):
    with second_opa(house.configuration(), house.keys[OBSERVER]) as made:
        made.says(LOADED)
        yield made


@pytest.fixture
async def ours(served):
    path = Path(opa())
    sidecar = Sidecar(Binary(path, PINNED, sha256_of(path), "setting"), served, deadline=10.0)
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


async def same(ours, other, document, question):
    """Both answers, which are one; None where neither has one."""
    try:
        mine = canonical.canonical((await ours.ask(document, canonical.canonical(question))).value)
    except NoAnswer:
        mine = None
    try:
        theirs = canonical.canonical(other.rego.ask(document, question))
    except AssertionError:
        theirs = None
    assert mine == theirs, (document, question)
    return mine


def corpus(data):
    """Decision questions over the whole catalogue: allowed parameters, spoilt ones, and what agents claim."""
    roles = list(data["catalogue"]["installation"]["first_operator"]["roles"])
    for action, row in data["catalogue"]["actions"].items():
        for target, place in data["catalogue"]["targets"].items():
            if place["kind"] not in row["targets"]["kinds"]:
                continue
            schema = thaw(row["parameters"])
            for parameters in questions.allowed(schema):
                plain = questions.decision(action, target, parameters, thaw(row), roles)
                yield plain
            for claims in questions.CLAIMS:
                yield questions.with_claims(plain, claims)
            yield from (spoilt for _, spoilt in questions.spoilt(plain, schema))


async def test_on_the_whole_corpus_of_decisions(ours, other, served):
    outcomes = Counter()
    for question in corpus(served.data):
        answer = await same(ours, other, "decision", question)
        outcomes[json.loads(answer)["standing"]["outcome"] if answer else "none"] += 1

    assert sum(outcomes.values()) > 2000
    assert {"allow", "ask", "deny"} <= outcomes.keys(), outcomes


async def test_on_every_canary(ours, other, served):
    canaries = thaw(served.data["canaries"])
    for canary in canaries.values():
        assert await same(ours, other, canary["document"], canary["question"]) is not None
    assert {canary["document"] for canary in canaries.values()} >= {"decision"}


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_on_what_is_no_question(ours, other, document):
    for value in ({}, {"contract": 2}, {"contract": 1, "now": None}, {"principal": {}}, {"intent": {"action": 1}}):
        await same(ours, other, document, value)


async def test_on_everything_the_service_was_asked_and_recorded(house, ours, other, served):
    """What its own sidecar answered, as the ledger holds it, is what the second OPA says now."""
    with house.client(AGENT) as client:
        for target in ("api-gateway-staging", "api-gateway-prod"):
            said = {"action": "service.restart", "target": target, "parameters": {}, "reason": "corpus"}
            shown = client.post("/v1/intents", said)
            if shown["warrant"]:
                scope = shown["warrant"]["scope"]
                client.post("/v1/executions", {"warrant": shown["warrant"]["warrant_id"], "call": scope})
    reader = Reader(house.ledger)
    try:
        entries = reader.entries(0, 1000)
    finally:
        reader.close()
    asked = [one for entry in entries if entry.kind != "genesis" for one in entry.content().get("asked", [])]

    documents = Counter()
    for one in asked:
        assert one["bundle"] == served.digest
        assert await same(ours, other, one["document"], one["question"]) == canonical.canonical(one["answer"])
        documents[one["document"]] += 1
    assert documents.keys() >= {"decision", "approval", "admission", "verification"}, documents
