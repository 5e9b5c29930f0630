"""A policy author's loop, offline: make a policy, test it, check the folder, build the bundle."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from magistrate import shipped
from magistrate.cli import say
from magistrate.cli.me import Json, read_file
from magistrate.cli.service import find_opa, interactive
from magistrate.core.answers import ANSWERS
from magistrate.core.errors import Malformed

if TYPE_CHECKING:
    from magistrate.policy.gated import Finding
    from magistrate.policy.report import BuildReport

Rego = Annotated[Path | None, typer.Argument(help="The rego folder; left out, `rego` here or the shipped one.")]
LOOK_EVERY = 0.3  # seconds between looks at the files
_ANEW: Final = "magistrate policy build rego"


def add(policy: typer.Typer) -> None:
    """Give the group its author's verbs."""
    policy.command("new")(new)
    policy.command("test")(try_out)
    policy.command("check")(check)
    policy.command("build")(build)
    policy.command("reasons")(reasons_)


def folder(rego: Path | None) -> Path:
    """The folder that was named, `rego` where we are, or the shipped one.

    Raises:
        Malformed: `input.folder`, what was named is no folder of policies.
    """
    named = rego or (Path("rego") if Path("rego/.manifest").is_file() else shipped.folder("rego"))
    if not named.is_dir():
        raise Malformed("input.folder", f"{named} is no folder", hint="magistrate policy test rego")
    return named


def new(
    name: Annotated[str, typer.Argument(help="The policy's name: a-z, 0-9 and _.")],
    rego: Annotated[Path | None, typer.Option(help="The rego folder; `rego` here or the shipped one.")] = None,
    action: Annotated[list[str] | None, typer.Option(help="An action it judges; may be given again.")] = None,
    title: Annotated[str, typer.Option(help="What it is called to people.")] = "",
    tier: Annotated[str, typer.Option(help="The lowest tier of what it judges.")] = "",
    limit: Annotated[list[str] | None, typer.Option(help="PARAMETER=NUMBER: the most it may be; again.")] = None,
    target_kind: Annotated[str, typer.Option(help="The kind of target; a new action needs one.")] = "",
    new_action: Annotated[bool, typer.Option("--new-action", help="Give unknown actions a catalogue row.")] = False,
) -> None:
    """Make a policy, its test twin, its numbers and a decision table, which pass every check at once.

    On a terminal, what no flag says is asked for.

    Example: magistrate policy new payouts --action payout.create --new-action --target-kind ledger --tier T1
    """
    from magistrate.policy import scaffold
    from magistrate.policy.blank import Wanted

    here, opa = folder(rego), find_opa()
    if "_shipped" in here.parts:  # inside an installed program nobody writes
        raise Malformed("input.folder", f"{here} is part of the program", hint=f"cp -r {here} rego")
    asked = _asked(name, action or [], title, tier, limit or [])
    wanted = Wanted(**asked, name=name, target_kind=target_kind, new_action=new_action)
    made = scaffold.made(opa, here, wanted)
    scaffold.write(here, made)
    for file in made.files:
        typer.echo(str(here / file))
    for note in made.notes:
        say.words(f"note: {note}")
    say.words(f"next: magistrate policy test -r {name} --watch")


def _asked(name: str, actions: list[str], title: str, tier: str, limits: list[str]) -> dict[str, Any]:
    """What the flags say, and on a terminal the answers to what they do not."""
    if interactive():
        title = title or typer.prompt("Title", default=name.replace("_", " ").capitalize(), err=True)
        actions = actions or typer.prompt("Actions it judges, separated by spaces", err=True).split()
        tier = tier or typer.prompt("Lowest tier", err=True)
        limits = limits or typer.prompt("Limits, as parameter=number", default="", err=True).split()
    title = title or name.replace("_", " ").capitalize()
    return {"title": title, "actions": tuple(dict.fromkeys(actions)), "tier": tier, "limits": _limits(limits)}


def _limits(given: list[str]) -> dict[str, int]:
    """`amount=5000` as a number by its name.

    Raises:
        Malformed: `new.limit`.
    """
    found: dict[str, int] = {}
    for text in given:
        name, _, number = text.partition("=")
        if not re.fullmatch(r"[0-9]{1,16}", number) or name in found:
            raise Malformed("new.limit", f"{text!r} is no limit, or stands twice", hint=f"{_NEW} --limit amount=5000")
        found[name] = int(number)
    return found


_NEW: Final = "magistrate policy new payouts --action refund.create"


def built(here: Path) -> tuple[bytes, dict[str, Any]]:
    """The bundle of a folder and what its build found.

    Raises:
        typer.Exit: the gate keeps it out; what does was told.
    """
    from magistrate.policy import gated

    found = gated.examined(find_opa(), here, ANSWERS)
    if found.report is None:
        raise typer.Exit(_tell(found.findings, as_json=False))
    return found.raw, found.report.plain()


