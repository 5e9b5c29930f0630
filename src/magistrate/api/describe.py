"""The OpenAPI 3.1 description: bodies and answers from the documents' own models, one schema for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from magistrate import __version__
from magistrate.api.bundles import Acceptance, Taken
from magistrate.api.executions import Finding, Nothing
from magistrate.api.intents import Because
from magistrate.api.problems import MEDIA_TYPE
from magistrate.api.replays import ReplayOrder
from magistrate.api.visit import Endpoint
from magistrate.core.approval import Approval
from magistrate.core.decision import Reason, Standing, Terms
from magistrate.core.execution import Call, ObservationClaim, ReportClaim
from magistrate.core.genesis import Genesis, Recovery
from magistrate.core.intent import Intent, Proposal
from magistrate.core.replay import Certificate
from magistrate.core.values import Document
from magistrate.core.verification import Verification
from magistrate.core.warrant import Warrant

MODELS: Final[tuple[type[Document], ...]] = (
    Acceptance,
    Approval,
    Because,
    Certificate,
    Recovery,
    ReplayOrder,
    Call,
    Finding,
    Genesis,
    Intent,
    Nothing,
    ObservationClaim,
    Proposal,
    Reason,
    ReportClaim,
    Standing,
    Taken,
    Terms,
    Verification,
    Warrant,
)
TEXT: Final = {"type": "string"}
NUMBER: Final = {"type": "integer"}
HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Idempotency-Key": {"type": "string", "pattern": "^[ -~]{8,128}$"},
    "Last-Event-ID": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    "If-None-Match": TEXT,
}
QUERY: Final[Mapping[str, Mapping[str, Any]]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    "cursor": TEXT,
    "state": TEXT,
    "after": {"type": "string", "pattern": "^[0-9]{1,15}$"},
}
PROBLEMS: Final = {
    400: "What was sent does not parse, or does not stand",
    401: "No credential that stands",
    403: "A rule said no; the reasons are the rule's own",
    404: "No such thing, or not the caller's to see",
    409: "True once, no longer",
    413: "Too large",
    503: "No answer from OPA, store or clock; nothing is permitted meanwhile",
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Any], *, closed: bool = False, **more: Any) -> dict[str, Any]:
    said = {"type": "object", "properties": {**required, **more}, "required": list(required)}
    return {**said, "additionalProperties": False} if closed else said


def _nullable(name: str) -> dict[str, Any]:
    return {"anyOf": [_ref(name), {"type": "null"}]}


_DECISION: Final = {
    "round": NUMBER,
    "bundle": TEXT,
    "decision_digest": TEXT,
    "intent_digest": TEXT,
    "terms": _ref("Terms"),
    "standing": _ref("Standing"),
}
_ENTRY: Final = {
    "index": NUMBER,
    "leaf": TEXT,
    "kind": TEXT,
    "subject": TEXT,
    "state": TEXT,
    "header": TEXT,
    "salt": TEXT,
    "body": {"anyOf": [{"type": "object"}, {"type": "null"}]},
}
SCHEMAS: Final[Mapping[str, Any]] = {
    "Problem": _object(
        {"type": TEXT, "title": TEXT, "status": NUMBER, "detail": TEXT, "code": TEXT, "hint": TEXT},
        pointer=TEXT,
        reasons={"type": "array", "items": _ref("Reason")},
        links={"type": "object", "additionalProperties": TEXT},
    ),
    "Object": {"type": "object"},
    "Page": _object({"items": {"type": "array", "items": {}}, "next_cursor": {"type": ["string", "null"]}}),
    "Decision": _object(_DECISION),
    "Submitted": _object(
        {
            "intent": _ref("Intent"),
            "decision": _ref("Decision"),
            "warrant": _nullable("Warrant"),
            "links": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "Intent+": _object(
        {
            "intent": _ref("Intent"),
            "state": TEXT,
            "because": TEXT,
            "waits_until": TEXT,
            "decision": _nullable("Decision"),
            "approvals": {"type": "array", "items": {"type": "object"}},
            "warrant": _nullable("Warrant"),
            "renewed": _object({}, after=TEXT, same_terms={"type": "boolean"}),
            "links": {"type": "object", "additionalProperties": TEXT},
        },
        activation={"type": "object"},
    ),
    "Warrant+": _object({"warrant": _ref("Warrant"), "state": TEXT, "uses_left": NUMBER, "intent_id": TEXT}),
    "Execution+": _object({"execution_id": TEXT, "warrant_id": TEXT, "state": TEXT, "holder": TEXT, "verdict": TEXT}),
    "Judged": _object({"execution_id": TEXT, "verification": _nullable("Verification")}),
    "Heartbeat": _object({"verdict": {"enum": ["continue", "halt"]}}, because=TEXT),
    "Entry": _object(_ENTRY),
    "Proof": _object({**_ENTRY, "size": NUMBER, "path": {"type": "array", "items": TEXT}, "checkpoint": TEXT}),
    "Chain": _object(
        {
            "intent_id": TEXT,
            "origin": TEXT,
            "size": NUMBER,
            "checkpoint": TEXT,
            "steps": {
                "type": "array",
                "items": _object({**_ENTRY, "path": {"type": "array", "items": TEXT}}),
            },
        }
    ),
    "Ready": _object({"ready": {"type": "boolean"}, "checks": {"type": "object", "additionalProperties": TEXT}}),
    "Redemption": _object({"warrant": {"anyOf": [TEXT, _ref("Warrant")]}, "call": _ref("Call")}, closed=True),
    "Offer": _object({"code": TEXT, "id": TEXT, "public_key": TEXT}, closed=True),
    "Acceptance": _object({"code": TEXT, "statement": _ref("Genesis")}, closed=True),
}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    """What the description says of one route."""
    said: dict[str, Any] = {
        "parameters": [
            *(_parameter("path", name, TEXT) for name in re.findall(r"{(\w+)", endpoint.path)),
            *(_parameter("query", name, QUERY[name]) for name in endpoint.query),
            *(_parameter("header", name, HEADERS[name]) for name in endpoint.headers),
        ],
        "responses": {
            **{str(status): _answer(endpoint, status, name) for status, name in endpoint.answers},
            **{str(status): _problem(text) for status, text in _problems(endpoint)},
        },
        "security": [] if endpoint.open else [{"apiKey": []}, {"signature": []}],
    }
    if endpoint.body:
        schemas = [_ref(name) for name in endpoint.body]
        schema: dict[str, Any] = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        said["requestBody"] = {"required": not endpoint.empty, "content": {"application/json": {"schema": schema}}}
    return said


def _problems(endpoint: Endpoint) -> Sequence[tuple[int, str]]:
    documented = {status for status, _ in endpoint.answers}
    return [(status, text) for status, text in PROBLEMS.items() if status not in documented]


def _parameter(where: str, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"in": where, "name": name, "required": where == "path", "schema": schema}


def _answer(endpoint: Endpoint, status: int, name: str) -> dict[str, Any]:
    said: dict[str, Any] = {"description": "Not modified" if status == 304 else endpoint.summary}
    if status != 304:
        media = MEDIA_TYPE if status >= 400 else endpoint.media
        said["content"] = {media: {"schema": _ref(name) if name else TEXT}}
    return said


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The whole description."""
    said = get_openapi(
        title="Magistrate",
        version=__version__,
        openapi_version="3.1.0",
        summary="Execution warrants for AI agents",
        routes=app.routes,
    )
    _, models = models_json_schema(
        [(model, "validation") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    said["components"] = {
        "schemas": {**models.get("$defs", {}), **SCHEMAS},
        "securitySchemes": {
            "apiKey": {"type": "http", "scheme": "bearer", "description": "agents, observers, auditors: mk_…"},
            "signature": {
                "type": "apiKey",
                "in": "header",
                "name": "Signature",
                "description": "operators: RFC 9421, Ed25519, with Signature-Input and Content-Digest",
            },
        },
    }
    return said
