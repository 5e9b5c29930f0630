"""Replay: ask the record again, in this process, on the data folder; a service may run on it meanwhile."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import places, say
from magistrate.cli.authoring import checked
from magistrate.cli.impact_forms import counts, form_of
from magistrate.cli.me import Json, read_file
from magistrate.cli.service import find_opa
from magistrate.core import canonical
from magistrate.core.errors import Absent, MagistrateError, Malformed
from magistrate.core.replay import FINDINGS, Finding, clean, passes
from magistrate.core.values import moment, unix
from magistrate.policy.archive import Archive
from magistrate.policy.binary import Binary, other
from magistrate.policy.build import build
from magistrate.policy.bundle import Bundle

Since = Annotated[str, typer.Option(help="From this time on: 2026-03-25T14:00:00Z, or 7d, 24h, 30m ago.")]
Until = Annotated[str, typer.Option(help="Up to this time, in the same forms.")]
Limit = Annotated[int, typer.Option(min=0, help="At most so many questions; 0 for all.")]
Data = Annotated[Path | None, typer.Option(help="The data folder.")]
Pins = Annotated[Path | None, typer.Option("--keys", help="The folder of pinned keys; your own when left out.")]
Form = Annotated[str, typer.Option("--format", help="text, json, markdown, sarif or html.")]
Accept = Annotated[
    list[str] | None, typer.Option(help="A reason code or changed limit whose loosening is meant; again for each.")
]
_AGO = re.compile(r"([1-9][0-9]{0,6})([dhm])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60}


def replay(
    since: Since = "",
    until: Until = "",
    bundle: Annotated[
        str, typer.Option(help="Ask this instead of the recorded ones: active, a digest, file or folder.")
    ] = "",
    limit: Limit = 0,
    data: Data = None,
    resume: Annotated[Path | None, typer.Option(help="Keep how far it is in this file, and go on from there.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the signed certificate to this file.")] = None,
    verify: Annotated[Path | None, typer.Option(help="Check this certificate instead: file and pinned key.")] = None,
    zone: Annotated[str, typer.Option("--tz", help="Give OPA this time zone, and no zone database.")] = "",
    opa: Annotated[str, typer.Option(help="Ask this other OPA (path, or version kept) before you upgrade.")] = "",
    keys: Pins = None,
    form: Form = "text",
    accept: Accept = None,
    as_json: Json = False,
) -> None:
    """Ask every recorded question again; each answer must be the same bytes. Reads only; signs a certificate.

    Exit 0: all identical. 5: something is not, or could not be asked, or the certificate does not stand.

    With `--bundle` it tells what got looser and what tighter beside the answers on record, in the forms of `policy
    diff`. Exit 0: everything was asked, and nothing got looser that was not accepted by name. 5: anything else.

    Example: magistrate replay --since 7d --out certificate.json
    """
    from magistrate.engine import certifying
    from magistrate.engine.replaying import Order
    from magistrate.engine.replaying import replay as run

    if (form != "text" or accept) and not bundle:
        raise typer.BadParameter("--format and --accept are about what another bundle answers: name it with --bundle")
    form = "json" if as_json else form
    written = form_of(form)
    pinned = keys or places.configuration() / "pins"
    if verify is not None:
        raise typer.Exit(_verified(verify, pinned, as_json=as_json))
    folder, now = data or places.data(), int(time.time())
    binary = other(places.cache(), opa) if opa else find_opa()
    order = Order(
        upgrade=bool(opa),
        since=time_of(since, now),
        until=time_of(until, now),
        limit=limit,
        candidate=bundle_of(bundle, folder, binary) if bundle else None,
        zone=zone_of(zone),
        accepted=tuple(sorted(set(accept or ()))),
    )
    record = certifying.record_of(folder, places.state(), binary, pinned)
    found = asyncio.run(run(record, order, tell=watcher(), resume=resume))
    document = _signed(found, folder, out)
    for finding in found.findings:
        _tell_finding(finding)
    if more := sum(found.said["counts"]["findings"].values()) - len(found.findings):
        say.words(f"… and {more} more; the certificate counts all of them")
    moved = found.impact.plain(order.accepted) if found.impact else None
    if bundle and moved is None:
        say.words(
            "note: taken up where it was broken off, so it is not known what moved: magistrate policy diff recorded"
        )
    if form == "json":
        say.data({"certificate": document, "impact": moved} if bundle else document, as_json=True)
    else:
        for line in told(document):
            typer.echo(line, err=form != "text")
        if moved is not None:
            typer.echo(written(moved))
    if moved is not None:
        tell_unused(moved)
    raise typer.Exit(say.DONE if found.passes else say.FAILED)


def _signed(found: Any, folder: Path, out: Path | None) -> dict[str, Any]:
    """The certificate; unsigned where the policy key is not here, as on a copy of the folder, and then not kept."""
    from magistrate.engine import certifying

    try:
        document = certifying.certified(found, certifying.signer_of(folder, places.state()))
    except MagistrateError as error:
        if out is not None:
            raise
        say.words(f"note: not signed: {say.visible(error.detail)}")
        return {"type": "magistrate/certificate/v1", **found.said, "key_id": "", "signature": ""}
    if out is not None:
        write(out, canonical.canonical(document) + b"\n")
    return document


def _verified(file: Path, pinned: Path, *, as_json: bool) -> int:
    from magistrate.engine import certifying

    said = certifying.verified(read_file(file), pinned)
    document = said.plain()
    say.data(document, as_json=True) if as_json else typer.echo("\n".join(told(document)))
    say.words(f"authentic: signed by the pinned policy key {said.key_id}")
    return say.DONE if said.passes else say.FAILED


def told(said: dict[str, Any]) -> list[str]:
    """A certificate in words."""
    numbers, tree, span = said["counts"], said["tree"], said["range"]
    well = passes(said)
    asked = f"bundle {said['bundle']}" if said["bundle"] else "each recorded bundle"
    by = tree["signed_by"] or "nobody we know"
    lines = [
        (
            f"{numbers['questions']} questions of {numbers['entries']} entries ({span['first']} to {span['end']}) "
            f"asked again of {asked}, OPA {said['opa']['version']}, time zone {say.visible(said['zone'])}"
        ),
        f"identical {numbers['identical']}, different {numbers['different']}",
        f"ledger {said['origin']}, {tree['size']} entries, checkpoint signed by {by}"
        + ("" if tree["pinned"] or not tree["signed_by"] else " (its own key: pin it to be sure)"),
        f"checked: {', '.join(said['checked'])}",
    ]
    lines += [
        f"{'' if well else 'FAIL '}{code} {count}: {FINDINGS.get(code, 'a finding of a later version')}"
        for code, count in numbers["findings"].items()
    ]
    first = said["first_difference"]
    if first["code"]:
        lines.append(
            f"first: entry {first['entry']} {first['leaf']} {first['document']} {say.visible(first['pointer'])}"
        )
    if first["recorded"] or first["now"]:
        lines += [f"  recorded {say.visible(first['recorded'])}", f"  now      {say.visible(first['now'])}"]
    for moved in said["impact"]:
        names = ", ".join(moved["accepted"]) or "nothing"
        lines.append(f"beside the answers on record: {counts(moved)}; accepted by name: {names}")
    return [say.visible(line) for line in (*lines, _verdict(said))]


def _verdict(said: dict[str, Any]) -> str:
    if clean(said):
        return "IDENTICAL" if passes(said) else "IDENTICAL, BUT WHAT NO ANSWER CAN SHOW WAS CHANGED AND NOT ACCEPTED"
    if not passes(said):
        return "DIFFERENT"
    return "LOOSER, AND ACCEPTED" if any(row["loosened"] for row in said["impact"]) else "NOTHING LOOSER"


def tell_unused(said: dict[str, Any]) -> None:
    """Of what was accepted, the names that nothing in an impact is because of."""
    known = {name for row in said["rules"] for name in row["names"]} | {row["name"] for row in said["unseen"]}
    for name in sorted(set(said["accepted"]) - known):
        say.words(f"note: nothing here is because of {say.visible(name)}")


def _tell_finding(finding: Finding) -> None:
    where = " ".join(part for part in (finding.document, finding.pointer) if part)
    say.words(say.visible(f"{finding.code} entry {finding.entry} {where}: {finding.detail}"))


def watcher() -> Callable[[Any], None]:
    """Tells progress on stderr: one line that renews itself on a terminal, else one every few seconds."""
    began = time.monotonic()
    last = [began]
    live = sys.stderr.isatty()

    def tell(progress: Any) -> None:
        now = time.monotonic()
        if not live and now - last[0] < 5.0:
            return
        last[0] = now
        rate = progress.questions / max(now - began, 1e-6)
        read = progress.entry - progress.first
        left = (progress.end - progress.entry) * (now - began) / max(read, 1)
        text = f"{progress.questions} asked, {rate:.0f}/s, entry {progress.entry} of {progress.end}, {left:.0f} s left"
        typer.echo(f"\r{text}  " if live else text, err=True, nl=not live)

    return tell


def time_of(said: str, now: int) -> int:
    """Seconds since 1970 of a time, or of so long ago; 0 for "".

    Raises:
        Malformed: neither.
    """
    if not said:
        return 0
    ago = _AGO.fullmatch(said)
    if ago:
        return max(1, now - int(ago[1]) * _SECONDS[ago[2]])
    try:
        return unix(said)
    except Malformed:
        detail = f"{said!r} is neither a time such as 2026-03-25T14:00:00Z nor 7d, 24h or 30m ago"
        raise Malformed("input.time", detail, hint="magistrate replay --since 7d") from None


def zone_of(said: str) -> str:
    """A time zone by its IANA name.

    Raises:
        Malformed: `input.zone`: a certificate does not name what does not exist.
    """
    if said and said not in zoneinfo.available_timezones():
        hint = "magistrate replay --tz Pacific/Kiritimati"
        raise Malformed("input.zone", f"{said!r} is no time zone that this machine knows", hint=hint)
    return said


def bundle_of(said: str, data: Path, binary: Binary) -> Bundle:
    """A bundle by its digest (in the data folder, or among those shipped), by its file or by the rego folder it is
    built from; `active` is the one in force.

    Raises:
        Absent, Broken: no such bundle, or not as its digest says.
        Malformed: there is no such file.
        typer.Exit: the file is no bundle, or the folder does not build; why was told.
    """
    from magistrate.engine.certifying import in_force, reference_in

    if said == "active":
        said = in_force(data)
    if not said.startswith("sha256:"):
        path = Path(said)
        raw = None if path.is_dir() else read_file(path)
        with checked():
            return Bundle.read(build(binary, path) if raw is None else raw)
    try:
        return Archive(data / "bundles", binary).load(said)
    except Absent:
        found = reference_in(binary)(said)
    if found is None:
        raise Absent("bundle.unknown", f"no bundle {said} is here", hint="magistrate policy ls")
    return found


def write(path: Path, raw: bytes) -> None:
    """Put a file in place whole.

    Raises:
        Malformed: it cannot be written there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(raw)
        part.replace(path)
    except OSError as error:
        raise Malformed("input.file", f"{path}: {error.strerror}") from None
    say.words(f"written to {path} at {moment(int(time.time()))}")
