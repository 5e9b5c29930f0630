"""A checkpoint: the tree's size and root, signed as a note that any C2SP log client can read.

Formats: C2SP `tlog-checkpoint` and `signed-note`, Ed25519 (type byte 0x01). The key's name is the origin. A note may
carry signatures of witnesses as well; they are neither needed nor judged here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from magistrate.core.errors import Forged, Malformed
from magistrate.core.merkle import HASH_BYTES
from magistrate.core.signature import PublicKey, Signer, admit

MAX_NOTE: Final = 64 * 1024
MAX_SIZE: Final = 2**63 - 1  # what a tree size may be in every language that reads it

_BROKEN_TEXT: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]+")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE: Final = re.compile("\u2014 ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_VKEY: Final = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_ED25519: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How large a log was and what its root hash was then."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        _want_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE:
            raise Malformed("checkpoint.size", f"no log has {self.size} entries")
        if len(self.root) != HASH_BYTES:
            raise Malformed("checkpoint.root", f"a root is {HASH_BYTES} bytes, not {len(self.root)}")

    def text(self) -> str:
        """The exact text that is signed: origin, size and root, a line each."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def read(text: str) -> Checkpoint:
    """The checkpoint of a note's text; the other way of `Checkpoint.text`.

    Raises:
        Malformed: anything but the three lines, each in its one spelling.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise Malformed("checkpoint.lines", "a checkpoint is three lines: origin, size, root")
    if not _SIZE.fullmatch(lines[1]):
        raise Malformed("checkpoint.size", "the size is not a plain decimal number")
    return Checkpoint(lines[0], int(lines[1]), _bytes(lines[2]))


def signed(checkpoint: Checkpoint, signer: Signer) -> str:
    """The checkpoint as a note with this signer's signature."""
    text = checkpoint.text()
    mark = note_key_id(checkpoint.origin, signer.public) + signer.sign(text.encode())
    return f"{text}\n\u2014 {checkpoint.origin} {base64.b64encode(mark).decode()}\n"


def verify(note: str, origin: str, key: PublicKey) -> Checkpoint:
    """The checkpoint of this origin, if `key` signed the note.

    Raises:
        Malformed: not a note, or its text not a checkpoint.
        Forged: another origin, no signature by this key, or a wrong one.
    """
    checkpoint = read(opened(note, origin, key))
    if checkpoint.origin != origin:
        raise Forged("checkpoint.origin", f"the checkpoint is of {checkpoint.origin}, not of {origin}")
    return checkpoint


def opened(note: str, name: str, key: PublicKey) -> str:
    """The text of a signed note, if `key` signed it under this name. Signatures of others are not judged.

    Raises:
        Malformed: not a note.
        Forged: no signature by this key under this name, or a wrong one.
    """
    text, marks = _taken_apart(note)
    wanted = note_key_id(name, key.raw)
    ours = [mark[4:] for signer, mark in marks if signer == name and mark[:4] == wanted]
    if not ours:
        raise Forged("checkpoint.unsigned", f"no signature of {name} by the key {key.key_id}")
    for mark in ours:
        key.verify(text.encode(), mark)
    return text


def note_key_id(name: str, raw: bytes) -> bytes:
    """The four bytes by which a note names an Ed25519 key."""
    return sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]


def vkey(name: str, raw: bytes) -> str:
    """A verifier key as C2SP clients take it: name, key id, key."""
    _want_name(name)
    return f"{name}+{note_key_id(name, raw).hex()}+{base64.b64encode(_ED25519 + raw).decode()}"


def read_vkey(text: str) -> tuple[str, PublicKey]:
    """The name and the admitted key of a verifier key; the other way of `vkey`.

    Raises:
        Malformed: not a verifier key, not Ed25519, or its key id is of another key.
        Forged: the key may not be trusted (see `signature.admit`).
    """
    found = _VKEY.fullmatch(text)
    if not found:
        raise Malformed("checkpoint.vkey", "a verifier key is written NAME+KEYID+KEY")
    name, claimed, raw = found[1], bytes.fromhex(found[2]), _bytes(found[3])
    if raw[:1] != _ED25519:
        raise Malformed("checkpoint.algorithm", "not an Ed25519 verifier key")
    if note_key_id(name, raw[1:]) != claimed:
        raise Malformed("checkpoint.key_id", "the key id does not belong to this name and key")
    return name, admit(raw[1:])


def _taken_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text and its signatures as (name, key id and signature)."""
    if len(note) > MAX_NOTE:
        raise Malformed("checkpoint.too_large", f"a note has at most {MAX_NOTE} characters")
    if _BROKEN_TEXT.search(note):
        raise Malformed("checkpoint.note", "a note is Unicode text without control characters")
    text, blank, tail = note.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise Malformed("checkpoint.note", "a note is a text, an empty line, and signature lines")
    return text + "\n", [_mark(line) for line in tail[:-1].split("\n")]


def _mark(line: str) -> tuple[str, bytes]:
    found = _SIGNATURE.fullmatch(line)
    if not found:
        raise Malformed("checkpoint.note", "a signature line is a dash, a name and base64")
    mark = _bytes(found[2])
    if len(mark) < 5:
        raise Malformed("checkpoint.note", "a signature line holds a key id and a signature")
    return found[1], mark


def _want_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Malformed("checkpoint.name", "a name has no spaces, plus signs or control characters, and is not empty")


def _bytes(text: str) -> bytes:
    """Base64 in its one spelling: padded, and no stray bits."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Malformed("checkpoint.base64", "not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise Malformed("checkpoint.base64", "not the canonical base64 of its bytes")
    return raw
