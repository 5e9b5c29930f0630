"""A real house (ledger, engine, porch) whose OPA is a table in Python, so that a test decides what Rego says."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2

from magistrate.api import create
from magistrate.core import canonical
from magistrate.core.approval import encode
from magistrate.core.errors import NoAnswer
from magistrate.core.signature import Signer, pae, payload_type, sign_document, signer_from_seed
from magistrate.core.state import fold
from magistrate.core.values import moment, parse
from magistrate.engine import arming
from magistrate.engine.installation import Clock, Installation, Keys
from magistrate.engine.setup import Setup
from magistrate.keys.nonces import NonceMemory
from magistrate.keys.requests import sign_request
from magistrate.store import Store

ORIGIN = "acme/test"
URL = "http://127.0.0.1:8420"
DIGEST = "sha256:" + "b" * 64
NOW = 1_774_447_200

LEAD, SECOND = signer_from_seed(b"l" * 32), signer_from_seed(b"s" * 32)
ISSUE = {
    "ttl": 300,
    "uses": 2,
    "audience": "holder",
    "issuer": "policy-1",
    "constraints": {},
    "evidence": ["observer/mesh-watch"],
    "heartbeat_seconds": 10,
    "report_by_seconds": 60,
    "rollback_seconds": 0,
}
REASON = {"code": "test.reason", "title": "Because", "remedy": "", "policy": "policies.test"}
NO_REASON = {"code": "", "title": "", "remedy": "", "policy": ""}
ACTION = {"parameters": {}, "executor": {"kind": "none"}, "targets": {"kinds": ["service"]}}
BUNDLE = SimpleNamespace(
    digest=DIGEST,
    sequence=1,
    contract=1,
    raw=b"the bundle's bytes",
    data={
        "catalogue": {
            "actions": {"note.write": ACTION, "note.ask": ACTION},
            "targets": {"wall": {"kind": "service", "name": "wall"}},
            "installation": {"first_operator": {"roles": ["lead"]}},
        },
        "counters": {},
    },
)


def decide(question: dict[str, Any]) -> dict[str, Any]:
    """`note.write` is allowed at once, `note.ask` wants a lead, all else is denied."""
    action = question["intent"]["action"]
    rows = [{"roles": ["lead"], "count": 1, "proof": "ed25519"}] if action == "note.ask" else []
    approved = any(a["verdict"] == "approve" for a in question["approvals"])
    denied = any(a["verdict"] == "deny" for a in question["approvals"])
    outcome = {"note.write": "allow", "note.ask": "allow" if approved else "ask"}.get(action, "deny")
    outcome = "deny" if denied else outcome
    requirement = {"all_of": rows, "exclude": [], "wait_seconds": 600, "approval_seconds": 600}
    wanted = [{"roles": ["lead"], "count": 1, "by": "ed25519"}] if outcome == "ask" else []
    return {
        "terms": {"tier": "T0", "requirement": requirement, "warrant": ISSUE},
        "standing": {"outcome": outcome, "reasons": [REASON], "wanted": wanted, "issue": ISSUE},
    }


def admit(question: dict[str, Any]) -> dict[str, Any]:
    """The holder, for the very call."""
    mine = question["presenter"]["id"] == question["holder"]["id"]
    same = question["call"] == question["warrant"]["scope"]
    if mine and same and question["uses_left"] > 0 and question["state"] == "live":
        return {"admit": True, "violations": []}
    return {"admit": False, "violations": [{**REASON, "code": "admission.no", "pointer": "/call"}]}


def may(question: dict[str, Any]) -> dict[str, Any]:
    """Operators and auditors everything, agents their own, observers the status."""
    who, relation, verb = question["principal"], question["relation"], question["verb"]
    narrow = verb.split(".")[1] in ("revoke", "halt", "quarantine", "reconcile", "ack")
    allowed = {
        "operator": True,
        "auditor": not narrow,
        "agent": relation != "foreign" and not narrow,
        "observer": verb == "status.show",
    }[who["type"]]
    return {"allowed": allowed, "reason": NO_REASON if allowed else {**REASON, "code": "access.no"}}


class Table:
    """What OPA says, by document; `silent` and it says nothing."""

    def __init__(self) -> None:
        self.silent = False
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {
            "decision": decide,
            "approval": lambda _: {"may": True, "reasons": []},
            "admission": admit,
            "verification": lambda _: {"verdict": "conforming", "deviations": [], "containment": [], "reasons": []},
            "access": may,
        }

    async def ask(self, document: str, question: bytes, model: Any) -> Any:
        await asyncio.sleep(0)  # others come in between, as they do
        self.asked.append(document)
        if self.silent:
            raise NoAnswer("opa.timeout", "OPA did not answer in time")
        value = self.answers[document](json.loads(question))
        raw = canonical.canonical(value)
        return SimpleNamespace(raw=raw, value=value, parsed=parse(model, raw), bundle=DIGEST, opa_version="1.22.2")


class Sidecars:
    """One table for every bundle."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def of(self, _: str) -> Table:
        return self._table

    def bundle(self, _: str) -> Any:
        return BUNDLE


