"""What OPA sent back: one usable answer, or the reason why there is none.

No answer is a denial, so everything that is not exactly what we asked for ends as `NoAnswer` with its own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson

from magistrate.core import canonical
from magistrate.core.errors import Malformed, NoAnswer
from magistrate.core.values import Document, parse

MAX_ANSWER: Final = canonical.MAX_RECORD  # an answer is recorded whole, in one entry
_PROVENANCE: Final = frozenset({"version", "build_commit", "build_timestamp", "build_hostname", "bundles"})
_NO_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"{}[]")))
_CODES: Final = {
    "input.duplicate_key": "opa.duplicate_key",
    "input.encoding": "opa.not_utf8",
    "input.too_large": "opa.too_large",
}

M = TypeVar("M", bound=Document)
M_co = TypeVar("M_co", bound="Document | None", covariant=True)


@dataclass(frozen=True, slots=True)
class Answer(Generic[M_co]):
    """One answer of one bundle; `raw` is canonical, `parsed` is its model where one was given."""

    raw: bytes
    value: dict[str, Any]
    parsed: M_co
    bundle: str
    opa_version: str


class Reader:
    """Reads answers of one sidecar: a fixed OPA version and a fixed set of bundles.

    The envelope's bytes hardly change: once read with care they are compared, and only the result is parsed. A body
    that is the known envelope around one whole JSON value holds nothing else, so nothing can hide from the careful way.
    """

    def __init__(self, version: str, revisions: Mapping[str, str], *, nested: int = 0) -> None:
        """`nested`: how many levels of ours lie around each answer, so that an answer may be as deep as ever."""
        self._version = version
        self._depth = canonical.MAX_DEPTH_RECORD + nested
        self._many = nested > 0
        self._bundles = {name: {"revision": revision} for name, revision in revisions.items()}
        self._envelope = b"\x00"  # no JSON begins so

    def result(self, status: int, body: bytes) -> dict[str, Any]:
        """Return the answer object.

        Raises:
            NoAnswer: whatever else was sent.
        """
        if status != 200:
            raise _failure(status, body)
        if body.startswith(self._envelope) and body.endswith(b"}\n"):
            try:
                result = body[len(self._envelope) : -2]
                value = (_quickly(result, self._depth) if self._many else None) or _load(result, self._depth)
            except NoAnswer:
                value = None  # the careful way says why
            if isinstance(value, dict):
                return value
        return self._read_carefully(body)

    def _read_carefully(self, body: bytes) -> dict[str, Any]:
        sent = _load(body, self._depth)
        if not isinstance(sent, dict):
            raise NoAnswer("opa.envelope", "OPA's response is not a JSON object")
        if "warning" in sent:
            raise NoAnswer("opa.warning", f"OPA answered with a warning: {_brief(sent['warning'])}")
        self.check_provenance(sent.get("provenance"))
        if unknown := sorted(sent.keys() - {"provenance", "result"}):
            raise NoAnswer("opa.envelope", f"OPA's response holds unknown fields: {_brief(unknown)}")
        if "result" not in sent:
            raise NoAnswer("opa.undefined", "the bundle gives no answer to this question")
        result = sent["result"]
        if result is None:
            raise NoAnswer("opa.null", "the bundle answers null")
        if not isinstance(result, dict):
            raise NoAnswer("opa.not_an_object", f"the bundle answers with a {type(result).__name__}, not an object")
        self._learn(body)
        return result

    def check_provenance(self, provenance: Any) -> None:
        """Return if the answer comes from the expected OPA and from exactly the expected bundles.

        Raises:
            NoAnswer: `opa.bundle` or `opa.version`.
        """
        if not isinstance(provenance, dict) or not provenance.keys() <= _PROVENANCE:
            raise NoAnswer("opa.bundle", "OPA does not say which bundle answered")
        if provenance.get("bundles") != self._bundles:
            raise NoAnswer(
                "opa.bundle", f"another bundle answered: {_brief(provenance.get('bundles'))}, not {self._bundles}"
            )
        if provenance.get("version") != self._version:
            raise NoAnswer("opa.version", f"OPA {_brief(provenance.get('version'))} answered, not {self._version}")

    def _learn(self, body: bytes) -> None:
        """Keep the envelope's bytes, if they end where the result begins."""
        head, mark, _ = body.partition(b',"result":')
        try:
            sent = _load(head + mark + b"0}")
        except NoAnswer:
            return
        if isinstance(sent, dict) and sent.keys() == {"provenance", "result"}:
            self.check_provenance(sent["provenance"])
            self._envelope = head + mark


def shaped(raw: bytes, model: type[M]) -> M:
    """Return the answer as its model.

    Raises:
        NoAnswer: `opa.answer_shape`, a field is missing, unknown or of the wrong type.
    """
    try:
        return parse(model, raw, code="opa.answer_shape")
    except Malformed as error:
        raise NoAnswer(error.code, f"the bundle's answer has not its shape: {error.detail}") from None


def _quickly(raw: bytes, depth: int) -> Any:
    """The value, if writing it again in the quick way gives these very bytes; None where only care can tell.

    Then no key stands twice and nothing is spelt otherwise. Brackets inside strings only make it seem deeper.
    """
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER) != raw:
            return None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    brackets = raw.translate(None, _NO_BRACKETS)
    for _ in range(depth // 2):  # each time one level goes, or two
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return value
    return None


def _load(raw: bytes, depth: int = canonical.MAX_DEPTH_RECORD) -> Any:
    try:
        return canonical.load(raw, limit=MAX_ANSWER + 4096, depth=depth)
    except Malformed as error:
        code = _CODES.get(error.code, "opa.not_json")
        raise NoAnswer(code, f"OPA's response cannot be read: {error.detail}") from None


def _failure(status: int, body: bytes) -> NoAnswer:
    """The reason behind a status that is not 200."""
    if status == 401:
        return NoAnswer("opa.unauthorized", "the sidecar does not know us: start the service again")
    errors = _errors(body)
    if status == 500 and errors:
        first = errors[0]
        place = first.get("location")
        where = f" ({place.get('file')}:{place.get('row')})" if isinstance(place, dict) else ""
        said = f"{_brief(first.get('code'))}: {_brief(first.get('message'))}"
        return NoAnswer("opa.eval_error", f"the bundle failed on this question: {said}{where}")
    return NoAnswer("opa.status", f"OPA answered with HTTP {status}")


def _errors(body: bytes) -> list[dict[str, Any]]:
    """OPA's own list of errors, empty when this is no such body."""
    try:
        sent = _load(body)
    except NoAnswer:
        return []
    listed = sent.get("errors") if isinstance(sent, dict) else None
    return [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:199] + "…"
