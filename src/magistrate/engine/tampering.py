"""Tampering: an entry or a bundle is not what was committed. What was changed, and where?

A commitment is a hash, so it does not say what changed. But it proves a guess: whoever can restore the very body that
was committed to knows what it was. Two guesses are worth making: that only an answer was changed (then the bundle,
asked again, gives it back), and that a single byte was (there are few such bodies).
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from magistrate.core import canonical
from magistrate.core.entry import MAX_BODY, Entry, body_commit
from magistrate.core.errors import Broken, MagistrateError, Malformed
from magistrate.core.recorded import Recorded, recorded
from magistrate.core.replay import (
    Difference,
    Finding,
    difference,
    differences,
    restorations,
)
from magistrate.core.values import thaw
from magistrate.policy.batches import Said
from magistrate.policy.bundle import Bundle

Ask = Callable[[Recorded], Awaitable[Said]]


def kept_rows(entry: Entry) -> list[Recorded]:
    """What questions a changed entry still seems to keep."""
    try:
        return recorded(entry)
    except MagistrateError:
        return []


async def where(
    entry: Entry, broken: Broken, rows: Sequence[Recorded], intent: Entry | None, ask: Ask, *, search: bool
) -> Finding:
    """What was changed in an entry that does not hold together; `search` for one byte, which takes seconds."""
    leaf = entry.leaf_digest
    if broken.code != "ledger.body" or entry.body is None or entry.salt is None:
        return Finding("replay.header_changed", entry.index, leaf, "", broken.detail)
    # 1. only answers: the bundle gives them back. 2. the intent: it stands in an entry of its own as well
    found = await _answers(entry, rows, ask) or _intents(entry, rows, intent)
    if found is not None:
        return found
    # 3. one byte
    restored = await asyncio.to_thread(lambda: next(restorations(entry), None)) if search else None
    if restored is not None:
        return _byte(entry, restored, rows)
    if rows:  # its answers are not the change, so what was asked is, or what stands beside it
        detail = "the stored question, or what stands beside it, was changed"
        return Finding("replay.input_changed", entry.index, leaf, rows[0].document, detail, rows[0].pointer)
    return Finding("replay.body_changed", entry.index, leaf, "", "the stored body is not the one committed to")


async def _answers(entry: Entry, rows: Sequence[Recorded], ask: Ask) -> Finding | None:
    """The body with the answers its questions get now is the committed one: nothing but answers was changed."""
    told: dict[int, dict[str, Any]] = {}
    for row in rows:
        said = await ask(row)
        if not isinstance(said, dict):
            return None
        told[row.place] = said
    for restored in _restored(entry, told) if told else ():
        if _committed(entry, canonical.canonical(restored)):
            return _answer(entry, restored, rows)
    return None


def _restored(entry: Entry, told: Mapping[int, dict[str, Any]]) -> Iterator[Any]:
    """The body with these answers; then also with what else an entry keeps of the last of them."""
    body = copy.deepcopy(entry.content())
    for place, said in told.items():
        body["asked"][place]["answer"] = said
    yield body
    last = told[max(told)]
    body = copy.deepcopy(body)
    for kept in (body, *(part for part in body.values() if isinstance(part, dict))):
        kept.update({name: value for name, value in last.items() if name in kept})
    yield body


def _answer(entry: Entry, restored: Any, rows: Sequence[Recorded]) -> Finding | None:
    changed = list(differences(restored, entry.content()))
    if not changed:
        return None
    first = next((one for one in changed if _part(one.pointer) == "answer"), changed[0])
    document = next((row.document for row in rows if first.pointer.startswith(row.pointer)), rows[-1].document)
    detail = "the stored answer was changed; the one committed to is known again"
    where_ = (first.pointer, first.recorded, first.now)
    return Finding("replay.answer_changed", entry.index, entry.leaf_digest, document, detail, *where_)


def _committed(entry: Entry, body: bytes) -> bool:
    assert entry.salt is not None  # noqa: S101 - `where` looked
    try:
        return body_commit(entry.salt, body) == entry.head.body_commit
    except (ValueError, Malformed):
        return False


def _byte(entry: Entry, restored: bytes, rows: Sequence[Recorded]) -> Finding:
    """One byte was changed, and we know which."""
    assert entry.body is not None  # noqa: S101 - `where` looked
    place = next(i for i, (one, two) in enumerate(zip(restored, entry.body, strict=True)) if one != two)
    detail = f"byte {place} of the body was {restored[place : place + 1]!r} and is {entry.body[place : place + 1]!r}"
    try:
        found = difference(_loaded(restored), _loaded(entry.body))
    except Malformed:  # it is no JSON any more
        found = Difference(_pointer_at(restored, place), "", "")
    pointer = found.pointer if found else ""
    document = next((row.document for row in rows if pointer.startswith(row.pointer)), "")
    code = {"question": "input", "answer": "answer"}.get(_part(pointer), "body")
    recorded_, now = (found.recorded, found.now) if found else ("", "")
    return Finding(f"replay.{code}_changed", entry.index, entry.leaf_digest, document, detail, pointer, recorded_, now)


def _intents(entry: Entry, rows: Sequence[Recorded], intent: Entry | None) -> Finding | None:
    """Where a question's intent is not the one its chain began with."""
    for row in rows:
        if intent is None or "intent" not in row.question:
            continue
        found = difference(_intent(intent), row.question["intent"])
        if found is not None:
            pointer = f"{row.pointer}/question/intent{found.pointer}"
            detail = f"the stored question is about another intent than entry {intent.index}"
            said = (found.recorded, found.now)
            return Finding("replay.input_changed", entry.index, entry.leaf_digest, row.document, detail, pointer, *said)
    return None


