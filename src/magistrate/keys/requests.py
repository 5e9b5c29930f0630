"""Signed requests: RFC 9421 with one shape only, Ed25519 over method, authority, path, query and content digest.

`http-sf` reads and writes the header fields (RFC 9651); the shape is fixed here, so nothing is left for a sender to
choose but the label. A field that is not written exactly as it would be written again is refused: no byte of it can
change unnoticed. Every refusal is `Unauthenticated` with a code `signature.WHY`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, cast

import http_sf

from magistrate.core.errors import Broken, Malformed, Unauthenticated
from magistrate.core.signature import PublicKey, Signer

COVERED: Final = ("@method", "@authority", "@path", "@query", "content-digest")
PARAMETERS: Final = frozenset({"created", "nonce", "keyid", "alg", "tag"})
FIELDS: Final = ("content-digest", "signature-input", "signature")
LABEL: Final = "magistrate"  # what we write; it is not signed, so any other is read
TAG: Final = "magistrate"
ALGORITHM: Final = "ed25519"
WINDOW: Final = 60  # seconds a signature may be old
AHEAD: Final = 5  # seconds a sender's clock may be ahead of ours
LONGEST: Final = 1024  # characters of a signature field; ours have about 300

_COVERED = http_sf.innerlist.ser_innerlist((list(COVERED), {}))
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,86}")  # at least 128 bits in base64url
_METHOD = re.compile(r"[A-Z]{1,16}")
_AUTHORITY = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"/[!-\"$->@-~]*")  # printable, no space, `?` or `#`; as sent, still encoded
_QUERY = re.compile(r"[!-\"$-~]*")
_URL = re.compile(r"(https?)://([^/?#@\\]+)(/[^?#]*)?(?:\?([^#]*))?")

KeyOf = Callable[[str], PublicKey | None]
Seen = Callable[[str, int], bool]


@dataclass(frozen=True)
class Target:
    """What of a request is signed beside its body: each as it goes over the wire, `query` without its `?`."""

    method: str
    authority: str
    path: str
    query: str

    @classmethod
    def of(cls, method: str, url: str) -> Target:
        """The target of a request to this address, which is as encoded as it will be sent.

        Raises:
            Malformed: `input.url`: not such an address, or one with a user, a fragment or unencoded characters.
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise Malformed("input.url", f"{url!r} is not an http address that can be signed")
        scheme, authority = found[1], found[2].lower()
        authority = authority.removesuffix({"http": ":80", "https": ":443"}[scheme])  # as clients send it
        target = cls(method, authority, found[3] or "/", found[4] or "")
        if not target.signable():
            raise Malformed("input.url", f"{method} {url!r} holds characters that must be encoded before it is signed")
        return target

    def signable(self) -> bool:
        """Whether each part is of its own alphabet: a newline would let one part pose as two."""
        return (
            _METHOD.fullmatch(self.method) is not None
            and _AUTHORITY.fullmatch(self.authority) is not None
            and _PATH.fullmatch(self.path) is not None
            and _QUERY.fullmatch(self.query) is not None
        )

    def base(self, digest: str, parameters: str) -> bytes:
        """The signature base of RFC 9421 section 2.5."""
        return (
            f'"@method": {self.method}\n'
            f'"@authority": {self.authority}\n'
            f'"@path": {self.path}\n'
            f'"@query": ?{self.query}\n'
            f'"content-digest": {digest}\n'
            f'"@signature-params": {parameters}'
        ).encode("ascii")


@dataclass(frozen=True)
class _Claim:
    """What a well-formed pair of signature fields says."""

    created: int
    nonce: str
    key_id: str
    parameters: str
    signature: bytes


