"""The verbs of recovery: an operator's word, signed here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from magistrate.cli import places
from magistrate.cli.me import read_json
from magistrate.core import canonical
from magistrate.core.checkpoint import read
from magistrate.core.errors import Malformed
from magistrate.core.signature import sign_document
from magistrate.core.values import moment
from magistrate.engine import recovery
from magistrate.engine.opening import archive_of, open_store
from magistrate.keys import private
from magistrate.policy.binary import Binary
from magistrate.store.sqlite import Store


def clock(who: places.Me, reason: str) -> Any:
    """Say to the running service that its clock is right."""
    name, signer = who.operator()
    known = read(who.client.text("/checkpoint").split("\n\n")[0] + "\n")
    word = {
        "type": "magistrate/recovery/v1",
        "origin": known.origin,
        "what": "clock",
        "from": {"size": known.size, "root": known.root.hex()},
        "to": "",
        "reason": reason,
        "operator": name,
        "key_id": signer.key_id,
        "at": moment(int(time.time())),
    }
    return who.client.post("/v1/recoveries", sign_document(word, signer))


def mark(who: places.Me, data: Path, reason: str, sign: Path | None, signatures: list[Path]) -> Any:
    """Sign for a stopped ledger, or carry out what enough operators have signed for."""
    with _stopped(data) as (store, origin):
        words = _words(who, store, origin, "mark", "", reason, sign, signatures)
        if sign is not None:
            return {"signed": str(sign), "from": words[0]["from"]}
        return asyncio.run(recovery.recover_mark(store, origin, words, now=int(time.time())))


def bundle(
    who: places.Me, data: Path, digest: str, reason: str, sign: Path | None, signatures: list[Path], opa: Binary
) -> Any:
    """Sign for an archived bundle to come into force, or carry out what enough operators have signed for."""
    with _stopped(data) as (store, origin):
        found = archive_of(data, opa).judged(digest)
        words = _words(who, store, origin, "bundle", digest, reason, sign, signatures)
        if sign is not None:
            return {"signed": str(sign), "from": words[0]["from"], "to": digest}
        return asyncio.run(recovery.recover_bundle(store, origin, words, found, opa, now=int(time.time())))


@contextmanager
def _stopped(data: Path) -> Iterator[tuple[Store, str]]:
    store, origin = open_store(data, places.state())
    try:
        yield store, origin
    finally:
        store.close_now()


def _words(
    who: places.Me,
    store: Store,
    origin: str,
    what: str,
    to: str,
    reason: str,
    sign: Path | None,
    signatures: list[Path],
) -> list[dict[str, Any]]:
    """The caller's signed word, into a file where that is all that is wanted, and those of the others."""
    name, signer = who.operator()
    now = int(time.time())
    mine = recovery.statement(store, origin, what=what, to=to, reason=reason, operator=name, signer=signer, at=now)
    if sign is not None:
        private.make(sign, canonical.canonical(mine) + b"\n", what="recovery")
        return [mine]
    others = [read_json(str(path)) for path in signatures]
    if not all(isinstance(other, dict) for other in others):
        raise Malformed("recovery.shape", "a signature file holds one signed word")
    return [mine, *others]
