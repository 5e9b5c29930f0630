"""Putting a bundle in force: handing it in, proposing the act, and the way back of a stopped service."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from magistrate.cli import impact_forms, places, say
from magistrate.cli.impact_words import WHY_NOT
from magistrate.cli.me import Json, Reason, me, read_file, read_object
from magistrate.cli.people import administer
from magistrate.cli.service import find_opa
from magistrate.client import Client
from magistrate.core.errors import Conflict, Malformed
from magistrate.core.promotion import NOTHING, Built
from magistrate.core.values import DIGEST


def activate(
    bundle: Annotated[
        str, typer.Argument(help="A rego folder, a bundle file, or the digest of one the service knows.")
    ],
    live_warrants: Annotated[str, typer.Option(help="What becomes of warrants that live: keep or revoke.")] = "keep",
    report: Annotated[
        Path | None, typer.Option(help="For a file: what `policy build --json` printed; it stands in the promotion.")
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

    Example: magistrate policy activate rego --reason "small refunds up to 75 EUR"
    """
    if live_warrants not in ("keep", "revoke"):
        raise Malformed(
            "policy.live_warrants", "live warrants are kept or revoked", hint="magistrate policy activate --help"
        )
    if report is not None and (_is_digest(bundle) or Path(bundle).is_dir()):
        hint = "magistrate policy activate bundles/3f2a....tar.gz --report report.json"
        raise Malformed("policy.report", "a report is given with a bundle's file", hint=hint)
    who = me()
    digest = bundle if _is_digest(bundle) else _hand_in(who.client, Path(bundle), report, reason)
    about = who.client.get(f"/v1/bundles/{digest}/changes")
    if digest == about["against"]:
        raise Conflict("bundle.active", f"{digest} is in force already: there is nothing to do")
    tell(about)
    tell_impact(who.client.get(f"/v1/bundles/{digest}/impact"))
    if not yes:
        typer.confirm("Propose and sign this?", abort=True, err=True)
    if accept:  # on record for ever: not before it was seen and confirmed
        said = {"against": about["against"], "codes": accept, "reason": reason}
        who.client.post(f"/v1/bundles/{digest}/acceptances", said)
    parameters = {"digest": digest, "live_warrants": live_warrants}
    administer("bundle.activate", parameters, reason, as_json=as_json, who=who)


def _is_digest(said: str) -> bool:
    """Whether a digest is meant.

    Raises:
        Malformed: `policy.digest`: it begins as one and is none.
    """
    if said.startswith("sha256:") and not re.fullmatch(DIGEST, said):
        raise Malformed("policy.digest", f"{said} is not sha256: and 64 hex digits", hint="magistrate policy ls")
    return re.fullmatch(DIGEST, said) is not None


def _hand_in(client: Client, path: Path, report: Path | None, reason: str) -> str:
    """Send the bundle with what its author's build found; a folder is built here, through the whole gate."""
    from magistrate.cli import authoring

    if path.is_dir():
        raw, found = authoring.built(path)
    else:
        raw, found = read_file(path), read_object(report) if report else {}
    file = base64.b64encode(raw).decode()
    built = _figures(found) if found else NOTHING
    known = client.post("/v1/bundles", {"file": file, "built": built.plain(), "reason": reason})
    return str(known["digest"])


def _figures(found: dict[str, Any]) -> Built:
    """What stands in the promotion of an author's build report.

    Raises:
        Malformed: `policy.report`: it is none.
    """
    try:
        counts = {name: found[name] for name in ("tests", "cases", "canaries")}
        reach = {name: found["coverage"][name] for name in ("covered", "lines")}
        return Built.model_validate({**counts, **reach})
    except (KeyError, TypeError, ValidationError):
        hint = "magistrate policy build rego --json > report.json"
        raise Malformed("policy.report", "this is not what `policy build --json` prints", hint=hint) from None


def tell(about: dict[str, Any]) -> None:
    """Whose it is and what it changes beyond policy: said first, before anything is signed."""
    if "error" in about:
        say.words(f"bundle {about['digest']} cannot be read: {say.visible(about['error'])}")
        return
    author, built = say.visible(about["author"]) or "nobody", about["built"]
    say.words(f"bundle {about['digest']}, sequence {about['sequence']}, handed in by {author}")
    figures = f"{built['tests']} tests, {built['cases']} cases, {built['covered']} of {built['lines']} lines reached"
    say.words(f"  the author's build: {figures if built['lines'] else 'no figures were given'}")
    changed = about["changes"]
    if changed["engine"]:
        say.words(f"  IT CHANGES THE ENGINE'S OWN REGO: {', '.join(map(say.visible, changed['engine']))}")
    if changed["actions"]:
        say.words(f"  IT CHANGES WHAT IS RUN for: {', '.join(map(say.visible, changed['actions']))}")
    if changed["targets"]:
        say.words(f"  IT CHANGES TARGETS: {', '.join(map(say.visible, changed['targets']))}")
    if changed["rows"]:
        say.words(f"  IT CHANGES DATA that policies rest on: {', '.join(map(say.visible, changed['rows']))}")
    for field in changed["data"]:
        was, now = (say.visible(field[name]) or "nothing" for name in ("was", "now"))
        say.words(f"    {say.visible(field['name'])}: {was} → {now}")
    if changed["more"]:
        say.words(f"    {say.loud('and more fields that are not told one by one')}: {int(changed['more'])}")
    for accepted in about["accepted"]:
        say.words(f"  {say.visible(accepted['by'])} accepted: {', '.join(map(say.visible, accepted['codes']))}")


def tell_impact(said: dict[str, Any]) -> None:
    """Which past decisions would have gone otherwise, by rule and line."""
    for line in impact_forms.lines(said):
        say.words(f"  {line}")
    for way in ("loosened", "tightened"):
        if said[way]:
            say.words(f"  {say.loud(way) if way == 'loosened' else way} {said[way]}")
    if said["unread"]:
        say.words(f"  {say.loud('not compared')}: {int(said['unread'])}, {WHY_NOT}")
    if said["uncovered"]:
        say.words(f"  {say.loud('not accepted by name by anybody but its author')}: {said['uncovered']}")


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
