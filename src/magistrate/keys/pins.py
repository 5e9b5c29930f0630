"""Pins: the public keys a verifier trusts, each taken from a file whose fingerprint a person compared.

A pin is never read from a service, and a damaged pin stops the verification instead of being passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from magistrate.core.canonical import canonical, load_canonical
from magistrate.core.errors import Broken, Malformed
from magistrate.core.signature import PublicKey, admit, key_id
from magistrate.core.values import Digest, Document, Identifier, parse
from magistrate.keys import private

PinRole = Literal["warrant", "checkpoint", "policy", "operator", "agent", "observer"]


class Pin(Document):
    """A public key, whose it is and what it may sign. Also the form in which keys are exported.

    A file that names no algorithm is of the only one a pin may name: what verifies is never taken from what is signed.
    """

    origin: Identifier
    role: PinRole
    algorithm: Literal["Ed25519"] = "Ed25519"
    key_id: Digest
    public_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    def admitted(self) -> PublicKey:
        """The key, once it is found fit to be trusted.

        Raises:
            Forged: a small-order or non-canonical key.
            Broken: `key.id`: the pin states another key's id.
        """
        raw = bytes.fromhex(self.public_key)
        key = admit(raw)
        if self.key_id != key_id(raw):
            raise Broken("key.id", f"{self.key_id} is not the id of the public key beside it")
        return key


def export(origin: str, role: PinRole, public: bytes) -> bytes:
    """The public key file others pin: canonical bytes and a newline.

    Raises:
        Forged: the key may not be trusted.
    """
    admit(public)
    said = Pin(origin=origin, role=role, key_id=key_id(public), public_key=public.hex())
    return canonical(said.plain()) + b"\n"


def exported(raw: bytes) -> Pin:
    """Return what a public key file says; that it is trusted is for `pin` to say.

    Raises:
        Malformed: `key.malformed`: not such a file, byte for byte.
        Forged, Broken: as `Pin.admitted`.
    """
    try:
        said = parse(Pin, canonical(load_canonical(raw, limit=4096)))
    except Malformed as error:
        raise Malformed("key.malformed", f"not a public key file: {error.detail}", pointer=error.pointer) from None
    said.admitted()
    return said


def pin(folder: Path, raw: bytes, fingerprint: str) -> Pin:
    """Keep the key of this file as trusted, if its fingerprint (its whole key_id) is the one that was compared.

    Raises:
        Broken: `key.fingerprint`; `key.id`.
        Malformed: `key.malformed`.
        Forged: the key may not be trusted.
        Unavailable: `pin.unwritable`.
    """
    said = exported(raw)
    if not hmac.compare_digest(said.key_id.encode(), fingerprint.encode("utf-8", "surrogatepass")):
        raise Broken("key.fingerprint", f"the file holds {said.key_id}, not {fingerprint}; ask its owner anew")
    # one file for each pin: two of them at once do not undo each other
    at = private.folder(folder, what="pin") / _file_name(said)
    private.replace(at, canonical(said.plain()) + b"\n", what="pin")
    return said


def pins(folder: Path) -> list[Pin]:
    """Every pin in the folder, by origin, role and id; none where there is no folder.

    Raises:
        Broken: `pin.damaged`, and what `private.read` refuses; one bad file refuses them all.
        Forged: a key that may not be trusted.
    """
    found = [_read(at) for at in folder.glob("[!.]*.json")]
    return sorted(found, key=lambda one: (one.origin, one.role, one.key_id))


def pinned(folder: Path, origin: str, role: str) -> list[PublicKey]:
    """Return the keys trusted in this role of this origin, at least one.

    Raises:
        Broken: `key.unpinned`: none; and as `pins`.
        Forged: as `pins`.
    """
    keys = [one.admitted() for one in pins(folder) if (one.origin, one.role) == (origin, role)]
    if not keys:
        raise Broken(
            "key.unpinned",
            f"no {role} key of {origin} is pinned",
            hint="magistrate keys pin FILE --fingerprint FINGERPRINT",
        )
    return keys


def _read(at: Path) -> Pin:
    raw = private.read(at, what="pin")
    try:
        said = exported(raw)
    except Malformed as error:
        raise Broken("pin.damaged", f"{at}: {error.detail}", hint=f"rm {shlex.quote(str(at))}") from None
    if at.name != _file_name(said):
        detail = f"{at} holds another pin than its name says"
        raise Broken("pin.damaged", detail, hint=f"rm {shlex.quote(str(at))}")
    return said


def _file_name(said: Pin) -> str:
    return hashlib.sha256(canonical([said.origin, said.role, said.key_id])).hexdigest()[:32] + ".json"
