"""A bundle as an OPA that others run takes it: the same files, and OPA's signature over each of them.

OPA's own form (`.signatures.json`): one JWS whose payload lists every file with its hash. `data.json` and `.manifest`
are hashed as OPA reads them, keys in order and blanks gone; every other file by its bytes. The scope is what keeps a
bundle of one installation from being taken for another's. The same bundle under the same key gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws
from joserfc.jwa import ESAlgorithm
from joserfc.jwk import ECKey

from magistrate.core import canonical, p256
from magistrate.core.signature import Signer
from magistrate.policy import tarball
from magistrate.policy.bundle import DATA, MANIFEST, Bundle

SIGNATURES: Final = "/.signatures.json"
STRUCTURED: Final = (DATA, MANIFEST)  # of the files a bundle of ours may hold, those OPA reads before it hashes them
_HASHED: Final = "SHA-256"
# Go's encoder writes these two as escapes, since JavaScript once took them for ends of lines; Python's does not
_ESCAPED: Final = {0x2028: "\\u2028", 0x2029: "\\u2029"}


@dataclass(frozen=True)
class Signed:
    """A signed tarball and the strong entity tag that names exactly these bytes."""

    etag: str
    raw: bytes = field(repr=False)


def sign(bundle: Bundle, signer: Signer, *, scope: str) -> Signed:
    """Return the bundle with its signature under this P-256 key.

    `scope` names the installation, and stands as the issuer too; `bundle` is the digest under which the ledger knows
    what was signed. There is no time in it: the signature says what the bundle is, not when it was served.
    """
    claims = {
        "bundle": bundle.digest,
        "files": [_described(name, raw) for name, raw in sorted(bundle.files.items())],
        "iss": scope,
        "keyid": signer.key_id,
        "scope": scope,
    }
    token = _token(canonical.canonical(claims), signer)
    signatures = canonical.canonical({"signatures": [token]})
    raw = tarball.pack({**bundle.files, SIGNATURES: signatures})
    return Signed(f'"{canonical.digest(raw)}"', raw)


def file_hash(name: str, raw: bytes) -> str:
    """The SHA-256 of a file of a bundle as OPA computes it, in hex."""
    if name not in STRUCTURED:
        return hashlib.sha256(raw).hexdigest()
    value = json.loads(raw, parse_int=_Literal, parse_float=_Literal)
    return hashlib.sha256("".join(_walked(value)).encode()).hexdigest()


def _described(name: str, raw: bytes) -> dict[str, str]:
    return {"algorithm": _HASHED, "hash": file_hash(name, raw), "name": name.removeprefix("/")}


class _Literal(str):
    """A number as it is written: OPA hashes `1.0` and `1` as two."""

    __slots__ = ()


def _walked(value: Any) -> Iterator[str]:
    """A JSON value the way OPA's hasher walks it: keys in the order of their bytes, nothing between the signs."""
    if isinstance(value, dict):
        yield "{"
        for n, key in enumerate(sorted(value)):
            yield ("," if n else "") + _text(key) + ":"
            yield from _walked(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for n, item in enumerate(value):
            yield "," if n else ""
            yield from _walked(item)
        yield "]"
    else:
        yield value if isinstance(value, _Literal) else _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


class _ByUs(ESAlgorithm):
    """ES256 by a signer that may live elsewhere: the library never sees a private key."""

    def __init__(self, signer: Signer) -> None:
        super().__init__(p256.ALGORITHM, "P-256", 256, recommended=True)
        self._signer = signer

    def sign(self, msg: bytes, key: ECKey) -> bytes:
        del key  # the public one, which only says of what kind it is
        return self._signer.sign(msg)


def _token(payload: bytes, signer: Signer) -> str:
    """The compact JWS. Its key is named in the header and again in the claims, where older OPAs look for it."""
    registry = jws.JWSRegistry(algorithms=[p256.ALGORITHM])
    registry.algorithms = {p256.ALGORITHM: _ByUs(signer)}  # this registry's alone
    public = ECKey.import_key(p256.pem(signer.public))
    return jws.serialize_compact({"alg": p256.ALGORITHM, "kid": signer.key_id}, payload, public, registry=registry)
