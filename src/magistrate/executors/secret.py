"""Secrets: named in templates and calls, resolved at the last moment, taken out of everything that comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from magistrate.core.errors import Refused, Unavailable

REDACTED = "[secret]"


@dataclass(frozen=True)
class Secret:
    """The name of a secret where its value will stand. `prefix` is a literal before it, such as `Bearer `."""

    name: str
    prefix: str = ""


class Purse:
    """The secrets one call has used: hands out values, and knows what to strike from what comes back."""

    def __init__(self, secret: Callable[[str], str], allowed: Collection[str] | None = None) -> None:
        self._secret = secret
        self._allowed = allowed
        self._forms: set[str] = set()

    def __repr__(self) -> str:
        return f"Purse({len(self._forms)} forms)"

    def value(self, secret: Secret) -> str:
        """The secret's value behind its prefix.

        Raises:
            Refused: `executor.secret` the row may not use it.
            Unavailable: `executor.secret` no such secret here, or none that can be sent.
        """
        if self._allowed is not None and secret.name not in self._allowed:
            raise Refused("executor.secret", f"the catalogue row does not list the secret {secret.name!r}")
        try:
            value = self._secret(secret.name)
            value.encode()
        except (LookupError, UnicodeEncodeError):
            value = ""
        if not value:
            raise Unavailable("executor.secret", f"the secret {secret.name!r} cannot be had here")
        self._forms |= _forms(value)
        return secret.prefix + value

    def filled(self, value: Any) -> Any:
        """A JSON value with every `Secret` in it resolved."""
        if isinstance(value, Secret):
            return self.value(value)
        if isinstance(value, Mapping):
            return {key: self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(inner) for inner in value]
        return value

    def redacted(self, value: Any) -> Any:
        """A JSON value or text without any secret handed out so far, in any of its usual spellings."""
        if isinstance(value, str):
            for form in sorted(self._forms, key=len, reverse=True):
                value = value.replace(form, REDACTED)
            return value
        if isinstance(value, Mapping):
            return {self.redacted(key): self.redacted(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.redacted(inner) for inner in value]
        return value


def _forms(value: str) -> set[str]:
    """The spellings in which a careless program echoes a secret."""
    raw = value.encode()
    packed = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    written = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
    return {value, raw.hex()} | packed | {text.rstrip("=") for text in packed} | written | quoted