def content_digest(body: bytes) -> str:
    """The Content-Digest field of a body (RFC 9530), the empty one too."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sign_request(method: str, url: str, body: bytes, signer: Signer, created: int, nonce: str) -> dict[str, str]:
    """Return the three header fields that sign this request; the caller sends exactly this address and body.

    Raises:
        Malformed: `input.url`; `input.nonce`: not 22 to 86 characters of base64url.
    """
    if _NONCE.fullmatch(nonce) is None:
        raise Malformed("input.nonce", "a nonce is 22 to 86 characters of base64url")
    target, digest = Target.of(method, url), content_digest(body)
    parameters: http_sf.types.ParamsType = {
        "created": created,
        "nonce": nonce,
        "keyid": signer.key_id,
        "alg": ALGORITHM,
        "tag": TAG,
    }
    said = http_sf.innerlist.ser_innerlist((list(COVERED), parameters))
    signed = signer.sign(target.base(digest, said))
    return {
        "content-digest": digest,
        "signature-input": f"{LABEL}={said}",
        "signature": http_sf.ser({LABEL: (signed, {})}),
    }


def verify_request(
    method: str,
    authority: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    key_of: KeyOf,
    now: int,
    window: int = WINDOW,
    ahead: int = AHEAD,
    seen: Seen,
) -> str:
    """Return the id of the key that signed this request, now and for the first time.

    `authority` is the one this service answers to (a request signed for another is refused by its caller, or by being
    given ours here); `path` and `query` are the raw ones, still encoded. Whose key it is, and what they may do, is
    for the caller. `seen(nonce, created)` is asked last, so that only the holder of a key can fill its memory.

    Raises:
        Unauthenticated: `signature.missing`, `.repeated` (a field or a label twice, or two signatures), `.malformed`,
            `.label`, `.components`, `.parameters`, `.algorithm`, `.tag`, `.nonce`, `.created`, `.expired`, `.early`,
            `.undigested`, `.digest`, `.target`, `.key`, `.forged`, `.replayed`.
    """
    # 1. three fields, each once
    digest, claimed, signature = _fields(headers)
    # 2. one signature of our one shape
    claim = _claim(claimed, signature)
    # 3. made now
    _in_time(claim.created, now, window, ahead)
    # 4. over this body
    _hold_digest(digest, body)
    # 5. by a key we know, over this very target
    target = Target(method, authority.lower(), path, query)
    if not target.signable():
        _refuse("target", "method, authority, path or query hold characters no client sends")
    key = key_of(claim.key_id)
    if key is None or key.key_id != claim.key_id:
        _refuse("key", f"no key {claim.key_id} is known here")
    try:
        key.verify(target.base(digest, claim.parameters), claim.signature)
    except Broken:
        _refuse("forged", "the signature is not over this request")
    # 6. for the first time
    if seen(claim.nonce, claim.created):
        _refuse("replayed", "this request was already made; made again, it is signed with a new nonce")
    return claim.key_id


def _fields(headers: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in FIELDS:
            if lower in found:
                _refuse("repeated", f"{lower} was sent twice")
            found[lower] = value
    if "signature" not in found or "signature-input" not in found:
        _refuse("missing", "the request is not signed")
    if "content-digest" not in found:
        _refuse("undigested", "the request has no Content-Digest, not even of an empty body")
    return found["content-digest"], found["signature-input"], found["signature"]


def _claim(signature_input: str, signature: str) -> _Claim:
    """Return what the two fields say, if they are one signature of our one shape."""
    input_label, (_covered, parameters) = _only_member(signature_input, "signature-input")
    label, (value, extra) = _only_member(signature, "signature")
    if label != input_label:
        _refuse("label", "signature and signature-input carry different labels")
    if not isinstance(value, bytes) or len(value) != 64 or extra:
        _refuse("malformed", "the signature is not 64 bytes")
    said = signature_input.removeprefix(f"{label}=")
    if not said.startswith(_COVERED):  # compared as written: to the parser a token equals a string
        _refuse("components", f"the signature covers exactly {' '.join(COVERED)}, in this order")
    created, nonce, key_id = _judged(parameters)
    return _Claim(created, nonce, key_id, said, value)


def _only_member(value: str, field: str) -> tuple[str, tuple[object, dict[str, object]]]:
    """Return the one member of a dictionary field, which is written as it would be written again."""
    if len(value) > LONGEST:
        _refuse("malformed", f"{field} is longer than {LONGEST} characters")
    try:
        parsed = http_sf.parse(value.encode("ascii"), tltype="dictionary", on_duplicate_key=_duplicate)
        again = http_sf.ser(parsed)
    except (ValueError, ArithmeticError):  # not ASCII among them
        _refuse("malformed", f"{field} is not a dictionary field of RFC 9651")
    members = cast("dict[str, tuple[object, dict[str, object]]]", parsed)
    if len(members) != 1:
        _refuse("repeated", f"{field} carries {len(members)} signatures; one is read")
    if again != value:
        _refuse("malformed", f"{field} is not in its canonical form")
    return next(iter(members.items()))


def _duplicate(key: str, _context: str) -> NoReturn:
    _refuse("repeated", f"{key} is said twice")


def _judged(parameters: dict[str, object]) -> tuple[int, str, str]:
    """Return created, nonce and key id, if the parameters are ours."""
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}  # a token is none
    created, nonce, key_id = parameters.get("created"), texts.get("nonce", ""), texts.get("keyid")
    if texts.get("alg") != ALGORITHM:
        _refuse("algorithm", f"alg is {ALGORITHM}, always stated")
    if texts.get("tag") != TAG:
        _refuse("tag", f"tag is {TAG}, always stated")
    if _NONCE.fullmatch(nonce) is None:
        _refuse("nonce", "nonce is 22 to 86 characters of base64url")
    if type(created) is not int:
        _refuse("created", "created is a whole number of seconds since 1970")
    if key_id is None:
        _refuse("key", "keyid is the signer's key_id")
    if parameters.keys() != PARAMETERS:
        _refuse("parameters", f"the parameters are exactly {' '.join(sorted(PARAMETERS))}")
    return created, nonce, key_id


def _in_time(created: int, now: int, window: int, ahead: int) -> None:
    if created < now - window:
        _refuse("expired", f"signed {now - created} s ago, more than {window}", hint="chronyc tracking")
    if created > now + ahead:
        _refuse("early", f"signed {created - now} s ahead of the service's clock", hint="chronyc tracking")


def _hold_digest(digest: str, body: bytes) -> None:
    if not hmac.compare_digest(digest.encode("utf-8", "surrogatepass"), content_digest(body).encode()):
        _refuse("digest", "Content-Digest is not the sha-256 of this body, and nothing else")


def _refuse(why: str, detail: str, *, hint: str = "") -> NoReturn:
    raise Unauthenticated(f"signature.{why}", detail, hint=hint)
