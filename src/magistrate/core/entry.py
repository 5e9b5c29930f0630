"""One entry of the ledger: a header that stays for ever, and a body that can be erased (contracts section 4).

The leaf is the hash of the header's stored bytes; the header commits to the body under a random salt. So erasing body
and salt takes nothing from the tree, and nobody finds an erased body again by guessing.

Making is strict: an unknown kind or a malformed id is refused. Reading keeps what it does not know: a field that a
later version adds comes back byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from magistrate.core import canonical
from magistrate.core.errors import Absent, Broken, Malformed
from magistrate.core.merkle import leaf_hash
from magistrate.core.values import DIGEST, IDENTIFIER, MOMENT, moment

VERSION = 1
SALT_SIZE = 32
MAX_HEADER = canonical.MAX_INPUT  # a header holds ids and digests only
MAX_BODY = canonical.MAX_RECORD

KINDS = frozenset(
    {
        "genesis",
        "intent",
        "decision",
        "refusal",
        "approval",
        "warrant",
        "revocation",
        "admission",
        "lifecycle",
        "report",
        "observation",
        "verification",
        "containment",
        "alert",
        "arming",
        "bundle",
        "agent",
        "operator",
        "observer",
        "key",
        "recovery",
        "redaction",
        "pulse",
    }
)

_FIELDS = ("at", "body_commit", "body_type", "kind", "origin", "parents", "state", "subject", "v")
_IDENTIFIER = re.compile(IDENTIFIER)
_DIGEST = re.compile(DIGEST)
_MOMENT = re.compile(MOMENT)
_STATE = re.compile(r"[a-z][a-z_-]{0,63}")
_BODY_LABEL = b"magistrate/body/v1\x00"


def body_commit(salt: bytes, body: bytes) -> str:
    """The commitment a header makes to its body.

    Raises:
        ValueError: a salt of another length would let one commitment stand for two bodies.
    """
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt is {SALT_SIZE} bytes, not {len(salt)}")
    return "sha256:" + hashlib.sha256(_BODY_LABEL + salt + body).hexdigest()


@dataclass(frozen=True, slots=True)
class Header:
    """What stays of an entry for ever. `further` holds fields of versions this code does not know."""

    origin: str
    kind: str
    at: str
    subject: str
    state: str
    parents: tuple[str, ...]
    body_commit: str
    body_type: str
    v: int = VERSION
    further: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The header as plain JSON."""
        return {
            **self.further,
            "at": self.at,
            "body_commit": self.body_commit,
            "body_type": self.body_type,
            "kind": self.kind,
            "origin": self.origin,
            "parents": list(self.parents),
            "state": self.state,
            "subject": self.subject,
            "v": self.v,
        }

    def bytes(self) -> bytes:
        """The bytes that are stored and hashed."""
        return canonical.canonical(self.plain())


def read_header(raw: bytes) -> Header:
    """The header these stored bytes hold; unknown fields and kinds are kept.

    Raises:
        Malformed: a field is missing or of the wrong type, or the version is not ours to read.
    """
    plain = _quickly(raw) or canonical.load_object(raw, limit=MAX_HEADER)
    missing = next((name for name in _FIELDS if name not in plain), None)
    if missing is not None:
        raise Malformed("entry.header", f"the header has no {missing}", pointer=f"/{missing}")
    if type(plain["v"]) is not int or plain["v"] != VERSION:
        raise Malformed("entry.version", f"header version {plain['v']!r} is not one this program reads", pointer="/v")
    known: dict[str, Any] = {name: plain[name] for name in _FIELDS}
    parents = known["parents"]
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise Malformed("entry.header", "parents is a list of strings", pointer="/parents")
    for name in ("origin", "kind", "at", "subject", "state", "body_commit", "body_type"):
        if not isinstance(known[name], str):
            raise Malformed("entry.header", f"{name} is a string", pointer=f"/{name}")
    known["parents"] = tuple(parents)
    header = Header(**known, further={name: plain[name] for name in plain if name not in known})
    _hold_shape(header)
    return header


def _quickly(raw: bytes) -> dict[str, Any] | None:
    """The header, if writing it again in the quick way gives these very bytes: then no key stands twice, nothing is
    spelt otherwise, and reading with care would find the same. None where that is not so."""
    try:
        plain = orjson.loads(raw)
        same = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER) == raw
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return plain if same and len(raw) <= MAX_HEADER and isinstance(plain, dict) else None


