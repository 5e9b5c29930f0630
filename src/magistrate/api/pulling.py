"""OPA's bundle protocol: the active bundle, signed, for OPAs that somebody else runs.

Polling with an entity tag, no long polling and no deltas (OPA cannot verify the signature of a delta): whatever mode
it prefers, the answer is a snapshot.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.visit import Endpoint, Visit
from magistrate.engine import pulling

PATH: Final = "/opa/v1/bundles/active.tar.gz"


async def bundle(visit: Visit) -> Response:
    """The active bundle with OPA's signature, or 304 where the caller has these very bytes."""
    await visit.hold("bundle.pull")
    wire.query(visit.request, ())
    signed = await pulling.pulled(visit.house)
    headers = {"etag": signed.etag, "cache-control": "private, no-cache", "vary": "authorization"}
    if _has(visit.fields.get(b"if-none-match", b"").decode("latin-1"), signed.etag):
        visit.porch.metrics.count("bundle_pulls_total", answer="unchanged")
        return Response(None, 304, headers)
    visit.porch.metrics.count("bundle_pulls_total", answer="sent")
    return Response(signed.raw, 200, headers, "application/gzip")


def _has(said: str, etag: str) -> bool:
    """Whether the tag is among those the caller named (RFC 9110, 13.1.2); ours hold no comma."""
    return said.strip() == "*" or etag in {one.strip().removeprefix("W/") for one in said.split(",")}


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        PATH,
        bundle,
        "The active bundle, signed for an OPA that pulls it",
        ((200, ""), (304, "")),
        headers=("If-None-Match",),
        media="application/gzip",
    ),
)
