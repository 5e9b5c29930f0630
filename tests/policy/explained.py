"""Decision questions over the tree's own bundle, asked apart from what is tested."""

from __future__ import annotations

import asyncio
import copy
import json
from functools import lru_cache
from typing import Any

from magistrate.core import canonical
from magistrate.policy import places
from magistrate.policy.bundle import Bundle
from magistrate.policy.explaining import Explanation, explain
from magistrate.policy.places import Places
from tests.rego import questions
from tests.support import rego_tools, service
from tests.support.world import binary

Question = dict[str, Any]


@lru_cache(maxsize=1)
def bundle() -> Bundle:
    """The bundle of this tree's Rego."""
    return Bundle.read(service.bundle())


@lru_cache(maxsize=1)
def where() -> Places:
    """The places of its rules."""
    return places.read(binary(), bundle())


def question(action: str, target: str, parameters: dict[str, Any], **more: Any) -> Question:
    """A whole decision question."""
    row = bundle().data["catalogue"]["actions"].get(action, {})
    return {**questions.decision(action, target, parameters, row, ["admin"]), **more}


def refund(amount: int, today: int = 0, **more: Any) -> Question:
    parameters = {"order": "A-1", "amount": amount, "currency": "EUR"}
    return question("refund.create", "refunds-ledger", parameters, facts={"refunded_today": today}, **more)


SAMPLES: dict[str, Question] = {
    "refunds": refund(7501),
    "deploys": question("service.deploy", "api-gateway-prod", {"version": "2.4.1", "strategy": "rolling"}),
    "sql": question("sql.free", "orders-db", {"sql": "select 1; drop table orders -- now"}),
    "mail": question("mail.send", "outbound-mail", {"to": "ann@else.example", "subject": "s", "body": "password: x"}),
    "secrets": question("secret.use", "team-vault", {"credential": "secret:fleet-token"}),
    "batch": question("batch.run", "batch-host", {"seconds": 100}),
}


@lru_cache(maxsize=1)
def _file() -> str:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".tar.gz", delete=False) as file:
        file.write(bundle().raw)
    return file.name


def answers(document: str, asked: list[Question]) -> list[Any]:
    """OPA's answers, by another way than the sidecar's: one `opa eval` over all of them."""
    query = f"[a | some q in input.questions; a := data.magistrate.{document} with input as q]"
    flags = ("--bundle", _file(), "--stdin-input", "--strict-builtin-errors", "--format", "json")
    ran = rego_tools.run("eval", *flags, query, stdin=json.dumps({"questions": asked}))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return list(json.loads(ran.stdout)["result"][0]["expressions"][0]["value"])


_KNOWN: dict[tuple[str, str, bool], Explanation] = {}


def explained(said: Question, document: str = "decision", *, search: bool = True, anew: bool = False) -> Explanation:
    """The explanation of the answer a question gets now; each is made once, unless it is wanted anew."""
    key = (json.dumps(said, sort_keys=True), document, search)
    whole = (*key[:2], True)
    if anew or (key not in _KNOWN and whole not in _KNOWN):
        answer = answers(document, [said])[0]
        _KNOWN[key] = asyncio.run(explain(binary(), bundle(), document, said, answer, search=search, places=where()))
    return _KNOWN[key] if key in _KNOWN else _KNOWN[whole]


def changed(said: Question, changes: Any) -> Question:
    """A question with these changes made to it, written anew here so that a fault of the search is not repeated."""
    other = copy.deepcopy(said)
    for change in changes:
        apply(other, change)
    return other


def apply(other: Question, change: Any) -> None:
    from datetime import UTC, datetime, timedelta

    at = datetime.fromtimestamp(other["now"]["unix"], UTC)
    if change.pointer.startswith("/now/"):
        if change.pointer == "/now/unix":
            at = datetime.fromtimestamp(change.after, UTC)
        elif change.pointer == "/now/minute_of_day":
            at = at.replace(hour=change.after // 60, minute=change.after % 60)
        else:
            at = next(d for n in range(7) if (d := at + timedelta(days=n)).strftime("%A") == change.after)
        other["now"] = {
            "unix": int(at.timestamp()),
            "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "weekday": at.strftime("%A"),
            "minute_of_day": at.hour * 60 + at.minute,
        }
    elif change.pointer == "/approvals":
        for roles, by, verdict in _people(change.after):
            said = {"operator": f"p{len(other['approvals'])}", "roles": roles, "verdict": verdict, "proof": by}
            fixed = {"reason": "", "narrowing": {}, "digest": "sha256:00"}
            now = other["now"]["unix"]
            other["approvals"].append({**said, **fixed, "at": now, "expires_at": now + 60})
    elif change.pointer.startswith("/approvals/"):
        del other["approvals"][int(change.pointer.rsplit("/", 1)[1])]
    else:
        pointer, _, length = change.pointer.partition(" ")
        steps = pointer.split("/")[1:]
        holder: Any = other
        for step in steps[:-1]:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        was = holder.get(steps[-1])
        holder[steps[-1]] = (was + "x" * change.after)[: change.after] if length else change.after


def _people(after: dict[str, Any]) -> Any:
    if "deny" in after:
        yield [], "ed25519", "deny"
    for row in after.get("approve", ()):
        for _ in range(row["count"]):
            yield row["roles"], row["by"], "approve"


def canonical_of(value: Any) -> bytes:
    return canonical.canonical(value)
