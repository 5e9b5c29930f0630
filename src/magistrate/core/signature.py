"""Who said it: Ed25519 over DSSE's pre-authentication encoding, with keys that were admitted first.

The payload type is part of what is signed, so a decision's signature never passes for a warrant's. Key and algorithm
come from the verifier's own store; `key_id` inside a document is a hint that must agree.

Verifying raises `Forged`; it never returns a bool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from magistrate.core.canonical import canonical, digest
from magistrate.core.errors import Forged, Malformed

DOCUMENTS: Final = frozenset(
    {
        "intent",
        "decision",
        "approval",
        "warrant",
        "report",
        "observation",
        "verification",
        "genesis",
        "recovery",
        "promotion",
        "certificate",
    }
)
KEY_BYTES: Final = 32

_TYPE: Final = re.compile(r"magistrate/([a-z]+)/v1")
_SIGNATURE: Final = re.compile(r"0x[0-9a-f]{128}")
_PUBLIC: Final = re.compile(r"[0-9a-f]{64}")

_P: Final = 2**255 - 19  # the field of the curve -x^2 + y^2 = 1 + D x^2 y^2 (RFC 8032, 5.1)
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SIGN_BIT: Final = 2**255
# y of the eight points whose order divides 8: with such a "key", signatures over anything can be made up
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that was admitted; only `admit` makes one."""

    raw: bytes
    key_id: str
    _check: Callable[[bytes, bytes], None] = field(repr=False, compare=False)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return only if this key signed exactly this message.

        Raises:
            Forged: it did not.
        """
        try:
            self._check(signature, message)
        except InvalidSignature:
            raise Forged("signature.wrong", f"not signed by the key {self.key_id}") from None


@dataclass(frozen=True, slots=True)
class Signer:
    """The use of a private key, not the key: what signs may as well live in another machine."""

    key_id: str
    public: bytes
    sign: Callable[[bytes], bytes] = field(repr=False, compare=False)


def key_id(raw: bytes) -> str:
    """The name of a public key: the digest of its 32 bytes."""
    return digest(raw)


@lru_cache(maxsize=1024)  # the square root below costs as much as a signature
def admit(raw: bytes) -> PublicKey:
    """Take in a public key's 32 bytes, if signatures under it can mean anything.

    Raises:
        Forged: wrong length, not the canonical form of a point, no point of the curve, or one of small order.
    """
    if len(raw) != KEY_BYTES:
        raise Forged("key.length", f"a public key is {KEY_BYTES} bytes, not {len(raw)}")
    y = int.from_bytes(raw, "little") & (_SIGN_BIT - 1)
    if y >= _P:
        raise Forged("key.not_canonical", "the public key is not the canonical form of a point")
    if y in _SMALL_ORDER:
        raise Forged("key.small_order", "a public key of small order accepts signatures nobody made")
    if not _on_curve(y):
        raise Forged("key.no_point", "the public key is no point of the curve")
    return PublicKey(raw, key_id(raw), Ed25519PublicKey.from_public_bytes(raw).verify)


def signer_from_seed(seed: bytes) -> Signer:
    """The signer with this private seed of 32 bytes (RFC 8032).

    Raises:
        Forged: the seed has another length.
    """
    if len(seed) != KEY_BYTES:
        raise Forged("key.length", f"a private seed is {KEY_BYTES} bytes, not {len(seed)}")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    return Signer(key_id(public), public, key.sign)


def encode_public(raw: bytes) -> str:
    """A public key as documents and files write it: 64 lower-case hex digits."""
    return raw.hex()


def decode_public(text: str) -> PublicKey:
    """The admitted key of 64 lower-case hex digits.

    Raises:
        Malformed: another spelling.
        Forged: see `admit`.
    """
    if not _PUBLIC.fullmatch(text):
        raise Malformed("key.spelling", "a public key is written as 64 lower-case hex digits")
    return admit(bytes.fromhex(text))


def payload_type(kind: str) -> str:
    """The media type that is signed together with a document of this kind.

    Raises:
        Forged: nothing of this kind is ever signed.
    """
    if kind not in DOCUMENTS:
        raise Forged("signature.type", f"documents of the kind {kind[:40]!r} are not signed")
    return f"application/vnd.magistrate.{kind}.v1+json"


def pae(payload: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: lengths first, so that no two (type, body) pairs share their bytes."""
    name = payload.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def sign_body(kind: str, body: bytes, signer: Signer) -> str:
    """The signature, as documents write it, over the exact bytes of a document of this kind."""
    return "0x" + signer.sign(pae(payload_type(kind), body)).hex()


def verify_body(kind: str, body: bytes, signature: str, key: PublicKey) -> None:
    """Return only if `key` signed exactly these bytes as a document of this kind.

    Raises:
        Forged: it did not, or the signature is not written as `0x` and 128 lower-case hex digits.
    """
    if not _SIGNATURE.fullmatch(signature):
        raise Forged("signature.spelling", "a signature is written as 0x and 128 lower-case hex digits")
    key.verify(pae(payload_type(kind), body), bytes.fromhex(signature[2:]))


def sign_document(doc: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The document with its signature as a last field; `key_id` must already name the signer.

    Raises:
        Forged: it is signed already, names another key, or is of no kind that is signed.
        NotCanonical: it holds something JSON cannot carry exactly.
    """
    if "signature" in doc:
        raise Forged("signature.present", "the document is signed already")
    _want_key(doc, signer.key_id)
    return {**doc, "signature": sign_body(kind_of(doc), canonical(doc), signer)}


def verify_document(doc: Mapping[str, Any], key: PublicKey) -> None:
    """Return only if `key` signed this whole document.

    Raises:
        Forged: it did not: another key is named, a field differs, or the signature is missing or wrong.
    """
    signature = doc.get("signature")
    if not isinstance(signature, str):
        raise Forged("signature.missing", "the document carries no signature")
    _want_key(doc, key.key_id)
    kind = kind_of(doc)
    try:
        body = canonical({name: value for name, value in doc.items() if name != "signature"})
    except Malformed as error:
        raise Forged("signature.document", f"nobody can have signed this: {error}", pointer=error.pointer) from None
    verify_body(kind, body, signature, key)


def kind_of(doc: Mapping[str, Any]) -> str:
    """T of a document of type `magistrate/T/v1`.

    Raises:
        Forged: the type is missing, of another version, or of no kind that is signed.
    """
    found = _TYPE.fullmatch(str(doc.get("type")))
    if not found or found[1] not in DOCUMENTS:
        raise Forged("signature.type", f"{str(doc.get('type'))[:80]!r} is no type of a signed document")
    return found[1]


def _want_key(doc: Mapping[str, Any], wanted: str) -> None:
    if doc.get("key_id") != wanted:
        raise Forged("signature.key_id", f"the document names the key {str(doc.get('key_id'))[:80]!r}, not {wanted}")


def _on_curve(y: int) -> bool:
    """Whether some x belongs to this y: x^2 = (y^2 - 1) / (D y^2 + 1) must be a square (Euler's criterion)."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(square, (_P - 1) // 2, _P) == 1