@dataclass
class Home:
    """A house, its porch, and everybody's credentials."""

    house: Installation
    app: Any
    table: Table
    setup: Setup
    wall: list[float]
    http: httpx2.AsyncClient
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.house.store.size

    async def call(self, who: str | Signer, method: str, path: str, body: Any = None, **headers: Any) -> Any:
        """A request by somebody of this house (an operator's signer, an id, or nobody)."""
        raw = body if isinstance(body, bytes) else b"" if body is None else canonical.canonical(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if raw or method == "POST":
            sent.setdefault("content-type", "application/json")
        if isinstance(who, Signer):
            sent |= self.signed(who, method, path, raw)
        elif who:
            sent["authorization"] = f"Bearer {self.keys[who]}"
        return await self.http.request(method, path, content=raw, headers=sent)

    def signed(self, signer: Signer, method: str, path: str, raw: bytes = b"", **change: Any) -> dict[str, str]:
        nonce = change.get("nonce") or secrets.token_urlsafe(24)
        return sign_request(method, URL + path, raw, signer, change.get("created", self.house.now()), nonce)

    async def enrol(self, type_: str, id_: str, *, expires: int = 10**9) -> None:
        """Enrol somebody with an API key, as an act of administration would."""
        token = "mk_" + secrets.token_urlsafe(32)
        self.keys[id_] = token
        credential = {"sha256": canonical.digest(token.encode()), "expires_at": self.house.now() + expires}
        who = {"id": id_, "owner": "team-a"} if type_ == "agent" else {"id": id_, "type": type_, "owner": ""}
        kind = "agent" if type_ == "agent" else "observer"
        body = {"event": "enrolled", kind: who, "credential": credential, "because": ""}
        await self.append(kind, id_, "active", body)

    async def operator(self, id_: str, signer: Signer, state: str = "active", **more: Any) -> None:
        person = {"id": id_, "roles": ["lead"], "key_id": signer.key_id, "public_key": signer.public.hex(), **more}
        await self.append("operator", id_, state, {"event": "enrolled", "operator": person})

    async def append(self, kind: str, subject: str, state: str, body: dict[str, Any]) -> None:
        await self.house.commit(lambda txn: txn.append(kind, subject, state, (), body, f"magistrate/{kind}/v1"))

    async def intent(self, who: str = "bot", action: str = "note.write", **headers: str) -> Any:
        answer = await self.call(who, "POST", "/v1/intents", proposal(action), **headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def execution(self, who: str = "bot") -> Any:
        warrant = (await self.intent(who))["warrant"]
        answer = await self.call(who, "POST", "/v1/executions", redemption(warrant))
        assert answer.status_code == 201, answer.text
        return answer.json()


def proposal(action: str = "note.write", **more: Any) -> dict[str, Any]:
    return {"action": action, "target": "wall", "parameters": {"text": "hello"}, **more}


def redemption(warrant: dict[str, Any]) -> dict[str, Any]:
    return {"warrant": warrant["warrant_id"], "call": warrant["scope"]}


def word(shown: dict[str, Any], signer: Signer, operator: str, now: int, verdict: str = "approve") -> dict[str, Any]:
    """A signed approval statement about an intent as it was shown."""
    decided = shown["decision"]
    said = {
        "type": "magistrate/approval/v1",
        "origin": ORIGIN,
        "intent_id": shown["intent"]["intent_id"],
        "intent_digest": decided["intent_digest"],
        "decision_digest": decided["decision_digest"],
        "round": decided["round"],
        "verdict": verdict,
        "reason": "seen",
        "narrowing": {},
        "operator": operator,
        "key_id": signer.key_id,
        "at": moment(now),
        "expires_at": moment(now + 300),
    }
    raw = canonical.canonical(said)
    signature = "0x" + signer.sign(pae(payload_type("approval"), raw)).hex()
    return {
        "statement": encode(raw),
        "proof": {"kind": "ed25519", "key_id": signer.key_id, "signature": signature},
    }


@asynccontextmanager
async def bare(root: Path, **create_with: Any) -> Any:
    """A house before its genesis."""
    wall = [float(NOW)]
    signer = signer_from_seed(b"c" * 32)
    (root / "data").mkdir(mode=0o700)
    store = Store(
        root / "data" / "ledger.db",
        origin=ORIGIN,
        fold=fold,
        signer=signer,
        mark_path=root / "mark",
        clock=lambda: wall[0],
    )
    table = Table()
    house = Installation(
        origin=ORIGIN,
        store=store,
        keys=Keys(signer_from_seed(b"w" * 32), signer, signer_from_seed(b"p" * 32)),
        sidecars=Sidecars(table),
        binary=SimpleNamespace(version="1.22.2", sha256="0" * 64, origin="test"),
        clock=Clock(lambda: wall[0], lambda: wall[0]),
        secret=lambda name: name,
    )
    setup = Setup(house, bundle=DIGEST, demo=False, capabilities="sha256:" + "c" * 64)
    app = create(house, setup, **{"nonces": NonceMemory(0), **create_with})
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
        try:
            yield Home(house, app, table, setup, wall, http)
        finally:
            await store.close()


async def begin(home: Home) -> None:
    """Set it up by its lead, arm it, and enrol the usual people."""
    code = home.setup.new_code(lambda: "the code of the day")
    statement = home.setup.offer(code, "lead-1", LEAD.public.hex())
    await home.setup.accept(code, sign_document(statement, LEAD))
    await arming.put(home.house, armed=True, because="canaries")
    home.house.canaried = home.house.clock.exact()
    await home.enrol("agent", "bot")
    await home.enrol("agent", "other")
    await home.enrol("observer", "mesh-watch")
    await home.enrol("auditor", "ada")
    home.table.asked.clear()
