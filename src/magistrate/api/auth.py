"""Who is calling: an API key, or a key that signs each request. A failure is counted and never recorded.

Agents, observers and auditors show an API key; the store knows its SHA-256. Operators sign (RFC 9421): no bearer token
of theirs exists. What the caller may do is for Rego; here it is only settled who they are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, NoReturn

from starlette.requests import Request

from magistrate.core import canonical
from magistrate.core.errors import Malformed, Refused, Unauthenticated
from magistrate.core.signature import PublicKey, admit
from magistrate.engine.installation import Installation, Principal
from magistrate.keys.nonces import NonceMemory
from magistrate.keys.requests import verify_request

_BEARER: Final = re.compile(r"[Bb]earer (mk_[A-Za-z0-9_-]{32,128})")
_FORWARDED: Final = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
_PEOPLE: Final = 1000  # operators looked through for a key


class Authenticator:
    """Turns a request into a principal, or refuses it."""

    def __init__(self, house: Installation, nonces: NonceMemory, authorities: Collection[str]) -> None:
        self._house = house
        self._nonces = nonces
        self._authorities = frozenset(name.lower() for name in authorities)
        self._operators: dict[str, str] = {}  # by key id, as they stood at `_looked`
        self._looked = -1

    def authority(self, request: Request, found: Mapping[bytes, bytes]) -> str:
        """The authority this request was sent to, which is one of ours: else a name of somebody else's leads here.

        Raises:
            Malformed: `input.host`.
        """
        said = found.get(b"host", b"").decode("latin-1").lower()
        if said not in self._authorities and said not in _local_names(request):
            raise Malformed("input.host", "this service does not answer to that name")
        return said

    def principal(self, request: Request, found: Mapping[bytes, bytes], raw: bytes) -> tuple[Principal, str]:
        """Who this is, and the key or key id they showed.

        Raises:
            Unauthenticated: no credential, two, or one that does not stand.
            Refused: `operator.suspended`.
        """
        signed = b"signature" in found or b"signature-input" in found
        if signed and b"authorization" in found:
            raise Unauthenticated("credential.two", "a request carries one credential: an API key or a signature")
        if signed:
            return self._signer(request, found, raw)
        if b"authorization" not in found:
            raise Unauthenticated(
                "credential.missing", "this needs a credential: Authorization: Bearer mk_…, or a signed request"
            )
        bearer = _BEARER.fullmatch(found[b"authorization"].decode("latin-1"))
        if bearer is None:
            raise Unauthenticated("credential.malformed", "the Authorization field carries no API key of ours")
        shown = canonical.digest(bearer[1].encode())
        return self._holder(shown), shown

    def again(self, principal: Principal, shown: str) -> None:
        """Return if who was let in some time ago would still be.

        Raises:
            Unauthenticated, Refused: no longer.
        """
        if principal.type == "operator":
            self._operator(shown)
        else:
            self._holder(shown)

    def _holder(self, shown: str) -> Principal:
        """Whose API key has this digest."""
        row = self._house.store.row("credentials", shown)
        if row is None:
            _refuse("unknown", "this API key is nobody's")
        if row.state != "active":
            _refuse("replaced", "this API key was replaced")
        if self._house.now() >= row.data["expires_at"]:
            _refuse("expired", "this API key has expired", "magistrate agents rotate-key")
        return Principal(str(row.data["type"]), str(row.data["id"]), "api-key")

    def _signer(self, request: Request, found: Mapping[bytes, bytes], raw: bytes) -> tuple[Principal, str]:
        scope = request.scope
        shown = verify_request(
            scope["method"],
            found[b"host"].decode("latin-1"),
            scope.get("raw_path", scope["path"].encode()).decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            raw,
            key_of=self._key,
            now=self._house.now(),
            seen=self._nonces.seen,
        )
        return self._operator(shown), shown

    def _operator(self, key_id: str) -> Principal:
        id_ = self._whose(key_id)
        row = self._house.store.row("operators", id_) if id_ else None
        if row is None or row.data["key_id"] != key_id:
            _refuse("unknown", "this key is no operator's")
        if row.state != "active":
            raise Refused("operator.suspended", f"the operator is {row.state}")
        return Principal("operator", row.id, "ed25519", key_id)

    def _key(self, key_id: str) -> PublicKey | None:
        id_ = self._whose(key_id)
        row = self._house.store.row("operators", id_) if id_ else None
        return admit(bytes.fromhex(row.data["public_key"])) if row is not None else None

    def _whose(self, key_id: str) -> str:
        """Which operator has this key; looked up anew only when the ledger has grown since."""
        if key_id not in self._operators and self._looked != self._house.store.size:
            self._looked = self._house.store.size
            rows = self._house.store.select("operators", limit=_PEOPLE)
            self._operators = {row.data["key_id"]: row.id for row in rows}
        return self._operators.get(key_id, "")


def local(request: Request, found: Mapping[bytes, bytes]) -> bool:
    """Whether the caller is on this machine, and not merely a proxy of somebody who is not."""
    if any(name in found for name in _FORWARDED):
        return False
    client = request.scope.get("client")
    if not client or not client[0]:
        return _unix(request)
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _unix(request: Request) -> bool:
    server = request.scope.get("server")
    return server is not None and server[1] is None


def _local_names(request: Request) -> tuple[str, ...]:
    """What a socket bound here may be called: its own address, and on loopback the usual names."""
    server = request.scope.get("server")
    return _names_of(server[0], server[1], request.scope["scheme"]) if server else ()


@lru_cache(maxsize=64)
def _names_of(host: str, port: int | None, scheme: str) -> tuple[str, ...]:
    if port is None:  # a Unix socket
        return ("localhost",)
    tail = "" if port == {"http": 80, "https": 443}.get(scheme) else f":{port}"
    own = f"[{host}]" if ":" in host else host
    names = ["localhost", "127.0.0.1", "[::1]"] if _loopback(host) else []
    return tuple(f"{name}{tail}" for name in (own.lower(), *names))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(why: str, detail: str, hint: str = "") -> NoReturn:
    raise Unauthenticated(f"credential.{why}", detail, hint=hint)
