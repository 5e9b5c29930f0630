"""A recorded question, out of the entries that hold it: which one is meant, and whether its entry stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken

_CHAIN: Final = "magistrate intent show ID --chain"
OFFLINE: Final = "magistrate policy explain DECISION --data DIR"  # where the service's word is not to be had


@dataclass(frozen=True)
class Recorded:
    """One question with its answer, and the entry it stands in. `number` counts the questions one could have meant."""

    index: int
    leaf: str
    kind: str
    subject: str
    at: str
    body: Mapping[str, Any]
    document: str
    question: Mapping[str, Any]
    answer: Mapping[str, Any]
    bundle: str
    opa: Mapping[str, str]
    number: int
    of: int

    def plain(self) -> dict[str, Any]:
        """Where it stands, as JSON; the question and answer stand there."""
        return {
            "index": self.index,
            "leaf": self.leaf,
            "kind": self.kind,
            "subject": self.subject,
            "at": self.at,
            "document": self.document,
            "round": self.question.get("round", 0),
            "asking": self.number,
            "askings": self.of,
            "bundle": self.bundle,
            "opa": dict(self.opa),
        }

    @property
    def overruled(self) -> Mapping[str, Any] | None:
        """The standing the program recorded where it is not the answer's: its floor and its own checks only narrow."""
        standing = self.body.get("standing") if self.kind == "decision" and self.document == "decision" else None
        last = self.body["asked"][-1]["question"] == self.question
        return standing if last and standing and standing != self.answer.get("standing") else None


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
    """
    entries = sorted(entries, key=lambda entry: entry.index)
    asked = [(entry, item) for entry in entries if not entry.erased for item in entry.content().get("asked", ())]
    wanted = document or _usual([item for _, item in asked])
    found = [
        (entry, item)
        for entry, item in asked
        if item["document"] == wanted and round_ in (0, item["question"].get("round", 0))
    ]
    if not found:
        raise _nothing(entries, document)
    if asking > len(found):
        raise Absent("explain.none", f"there are {len(found)} such questions, not {asking}", hint=_CHAIN)
    number = asking or len(found)
    entry, item = found[number - 1]
    return Recorded(
        index=entry.index,
        leaf=entry.leaf_digest,
        kind=entry.kind,
        subject=entry.subject,
        at=entry.head.at,
        body=entry.content(),
        document=item["document"],
        question=item["question"],
        answer=item["answer"],
        bundle=item["bundle"],
        opa=item["opa"],
        number=number,
        of=len(found),
    )


def _usual(asked: Sequence[Mapping[str, Any]]) -> str:
    documents = [str(item["document"]) for item in asked]
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
