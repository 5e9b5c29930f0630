"""ECDSA over P-256 with SHA-256 (ES256): for what OPA itself verifies, which knows no Ed25519.

A public key is written as its 33 compressed bytes, a signature as the 64 bytes of r and s (RFC 7518, 3.4). Nothing but
bundles that others pull is signed so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from magistrate.core.canonical import digest
from magistrate.core.errors import Forged
from magistrate.core.signature import Signer

ALGORITHM: Final = "ES256"  # its name in a key entry, to OPA, and wherever such a key is shown
PUBLIC_BYTES: Final = 33
SCALAR_BYTES: Final = 32


def signer_from_scalar(scalar: bytes) -> Signer:
    """The signer with this private scalar of 32 bytes.

    Raises:
        Forged: `key.scalar`: not a number between 1 and the order of the curve.
    """
    try:
        key = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    except ValueError:
        raise Forged("key.scalar", "not the private scalar of a P-256 key") from None
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return Signer(digest(point), point, lambda message: _signed(key, message))


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return only if this key signed exactly this message.

    Raises:
        Forged: it did not, or the key is none.
    """
    key = _point(public)
    if len(signature) != 2 * SCALAR_BYTES:
        raise Forged("signature.wrong", "an ES256 signature is 64 bytes")
    r, s = (int.from_bytes(part, "big") for part in (signature[:SCALAR_BYTES], signature[SCALAR_BYTES:]))
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Forged("signature.wrong", f"not signed by the key {digest(public)}") from None


def pem(public: bytes) -> str:
    """The public key as OPA's configuration takes it (SubjectPublicKeyInfo).

    Raises:
        Forged: the key is none.
    """
    return (
        _point(public)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii")
    )


@lru_cache(maxsize=64)
def _point(public: bytes) -> ec.EllipticCurvePublicKey:
    """The point these 33 bytes are, which lies on the curve; P-256 has no points of small order."""
    if len(public) != PUBLIC_BYTES:
        raise Forged("key.length", f"a P-256 public key is {PUBLIC_BYTES} bytes, not {len(public)}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        raise Forged("key.no_point", "the public key is no point of P-256") from None


def _signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r and s; the nonce comes from key and message (RFC 6979), so that the same bundle is signed alike every time."""
    try:
        der = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    except UnsupportedAlgorithm:  # an OpenSSL before 3.2 draws it: as safe, and a restart then serves other bytes
        der = key.sign(message, ec.ECDSA(hashes.SHA256()))
    return b"".join(part.to_bytes(SCALAR_BYTES, "big") for part in decode_dss_signature(der))
