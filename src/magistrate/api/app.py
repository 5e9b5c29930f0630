"""The application: every route through one way in, every fault out as a problem document.

A request passes, in this order; the first no answers:

1. its header fields stand once, and it was sent to a name of ours;
2. the installation has begun;
3. its body arrives whole, in time and under the cap;
4. its sender is known;
5. a body says that it is JSON.

Bytes go on to the engine as they came: parsing is the engine's.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final

import uuid_utils
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magistrate.api import (
    bundles,
    describe,
    events,
    executions,
    health,
    intents,
    people,
    problems,
    pulling,
    records,
    replays,
    warrants,
    wire,
)
from magistrate.api.auth import Authenticator
from magistrate.api.metrics import Metrics
from magistrate.api.nonces import leave, take_up
from magistrate.api.visit import Endpoint, Porch, Visit
from magistrate.core.errors import Broken, MagistrateError, Malformed, Unauthenticated, Unavailable
from magistrate.engine.installation import Installation, Principal
from magistrate.engine.setup import Setup
from magistrate.keys.nonces import NonceMemory

NOBODY: Final = Principal("", "", "none")
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"})
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
# What is asked most often stands first: routes are looked through in order.
ENDPOINTS: Final = (
    *intents.ENDPOINTS,
    *executions.ENDPOINTS,
    *warrants.ENDPOINTS,
    *people.ENDPOINTS,
    *records.ENDPOINTS,
    *bundles.ENDPOINTS,
    *pulling.ENDPOINTS,
    *replays.ENDPOINTS,
    *events.ENDPOINTS,
    *health.ENDPOINTS,
)
_REQUEST_ID: Final = re.compile(rb"[!-~](?:[ -~]{0,126}[!-~])?")

log = logging.getLogger("magistrate.api")


def create(
    house: Installation,
    setup: Setup,
    *,
    begun: Callable[[], Awaitable[None]] | None = None,
    nonces: NonceMemory | None = None,
    folder: Path | None = None,
    authorities: Collection[str] = (),
) -> FastAPI:
    """The application over an open installation.

    `begun` is awaited once the first operator has begun the ledger. `nonces` is the memory of signed requests; without
    one it is taken up from `folder`, where an orderly stop leaves it. With neither, each start but the first refuses
    for some seconds what may have been signed before it. `authorities` are names this service answers to beside its
    own address: that of a proxy, or of its certificate.
    """
    memory = nonces if nonces is not None else take_up(folder, fresh=house.store.size == 0, now=house.now())
    auth = Authenticator(house, memory, authorities)
    porch = Porch(house, setup, auth, Metrics(), begun or _nothing, lambda: leave(folder, memory), folder)
    app = FastAPI(
        title="Magistrate",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
    )
    for endpoint in ENDPOINTS:
        app.router.routes.append(_Route(porch, endpoint))
    app.add_exception_handler(HTTPException, _no_route)
    app.add_middleware(_Envelope, porch=porch)
    app.state.porch = porch
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _nothing() -> None:
    return


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe.openapi(app)
    return app.openapi_schema


class _Route(APIRoute):
    """A route whose handler gets the request as it is: nothing is parsed or validated on the way."""

    def __init__(self, porch: Porch, endpoint: Endpoint) -> None:
        async def answer(request: Request) -> Response:
            return await _answered(porch, endpoint, request)

        super().__init__(
            endpoint.path,
            answer,
            methods=[endpoint.method],
            name=endpoint.handler.__name__,
            summary=endpoint.summary,
            operation_id=f"{endpoint.method.lower()} {endpoint.path}".replace("/", "_").strip("_"),
            status_code=endpoint.answers[0][0],
            response_model=None,
            openapi_extra=describe.operation(endpoint),
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await answer(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = app


async def _answered(porch: Porch, endpoint: Endpoint, request: Request) -> Response:
    """The answer of a route, or the problem document of what went wrong."""
    try:
        return await endpoint.handler(await _received(porch, endpoint, request))
    except MagistrateError as error:
        _noted(porch, error)
        return problems.problem(error)


async def _received(porch: Porch, endpoint: Endpoint, request: Request) -> Visit:
    # 1.
    found = wire.fields(request)
    porch.auth.authority(request, found)
    # 2.
    if not endpoint.early and not porch.setup.done:
        raise Unavailable(
            "setup.required", "no operator has set this up yet", hint="magistrate operators setup CODE --id ID"
        )
    # 3.
    raw = await wire.body(request, found, endpoint.most)
    # 4.
    principal, shown = (NOBODY, "") if endpoint.open else porch.auth.principal(request, found, raw)
    # 5.
    if endpoint.body and (raw or not endpoint.empty):
        wire.hold_json(found)
    return Visit(porch, request, found, raw, endpoint.path, principal, shown)


def _noted(porch: Porch, error: MagistrateError) -> None:
    """Failed authentication and parsing are counted, never recorded; what is broken here is for the log."""
    if isinstance(error, Unauthenticated):
        porch.metrics.count("unauthenticated_total", kind=error.code.partition(".")[0])
    elif isinstance(error, Malformed):
        porch.metrics.count("malformed_total")
    elif isinstance(error, Broken) and problems.status_of(error) == 500:
        log.error("broken: %s", error)


async def _no_route(_: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a method a path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    if error.status_code == 405:
        return problems.plain(405, "route.method", "this path has no such method", error.headers)
    return problems.plain(error.status_code, "route.unknown", "there is no such path")


class _Envelope:
    """What every answer carries: a request id and security headers; and no fault leaves as a stack trace."""

    def __init__(self, app: ASGIApp, porch: Porch) -> None:
        self._app = app
        self._porch = porch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        said_id = request_id.decode("ascii")
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = list(message["headers"])
                names = {name for name, _ in given}
                given += [header for header in HEADERS if header[0] not in names]
                message["headers"] = [*given, (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            log.exception("fault while answering request %s", said_id)
            if status:
                raise  # half an answer cannot be taken back: the connection is cut
            fault = problems.plain(500, "internal", f"something broke here; the log says what, under {said_id}")
            await fault(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._porch.metrics.request(route, method, status, time.perf_counter() - began)


def _request_id(scope: Scope) -> bytes:
    """The caller's own id for this request, when it is printable; else one of ours."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return b"req-%s" % str(uuid_utils.uuid7()).encode()
