"""Recorded questions: what was asked and answered, as an entry keeps it; which one is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from magistrate.core import canonical
from magistrate.core.entry import MAX_BODY, Entry
from magistrate.core.errors import Absent, Broken, Malformed

QUICK: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER  # equal in this spelling is equal in the canonical one
_KINDS: Final = {
    **dict.fromkeys(("document", "bundle", "version", "sha256"), str),
    **dict.fromkeys(("question", "answer"), dict),
    "strict": bool,
}

_CHAIN: Final = "magistrate intent show ID --chain"
OFFLINE: Final = "magistrate policy explain DECISION --data DIR"  # where the service's word is not to be had


@dataclass(frozen=True, slots=True)
class Recorded:
    """One question and its answer, in the entry that keeps them."""

    entry: Entry
    place: int
    document: str
    question: dict[str, Any]
    answer: dict[str, Any]
    bundle: str
    version: str  # of the OPA that answered
    sha256: str
    strict: bool
    raw: bytes  # the question's canonical bytes, as they were asked
    number: int = 1  # of those that could have been meant, where one was picked
    of: int = 1

    @property
    def index(self) -> int:
        return self.entry.index

    @property
    def leaf(self) -> str:
        return self.entry.leaf_digest

    @property
    def pointer(self) -> str:
        """Where in the entry's body it stands."""
        return f"/asked/{self.place}"

    def plain(self) -> dict[str, Any]:
        """Where it stands, as JSON; the question and answer stand there."""
        return {
            "index": self.index,
            "leaf": self.leaf,
            "kind": self.entry.kind,
            "subject": self.entry.subject,
            "at": self.entry.head.at,
            "document": self.document,
            "round": self.question.get("round", 0),
            "asking": self.number,
            "askings": self.of,
            "bundle": self.bundle,
            "opa": {"version": self.version, "sha256": self.sha256},
        }

    @property
    def overruled(self) -> Mapping[str, Any] | None:
        """The standing the program recorded where it is not the answer's: its floor and its own checks only narrow."""
        if self.entry.kind != "decision" or self.document != "decision":
            return None
        body = self.entry.content()
        standing = body.get("standing") if self.place == len(body["asked"]) - 1 else None
        return standing if standing and standing != self.answer.get("standing") else None


def recorded(entry: Entry) -> list[Recorded]:
    """The questions an entry keeps with their answers; none in most kinds, nor where OPA had given no answer.

    Raises:
        Absent: its body was erased.
        Malformed: what it keeps under `asked` is not what this program writes; the pointer says where.
    """
    body, exact = _body(entry)
    if not isinstance(body, dict) or "asked" not in body:
        return []
    rows = body["asked"]
    if not isinstance(rows, list):
        raise Malformed("replay.unreadable", "asked is not a list", pointer="/asked")
    return [_read(entry, place, row, exact=exact) for place, row in enumerate(rows)]


def _body(entry: Entry) -> tuple[Any, bool]:
    """The body, and whether writing it again in the quick way gives its very bytes: then every part of it does so too.

    That shows more than reading it carefully would (no key twice, no other spelling), in a tenth of the time.
    """
    if entry.body is not None and len(entry.body) <= MAX_BODY:
        try:
            value = orjson.loads(entry.body)
            if orjson.dumps(value, option=QUICK) == entry.body:
                return value, True
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            pass  # the careful way knows what and where
    return entry.content(), False


def _read(entry: Entry, place: int, row: Any, *, exact: bool) -> Recorded:
    try:
        opa = row["opa"]
        made = Recorded(
            entry,
            place,
            row["document"],
            row["question"],
            row["answer"],
            row["bundle"],
            opa["version"],
            opa["sha256"],
            row["strict"],
            orjson.dumps(row["question"], option=QUICK) if exact else canonical.canonical(row["question"]),
        )
    except (KeyError, TypeError) as error:
        raise Malformed("replay.unreadable", f"a kept question has no {error}", pointer=f"/asked/{place}") from None
    for name, kind in _KINDS.items():
        if type(getattr(made, name)) is not kind:
            raise Malformed("replay.unreadable", f"its {name} is no {kind.__name__}", pointer=f"/asked/{place}/{name}")
    return made


def entry_of(view: Mapping[str, Any]) -> Entry:
    """The entry a view of it (`engine.audit.entry_view`) shows, held to its own header.

    Raises:
        Broken: body, header and leaf do not belong together.
        Malformed: it is no view of an entry.
    """
    try:
        body = None if view["body"] is None else canonical.canonical(view["body"])
        leaf = bytes.fromhex(str(view["leaf"]).removeprefix("sha256:"))
        salt = bytes.fromhex(view["salt"]) or None
        entry = Entry(int(view["index"]), leaf, str(view["header"]).encode(), salt, body)
    except (KeyError, TypeError, ValueError):
        raise Broken("entry.view", "the service shows something that is no entry", hint=OFFLINE) from None
    entry.hold()
    return entry


def pick(entries: Iterable[Entry], *, document: str = "", round_: int = 0, asking: int = 0) -> Recorded:
    """The question that is meant: of this document (that of decisions where there is one, else the last), of this
    round (0: any), the nth of them (0: the last).

    Raises:
        Absent: `explain.unanswered`, `entry.erased` or `explain.none`: there is no such question, or none was answered.
        Malformed: an entry keeps a question in a form this program does not read.
    """
    entries = sorted(entries, key=lambda entry: entry.index)
    asked = [row for entry in entries if not entry.erased for row in recorded(entry)]
    wanted = document or _usual(asked)
    found = [row for row in asked if row.document == wanted and round_ in (0, row.question.get("round", 0))]
    if not found:
        raise _nothing(entries, document)
    if asking > len(found):
        raise Absent("explain.none", f"there are {len(found)} such questions, not {asking}", hint=_CHAIN)
    number = asking or len(found)
    return replace(found[number - 1], number=number, of=len(found))


def _usual(asked: Sequence[Recorded]) -> str:
    documents = [row.document for row in asked]
    return "decision" if "decision" in documents else documents[-1] if documents else ""


def _nothing(entries: Sequence[Entry], document: str) -> Absent:
    if any(entry.erased for entry in entries):
        return Absent("entry.erased", "the body that held the question was erased", hint=_CHAIN)
    silent = [entry for entry in entries if entry.kind == "refusal" and not entry.content().get("asked")]
    if silent:
        code = silent[-1].content().get("code", "")
        said = f"OPA gave no answer to this question ({code}), so no rule spoke"
        return Absent("explain.unanswered", said, hint=_CHAIN)
    what = f"question of {document}" if document else "recorded question"
    return Absent("explain.none", f"there is no such {what} in what was named", hint=_CHAIN)
