"""What an operator signs is what was shown, not what the service holds a moment later."""

from __future__ import annotations

import base64

import pytest

from magistrate.client import operator
from magistrate.core.canonical import digest_of, load
from magistrate.core.decision import decision_digest
from magistrate.core.errors import Conflict, Forged
from magistrate.core.signature import signer_from_seed

SIGNER = signer_from_seed(bytes(range(32)))
INTENT = {"origin": "test/cli", "intent_id": "int-1", "action": "a", "target": "t", "parameters": {}}


class Service:
    """Takes what is sent; to be asked again would be a second reading."""

    def __init__(self):
        self.sent = []

    def post(self, path, said):
        self.sent.append((path, said))
        return {}


def shown(*, ttl):
    terms = {"requirement": {"approval_seconds": 900}, "warrant": {"ttl": ttl}}
    said = {"bundle": "sha256:" + "0" * 64, "round": 1, "terms": terms, "intent_digest": digest_of(INTENT)}
    digest = decision_digest(intent_digest=said["intent_digest"], bundle=said["bundle"], round_=1, terms=terms)
    return {"intent": INTENT, "decision": {**said, "decision_digest": digest}}


def act(service, what):
    operator.act(service, what, operator="olivia", signer=SIGNER, verdict="approve")


def test_the_shown_terms_are_signed():
    service, what = Service(), shown(ttl=300)
    act(service, what)
    path, sent = service.sent[0]
    raw = base64.urlsafe_b64decode(sent["statement"] + "==")
    statement = load(raw)
    assert path == "/v1/intents/int-1/approvals"
    assert statement["decision_digest"] == what["decision"]["decision_digest"]
    assert statement["intent_digest"] == digest_of(INTENT)


def test_terms_that_do_not_have_their_digest_are_not_signed():
    service, what = Service(), shown(ttl=300)
    what["decision"]["terms"]["warrant"]["ttl"] = 30
    with pytest.raises(Forged, match=r"approval\.shown"):
        act(service, what)
    assert not service.sent


def test_where_nothing_was_decided_there_is_nothing_to_sign():
    service = Service()
    with pytest.raises(Conflict, match=r"intent\.state"):
        act(service, {**shown(ttl=300), "decision": None})
    assert not service.sent
