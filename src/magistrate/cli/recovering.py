"""The verbs of recovery: an operator's word, signed here."""

from __future__ import annotations

import asyncio
import time
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
from magistrate.engine.opening import open_store
from magistrate.keys import private


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
    name, signer = who.operator()
    now = int(time.time())
    store, origin = open_store(data, places.state())
    try:
        mine = recovery.statement(
            store, origin, what="mark", to="", reason=reason, operator=name, signer=signer, at=now
        )
        if sign is not None:
            private.make(sign, canonical.canonical(mine) + b"\n", what="recovery")
            return {"signed": str(sign), "from": mine["from"]}
        others = [read_json(str(path)) for path in signatures]
        if not all(isinstance(other, dict) for other in others):
            raise Malformed("recovery.shape", "a signature file holds one signed word")
        return asyncio.run(recovery.recover_mark(store, origin, [mine, *others], now=now))
    finally:
        store.close_now()
