"""A policy author's first verbs, and the OPA they run on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate import shipped
from magistrate.cli import explaining, places, say
from magistrate.cli.me import Json, me, sub
from magistrate.cli.service import find_opa, interactive
from magistrate.core import canonical
from magistrate.core.errors import Unavailable
from magistrate.policy import binary

policy = sub("Write, test, check and build policies, and see which bundles there are.")
opa = sub("The OPA that decides: which one, and getting it.")


@policy.command("ls")
def ls(as_json: Json = False) -> None:
    """List the bundles the service knows.

    Example: magistrate policy ls
    """
    say.table(
        me().client.get("/v1/bundles")["items"],
        ("digest", "sequence", "state", "author", "activated_at"),
        as_json=as_json,
    )


policy.command("explain")(explaining.explain)


@opa.command("which")
def which(as_json: Json = False) -> None:
    """Say which OPA is used, and its digest.

    Example: magistrate opa which
    """
    found = find_opa()
    say.data(
        {"path": str(found.path), "version": found.version, "sha256": found.sha256, "origin": found.origin},
        as_json=as_json,
    )


@opa.command("install")
def install(if_needed: Annotated[bool, typer.Option("--if-needed", help="Nothing if one is there.")] = False) -> None:
    """Find or get the pinned OPA: the official release, else built by the Go on this machine.

    Example: magistrate opa install
    """
    try:
        found = find_opa()
    except Unavailable:
        say.words(f"getting OPA {binary.PINNED} (once; about two minutes where Go builds it)")
        found = binary.install(
            places.cache(), path=os.environ.get("PATH", ""), accept=_accept, say=lambda text: say.words(f"  {text}")
        )
        say.words(f"OPA {found.version} sha256:{found.sha256} by {found.origin}")
        return
    if not if_needed:
        say.words(f"OPA {found.version} sha256:{found.sha256} by {found.origin}")


def _accept(candidate: binary.Candidate) -> bool:
    """Ask a person, once; nobody there is a no, unless a setting names the digest."""
    named = os.environ.get("MAGISTRATE_OPA_SHA256", "").replace(",", " ").split()
    if binary.accept_digests(named)(candidate):
        return True
    if not interactive():
        return False
    say.words(f"{candidate.origin} {candidate.source}: OPA {candidate.version}, sha256:{candidate.sha256}")
    return typer.confirm("Accept this binary from now on?", default=False, err=True)


def newest_bundle() -> Path:
    """The shipped bundle that is newest, by the index beside it.

    Raises:
        Unavailable: none was shipped.
    """
    folder = shipped.folder("bundles")
    try:
        index: Any = canonical.load((folder / "index.json").read_bytes())
    except OSError:
        raise Unavailable("bundle.none", f"no bundles lie in {folder}", hint="magistrate policy build") from None
    newest = max(index["bundles"], key=lambda row: row["sequence"])
    return folder / f"{newest['digest'].removeprefix('sha256:')}.tar.gz"