def _intent(entry: Entry) -> Any:
    body = entry.content()
    return body.get("intent", body) if isinstance(body, dict) else body


def _loaded(raw: bytes) -> Any:
    return canonical.load(raw, limit=MAX_BODY, depth=canonical.MAX_DEPTH_RECORD)


def _part(pointer: str) -> str:
    steps = pointer.split("/")
    return steps[3] if len(steps) > 3 and steps[1] == "asked" else ""


def _pointer_at(body: bytes, place: int) -> str:
    """Which value of canonical JSON a byte lies in: cut there, the last keys opened are the way to it."""
    steps: list[str] = []
    text, at, key = body.decode("utf-8", "replace"), 0, ""
    scan = json.decoder.scanstring  # type: ignore[attr-defined]  # the one JSON string reader there is
    limit = len(body[:place].decode("utf-8", "replace"))
    while at < limit:
        mark = text[at]
        at += 1
        if mark == '"':
            key, at = scan(text, at, True)
            if at <= limit and text[at : at + 1] == ":" and steps:
                steps[-1] = str(key).replace("~", "~0").replace("/", "~1")
        elif mark in "{[":
            steps.append("0" if mark == "[" else "")
        elif mark in "}]":
            steps.pop()
        elif mark == "," and steps and steps[-1].isdigit() and _in_list(text, at):
            steps[-1] = str(int(steps[-1]) + 1)
    return "".join(f"/{step}" for step in steps)


def _in_list(text: str, at: int) -> bool:
    """Whether the comma before `at` divides a list: in an object a key follows."""
    if text[at : at + 1] != '"':
        return True
    _, end = json.decoder.scanstring(text, at + 1, True)  # type: ignore[attr-defined]  # as above
    return text[end : end + 1] != ":"


# -- bundles


def changed_bundle(path: Path, digest: str, reference: Callable[[str], Bundle | None]) -> Finding:
    """A bundle's file has other bytes than its digest names: damaged, or another bundle, and in which file of it."""
    try:
        other = Bundle.read(path.read_bytes())
    except (MagistrateError, OSError) as error:
        return Finding("replay.bundle_changed", 0, "", "", f"{path.name} is damaged: {error}")
    sound = reference(digest)
    if sound is None:
        detail = f"{path.name} holds the bundle {other.digest}; no sound copy is here to say where they differ"
        return Finding("replay.bundle_data_changed", 0, "", "", detail)
    data = difference(thaw(sound.data), thaw(other.data))
    if data is not None:
        detail = f"{path.name} holds other data than the bundle that answered"
        pointer = f"/data.json#{data.pointer}"
        return Finding("replay.bundle_data_changed", 0, "", "", detail, pointer, data.recorded, data.now)
    names = sorted(sound.files.keys() | other.files.keys())
    changed = [name for name in names if sound.files.get(name) != other.files.get(name)]
    where_ = ", ".join(changed) if changed else "its packing only"
    return Finding(
        "replay.bundle_changed", 0, "", "", f"{path.name} was changed: {where_}", changed[0] if changed else ""
    )
