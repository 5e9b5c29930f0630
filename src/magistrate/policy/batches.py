"""Recorded questions, many in one query, of OPAs that no live decision depends on.

A second bundle with a root of its own maps questions to the five documents, so that one request carries many. What it
answers for a question is what the question asked alone gets: whatever is not one plain answer (an error anywhere in
the batch, silence, a document without a value) is found by halving, and in the end asked alone the ordinary way. So an
error hurts only its own question.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from magistrate.core.errors import NoAnswer
from magistrate.policy import authz
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.canaries import SILENCE
from magistrate.policy.client import DOCUMENTS
from magistrate.policy.line import MAX_QUESTION
from magistrate.policy.sidecar import Sidecar

NAME: Final = "replay"
MOST: Final = 64  # questions in one query: more gains little and makes a failing batch dearer (measured)
MOST_BYTES: Final = MAX_QUESTION // 2  # what a request may carry is what one question may be
SECONDS: Final = 60.0  # a replay waits longer than a gate: how long an answer took is no part of it
TRIES: Final = 3  # of a question alone, where OPA broke off: it may have been restarted meanwhile
GIVE_UP: Final = 3  # questions of a document in a row that ran out of time, asked alone: it is asked no more
GIVEN_UP: Final = "opa.given_up"
LATE: Final = "opa.timeout"
_AHEAD: Final = 2  # batches on their way to one OPA, so that it never waits for us
_NESTED: Final = 3  # {"decision": [[answer]]}

# The inner comprehension is what makes this quick: it ends the evaluation of an answer before the next begins. With
# `answer := data.magistrate.decision with input as question` OPA unwinds each answer after its `with` has gone, on an
# empty cache, and evaluates most of it a second time (measured: 157 rules instead of 81).
_RULE: Final = """package magistrate_replay