def _hold_shape(header: Header) -> None:
    """The shape every header has, whoever wrote it."""
    if not all(_DIGEST.fullmatch(parent) for parent in header.parents):
        raise Malformed("entry.header", "a parent is the leaf hash of an earlier entry", pointer="/parents")
    for name, value, pattern in (
        ("at", header.at, _MOMENT),
        ("body_commit", header.body_commit, _DIGEST),
        ("origin", header.origin, _IDENTIFIER),
        ("kind", header.kind, _STATE),
        ("body_type", header.body_type, _IDENTIFIER),
    ):
        if not pattern.fullmatch(value):
            raise Malformed("entry.header", f"{name} {value!r} is not well formed", pointer=f"/{name}")
    if header.subject and not _IDENTIFIER.fullmatch(header.subject):
        raise Malformed("entry.header", "subject is an id, or empty", pointer="/subject")
    if header.state and not _STATE.fullmatch(header.state):
        raise Malformed("entry.header", "state is a lifecycle's word, or empty", pointer="/state")


def _seconds(at: str) -> int:
    try:
        return int(datetime.fromisoformat(at).timestamp())  # its form was checked; an audit reads millions
    except ValueError:
        raise Malformed("entry.header", f"{at} is no time of the calendar", pointer="/at") from None


class Entry:
    """An entry as the ledger holds it; its header is read once, when first asked for."""

    __slots__ = ("_at", "_content", "_head", "_ours", "body", "header", "index", "leaf", "salt")

    def __init__(
        self,
        index: int,
        leaf: bytes,
        header: bytes,
        salt: bytes | None,
        body: bytes | None,
        *,
        head: Header | None = None,
        at: int | None = None,
        ours: bool = False,
    ) -> None:
        self.index = index
        self.leaf = leaf
        self.header = header
        self.salt = salt
        self.body = body
        self._head = head
        self._at = at
        self._content: Any = None
        self._ours = ours

    @property
    def head(self) -> Header:
        if self._head is None:
            self._head = read_header(self.header)
        return self._head

    @property
    def kind(self) -> str:
        return self.head.kind

    @property
    def subject(self) -> str:
        return self.head.subject

    @property
    def state(self) -> str:
        return self.head.state

    @property
    def parents(self) -> tuple[str, ...]:
        return self.head.parents

    @property
    def at(self) -> int:
        """Seconds since 1970; the header writes it as a UTC time."""
        if self._at is None:
            self._at = _seconds(self.head.at)
        return self._at

    @property
    def leaf_digest(self) -> str:
        return "sha256:" + self.leaf.hex()

    @property
    def erased(self) -> bool:
        """Whether body and salt are gone; header and leaf never are."""
        return self.body is None

    def content(self) -> Any:
        """The body as JSON; it is one value for all who ask, so nobody writes into it.

        Raises:
            Absent: the body was erased.
        """
        if self.body is None:
            raise Absent("entry.erased", f"the body of entry {self.index} was erased")
        if self._content is None and self._ours:
            self._content = orjson.loads(self.body)  # canonical bytes made in this process: nothing to doubt
        elif self._content is None:
            self._content = canonical.load(self.body, limit=MAX_BODY, depth=canonical.MAX_DEPTH_RECORD)
        return self._content

    def hold(self) -> None:
        """Return if leaf, header and body belong together; an erased body is no fault.

        Raises:
            Broken: one of them is not what the others say.
        """
        if leaf_hash(self.header) != self.leaf:
            raise Broken("ledger.leaf", f"entry {self.index}: the leaf is not the hash of the stored header")
        if (self.body is None) != (self.salt is None):
            raise Broken("ledger.body", f"entry {self.index}: body and salt are kept and erased together")
        if self.body is None or self.salt is None:
            return
        if len(self.salt) != SALT_SIZE or body_commit(self.salt, self.body) != self.head.body_commit:
            raise Broken("ledger.body", f"entry {self.index}: the body is not the one its header commits to")


def make(
    index: int,
    *,
    origin: str,
    kind: str,
    at: int,
    subject: str,
    state: str,
    parents: Sequence[str],
    body: bytes,
    body_type: str,
    salt: bytes,
) -> Entry:
    """A new entry over canonical body bytes.

    Raises:
        Malformed: an unknown kind, a malformed field, or a body above its limit.
    """
    if kind not in KINDS:
        raise Malformed("entry.kind", f"{kind!r} is not a kind of entry", pointer="/kind")
    if len(body) > MAX_BODY:
        raise Malformed("entry.large", f"a body of {len(body)} bytes is above {MAX_BODY}", pointer="/body")
    head = Header(
        origin=origin,
        kind=kind,
        at=moment(at),
        subject=subject,
        state=state,
        parents=tuple(parents),
        body_commit=body_commit(salt, body),
        body_type=body_type,
    )
    _hold_shape(head)
    raw = head.bytes()
    if len(raw) > MAX_HEADER:
        raise Malformed("entry.large", f"a header of {len(raw)} bytes is above {MAX_HEADER}")
    return Entry(index, leaf_hash(raw), raw, salt, body, head=head, at=at, ours=True)
