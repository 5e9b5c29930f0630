"""Set-up: before genesis nothing is on record; the first operator's signature begins the ledger."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from magistrate.core import canonical
from magistrate.core.errors import Conflict, Refused
from magistrate.core.genesis import Genesis, hold_same, unsigned
from magistrate.core.signature import decode_public
from magistrate.core.values import moment, parse, unix
from magistrate.engine.installation import Installation
from magistrate.store.txn import Txn

CODE_SECONDS = 900  # contracts section 4: 15 minutes, one use
AT_TOLERANCE = 300


class Setup:
    """The one-time way in. The code is kept as a hash only."""

    def __init__(self, house: Installation, *, bundle: str, demo: bool, capabilities: str) -> None:
        self._house = house
        self._bundle = house.bundle(bundle)
        self._demo = demo
        self._capabilities = capabilities
        self._hash = b""
        self._until = 0

    @property
    def done(self) -> bool:
        """Whether the ledger has begun."""
        return self._house.store.row("installation", "genesis") is not None

    def new_code(self, make: Callable[[], str]) -> str:
        """A fresh code, good for 15 minutes and one use; the one before is no longer."""
        code = make()
        self._hash = hashlib.sha256(code.encode()).digest()
        self._until = self._house.now() + CODE_SECONDS
        return code

    def offer(self, code: str, operator_id: str, public_key: str) -> dict[str, Any]:
        """The statement the first operator is to read and sign.

        Raises:
            Refused: the code is wrong, used or over.
            Conflict: it was set up already.
        """
        self._hold(code)
        key = decode_public(public_key)
        roles = self._bundle.data["catalogue"]["installation"]["first_operator"]["roles"]
        return self._statement(operator_id, list(roles), key.key_id, public_key, moment(self._house.now()))

    async def accept(self, code: str, statement: dict[str, Any]) -> dict[str, Any]:
        """Begin the ledger with the signed statement; returns what auditors pin.

        Raises:
            Refused: the code, or a statement that is not the one shown.
            Forged: the signature does not stand.
            Conflict: it was set up already.
        """
        self._hold(code)
        said = parse(Genesis, canonical.canonical(statement), code="setup.shape")
        key = decode_public(said.operator.public_key)
        expected = self.offer(code, said.operator.id, said.operator.public_key)
        hold_same(statement, expected, key)
        if abs(unix(said.at) - self._house.now()) > AT_TOLERANCE:
            raise Refused("setup.stale", "the statement was not made within five minutes of now", pointer="/at")

        def write(txn: Txn) -> dict[str, Any]:
            if txn.size:
                raise Conflict("setup.done", "this installation has begun already")
            entry = txn.append(
                kind="genesis",
                subject="",
                state="",
                parents=(),
                body={"statement": statement},
                body_type="magistrate/genesis-record/v1",
                chain="",
            )
            return {"index": entry.index, "leaf": entry.leaf_digest, "origin": said.origin}

        begun = await self._house.commit(write)
        self._hash = b""
        return begun

    def _hold(self, code: str) -> None:
        if self.done:
            raise Conflict("setup.done", "this installation has begun already")
        right = hmac.compare_digest(hashlib.sha256(code.encode()).digest(), self._hash or b"\x00")
        if not right or self._house.now() >= self._until:
            raise Refused(
                "setup.code",
                "the set-up code is wrong, used or over: each start of the service prints a new one",
                hint="magistrate up",
            )

    def _statement(self, id_: str, roles: list[str], key_id: str, public_key: str, at: str) -> dict[str, Any]:
        house = self._house
        binary = house.binary
        return unsigned(
            origin=house.origin,
            demo=self._demo,
            bundle=self._bundle.digest,
            sequence=self._bundle.sequence,
            contract=self._bundle.contract,
            opa={"version": binary.version, "sha256": f"sha256:{binary.sha256}", "origin": binary.origin},
            capabilities=self._capabilities,
            keys={
                "warrant": house.keys.warrant.public.hex(),
                "checkpoint": house.keys.checkpoint.public.hex(),
                "policy": house.keys.policy.public.hex(),
            },
            operator={"id": id_, "roles": roles, "key_id": key_id, "public_key": public_key},
            at=at,
        )