def build(
    rego: Rego = None,
    out: Annotated[Path, typer.Option(help="The folder it goes to.")] = Path("bundles"),
    as_json: Json = False,
) -> None:
    """Put the folder through the whole gate and build its bundle, named by its SHA-256 and entered in index.json.

    Example: magistrate policy build rego --out bundles
    """
    from magistrate.policy import gated
    from magistrate.policy.archive import Archive

    here, opa = folder(rego), find_opa()
    found = gated.examined(opa, here, ANSWERS)
    if found.report is None:
        raise typer.Exit(_tell(found.findings, as_json=as_json))
    bundle = Archive(out, opa).take(found.raw)
    if as_json:
        say.data(found.report.plain(), as_json=True)
    else:
        typer.echo(str(bundle.path))
    say.words(_figures(found.report))


def check(
    what: Annotated[Path | None, typer.Argument(metavar="[WHAT]", help="A rego folder, or a bundle file.")] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle's shape, vocabulary and builtins; or put a folder through the whole gate without building.

    Exit 5 where something keeps it out.

    Example: magistrate policy check rego
    """
    from magistrate.policy import gate, gated, report
    from magistrate.policy.bundle import Bundle

    if what is not None and not what.is_dir():
        raw, opa = read_file(what), find_opa()
        with checked(as_json=as_json):
            bundle = Bundle.read(raw)
            gate.check(opa, bundle)
        say.data(report.facts_of(bundle, opa).plain(), as_json=as_json)
        return
    found = gated.examined(find_opa(), folder(what), ANSWERS)
    if found.report is None:
        raise typer.Exit(_tell(found.findings, as_json=as_json))
    say.data(found.report.plain(), as_json=as_json)


def _figures(made: BuildReport) -> str:
    tried_ = f"{made.tests} tests, {made.cases} cases, {made.canaries} canaries"
    return (
        f"sequence {made.bundle.sequence}, contract {made.bundle.contract}: {tried_} passed,"
        f" {made.coverage.covered} of {made.coverage.lines} lines reached"
    )


@contextmanager
def checked(*, as_json: bool = False) -> Iterator[None]:
    """Tell what is wrong with a bundle, or with the folder it is built from, as the gate tells it.

    Raises:
        typer.Exit: something is.
    """
    from magistrate.policy import gated

    try:
        yield
    except Malformed as refused:
        raise typer.Exit(_tell(gated.findings_of(refused), as_json=as_json, hint=_ANEW)) from None


def _tell(findings: Sequence[Finding], *, as_json: bool, hint: str = "") -> int:
    """Say what keeps a folder or a bundle out, each with file and line; returns the exit code."""
    if as_json:
        say.data({"findings": [found.plain() for found in findings]}, as_json=True)
    for found in findings:
        say.words(f"error: {say.visible(str(found))}")
        if helps := found.hint or hint:
            say.words(f"hint: {helps}")
    return say.FAILED


def try_out(
    rego: Rego = None,
    run: Annotated[str, typer.Option("--run", "-r", help="Only tests and cases whose name matches this.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Run again whenever a file changes.")] = False,
    coverage: Annotated[bool, typer.Option("--coverage", help="List the lines that no test reaches.")] = False,
    format_: Annotated[str, typer.Option("--format", "-f", help="text, json, junit, sarif or github.")] = "text",
    times: Annotated[int, typer.Option(help="With --watch: end after so many runs; 0 goes on.")] = 0,
) -> None:
    """Run tests and decision tables: expected beside actual, the facts, and the lines of the policy that said no.

    Exit 5 when one fails or none was run.

    Example: magistrate policy test -r refunds --watch
    """
    from magistrate.cli import formats
    from magistrate.policy.trial import tried

    if format_ not in formats.FORMATS:
        hint = f"magistrate policy test --format {next(iter(formats.FORMATS))}"
        raise Malformed("input.format", f"{format_!r} is none of {', '.join(formats.FORMATS)}", hint=hint)
    here, opa = folder(rego), find_opa()
    done = 0
    while True:
        seen = _state(here)
        trial = tried(opa, here, run, reach=coverage)
        typer.echo(formats.written(trial, here, format_))
        done += 1
        if not watch or done == times:
            break
        say.words("waiting for a change; Ctrl-C ends it")
        while _state(here) == seen:
            time.sleep(LOOK_EVERY)
    raise typer.Exit(say.FAILED if trial.failed else say.DONE)


def reasons_(
    rego: Rego = None,
    out: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Write the catalogue of reasons: every code that the folder's Rego can give, what it means and what to do.

    Example: magistrate policy reasons rego --out docs/reasons.md
    """
    from magistrate.policy import places, reasons, source

    found = [rule for rule in places.of(source.trees(find_opa(), folder(rego))).public() if rule.code]
    if as_json:
        say.data([reasons.row(rule) for rule in found], as_json=True)
    elif out is None:
        typer.echo(reasons.page(found), nl=False)
    else:
        out.write_text(reasons.page(found), "utf-8")
        say.words(f"{len({rule.code for rule in found})} codes in {out}")


def _state(here: Path) -> dict[str, tuple[int, int]]:
    """When each file last changed, and its size."""
    kinds = (".rego", ".json", ".yaml", ".csv")
    found = (path for path in here.rglob("*") if path.suffix in kinds and path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}
