"""Warrants: seen, checked offline, ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from magistrate.cli import places, say
from magistrate.cli.me import Json, Reason, State, me, read_file, sub
from magistrate.core import warrant as warrants
from magistrate.core.errors import Forged, Malformed, Refused
from magistrate.core.values import unix
from magistrate.keys import pins

warrant = sub("See warrants, check them offline, end them.")


@warrant.command("ls")
def ls(state: State = "", limit: int = 50, as_json: Json = False) -> None:
    """List warrants.

    Example: magistrate warrant ls --state live
    """
    rows = me().client.get("/v1/warrants", state=state or None, limit=limit)["items"]
    shown = (
        {
            "warrant_id": r["warrant"]["warrant_id"],
            "state": r["state"],
            "tier": r["warrant"]["tier"],
            "action": r["warrant"]["scope"]["action"],
            "target": r["warrant"]["scope"]["target"],
            "holder": r["warrant"]["holder"]["id"],
            "uses_left": r["uses_left"],
            "expires_at": r["warrant"]["expires_at"],
        }
        for r in rows
    )
    columns = ("warrant_id", "state", "tier", "action", "target", "holder", "uses_left", "expires_at")
    say.table(shown, columns, as_json=as_json)


@warrant.command("show")
def show(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    document: Annotated[bool, typer.Option("--document", help="Only the signed document, as a file holds it.")] = False,
    as_json: Json = False,
) -> None:
    """Show a warrant and where it stands.

    Example: magistrate warrant show wrt-0198... --document > warrant.json
    """
    shown = me().client.get(f"/v1/warrants/{id_}")
    if document:
        from magistrate.core.canonical import canonical

        typer.echo(canonical(shown["warrant"]).decode())
        return
    say.data(shown, as_json=as_json)


@warrant.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="The warrant file.")],
    at: Annotated[str, typer.Option(help="Judge it at this time, 2026-03-25T14:00:00Z; now when left out.")] = "",
    keys: Annotated[Path | None, typer.Option(help="The folder of pinned keys; your own when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Check a warrant file offline: it needs only the file and a pinned key.

    Exit 0: authentic and in its window. 5: authentic but outside its window, or not authentic, or no pin.

    Example: magistrate warrant verify warrant.json
    """
    raw = read_file(file)
    read, _ = warrants.read(raw)
    known = pins.pinned(keys or places.configuration() / "pins", read.origin, "warrant")
    found = None
    for key in known:
        try:
            found, _ = warrants.authentic(raw, key)
        except (Forged, Malformed):
            continue
        break
    if found is None:
        raise Forged("warrant.not_authentic", "no pinned key signed this warrant")
    now = unix(at) if at else int(time.time())
    window = "open"
    try:
        warrants.hold_window(found, now)
    except Refused as outside:
        window = outside.detail
    told = {
        "authentic": True,
        "warrant_id": found.warrant_id,
        "origin": found.origin,
        "scope": read.plain()["scope"],
        "window": window,
        "unknown": "how many uses are left and whether it was revoked cannot be known offline",
    }
    say.data(told, as_json=as_json)
    raise typer.Exit(say.DONE if window == "open" else say.FAILED)


@warrant.command("revoke")
def revoke(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason) -> None:
    """End a warrant now; what runs under it halts.

    Example: magistrate warrant revoke wrt-0198... --reason "wrong window"
    """
    me().client.post(f"/v1/warrants/{id_}/revoke", {"reason": reason})
    say.words("revoked")
