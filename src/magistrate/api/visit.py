"""One authenticated request on its way through the porch, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from magistrate.api.auth import Authenticator
from magistrate.api.metrics import Metrics
from magistrate.core import canonical
from magistrate.core.errors import Absent
from magistrate.engine import access
from magistrate.engine.foresight import Foresight
from magistrate.engine.installation import Asked, Installation, Principal, Word
from magistrate.engine.setup import Setup
from magistrate.store import Row

WIDE = ("operator", "auditor")  # who may be shown more than their own chain; everybody else reads it as unknown


@dataclass
class Porch:
    """What every request needs."""

    house: Installation
    setup: Setup
    auth: Authenticator
    metrics: Metrics
    begun: Callable[[], Awaitable[None]]
    leave: Callable[[], None]
    folder: Path | None = None  # the data folder
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0
    replaying: bool = False
    foresight: Foresight = field(init=False)

    def __post_init__(self) -> None:
        self.foresight = Foresight(self.house, self.folder)


@dataclass
class Visit:
    """A request whose sender is known (`principal` is nobody on the few open routes)."""

    porch: Porch
    request: Request
    fields: Mapping[bytes, bytes]
    raw: bytes
    route: str
    principal: Principal
    shown: str = ""
    asked: Asked | None = None  # the access question that let this request act

    @property
    def house(self) -> Installation:
        return self.porch.house

    @property
    def method(self) -> str:
        return str(self.request.scope["method"])

    @property
    def path(self) -> str:
        return str(self.request.scope["path"])

    @property
    def wide(self) -> bool:
        """Whether the caller may be shown chains that are not their own."""
        return self.principal.type in WIDE

    def param(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.scope["path_params"][name])

    async def hold(self, verb: str, *, relation: str = "none", type_: str = "", id_: str = "") -> Asked | None:
        """Return if Rego lets the caller; see `access.hold`."""
        self.asked = await access.hold(self.house, self.principal, verb, relation=relation, type_=type_, id_=id_)
        return self.asked

    def word(self, reason: str) -> Word:
        """The caller's own act, with the question that allowed it."""
        return Word(self.principal.id, reason, self.asked)

    async def held(self, verb: str, type_: str, id_: str, row: Row | None, owner: str, absent: Absent) -> Row:
        """The row, if the caller may do this to it.

        What is not the caller's own reads as unknown to all but operators and auditors; to those, Rego speaks before
        it is said whether the thing exists.

        Raises:
            Absent: no such thing, or a foreign one.
            Refused: Rego's reason says why.
        """
        own = row is not None and owner == self.principal.id
        if not own and not self.wide:
            raise absent
        await self.hold(verb, relation="own" if own else "foreign", type_=type_, id_=id_)
        if row is None:
            raise absent
        return row


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One route: how it is found, what it takes, and what it answers."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: tuple[tuple[int, str], ...] = ((200, ""),)  # status, and what it is
    body: tuple[str, ...] = ()  # names of schemas; none: no body
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    open: bool = False  # no credential
    early: bool = False  # answers before genesis
    empty: bool = False  # the body may be left out
    most: int = canonical.MAX_INPUT  # bytes of a body
    media: str = "application/json"
    extra: Mapping[str, Any] = field(default_factory=dict)
