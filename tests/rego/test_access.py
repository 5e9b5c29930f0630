"""What the routes ask is what the table of permits knows, and what `core` writes is a whole question to Rego."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import magistrate.api
from magistrate.core import question
from magistrate.core.values import parse
from magistrate.core.verification import AccessAnswer, ApprovalAnswer
from tests.support.rego_tools import IGNORED, REGO, run

VERBS = json.loads((REGO / "magistrate" / "permits" / "data.json").read_text("utf-8"))["verbs"]
ROUTES = "\n".join(path.read_text("utf-8") for path in sorted(Path(magistrate.api.__path__[0]).glob("*.py")))
OF_NOBODY = set(re.findall(r'\bhold\("([a-z]+\.[a-z]+)"\)', ROUTES))
OF_SOMEBODY = set(re.findall(r'\b_?(?:held|hold)\((?:visit, )?"([a-z]+\.[a-z]+)"(?:,|\))', ROUTES)) - OF_NOBODY
NOW = 1_774_440_000


def _actor(type_: str, **facts: Any) -> dict[str, Any]:
    return question.actor(type_=type_, id_="ann", state="active", **facts)


def _ask(document: str, asked: dict[str, Any]) -> bytes:
    words = ("eval", "--data", ".", *IGNORED, "--stdin-input", "--format", "raw", f"data.magistrate.{document}")
    ran = run(*words, cwd=REGO, stdin=json.dumps(asked))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().encode()


def _access(type_: str, verb: str, relation: str) -> AccessAnswer:
    asked = question.access(
        "acme/test",
        NOW,
        principal=_actor(type_),
        verb=verb,
        relation=relation,
        object_={"type": "intent", "id": "int-1"},
    )
    return parse(AccessAnswer, _ask("access", asked))


def test_the_routes_were_read():
    assert len(OF_NOBODY) > 8
    assert len(OF_SOMEBODY) > 8


def test_every_verb_a_route_asks_about_is_an_operators():
    """A verb nobody has would be a route that refuses everybody."""
    assert set(VERBS["operator"]["active"]["none"]) >= OF_NOBODY
    assert set(VERBS["operator"]["active"]["any"]) >= OF_SOMEBODY


def test_no_verb_stands_twice_in_a_list_and_every_list_is_in_order():
    lists = [verbs for states in VERBS.values() for whose in states.values() for verbs in whose.values()]

    assert [verbs for verbs in lists if verbs != sorted(set(verbs))] == []


def test_only_operators_and_auditors_reach_what_is_not_their_own():
    assert {type_ for type_, states in VERBS.items() for whose in states.values() if "any" in whose} == {
        "operator",
        "auditor",
    }


@pytest.mark.parametrize(
    ("type_", "verb", "relation", "code"),
    [
        ("operator", "warrant.revoke", "foreign", ""),
        ("auditor", "warrant.revoke", "foreign", "access.verb"),
        ("agent", "intent.show", "own", ""),
        ("agent", "intent.show", "foreign", "access.foreign"),
        ("observer", "intent.list", "none", "access.verb"),
        ("operator", "intent.submit", "none", "access.verb"),
    ],
)
def test_access_as_core_asks_it(type_: str, verb: str, relation: str, code: str):
    answer = _access(type_, verb, relation)

    assert (answer.allowed, answer.reason.code) == (not code, code)


@pytest.mark.parametrize(
    ("roles", "may", "codes"),
    [(["lead"], True, []), (["cook"], False, ["approval.role"]), ([], False, ["approval.role"])],
)
def test_approval_as_core_asks_it(roles: list[str], may: bool, codes: list[str]):
    answer = parse(ApprovalAnswer, _ask("approval", _approval(roles)))

    assert (answer.may, [reason.code for reason in answer.reasons]) == (may, codes)


def _approval(roles: list[str]) -> dict[str, Any]:
    requirement = {
        "all_of": [{"roles": ["lead"], "count": 2, "proof": "ed25519"}],
        "exclude": ["proposer", "owner", "author", "subject"],
        "wait_seconds": 600,
        "approval_seconds": 600,
    }
    return question.approval(
        "acme/test",
        NOW,
        intent={"intent_id": "int-1", "origin": "acme/test", "proposer": {"type": "agent", "id": "bot"}},
        proposer={**_actor("agent", credential="api-key"), "id": "bot"},
        operator=_actor("operator", roles=roles, credential="ed25519"),
        statement=_statement(),
        terms={"tier": "T2", "requirement": requirement, "warrant": {"ttl": 60, "uses": 1, "constraints": {}}},
        round_=1,
        approvals=[_given("bob")],
        subject=question.NOBODY,
        author="",
        installation={"operators": 2, "demo": False},
    )


def _statement() -> dict[str, Any]:
    return {
        "type": "magistrate/approval/v1",
        "origin": "acme/test",
        "intent_id": "int-1",
        "intent_digest": "sha256:" + "0" * 64,
        "decision_digest": "sha256:" + "0" * 64,
        "round": 1,
        "verdict": "approve",
        "reason": "",
        "narrowing": {"ttl": 30},
        "operator": "ann",
        "key_id": "sha256:" + "0" * 64,
        "at": "2026-03-25T12:00:00Z",
        "expires_at": "2026-03-25T12:10:00Z",
    }


def _given(by: str) -> dict[str, Any]:
    return {
        "operator": by,
        "roles": ["lead"],
        "verdict": "approve",
        "reason": "",
        "narrowing": {},
        "at": NOW - 60,
        "expires_at": NOW + 60,
        "proof": "ed25519",
        "digest": "sha256:" + "0" * 64,
        "leaf": "kept by the engine, not a fact of the question",
    }
