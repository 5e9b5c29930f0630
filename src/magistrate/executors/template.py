"""From a catalogue row's template and a warrant's scope to one concrete call. Pure: nothing is looked up or sent here.

A value in a template is a literal or `{"from": POINTER}`; a pointer is plain segments into the context:
`/action`, `/target` (its name), `/target/…` (its row), `/parameters/…`, `/execution_id`, `/before/<probe>/…`. One value
fills one path segment, one query value, one JSON value or one argument, so no value can become more than itself.
What this page does not name is refused: an unknown key, a missing value, a list where one text belongs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from magistrate.core.canonical import canonical
from magistrate.core.errors import Malformed, Refused
from magistrate.executors.secret import Secret

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
ROOTS = frozenset({"action", "target", "parameters", "execution_id", "before"})
DEFAULT_SECONDS = 30
MAX_SECONDS = 3600
OURS = frozenset(  # headers that say how the call travels: never a template's
    {"host", "content-length", "content-encoding", "transfer-encoding", "connection", "upgrade", "expect", "te",
     "trailer", "accept-encoding", "idempotency-key", "cookie", "proxy-authorization", "user-agent", "content-type"}
)  # fmt: skip
_BASE = re.compile(r"(https?)://([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class HttpCall:
    """One HTTP request, whole but for its secrets. `json` is None when it has no body."""

    method: str
    scheme: str
    host: str  # as it stands in the row: the name TLS and Host speak of
    port: int
    path: str  # encoded
    query: str  # encoded
    headers: tuple[tuple[str, str | Secret], ...]
    json: Any
    timeout_seconds: float


@dataclass(frozen=True)
class CommandCall:
    """One program to run, whole but for its secrets."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str | Secret], ...]
    user: str
    timeout_seconds: float


Call = HttpCall | CommandCall


def fill(template: Mapping[str, Any], context: Mapping[str, Any], secret_parameters: Collection[str] = ()) -> Call:
    """Return the one call that `template` means in `context`.

    `context` is `{action, target: {"": name, …its row}, parameters, execution_id, before?}`. A parameter named in
    `secret_parameters` says `secret:NAME`, and can stand only where a secret can.

    Raises:
        Malformed: `executor.template` the template is not one we read; `pointer` says where.
        Refused: `executor.value` a value is missing, or may not stand where the template puts it.
    """
    kind = template.get("kind")
    source = _Source(context, frozenset(secret_parameters))
    if kind == "http":
        return _http(template, source)
    if kind != "command":
        _bad("/kind", "neither http nor command")
    return _command(template, source)


def _http(template: Mapping[str, Any], source: _Source) -> HttpCall:
    _only(template, {"kind", "method", "base", "path", "query", "json", "headers", "timeout_seconds"})
    method = template.get("method")
    if not isinstance(method, str) or method not in METHODS:
        _bad("/method", "not a method we send")
    if "json" in template and method == "GET":
        _bad("/json", "a GET has no body")
    scheme, host, port = _base(template.get("base"))
    segments = _list(template, "path")
    path = "".join("/" + _segment(part, source, f"/path/{n}") for n, part in enumerate(segments)) or "/"
    query = "&".join(
        f"{quote(name, safe='')}={quote(source.text(value, f'/query/{name}'), safe='')}"
        for name, value in sorted(_object(template, "query").items())
    )
    headers = tuple(_header(name, value, source) for name, value in sorted(_object(template, "headers").items()))
    body = source.json(template["json"], "/json") if "json" in template else None
    return HttpCall(method, scheme, host, port, path, query, headers, body, _seconds(template))


def _command(template: Mapping[str, Any], source: _Source) -> CommandCall:
    _only(template, {"kind", "argv", "env", "user", "timeout_seconds", "allow_dash"})
    argv = _list(template, "argv")
    if not argv or not isinstance(argv[0], str) or not argv[0].startswith("/"):
        _bad("/argv/0", "the program is a literal, absolute path")
    user, dash = template.get("user", ""), template.get("allow_dash", False)
    if not isinstance(user, str):
        _bad("/user", "not a text")
    if not isinstance(dash, bool):
        _bad("/allow_dash", "neither true nor false")
    words = tuple(_argument(part, source, f"/argv/{n}", allow_dash=dash) for n, part in enumerate(argv))
    env = tuple(_variable(name, value, source) for name, value in sorted(_object(template, "env").items()))
    return CommandCall(words, env, user, _seconds(template))


