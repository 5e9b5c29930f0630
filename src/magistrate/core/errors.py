"""One tree of errors, split by whose fault it is.

::

    MagistrateError
    ├── Malformed          their bytes do not parse: 400, or 413 when too large
    │   └── NotCanonical   a value JSON cannot carry exactly
    ├── Unauthenticated    no valid credential: 401
    ├── Refused            a rule said no: 403
    ├── Absent             no such thing, or not yours to see: 404
    ├── Conflict           true once, no longer: 409
    │   └── Moved          a row the question read has changed since; the step asks again
    ├── Unavailable        no answer from OPA, store, clock or keys: 503, fail closed
    │   └── NoAnswer       OPA gave none that can be used
    └── Broken             a check failed: bytes, proof, signature or history are not what they must be
        ├── Forged         a signature or key that may not be trusted
        └── ProofFailed    a Merkle proof that does not prove

A `code` is stable and scripted against; `detail` is for people; `hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class MagistrateError(Exception):
    """Never raised itself: raise the child that names the fault."""

    def __init__(self, code: str, detail: str, *, hint: str = "", pointer: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.hint = hint
        self.pointer = pointer


class Malformed(MagistrateError):
    """The bytes given are not a document we read."""


class NotCanonical(Malformed):
    """The value holds something RFC 8785 JSON cannot carry exactly."""


class Unauthenticated(MagistrateError):
    """The request carries no credential that stands."""


class Refused(MagistrateError):
    """A rule said no. `reasons` are the rule's own words, as OPA gave them."""

    def __init__(
        self, code: str, detail: str, *, reasons: Sequence[Mapping[str, Any]] = (), hint: str = "", pointer: str = ""
    ) -> None:
        super().__init__(code, detail, hint=hint, pointer=pointer)
        self.reasons = tuple(reasons)


class Absent(MagistrateError):
    """No such thing, or not one the caller may know of."""


class Conflict(MagistrateError):
    """The act was possible once and is not any more."""


class Moved(Conflict):
    """A row that the step's question read has another version now; nothing was written."""


class Unavailable(MagistrateError):
    """Something we need gives no answer; nothing is permitted meanwhile."""


class NoAnswer(Unavailable):
    """OPA gave no answer that can be used."""


class Broken(MagistrateError):
    """A check over bytes, proofs, keys or history failed."""


class Forged(Broken):
    """A signature does not stand, or a key may not be trusted."""


class ProofFailed(Broken):
    """A Merkle proof does not prove what it claims."""
