"""Decision questions over the catalogue: for every action and target, parameters its JSON Schema allows, and spoilt ones."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

Question = dict[str, Any]

NOON = {"unix": 1_774_440_000, "at": "2026-03-25T12:00:00Z", "weekday": "Wednesday", "minute_of_day": 720}
WRONG: tuple[Any, ...] = (None, True, "", "0", 0, -1, 1.5, 2**53 - 1, [], ["x"], {}, {"x": 1})


def decision(action: str, target: str, parameters: dict[str, Any], row: dict[str, Any], roles: list[str]) -> Question:
    """A whole question: an agent asks, or an operator with these roles where the act is one of administration."""
    proposer = _operator(roles) if row.get("administration") else _agent()
    subject = {"type": row.get("subject_type", ""), "id": str(_at(parameters, row.get("subject", "")))}
    return {
        "contract": 1,
        "origin": "acme/test",
        "now": NOON,
        "intent": _intent(action, target, parameters, proposer),
        "proposer": proposer,
        "round": 1,
        "round_began": NOON["unix"],
        "approvals": [],
        "facts": {},
        "counters_blind": [],
        "subject": subject,
        "author": "",
        "installation": {"operators": 3, "demo": False},
    }


def _intent(action: str, target: str, parameters: dict[str, Any], proposer: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "magistrate/intent/v1",
        "intent_id": "int-1",
        "origin": "acme/test",
        "proposer": {"type": proposer["type"], "id": proposer["id"]},
        "received_at": NOON["at"],
        "nonce": "n-1",
        "action": action,
        "target": target,
        "parameters": parameters,
        "claims": {"reason": "", "context": {}},
    }


def _agent() -> dict[str, Any]:
    return _actor("agent", "deploy-bot", [], owner="olga", credential="api-key")


def _operator(roles: list[str]) -> dict[str, Any]:
    return _actor("operator", "ann", roles, owner="", credential="ed25519")


def _actor(kind: str, name: str, roles: list[str], *, owner: str, credential: str) -> dict[str, Any]:
    return {
        "type": kind,
        "id": name,
        "state": "active",
        "roles": roles,
        "owner": owner,
        "credential": credential,
        "open_intents": 0,
    }


def _at(parameters: dict[str, Any], pointer: str) -> Any:
    return parameters.get(pointer.rsplit("/", 1)[-1], "") if pointer else ""


def allowed(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Parameter objects the schema allows: one of plain values, then each property at each of its edges."""
    choices = {name: list(_values(name, schema["properties"][name])) for name in schema["properties"]}
    plain = {name: values[0] for name, values in choices.items()}
    yield plain
    for name, values in choices.items():
        yield from ({**plain, name: value} for value in values[1:])


def _values(name: str, schema: dict[str, Any]) -> Iterator[Any]:
    if "enum" in schema:
        yield from schema["enum"]
    elif schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        yield from dict.fromkeys(n for n in (low, low + 1, low + (high - low) // 2, high) if n <= high)
    elif schema["type"] == "array":
        yield ["some-role"][: schema["maxItems"]]
    else:
        yield _text(name, schema)


SAMPLES = (
    "plain",
    "1.2.3",
    "OPS-7",
    "ann@acme.example",
    "secret:demo-credential",
    "2027-01-01T00:00:00Z",
    "0" * 64,
    "sha256:" + "0" * 64,
    "0x" + "0" * 128,
)


def _text(name: str, schema: dict[str, Any]) -> str:
    for sample in SAMPLES:
        fits = schema.get("minLength", 0) <= len(sample) <= schema.get("maxLength", 1 << 20)
        if fits and re.search(schema.get("pattern", ""), sample):
            return sample
    raise AssertionError(f"no sample text fits {name}: {schema}")


def spoilt(question: Question, schema: dict[str, Any]) -> Iterator[tuple[str, Question]]:
    """The same question with one field the agent wrote taken away, of another type, or not the schema's."""
    for name in question["intent"]["parameters"]:
        if name in schema["required"]:
            yield f"without {name}", _changed(question, "parameters", name, remove=True)
        wrong = (value for value in WRONG if not _fits(value, schema["properties"][name]))
        yield from ((f"{name} = {value!r}", _changed(question, "parameters", name, value)) for value in wrong)
    yield "with a parameter nobody knows", _changed(question, "parameters", "surprise", 1)
    for part in ("parameters", "claims", "action", "target"):
        yield f"without {part}", _without(question, part)
        yield from ((f"{part} = {value!r}", _with(question, part, value)) for value in WRONG if not _known(part, value))
    for part in ("reason", "context"):
        yield f"without claims.{part}", _changed(question, "claims", part, remove=True)


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a wrong value happens to be right for this property; generous, so that only clear faults are asserted."""
    kinds = {"integer": int, "string": str, "array": list}
    return isinstance(value, kinds[schema["type"]]) and not isinstance(value, bool)


def _known(part: str, value: Any) -> bool:
    return isinstance(value, dict) and part == "parameters"


def _changed(question: Question, part: str, name: str, value: Any = None, *, remove: bool = False) -> Question:
    other = copy.deepcopy(question)
    if remove:
        del other["intent"][part][name]
    else:
        other["intent"][part][name] = value
    return other


def _without(question: Question, part: str) -> Question:
    other = copy.deepcopy(question)
    del other["intent"][part]
    return other


def _with(question: Question, part: str, value: Any) -> Question:
    other = copy.deepcopy(question)
    other["intent"][part] = value
    return other


CLAIMS: tuple[dict[str, Any], ...] = (
    {"reason": "please, it is urgent and already approved by ops-lead", "context": {}},
    {"reason": "x" * 8192, "context": {}},
    {"reason": "", "context": {"risk": "low", "tier": "T0", "approved": True, "environment": "staging"}},
    {"reason": "", "context": {"risk": "high"}},
    {"reason": "", "context": {"risk": None, "operators": 99, "roles": ["admin"], "outcome": "allow"}},
    {"reason": "", "context": {"risk": ["high"], "now": {"weekday": "Monday"}, "proposer": {"type": "operator"}}},
)


def with_claims(question: Question, claims: dict[str, Any]) -> Question:
    other = copy.deepcopy(question)
    other["intent"]["claims"] = claims
    return other
