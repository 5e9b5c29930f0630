"""What another bundle would have decided: `policy diff`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import places, say
from magistrate.cli.impact_forms import form_of, passes, summary
from magistrate.cli.me import Json
from magistrate.cli.replaying import (
    Accept,
    Data,
    Form,
    Limit,
    Pins,
    Since,
    Until,
    bundle_of,
    tell_unused,
    time_of,
    watcher,
    write,
)
from magistrate.cli.service import find_opa
from magistrate.core.errors import Malformed
from magistrate.core.looseness import RECORDED


def diff(
    was: Annotated[
        str,
        typer.Argument(
            metavar="FROM", help="The bundle to compare from: active, a digest, file, folder; or: recorded."
        ),
    ],
    now: Annotated[str, typer.Argument(metavar="TO", help="The bundle to compare to: the same.")],
    since: Since = "",
    until: Until = "",
    limit: Limit = 0,
    form: Form = "text",
    accept: Accept = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    data: Data = None,
    keys: Pins = None,
    as_json: Json = False,
) -> None:
    """Ask everything that was asked of two bundles: what got looser, what tighter, by which rule. Reads only.

    With `recorded` for FROM only TO is asked, and its answers are held against those on record.

    Exit 0: nothing got looser that was not accepted by name, nor was changed what no recorded question can show (a
    counter). 5: something was, or part of the record was not compared: it was changed, erased or cannot be read, or a
    bundle was too slow to answer; or there was nothing to compare.

    Example: magistrate policy diff active rego --since 7d
    """
    from magistrate.engine.certifying import record_of
    from magistrate.engine.impact import impact
    from magistrate.engine.replaying import Order

    written = form_of("json" if as_json else form)
    if now == RECORDED:
        hint = "magistrate policy diff recorded active"
        raise Malformed("input.bundle", "the answers on record are what is compared from", hint=hint)
    folder, binary, at = data or places.data(), find_opa(), int(time.time())
    order = Order(since=time_of(since, at), until=time_of(until, at), limit=limit)
    before = None if was == RECORDED else bundle_of(was, folder, binary)
    after = bundle_of(now, folder, binary)
    record = record_of(folder, places.state(), binary, keys or places.configuration() / "pins")
    found = asyncio.run(impact(record, after, was=before, order=order, tell=_sparingly(watcher())))
    said = found.plain(accept or ())
    if out is None:
        typer.echo(written(said))
    else:
        write(out, written(said).encode() + b"\n")
    if out is not None or written is not form_of("text"):
        say.words(summary(said))
    tell_unused(said)
    raise typer.Exit(say.DONE if passes(said) else say.FAILED)


def _sparingly(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """Passes on one progress in half a second: it comes with every entry."""
    last = [time.monotonic()]

    def told(progress: Any) -> None:
        if time.monotonic() - last[0] >= 0.5:
            last[0] = time.monotonic()
            tell(progress)

    return told