answers := {{
{lines}
}}
"""
_LINE: Final = (
    '\t"{0}": [answer | some question in input.{0}; '
    "answer := [value | value := data.magistrate.{0}] with input as question],"
)

Question: TypeAlias = tuple[str, bytes]  # document, canonical bytes
Said: TypeAlias = "dict[str, Any] | NoAnswer"


class ReplaySidecar(Sidecar):
    """A sidecar that also takes many questions at once.

    There is one for each core, so each runs on one (a second thread would only look for garbage beside the others'
    work), and is given memory instead of collecting garbage often.
    """

    nested = _NESTED

    def __init__(self, binary: Binary, bundle: Bundle, *, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(binary, bundle, deadline=SECONDS, connections=_AHEAD, memory="512MiB")
        self._more = {"GOGC": "800", "GOMAXPROCS": "1", **(environment or {})}
        self._revisions[NAME] = secrets.token_hex(16)

    async def ask_many(self, questions: Sequence[Question]) -> list[list[Any]]:
        """For each question the list of its one answer, or an empty one where the document has no value.

        Raises:
            NoAnswer: one of them failed, or the batch is more than a request carries.
        """
        if self._line is None:
            raise NoAnswer("opa.refused", "the sidecar is not running")
        said = await self._line.ask_many(_packed(questions))
        try:
            rows = {document: iter(said[document]) for document in DOCUMENTS}
            return [next(rows[document]) for document, _ in questions]
        except (KeyError, TypeError, StopIteration):
            raise NoAnswer("opa.answer_shape", "the answers to a batch have not their shape") from None

    def _furnish(self, folder: Path) -> None:
        authz.write(folder, self._token, self._revisions[authz.NAME], (*authz.PATHS, "magistrate_replay/answers"))
        home = folder / NAME
        home.mkdir(mode=0o700)
        manifest = {"roots": ["magistrate_replay"], "rego_version": 1, "revision": self._revisions[NAME]}
        (home / ".manifest").write_text(json.dumps(manifest), "utf-8")
        lines = "\n".join(_LINE.format(document) for document in DOCUMENTS)
        (home / "replay.rego").write_text(_RULE.format(lines=lines), "utf-8")

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self._more}


class Batches:
    """Several OPAs that hold one bundle and share its recorded questions."""

    def __init__(
        self,
        binary: Binary,
        bundle: Bundle,
        *,
        opas: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`opas`: how many, one for each core (at most four) when 0. `environment` is added to OPA's own: its zone."""
        count = opas or min(4, len(os.sched_getaffinity(0)))
        self._sidecars = [ReplaySidecar(binary, bundle, environment=environment) for _ in range(count)]
        self._free: asyncio.Queue[ReplaySidecar] = asyncio.Queue()
        self._late: Counter[str] = Counter()  # by document: its questions in a row that ran out of time

    @property
    def wide(self) -> int:
        """How many batches may be on their way at once."""
        return _AHEAD * len(self._sidecars)

    @property
    def pids(self) -> list[int]:
        """The processes of these OPAs."""
        return [sidecar.pid for sidecar in self._sidecars]

    async def start(self) -> None:
        """Return when every OPA answers.

        However it ends otherwise, be it that nobody waits any more, none is left running.

        Raises:
            Unavailable, NoAnswer: one of them does not.
        """
        try:
            async with asyncio.TaskGroup() as starts:
                for sidecar in self._sidecars:
                    starts.create_task(sidecar.start())
        except BaseException as failed:
            await self.stop()
            if isinstance(failed, BaseExceptionGroup):
                raise failed.exceptions[0] from None
            raise
        for sidecar in self._sidecars * _AHEAD:
            self._free.put_nowait(sidecar)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End them all."""
        await asyncio.gather(*(sidecar.stop() for sidecar in self._sidecars))

    async def ask(self, questions: Sequence[Question]) -> list[Said]:
        """The answer to each question, or the reason why it has none, as if each had been asked alone.

        At most `MOST` questions of at most `MOST_BYTES` together go well; one of any size always does. Once `GIVE_UP`
        of a document in a row ran out of time, no other of it is asked: each has `opa.given_up` for its reason. So a
        bundle that answers nothing in time is left after `SECONDS` for a batch and as long for each of those questions.
        """
        sidecar = await self._free.get()
        try:
            return await self._asked(sidecar, questions)
        finally:
            self._free.put_nowait(sidecar)

    async def _asked(self, sidecar: ReplaySidecar, questions: Sequence[Question]) -> list[Said]:
        left = {document for document, late in self._late.items() if late >= GIVE_UP}
        kept = [question for question in questions if question[0] not in left]
        if kept and len(kept) < len(questions):
            told = iter(await self._asked(sidecar, kept))
            return [_given_up(document) if document in left else next(told) for document, _ in questions]
        if len(questions) == 1 or not kept:
            return [await self._alone(sidecar, question) for question in questions]
        try:
            said = await sidecar.ask_many(questions)
        except NoAnswer as none:
            if none.code == LATE:  # halving would wait as long again at each step: whoever is slow is seen alone
                return [await self._alone(sidecar, question) for question in questions]
            half = len(questions) // 2
            return [*await self._asked(sidecar, questions[:half]), *await self._asked(sidecar, questions[half:])]
        for document, _ in questions:
            self._late[document] = 0
        return [
            one[0] if len(one) == 1 and isinstance(one[0], dict) else await self._alone(sidecar, question)
            for one, question in zip(said, questions, strict=True)
        ]

    async def _alone(self, sidecar: ReplaySidecar, question: Question) -> Said:
        document = question[0]
        if self._late[document] >= GIVE_UP:
            return _given_up(document)
        said = await _alone(sidecar, *question)
        late = isinstance(said, NoAnswer) and said.code == LATE
        self._late[document] = self._late[document] + 1 if late else 0
        return said


def _given_up(document: str) -> NoAnswer:
    return NoAnswer(GIVEN_UP, f"{GIVE_UP} questions of {document} in a row ran out of time; it was not asked")


async def _alone(sidecar: ReplaySidecar, document: str, question: bytes) -> Said:
    """One question the ordinary way: what it says here is what counts."""
    attempt = 1
    while True:
        try:
            return (await sidecar.ask(document, question)).value
        except NoAnswer as none:
            if none.code not in SILENCE or none.code == LATE or attempt == TRIES:
                return none
        await asyncio.sleep(0.2 * attempt)
        attempt += 1


def _packed(questions: Sequence[Question]) -> bytes:
    """The questions by document, each document's in order; a document nobody asks has none."""
    by_document: dict[str, list[bytes]] = {document: [] for document in DOCUMENTS}
    for document, question in questions:
        by_document[document].append(question)
    rows = (b'"%s":[%s]' % (document.encode(), b",".join(rows)) for document, rows in by_document.items())
    return b"{" + b",".join(rows) + b"}"
