"""Bundles: taking one in, listing and fetching them, and accepting by name what one loosens."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from typing import Any, Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.idempotency import once
from magistrate.api.lists import page
from magistrate.api.visit import Endpoint, Visit
from magistrate.core.errors import Absent, Malformed
from magistrate.core.lifecycle import BUNDLE
from magistrate.core.promotion import NOTHING, Built
from magistrate.core.values import DIGEST, Digest, Document, Identifier, Text
from magistrate.engine import activation
from magistrate.engine.installation import Installation, Keep

MAX_BUNDLE: Final = 4 * 1024 * 1024  # bytes of a body: a hundred times the demo's bundle, in base64
_DIGEST: Final = re.compile(DIGEST)


class Taken(Document):
    """A bundle that an operator hands in: its file in base64, and what the author's build found."""

    file: str
    built: Built = NOTHING
    reason: Text = ""


class Acceptance(Document):
    """What an operator accepts: the codes of the rules through which a bundle is looser than `against`."""

    against: Digest
    codes: tuple[Identifier, ...]
    reason: Text = ""


async def both(house: Installation, digest: str) -> None:
    """Read a bundle and the one in force, so that what compares them right after finds them in memory.

    Raises:
        Absent, Broken, Unavailable: as `Installation.loaded`.
    """
    await house.loaded(digest)
    await house.loaded(house.active())


async def take(visit: Visit) -> Response:
    """The author of a bundle is whoever hands it in; putting it in force is an act of its own."""
    await visit.hold("bundle.take")
    said = wire.read(Taken, visit.raw, MAX_BUNDLE)
    try:
        raw = base64.b64decode(said.file, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("bundle.encoding", "file is not base64", pointer="/file") from None
    word = visit.word(said.reason)
    return await once(visit, lambda keep: activation.take(visit.house, raw, said.built, word, keep), lambda made: made)


async def accept(visit: Visit) -> Response:
    digest = visit.param("digest")
    await visit.hold("bundle.accept", relation="foreign", type_="bundle", id_=digest)
    said = wire.read(Acceptance, visit.raw)
    word = visit.word(said.reason)

    async def work(keep: Keep | None) -> Any:
        return await activation.accept(visit.house, digest, said.against, said.codes, word, keep)

    return await once(visit, work, lambda made: made)


async def listed(visit: Visit) -> Response:
    await visit.hold("bundle.list")
    states = tuple(BUNDLE)
    return await page(visit, "bundles", activation.shown, states=states, owned=False)


async def show(visit: Visit) -> Response:
    """The bundle's file, byte for byte: its name is its digest, so it never changes."""
    digest = visit.param("digest")
    await visit.hold("bundle.show", relation="foreign", type_="bundle", id_=digest)
    if _DIGEST.fullmatch(digest) is None or visit.house.store.row("bundles", digest) is None:
        raise Absent("bundle.unknown", "no such bundle", hint="magistrate policy ls")
    headers = {"etag": f'"{digest}"', "cache-control": "private, no-cache"}
    if visit.fields.get(b"if-none-match", b"").decode("latin-1") == headers["etag"]:
        return Response(None, 304, headers)
    return Response((await visit.house.loaded(digest)).raw, 200, headers, "application/gzip")


async def changes(visit: Visit) -> Response:
    """What stands in front of those who approve that a bundle comes into force."""
    digest = visit.param("digest")
    await visit.hold("bundle.show", relation="foreign", type_="bundle", id_=digest)
    await both(visit.house, digest)
    return wire.reply(activation.about(visit.house, digest))


async def impact(visit: Visit) -> Response:
    """What the bundle would have decided of the newest questions, beside the bundle in force."""
    digest = visit.param("digest")
    await visit.hold("bundle.show", relation="foreign", type_="bundle", id_=digest)
    row = visit.house.store.row("bundles", digest)
    if row is None:
        raise Absent("bundle.unknown", "no such bundle", hint="magistrate policy ls")
    await both(visit.house, digest)
    found = await asyncio.shield(visit.porch.foresight.begin(digest))
    return wire.reply(visit.porch.foresight.shown(found, row.data))


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/bundles", listed, "List bundles", ((200, "Page"),), query=("state", "limit", "cursor")),
    Endpoint(
        "POST",
        "/v1/bundles",
        take,
        "Hand a bundle in; its author is who hands it in",
        ((201, "Object"),),
        body=("Taken",),
        headers=("Idempotency-Key",),
        most=MAX_BUNDLE,
    ),
    Endpoint(
        "GET",
        "/v1/bundles/{digest}",
        show,
        "A bundle's file",
        ((200, ""), (304, "")),
        headers=("If-None-Match",),
        media="application/gzip",
    ),
    Endpoint("GET", "/v1/bundles/{digest}/impact", impact, "Which past decisions it would change", ((200, "Object"),)),
    Endpoint("GET", "/v1/bundles/{digest}/changes", changes, "What a bundle changes", ((200, "Object"),)),
    Endpoint(
        "POST",
        "/v1/bundles/{digest}/acceptances",
        accept,
        "Accept, by name, what a bundle loosens",
        ((201, "Object"),),
        body=("Acceptance",),
        headers=("Idempotency-Key",),
    ),
)
