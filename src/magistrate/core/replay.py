"""Replay: where two answers differ, what stands in the way of asking again, and the certificate over all of it.

A replay asks recorded questions again and wants the same bytes. Whatever stands in the way of that is a finding with
its own code, and one finding is enough for it to fail: nothing that could not be asked counts as identical.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final, Literal

import orjson

from magistrate.core import canonical
from magistrate.core.canonical import pointer_to
from magistrate.core.entry import SALT_SIZE, Entry
from magistrate.core.errors import Forged
from magistrate.core.recorded import QUICK
from magistrate.core.signature import PublicKey, Signer, sign_document, verify_document
from magistrate.core.values import Count, Digest, Document, Name, Signature, Text, parse

DOCUMENTS: Final = frozenset({"decision", "approval", "admission", "verification", "access"})
# kinds of entries that never keep a question: when one of these was erased, nothing is missing here
NEVER_ASKED: Final = frozenset(
    {"genesis", "intent", "approval", "warrant", "report", "observation", "redaction", "pulse"}
)

# Findings, from the one that explains most to the one that explains least.
FINDINGS: Final[Mapping[str, str]] = {
    "replay.input_changed": "a stored question is not the one the ledger commits to",
    "replay.answer_changed": "a stored answer is not the one the ledger commits to",
    "replay.body_changed": "a stored body is not the one the ledger commits to",
    "replay.header_changed": "a stored header is not the one its leaf stands for",
    "replay.tree_changed": "an entry is not the one the tree was built over",
    "replay.bundle_missing": "the bundle that answered is not in the archive",
    "replay.bundle_changed": "a bundle's file is not the one its digest names",
    "replay.bundle_data_changed": "a bundle's file is a bundle, but with other contents than its digest names",
    "replay.body_erased": "a body was erased, and with it what was asked",
    "replay.unreadable": "an entry keeps a question in a form this program does not read",
    "replay.unknown_document": "a document was asked that this program does not know",
    "replay.not_strict": "a question was asked without strict builtin errors",
    "replay.opa_version": "another version of OPA answered then",
    "replay.opa_binary": "another binary of OPA answered then",
    "replay.no_answer": "a question that was answered gets no answer now",
    "replay.slow": "a bundle answered nothing in time: it was not asked any more",
    "replay.answer_differs": "a question gets another answer now",
    "replay.unseen": "taken up, and what no recorded answer can show may have changed: a counter, say",
    "replay.nothing_asked": "the range holds no question: nothing was proven",
    "replay.unpinned": "no key was given to check the checkpoint with",
    "replay.checkpoint": "the checkpoint over the ledger is not signed by the key it should be",
    "ledger.behind": "the ledger is known to have been longer",
    "ledger.forked": "the ledger is known to have been another",
}
MAX_SHOWN: Final = 2000  # characters of a value in a certificate


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two values differ; a value that is not there is "", any other its canonical text."""

    pointer: str
    recorded: str
    now: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a replay fails. `document` and `pointer` are "" where it is about more than one answer."""

    code: str
    entry: int
    leaf: str
    document: str
    detail: str
    pointer: str = ""
    recorded: str = ""
    now: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def same(before: Any, now: Any) -> bool:
    """Whether two answers are the same canonical bytes."""
    try:  # equal in any one deterministic spelling is equal: the quick one first
        if orjson.dumps(before, option=QUICK) == orjson.dumps(now, option=QUICK):
            return True
    except orjson.JSONEncodeError:
        pass
    return canonical.canonical(before) == canonical.canonical(now)


def difference(before: Any, now: Any) -> Difference | None:
    """The first place, in canonical order, where two JSON values differ; None where they are the same bytes."""
    return next(differences(before, now), None)


def differences(before: Any, now: Any, pointer: str = "") -> Iterator[Difference]:
    """Every smallest place where two JSON values differ, in canonical order."""
    pairs = _parts(before, now)
    if pairs is not None:
        for step, one_part, two_part in pairs:
            yield from differences(one_part, two_part, pointer_to(pointer, step))
        return
    one, two = _text(before), _text(now)
    if one != two:
        yield Difference(pointer, one, two)


def _parts(before: Any, now: Any) -> list[tuple[str | int, Any, Any]] | None:
    """The parts of two objects or two lists, side by side; `...` where one has no such part; None for all else."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = sorted(before.keys() | now.keys(), key=lambda text: text.encode("utf-16-be", "surrogatepass"))
        return [(key, before.get(key, ...), now.get(key, ...)) for key in keys]
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return [(place, *pair) for place, pair in enumerate(zip_longest(before, now, fillvalue=...))]
    return None


