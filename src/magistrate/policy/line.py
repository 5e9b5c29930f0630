"""The line to one OPA: one question out, one usable answer back, or `NoAnswer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.core.values import Document
from magistrate.policy.answer import Answer, Reader, shaped
from magistrate.policy.client import REPLAY, Client

MAX_QUESTION: Final = canonical.MAX_RECORD


class Line:
    """Asks the OPA at `address`, which must be `version` and hold exactly `revisions`, one of them `bundle`'s."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        bundle: str,
        version: str,
        revisions: Mapping[str, str],
        deadline: float,
        connections: int,
        nested: int = 0,
    ) -> None:
        self._bundle = bundle
        self._version = version
        self._deadline = deadline
        self._reader = Reader(version, revisions)
        self._many = Reader(version, revisions, nested=nested)
        self._client = Client(address, token, connections=connections)

    async def ask(self, document: str, question: bytes, model: type[Document] | None = None) -> Answer[Any]:
        """Return the answer of `data.magistrate.<document>` to canonical question bytes.

        Raises:
            NoAnswer: in every other case; the code says which. No answer is a denial.
        """
        if len(question) > MAX_QUESTION:
            raise NoAnswer("opa.question_too_large", f"a question of {len(question)} bytes is not asked")
        status, body = await self._client.ask(document, question, self._deadline)
        value = self._reader.result(status, body)
        raw = canonical.canonical(value)
        if len(raw) > canonical.MAX_RECORD:
            raise NoAnswer("opa.too_large", f"an answer of {len(raw)} bytes cannot be recorded")
        return Answer(raw, value, None if model is None else shaped(raw, model), self._bundle, self._version)

    async def ask_many(self, questions: bytes) -> dict[str, Any]:
        """The answers to many questions in one query, as `policy.batches` puts them; all of them, or none.

        Raises:
            NoAnswer: as `ask`; one question's error is everybody's.
        """
        status, body = await self._client.ask(REPLAY, questions, self._deadline)
        return self._many.result(status, body)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._client.close_connection()
