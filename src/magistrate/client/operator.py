"""An operator's acts: what is signed is what was read, word for word.

The digests are recomputed here from the intent and terms that were fetched; a digest handed over is never signed.
"""

from __future__ import annotations

import time
from typing import Any

from magistrate.client.http import Client
from magistrate.core import approval as approvals
from magistrate.core.canonical import canonical, digest_of
from magistrate.core.decision import decision_digest
from magistrate.core.errors import Conflict, Forged
from magistrate.core.signature import Signer, pae, payload_type
from magistrate.core.values import moment


def statement(
    shown: dict[str, Any],
    *,
    operator: str,
    signer: Signer,
    verdict: str,
    reason: str,
    narrowing: dict[str, Any] | None = None,
    at: int | None = None,
) -> dict[str, Any]:
    """The statement about an intent as it was shown (intent, bundle, round and terms).

    Raises:
        Conflict: there are no terms: the intent was denied without an answer.
        Forged: the digests the service gave are not those of what it showed.
    """
    intent, decision = shown["intent"], shown["decision"]
    if decision is None:
        raise Conflict(
            "intent.state", "nothing was decided: there are no terms to sign", hint="magistrate approvals ls"
        )
    intent_digest = digest_of(intent)
    digest = decision_digest(
        intent_digest=intent_digest, bundle=decision["bundle"], round_=decision["round"], terms=decision["terms"]
    )
    if digest != decision["decision_digest"] or intent_digest != decision["intent_digest"]:
        raise Forged("approval.shown", "what was shown does not have the digest it was given: nothing was signed")
    now = int(time.time()) if at is None else at
    return {
        "type": "magistrate/approval/v1",
        "origin": intent["origin"],
        "intent_id": intent["intent_id"],
        "intent_digest": intent_digest,
        "decision_digest": digest,
        "round": decision["round"],
        "verdict": verdict,
        "reason": reason,
        "narrowing": narrowing or {},
        "operator": operator,
        "key_id": signer.key_id,
        "at": moment(now),
        "expires_at": moment(now + decision["terms"]["requirement"]["approval_seconds"]),
    }


def signed(said: dict[str, Any], signer: Signer) -> dict[str, Any]:
    """The statement's exact bytes and the proof over them, as they are sent and kept."""
    raw = canonical(said)
    signature = signer.sign(pae(payload_type("approval"), raw))
    return {
        "statement": approvals.encode(raw),
        "proof": {"kind": "ed25519", "key_id": signer.key_id, "signature": "0x" + signature.hex()},
    }


def act(
    client: Client,
    shown: dict[str, Any],
    *,
    operator: str,
    signer: Signer,
    verdict: str,
    reason: str = "",
    narrowing: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Check, sign and send one operator's word on an intent as it was `shown`: on those terms and no others."""
    said = statement(shown, operator=operator, signer=signer, verdict=verdict, reason=reason, narrowing=narrowing)
    answer: dict[str, Any] = client.post(f"/v1/intents/{said['intent_id']}/approvals", signed(said, signer))
    return answer


def administer(
    client: Client, *, action: str, parameters: dict[str, Any], reason: str, operator: str, signer: Signer
) -> dict[str, Any]:
    """Propose an act of administration, sign it, and carry it out if nobody else is wanted.

    Returns the intent as it stands then; `execution` is there when the act is done.
    """
    submitted = client.post(
        "/v1/intents", {"action": action, "target": "installation", "parameters": parameters, "reason": reason}
    )
    if submitted["decision"]["standing"]["outcome"] == "ask":
        submitted = act(
            client,
            submitted,
            operator=operator,
            signer=signer,
            verdict="approve",
            reason=reason,
        )
    return finish(client, submitted)


def finish(client: Client, submitted: dict[str, Any]) -> dict[str, Any]:
    """Use the warrant of an approved act; the intent as it was where there is none yet."""
    warrant = submitted["warrant"]
    if warrant is None:
        return submitted
    execution = client.post("/v1/executions", {"warrant": warrant["warrant_id"], "call": warrant["scope"]})
    return {**submitted, "execution": execution}