def shown(text: str) -> str:
    """A value's text, cut to what a certificate holds."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _text(value: Any) -> str:
    return "" if value is ... else canonical.canonical(value).decode()


# -- what one changed byte was


def restorations(entry: Entry, most: int = 16 * 1024) -> Iterator[bytes]:
    """The bodies that differ from the stored one in a single byte and are what the header commits to: none or one.

    An entry's commitment is a hash, so a changed byte cannot be read from it; but of canonical JSON in ASCII there are
    only 95 times as many candidates as bytes, and that is seconds of work. Bodies above `most` bytes are left alone.

    Raises:
        Malformed: the header cannot be read.
    """
    body, salt, wanted = entry.body, entry.salt, bytes.fromhex(entry.head.body_commit.removeprefix("sha256:"))
    if body is None or salt is None or len(salt) != SALT_SIZE or len(body) > most:
        return
    printable = tuple(bytes((one,)) for one in range(0x20, 0x7F))
    alphabet = tuple(bytes((one,)) for one in range(256)) if sum(byte > 0x7E for byte in body) > 1 else printable
    state = hashlib.sha256(b"magistrate/body/v1\x00" + salt)
    for place, byte in enumerate(body):
        rest = body[place + 1 :]
        for other in alphabet:
            tried = state.copy()
            tried.update(other + rest)
            if tried.digest() == wanted:
                yield body[:place] + other + rest
                return
        state.update(bytes((byte,)))


# -- the certificate


class Range(Document):
    """Which entries were read: from `first` up to, but not with, `end`. `since` and `until` are "" where not given."""

    since: Text
    until: Text
    first: Count
    end: Count


class Tree(Document):
    """The ledger's head, and which key signed the checkpoint over it ("": none that is known)."""

    size: Count
    root: Text
    signed_by: Text
    pinned: bool


class Opa(Document):
    """The OPA that was asked now."""

    version: Text
    sha256: Digest


class Counts(Document):
    """`different` got another answer; every other way to fail is among the findings alone, as are those."""

    entries: Count
    questions: Count
    identical: Count
    different: Count
    findings: dict[str, Count]


class First(Document):
    """The finding with the lowest entry; empty where there is none."""

    code: Text
    entry: Count
    leaf: Name
    document: Text
    pointer: Text
    recorded: Text
    now: Text


class Impacts(Document):
    """What moved between the answers on record and those of the one bundle that was asked, and what was accepted."""

    loosened: Count
    tightened: Count
    other: Count
    uncovered: Count
    accepted: tuple[Text, ...]


class Certificate(Document):
    """What a replay found, signed by the installation's policy key. `impact` is there where one bundle was asked."""

    type: Literal["magistrate/certificate/v1"]
    origin: Name
    genesis: Name
    range: Range
    tree: Tree
    bundle: Name
    opa: Opa
    zone: Text
    checked: tuple[Text, ...]
    counts: Counts
    first_difference: First
    impact: tuple[Impacts, ...]
    started: Text
    ended: Text
    key_id: Digest
    signature: Signature

    @property
    def clean(self) -> bool:
        """As `clean`."""
        return clean(self.plain())

    @property
    def passes(self) -> bool:
        """As `passes`."""
        return passes(self.plain())


def clean(said: Mapping[str, Any]) -> bool:
    """Whether everything in a certificate's range got the same answer again, and nothing else was found."""
    counts = said["counts"]
    return not counts["findings"] and counts["identical"] == counts["questions"] > 0


def passes(said: Mapping[str, Any]) -> bool:
    """Whether it is clean; of another bundle: whether it answered all, changed nothing that has to be accepted by name
    and was not, and nothing else was found.
    """
    counts = said["counts"]
    asked = counts["identical"] + counts["different"] == counts["questions"] > 0
    others = set(counts["findings"]) - {"replay.answer_differs"}
    covered = [not row["uncovered"] for row in said["impact"]]
    return (clean(said) and all(covered)) or (asked and not others and any(covered))


def first_of(finding: Finding | None) -> dict[str, Any]:
    """A certificate's `first_difference`."""
    if finding is None:
        return {"code": "", "entry": 0, "leaf": "", "document": "", "pointer": "", "recorded": "", "now": ""}
    return {
        "code": finding.code,
        "entry": finding.entry,
        "leaf": finding.leaf,
        "document": finding.document,
        "pointer": finding.pointer,
        "recorded": shown(finding.recorded),
        "now": shown(finding.now),
    }


def certify(found: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The signed certificate of what was found.

    Raises:
        Malformed: what was found has not a certificate's shape.
    """
    said = {"type": "magistrate/certificate/v1", **found, "key_id": signer.key_id}
    made = sign_document(said, signer)
    parse(Certificate, canonical.canonical(made))
    return made


def read(raw: bytes) -> Certificate:
    """What a certificate's file says; whether anybody may believe it is for `authentic` to say.

    Raises:
        Malformed: not a certificate, byte for byte.
    """
    said = canonical.load_canonical(raw)
    return parse(Certificate, canonical.canonical(said), code="certificate.shape")


def authentic(raw: bytes, key: PublicKey) -> Certificate:
    """The certificate, if `key` signed exactly it.

    Raises:
        Malformed: not a certificate.
        Forged: another key's, or changed since.
    """
    made = read(raw)
    said = canonical.load_canonical(raw)
    if not isinstance(said, dict):
        raise Forged("certificate.shape", "a certificate is an object")
    verify_document(said, key)
    return made