class _Source:
    """Where values come from."""

    def __init__(self, context: Mapping[str, Any], secret_parameters: frozenset[str]) -> None:
        self._context = context
        self._secret_parameters = secret_parameters

    def text(self, value: Any, where: str) -> str:
        """One scalar as text without control characters; a secret cannot be one."""
        found = self.read(value, where)
        if isinstance(found, Secret):
            _no(where, "a secret may not stand here")
        if isinstance(found, bool | int | float):
            return canonical(found).decode()
        if not isinstance(found, str):
            _no(where, "only a text, a number or a truth value may stand here")
        if _UNPRINTABLE.search(found):
            _no(where, "it holds a control character or half a character")
        return found

    def text_or_secret(self, value: Any, where: str) -> str | Secret:
        """As `text`, or a secret."""
        found = self.read(value, where)
        return found if isinstance(found, Secret) else self.text(found, where)

    def json(self, value: Any, where: str) -> Any:
        """A JSON value, every reference in it filled."""
        found = self.read(value, where)
        if found is not value or isinstance(found, Secret):
            return found  # what came from the context is a value, never a template
        if isinstance(found, Mapping):
            return {name: self.json(inner, f"{where}/{name}") for name, inner in found.items()}
        if isinstance(found, list | tuple):
            return [self.json(inner, f"{where}/{n}") for n, inner in enumerate(found)]
        return found

    def read(self, value: Any, where: str) -> Any:
        """What a literal, a `from` or a `secret` stands for."""
        if not isinstance(value, Mapping):
            return value
        if "from" in value:
            if set(value) != {"from"}:
                _bad(where, "beside `from` stands nothing")
            return self._find(value["from"], where)
        if "secret" in value:
            if not set(value) <= {"secret", "prefix"}:
                _bad(where, "beside `secret` stands only `prefix`")
            return _secret(value["secret"], value.get("prefix", ""), where)
        return value

    def _find(self, pointer: Any, where: str) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("/") or "~" in pointer:
            _bad(where, "`from` is a pointer of plain segments")
        steps = pointer.split("/")[1:]
        if steps[0] not in ROOTS or "" in steps:
            _bad(where, f"`from` starts with one of {', '.join(sorted(ROOTS))}")
        found: Any = self._context
        for step in [*steps, ""] if steps == ["target"] else steps:
            found = _step(found, step)
        if found is None:
            _no(where, f"there is no value at {pointer}")
        if steps[0] == "parameters" and len(steps) == 2 and steps[1] in self._secret_parameters:
            if not isinstance(found, str) or not found.startswith("secret:"):
                _no(where, "the parameter accepts only secret:NAME")
            return _secret(found.removeprefix("secret:"), "", where)
        return found


def _step(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list | tuple) and step.isascii() and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    return None


def _secret(name: Any, prefix: Any, where: str) -> Secret:
    if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
        _no(where, "not the name of a secret")
    if not isinstance(prefix, str) or _UNPRINTABLE.search(prefix):
        _bad(where, "`prefix` is a literal text")
    return Secret(name, prefix)


def _base(base: Any) -> tuple[str, str, int]:
    """The scheme, host and port: a literal, without user, path or query."""
    match = _BASE.fullmatch(base) if isinstance(base, str) else None
    if match is None:
        _bad("/base", "not a literal http(s)://host[:port]")
    scheme, host, port = match.groups()
    number = int(port) if port else {"http": 80, "https": 443}[scheme]
    if not 0 < number < 65536:
        _bad("/base", "no such port")
    return scheme, host.strip("[]").lower(), number


def _segment(part: Any, source: _Source, where: str) -> str:
    """One encoded path segment. Some servers decode `%2F` and `%2e` before they route, so encoding would not do."""
    text = source.text(part, where)
    if text in ("", ".", "..") or "/" in text or "\\" in text:
        _no(where, "it would not be one path segment")
    return quote(text, safe="")


def _header(name: str, value: Any, source: _Source) -> tuple[str, str | Secret]:
    where = f"/headers/{name}"
    if not _HEADER.fullmatch(name) or name.lower() in OURS:
        _bad(where, "not a header a template may set")
    if isinstance(value, str):
        found: str | Secret = source.text(value, where)
    else:
        found = source.read(value, where)
        if not isinstance(found, Secret):
            _bad(where, "a header is a literal or a secret")
    if isinstance(found, str) and not found.isascii():
        _bad(where, "a header is ASCII")
    return name, found


def _argument(part: Any, source: _Source, where: str, *, allow_dash: bool) -> str:
    text = source.text(part, where)
    if isinstance(part, Mapping) and text.startswith("-") and not allow_dash:
        _no(where, "it begins with a dash and would be read as an option")
    return text


def _variable(name: str, value: Any, source: _Source) -> tuple[str, str | Secret]:
    where = f"/env/{name}"
    if not _VARIABLE.fullmatch(name) or name.startswith("LD_"):
        _bad(where, "not a variable a template may set")
    return name, source.text_or_secret(value, where)


def _seconds(template: Mapping[str, Any]) -> float:
    value = template.get("timeout_seconds", DEFAULT_SECONDS)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        _bad("/timeout_seconds", f"not a number of seconds up to {MAX_SECONDS}")
    return float(value)


def _only(template: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(template) - known):
        _bad(f"/{unknown[0]}", "unknown key")


def _object(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = template.get(name, {})
    if not isinstance(found, Mapping):
        _bad(f"/{name}", "not an object")
    return found


def _list(template: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = template.get(name, [])
    if not isinstance(found, list | tuple):
        _bad(f"/{name}", "not a list")
    return found


def _bad(pointer: str, why: str) -> NoReturn:
    raise Malformed("executor.template", f"the template cannot be read: {why}", pointer=pointer)


def _no(pointer: str, why: str) -> NoReturn:
    """The value itself is not repeated: it may be anything."""
    raise Refused("executor.value", f"the call cannot be made: {why}", pointer=pointer)
