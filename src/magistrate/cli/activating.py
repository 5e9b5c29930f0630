"""Putting a bundle in force: handing it in, proposing the act, and the way back of a stopped service."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import places, say
from magistrate.cli.me import Json, Reason, me, read_file, read_object
from magistrate.cli.people import administer
from magistrate.cli.service import find_opa
from magistrate.client import Client
from magistrate.core.errors import Malformed
from magistrate.core.promotion import Built
from magistrate.core.values import DIGEST


def activate(
    bundle: Annotated[str, typer.Argument(help="A bundle file, or the digest of one the service knows.")],
    live_warrants: Annotated[str, typer.Option(help="What becomes of warrants that live: keep or revoke.")] = "keep",
    report: Annotated[
        Path | None, typer.Option(help="What `policy build --json` printed: its figures stand in the promotion.")
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Accept by name what the bundle loosens: a reason code; again for each.")
    ] = None,
    reason: Reason = "a new policy",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Hand a bundle in and propose that it comes into force: decided, approved and warranted like any other act.

    Exit 0 in force, 3 denied, 4 waiting for another operator; then you run `operators finish`.

    Example: magistrate policy activate bundles/3f2a....tar.gz --reason "small refunds up to 75 EUR"
    """
    if live_warrants not in ("keep", "revoke"):
        raise Malformed("policy.live_warrants", "live warrants are kept or revoked", hint="--live-warrants keep")
    who = me()
    digest = bundle if _is_digest(bundle) else _hand_in(who.client, Path(bundle), report, reason)
    about = who.client.get(f"/v1/bundles/{digest}/changes")
    if accept:
        said = {"against": about["against"], "codes": accept, "reason": reason}
        who.client.post(f"/v1/bundles/{digest}/acceptances", said)
    tell(about)
    if not yes:
        typer.confirm("Propose and sign this?", abort=True, err=True)
    parameters = {"digest": digest, "live_warrants": live_warrants}
    administer("bundle.activate", parameters, reason, as_json=as_json, who=who)


def _is_digest(said: str) -> bool:
    return re.fullmatch(DIGEST, said) is not None


def _hand_in(client: Client, path: Path, report: Path | None, reason: str) -> str:
    built = Built(tests=0, coverage=0)
    if report is not None:
        found = read_object(report)
        built = Built.model_validate({name: found.get(name) for name in ("tests", "coverage")})
    file = base64.b64encode(read_file(path)).decode()
    known = client.post("/v1/bundles", {"file": file, "built": built.plain(), "reason": reason})
    return str(known["digest"])


def tell(about: dict[str, Any]) -> None:
    """Whose it is and what it changes beyond policy: said first, before anything is signed."""
    if "error" in about:
        say.words(f"bundle {about['digest']} cannot be read: {about['error']}")
        return
    author, built = say.visible(about["author"]) or "nobody", about["built"]
    say.words(f"bundle {about['digest']}, sequence {about['sequence']}, handed in by {author}")
    figures = f"{built['tests']} tests, {built['coverage']} % coverage" if built["tests"] else "no figures were given"
    say.words(f"  the author's build: {figures}")
    changed = about["changes"]
    if changed["engine"]:
        say.words(f"  IT CHANGES THE ENGINE'S OWN REGO: {', '.join(map(say.visible, changed['engine']))}")
    if changed["actions"]:
        say.words(f"  IT CHANGES WHAT IS RUN for: {', '.join(map(say.visible, changed['actions']))}")
    if changed["targets"]:
        say.words(f"  IT CHANGES TARGETS: {', '.join(map(say.visible, changed['targets']))}")
    for accepted in about["accepted"]:
        say.words(f"  {say.visible(accepted['by'])} accepted: {', '.join(map(say.visible, accepted['codes']))}")


def recover(
    digest: Annotated[str, typer.Argument(help="An archived bundle, whatever its sequence.")],
    reason: Annotated[str, typer.Option(help="Why; every later verification tells it.")],
    sign: Annotated[Path | None, typer.Option(help="Only sign, into this file.")] = None,
    signatures: Annotated[
        list[Path] | None, typer.Option(help="Another operator's signed file; again for each.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    as_json: Json = False,
) -> None:
    """Put an archived bundle in force on the stopped service: the way out of one that locked everybody out.

    Two operators sign (all, while there are fewer). The bundle must pass its own canaries.

    Example: magistrate policy recover sha256:1199... --reason "sequence 7 denies everybody" --sign olivia.json
    """
    from magistrate.cli import recovering

    done = recovering.bundle(me(), data or places.data(), digest, reason, sign, signatures or [], find_opa())
    say.data(done, as_json=as_json)
