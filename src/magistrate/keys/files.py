"""Key files: one for each role, 0600, sealed with AES-256-GCM under the installation key or a passphrase.

A key file that is damaged, missing, another role's or sealed by another key stops the caller with its own code;
nothing here writes over one. A rotation makes `ROLE.next.key`, and `settle` puts it in place once the ledger names it;
the keys of a role that is announced ahead (`bundle`) lie side by side under their ids; the ledger says which is which.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from pydantic import Field, StringConstraints, model_validator

from magistrate.core import p256
from magistrate.core.canonical import canonical, load_canonical
from magistrate.core.errors import Broken, MagistrateError, Malformed, Unavailable
from magistrate.core.signature import Signer, admit, signer_from_seed
from magistrate.core.values import Digest, Document, parse
from magistrate.keys import private
from magistrate.keys.kek import Kek

Role = Literal["warrant", "checkpoint", "policy", "bundle", "operator", "agent", "observer"]
ROLES: tuple[Role, ...] = ("warrant", "checkpoint", "policy")  # an installation's own, named by genesis
SHORTEST = 12  # characters of a passphrase; Argon2id makes each guess cost about a quarter of a second

Public = Annotated[str, StringConstraints(pattern=r"^(0[23])?[0-9a-f]{64}$")]  # Ed25519, or a point of P-256
OrNone = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")]


class KeyFile(Document):
    """What a key file says; `lock` names the installation key that sealed it, `salt` belongs to a passphrase."""

    v: Annotated[int, Field(ge=1, le=1)]  # a Literal would take true for 1
    role: Role
    key_id: Digest
    public_key: Public
    kdf: Literal["none", "argon2id"]
    lock: OrNone
    salt: OrNone
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
    ciphertext: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]

    @model_validator(mode="after")
    def _one_lock(self) -> Self:
        if (self.lock == "") == (self.kdf == "none") or (self.salt == "") == (self.kdf == "argon2id"):
            raise ValueError("an installation key goes with `lock`, a passphrase with `salt`")
        return self

    def bound(self) -> bytes:
        """All but the seal itself: a byte of it changed, and the seal does not open."""
        return canonical({k: v for k, v in self.plain().items() if k not in {"nonce", "ciphertext"}})


@dataclass(frozen=True)
class Passphrase:
    """What a person typed; it never shows itself."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.text) < SHORTEST:
            raise Malformed("key.passphrase_short", f"a passphrase has at least {SHORTEST} characters")


Lock = Kek | Passphrase


@dataclass(frozen=True)
class RoleKey:
    """A signer and the one role it may sign in."""

    role: Role
    signer: Signer


def make(folder: Path, role: Role, lock: Lock, *, name: str = "") -> RoleKey:
    """Make a new key and its file `NAME.key` (the role's name, when none is given).

    Raises:
        Conflict: `key.exists`; nothing was written.
        Unavailable: `key.unwritable`.
        Broken: `key.folder`: others may write in the folder.
    """
    seed = secrets.token_bytes(32)
    signer = _signer(role, seed)
    private.folder(folder, what="key")
    private.make(folder / f"{name or role}.key", _seal(seed, signer, role, lock), what="key")
    return RoleKey(role, signer)


def make_beside(folder: Path, role: Role, lock: Lock) -> RoleKey:
    """Make a new key whose file bears its id, so that keys of one role lie side by side and none replaces another.

    Raises:
        as `make`.
    """
    seed = secrets.token_bytes(32)
    signer = _signer(role, seed)
    private.folder(folder, what="key")
    private.make(folder / f"{beside(role, signer.key_id)}.key", _seal(seed, signer, role, lock), what="key")
    return RoleKey(role, signer)


def beside(role: Role, key_id: str) -> str:
    """The name under which `make_beside` keeps the key of this id."""
    return f"{role}-{key_id.removeprefix('sha256:')[:16]}"


def load(folder: Path, role: Role, lock: Lock, *, name: str = "") -> RoleKey:
    """Return the key of this role.

    Raises:
        Unavailable: `key.missing`, `key.unreadable`.
        Broken: `key.symlink`, `.kind`, `.owner`, `.open`, `.size` (the file itself); `key.damaged`, `key.role`,
            `key.lock` (another installation key, or a passphrase where a key is needed), `key.passphrase`.
    """
    path = folder / f"{name or role}.key"
    # 1. the file is ours alone
    raw = private.read(path, what="key")
    # 2. it is a key file, byte for byte as we write them
    try:
        said = parse(KeyFile, canonical(load_canonical(raw)))
    except Malformed as error:
        raise _damaged(path, error.detail) from None
    # 3. of this role
    if said.role != role:
        raise Broken("key.role", f"{path} is the key of role {said.role}, not {role}")
    # 4. the seal opens, and what is in it makes the public key it states
    signer = _signer(role, _open(said, lock, path))
    if (signer.public.hex(), signer.key_id) != (said.public_key, said.key_id):
        raise _damaged(path, "its private and public keys are not a pair")
    return RoleKey(role, signer)


