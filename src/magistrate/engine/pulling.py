"""What OPAs of others may pull: the active bundle, signed as OPA verifies it.

It decides nothing for us: such an OPA holds one bundle, and what it answers is its own word. Two keys are kept. The
ledger names the one that signs and the one that will sign next, so that who lists both needs no new configuration on
the day of a rotation. The row `installation key/bundle` says which is which; the files bear their ids and never
change places.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from magistrate.core import p256
from magistrate.core.errors import Broken, Unavailable
from magistrate.core.signature import Signer
from magistrate.keys import files
from magistrate.keys.kek import Kek
from magistrate.policy.bundle import Bundle
from magistrate.policy.signing import Signed, sign
from magistrate.store.rows import Row
from magistrate.store.txn import Txn

if TYPE_CHECKING:
    from magistrate.engine.installation import Installation

ROLE: Final = "bundle"
ROW: Final = f"key/{ROLE}"


class BundleKeys:
    """The installation's keys of this role, as they lie in its folder, and what was signed last."""

    def __init__(self, folder: Path, lock: Kek) -> None:
        self._folder = folder
        self._lock = lock
        self._signer: Signer | None = None
        self._served: tuple[tuple[str, str], Signed] | None = None

    def hold(self, named: Mapping[str, Any]) -> None:
        """Return if the keys that the ledger names are here and sign; those it has retired are removed.

        Raises:
            Unavailable, Broken: as `files.load`; a key that is missing or damaged is never made anew.
            Broken: `key.unexpected`: the file holds another key than the one that is named; `key.algorithm`.
        """
        for one in (named, named["next"]):
            files.probe(self._load(one))
        self._use(named)

    def probe(self) -> None:
        """Return if every key of this role that lies here signs, whichever the ledger names.

        Raises:
            Unavailable, Broken: as `files.load`; `key.probe`.
        """
        for at in sorted(self._folder.glob(f"{ROLE}-*.key")):
            files.probe(files.load(self._folder, ROLE, self._lock, name=at.stem).signer)

    def made(self) -> dict[str, Any]:
        """A new key, as an entry names it."""
        return _said(files.make_beside(self._folder, ROLE, self._lock).signer)

    def signed(self, bundle: Bundle, named: Mapping[str, Any], *, scope: str) -> Signed:
        """The bundle under the key the ledger names; the same bytes for as long as both are the same.

        Raises:
            Unavailable, Broken: as `hold`.
        """
        wanted = (bundle.digest, str(named["key_id"]))
        if self._served is None or self._served[0] != wanted:
            self._served = (wanted, sign(bundle, self._use(named), scope=scope))
        return self._served[1]

    def _use(self, named: Mapping[str, Any]) -> Signer:
        """The signer the ledger names. Once another one was retired, its private key goes."""
        if self._signer is None or self._signer.key_id != named["key_id"]:
            self._signer = self._load(named)
            for one in named["retired"]:
                with contextlib.suppress(FileNotFoundError):
                    (self._folder / f"{files.beside(ROLE, one['key_id'])}.key").unlink()
        return self._signer

    def _load(self, named: Mapping[str, Any]) -> Signer:
        """The signer of one key as the ledger names it: by its id, and by the public key that others are given."""
        if named.get("algorithm") != p256.ALGORITHM:  # a ledger of an unreleased version names none
            detail = f"the ledger names no {p256.ALGORITHM} key of role {ROLE}"
            raise Broken("key.algorithm", detail, hint="magistrate ledger verify")
        signer = files.load(self._folder, ROLE, self._lock, name=files.beside(ROLE, named["key_id"])).signer
        if _said(signer) != {name: named[name] for name in ("algorithm", "key_id", "public_key")}:
            raise Broken("key.unexpected", f"the ledger names another {ROLE} key than {signer.key_id}, which lies here")
        return signer


async def pulled(house: Installation) -> Signed:
    """What an OPA pulls now: the active bundle, by the ledger.

    Raises:
        Unavailable: `key.missing`: no key was made yet; and as `files.load`.
        Broken: the bundle or the key is not what the ledger names.
    """
    keys, named = _keys(house), _named(house.store.row("installation", ROW))
    return await asyncio.to_thread(keys.signed, await house.loaded(house.active()), named, scope=house.origin)


async def begin(house: Installation) -> None:
    """Make the keys where the ledger names none: at a first start, or at the first of a version that has them."""
    keys = house.bundle_keys
    if keys is None or house.store.row("installation", ROW) is not None:
        return
    if house.store.stopped is not None:
        return  # a ledger that its mark stopped can be read, and names no new key
    first, following = keys.made(), keys.made()

    def write(txn: Txn) -> None:
        if txn.row("installation", ROW) is None:
            txn.append(
                kind="key",
                subject=ROLE,
                state="current",
                parents=(),
                body={"event": "made", "role": ROLE, **first, "next": following},
                body_type="magistrate/key/v1",
                chain="",
            )

    await house.commit(write)


def rotated(house: Installation, txn: Txn) -> dict[str, Any]:
    """What the entry of a rotation says: the key that was announced signs from now on, and another is announced.

    Raises:
        Unavailable: `key.missing`: there is nothing to rotate.
    """
    announced = _named(txn.row("installation", ROW))["next"]
    return {"event": "rotated", "role": ROLE, **announced, "next": _keys(house).made()}


def listed(house: Installation) -> list[dict[str, Any]]:
    """The public keys of this role: the one that signs, the one that will, and those that did."""
    row = house.store.row("installation", ROW)
    if row is None:
        return []
    states = (("current", row.data), ("next", row.data["next"]), *(("retired", one) for one in row.data["retired"]))
    return [
        {
            "origin": house.origin,
            "role": ROLE,
            "key_id": one["key_id"],
            "public_key": one["public_key"],
            "algorithm": one["algorithm"],
            "state": state,
            "pem": p256.pem(bytes.fromhex(one["public_key"])),
        }
        for state, one in states
    ]


def _keys(house: Installation) -> BundleKeys:
    if house.bundle_keys is None:
        raise Unavailable("key.missing", "this installation keeps no key to sign bundles with")
    return house.bundle_keys


def _named(row: Row | None) -> Mapping[str, Any]:
    if row is None:
        raise Unavailable(
            "key.missing", "no key to sign bundles with was made yet: a start makes it", hint="magistrate up"
        )
    return row.data


def _said(signer: Signer) -> dict[str, Any]:
    return {"algorithm": p256.ALGORITHM, "key_id": signer.key_id, "public_key": signer.public.hex()}
