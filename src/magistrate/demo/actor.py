"""One of the demo's people or programs: a process of its own, with a credential of its own, using the public API only.

It reads one JSON order a line, `{"do": VERB, ...}`, and answers one JSON line: `{"ok": …}` or `{"error": {…}}`. Keys
are made here and never leave this process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from magistrate.client import Client, Credential, operator
from magistrate.core.administration import possession
from magistrate.core.canonical import canonical
from magistrate.core.errors import MagistrateError
from magistrate.core.signature import Signer, sign_document, signer_from_seed
from magistrate.core.values import moment
from magistrate.keys.operator import api_key_hash, new_api_key

KEY_SECONDS = 86_400


class Actor:
    """What one person or program can do."""

    def __init__(self, id_: str, signer: Signer) -> None:
        self.id = id_
        self._signer = signer
        self._api_key = new_api_key()
        self._client = Client("http://127.0.0.1:1")
        self._held: dict[str, Any] = {}

    def meet(self, url: str, *, signs: bool) -> None:
        """Speak to the service at `url`: signing each request, or with an API key."""
        self.close()
        credential = Credential(signer=self._signer) if signs else Credential(api_key=self._api_key)
        self._client = Client(url, credential)

    def close(self) -> None:
        """Let the connection go; the keys stay."""
        self._client.close()

    def key_hash(self) -> dict[str, str]:
        """What an enrolment needs of this agent's API key."""
        return {
            "key_sha256": api_key_hash(self._api_key).removeprefix("sha256:"),
            "expires_at": moment(int(time.time()) + KEY_SECONDS),
        }

    def join(self, origin: str) -> dict[str, str]:
        """What an enrolment needs of this operator's key."""
        public = self._signer.public.hex()
        proof = "0x" + self._signer.sign(possession(origin, self.id, public)).hex()
        return {"operator": self.id, "public_key": public, "proof": proof}

    def setup(self, url: str, code: str) -> Any:
        """Begin the ledger."""
        with Client(url, Credential()) as client:
            said = {"code": code, "id": self.id, "public_key": self._signer.public.hex()}
            statement = client.post("/v1/setup", said)["statement"]
            return client.post("/v1/setup", {"code": code, "statement": sign_document(statement, self._signer)})

    def get(self, path: str) -> Any:
        """Read."""
        return self._client.get(path)

    def text(self, path: str) -> str:
        """Read text."""
        return self._client.text(path)

    def post(self, path: str, said: Any, key: str = "") -> Any:
        """Act."""
        return self._client.post(path, said, key=key)

    def act(
        self, intent_id: str, verdict: str = "approve", reason: str = "", narrowing: dict[str, Any] | None = None
    ) -> Any:
        """Sign one's word on an intent, after reading it; what was signed is kept."""
        shown = self._client.get(f"/v1/intents/{intent_id}")
        said = operator.statement(
            shown, operator=self.id, signer=self._signer, verdict=verdict, reason=reason, narrowing=narrowing
        )
        self._held[intent_id] = operator.signed(said, self._signer)
        return self._client.post(f"/v1/intents/{intent_id}/approvals", self._held[intent_id])

    def move(self, intent_id: str, other: str) -> Any:
        """Attack: present the approval of one intent for another."""
        return self._client.post(f"/v1/intents/{other}/approvals", self._held[intent_id])

    def administer(self, action: str, parameters: dict[str, Any], reason: str) -> Any:
        """Propose an act of administration, sign it, and finish it if nobody else is wanted."""
        return operator.administer(
            self._client, action=action, parameters=parameters, reason=reason, operator=self.id, signer=self._signer
        )

    def finish(self, intent_id: str) -> Any:
        """Carry out an approved act of one's own."""
        return operator.finish(self._client, self._client.get(f"/v1/intents/{intent_id}"))

    def profile(self) -> dict[str, str]:
        """The credential for a profile of the demo, where a person asked for one."""
        return {"api_key": self._api_key}


def main() -> None:
    """Do what is ordered until standard input ends."""
    start = json.loads(sys.stdin.readline())
    actor = Actor(start["id"], signer_from_seed(bytes.fromhex(start["seed"])))
    for line in sys.stdin:
        order = json.loads(line)
        verb: Callable[..., Any] = getattr(actor, order.pop("do"))
        try:
            answer: dict[str, Any] = {"ok": verb(**order)}
        except MagistrateError as no:
            answer = {
                "error": {
                    "code": no.code,
                    "detail": no.detail,
                    "reasons": [dict(r) for r in getattr(no, "reasons", ())],
                }
            }
        sys.stdout.write(canonical(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