def make_next(folder: Path, role: Role, lock: Lock) -> RoleKey:
    """Make the key that a rotation will put in place; one that never came into force is dropped.

    Raises:
        as `make`.
    """
    (folder / f"{role}.next.key").unlink(missing_ok=True)
    return make(folder, role, lock, name=f"{role}.next")


def settle(folder: Path, role: Role, lock: Lock, *, expected: str) -> RoleKey:
    """Return the key the ledger names by its id; a rotation cut short by a crash is finished here.

    Raises:
        Broken: `key.unexpected`: neither the key in place nor the next one is that key.
        and as `load`.
    """
    current = load(folder, role, lock)
    if current.signer.key_id == expected:
        return current
    try:
        following = load(folder, role, lock, name=f"{role}.next")
    except Unavailable:
        following = current
    if following.signer.key_id != expected:
        raise Broken("key.unexpected", f"the ledger names {expected} as {role} key, the file holds another")
    (folder / f"{role}.next.key").replace(folder / f"{role}.key")  # after this line the old private key is gone
    private.sync_folder(folder)
    return following


def probe(signer: Signer) -> None:
    """Return if the signer signs and its own public key verifies what it signed.

    Raises:
        Broken: `key.probe`.
    """
    message = b"magistrate/probe/v1\x00" + secrets.token_bytes(32)  # no pre-authentication encoding begins so
    try:
        if len(signer.public) == p256.PUBLIC_BYTES:
            p256.verify(signer.public, message, signer.sign(message))
        else:
            admit(signer.public).verify(message, signer.sign(message))
    except MagistrateError as error:
        raise Broken("key.probe", f"{signer.key_id} signs what its public key refuses: {error.detail}") from None


def _signer(role: Role, seed: bytes) -> Signer:
    """The signer of a role: OPA verifies what the bundle key signs, and knows no Ed25519."""
    return p256.signer_from_scalar(seed) if role == "bundle" else signer_from_seed(seed)


def _seal(seed: bytes, signer: Signer, role: Role, lock: Lock) -> bytes:
    by_key = isinstance(lock, Kek)
    nonce = secrets.token_bytes(12)
    said = KeyFile(
        v=1,
        role=role,
        key_id=signer.key_id,
        public_key=signer.public.hex(),
        kdf="none" if by_key else "argon2id",
        lock=lock.lock if isinstance(lock, Kek) else "",
        salt="" if by_key else secrets.token_hex(16),
        nonce=nonce.hex(),
        ciphertext="0" * 96,
    )
    sealed = AESGCM(_sealing_key(said, lock)).encrypt(nonce, seed, said.bound())
    return canonical({**said.plain(), "ciphertext": sealed.hex()}) + b"\n"


def _open(said: KeyFile, lock: Lock, path: Path) -> bytes:
    if (said.kdf == "none") != isinstance(lock, Kek):
        wanted = "an installation key" if said.kdf == "none" else "a passphrase"
        raise Broken("key.lock", f"{path} opens with {wanted}")
    if isinstance(lock, Kek) and said.lock != lock.lock:
        raise Broken("key.lock", f"{path} was sealed by another installation key than the one in {lock.path}")
    try:
        return AESGCM(_sealing_key(said, lock)).decrypt(
            bytes.fromhex(said.nonce), bytes.fromhex(said.ciphertext), said.bound()
        )
    except InvalidTag:
        if isinstance(lock, Kek):
            raise _damaged(path, "its seal does not open") from None
        raise Broken("key.passphrase", f"{path} does not open with this passphrase, or is damaged") from None


def _sealing_key(said: KeyFile, lock: Lock) -> bytes:
    if isinstance(lock, Kek):
        return lock.key
    # one passphrase, whatever keyboard typed it
    typed = unicodedata.normalize("NFC", lock.text).encode("utf-8", "surrogatepass")
    # RFC 9106 section 4, the second recommended choice: 64 MiB, three passes, four lanes
    kdf = Argon2id(salt=bytes.fromhex(said.salt), length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
    return kdf.derive(typed)


def _damaged(path: Path, why: str) -> Broken:
    return Broken("key.damaged", f"{path}: {why}; it comes from your backup, and is never made anew")
