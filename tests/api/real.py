"""A real installation: `open_installation`, a real OPA, and a bundle small enough to read at a glance."""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from magistrate.api import create
from magistrate.core import canonical
from magistrate.core.signature import sign_document
from magistrate.engine.opening import Settings, open_installation
from magistrate.policy.binary import PINNED, Binary, sha256_of
from tests.api.house import ACTION, ISSUE, LEAD, NOW, ORIGIN, URL, Home, Table
from tests.policy.trees import MANIFEST, packed
from tests.support.rego_tools import opa

REGO = {
    "small": """package magistrate.small

outcome := "allow" if input.intent.action == "note.write"

outcome := "allow" if {
	input.intent.action == "note.ask"
	some approval in input.approvals
	approval.verdict == "approve"
}

outcome := "ask" if {
	input.intent.action == "note.ask"
	count(input.approvals) == 0
}

default outcome := "deny"

reason := {"code": "test.reason", "title": "Because", "remedy": "", "policy": "policies.test"}

row := {"roles": ["lead"], "count": 1, "proof": "ed25519"}

admits if {
	input.presenter.id == input.holder.id
	input.call == input.warrant.scope
	input.uses_left > 0
	input.state == "live"
	input.armed
}

default allowed := false

allowed if input.principal.type == "operator"

allowed if {
	input.principal.type == "auditor"
	not endswith(input.verb, "revoke")
}

allowed if {
	input.principal.type == "agent"
	input.relation != "foreign"
}
""",
    "decision": """package magistrate.decision

import data.magistrate.small

terms := {
	"tier": "T0",
	"requirement": {
		"all_of": [small.row | input.intent.action == "note.ask"],
		"exclude": [],
		"wait_seconds": 600,
		"approval_seconds": 600,
	},
	"warrant": data.tiers.issue,
}

standing := {
	"outcome": small.outcome,
	"reasons": [small.reason],
	"wanted": [{"roles": ["lead"], "count": 1, "by": "ed25519"} | small.outcome == "ask"],
	"issue": data.tiers.issue,
}
""",
    "approval": """package magistrate.approval

may := input.operator.state == "active"

reasons := []
""",
    "admission": """package magistrate.admission

import data.magistrate.small

default admit := false

admit if small.admits

violations := [object.union(small.reason, {"pointer": "/call"}) | not small.admits]
""",
    "verification": """package magistrate.verification

verdict := "conforming"

deviations := []

containment := []

reasons := []
""",
    "access": """package magistrate.access

import data.magistrate.small

allowed := small.allowed

reason := small.reason
""",
}
CANARY = {
    "contract": 1,
    "intent": {"action": "note.burn"},
    "approvals": [],
}
DATA = {
    "catalogue": {
        "actions": {"note.write": ACTION, "note.ask": ACTION},
        "targets": {"wall": {"kind": "service", "name": "wall"}},
        "installation": {"first_operator": {"roles": ["lead"]}},
    },
    "tiers": {"issue": ISSUE},
    "counters": {},
    "policies": {},
    "canaries": {"burn": {"document": "decision", "question": CANARY, "expect": {"outcome": "deny"}}},
}


def bundle() -> bytes:
    files = {f"/magistrate/{name}/{name}.rego": text.encode() for name, text in REGO.items()}
    return packed({"/data.json": json.dumps(DATA).encode(), "/.manifest": json.dumps(MANIFEST).encode(), **files})


def binary() -> Binary:
    path = Path(opa())
    return Binary(path, PINNED, sha256_of(path), "setting")


@asynccontextmanager
async def opened(root: Path, raw: bytes = b"") -> Any:
    """Open, set up through HTTP, arm, enrol an agent and an auditor: as a first day goes."""
    (root / "bundle.tar.gz").write_bytes(raw or bundle())
    open_ = await open_installation(
        Settings(
            data=root / "data",
            binary=binary(),
            state=root / "state",
            origin=ORIGIN,
            bundle=root / "bundle.tar.gz",
            opa_seconds=10.0,
        )
    )
    app = create(open_.house, open_.setup, begun=open_.begin, folder=root / "data")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=URL) as http:
        home = Home(open_.house, app, Table(), open_.setup, [NOW], http)
        try:
            code = open_.setup.new_code(lambda: secrets.token_hex(8))
            asked = {"code": code, "id": "lead-1", "public_key": LEAD.public.hex()}
            shown = (await home.call("", "POST", "/v1/setup", asked)).json()
            signed = sign_document(shown["statement"], LEAD)
            made = await home.call("", "POST", "/v1/setup", {"code": code, "statement": signed})
            assert made.status_code == 201, made.text
            await home.enrol("agent", "bot")
            await home.enrol("agent", "other")
            await home.enrol("observer", "mesh-watch")
            await home.enrol("auditor", "ada")
            yield home
        finally:
            await open_.close()


def digest() -> str:
    return canonical.digest(bundle())
