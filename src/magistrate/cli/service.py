"""Running the service, and seeing whether it is well."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from magistrate.cli import places, say
from magistrate.cli.me import CONTEXT, Json, me, read_file
from magistrate.core import canonical
from magistrate.core.errors import MagistrateError, Malformed
from magistrate.policy import binary

PORT = 8420


def add(app: typer.Typer) -> None:
    """Put these verbs beside the groups."""
    app.command("up")(up)
    app.command("demo")(demo)
    app.command("status")(status)
    app.command("doctor")(doctor)
    app.command("bench")(bench)
    config = typer.Typer(help="What this machine's settings are.", no_args_is_help=True)
    config.command("show")(config_show)
    app.add_typer(config, name="config")


def find_opa() -> binary.Binary:
    """The OPA of this machine, by setting, PATH or cache.

    Raises:
        Unavailable: there is none; the hint gets one.
    """
    digests = [d for d in os.environ.get("MAGISTRATE_OPA_SHA256", "").replace(",", " ").split() if d]
    return binary.find(
        places.cache(),
        setting=os.environ.get("MAGISTRATE_OPA", ""),
        path=os.environ.get("PATH", ""),
        accept=binary.accept_digests(digests),
    )


def up(
    bundle: Annotated[Path | None, typer.Option(help="The bundle of a first start.")] = None,
    demo_: Annotated[bool, typer.Option("--demo", help="Set up with the demo's bundle, people and target.")] = False,
    people: Annotated[
        bool, typer.Option("--people/--no-people", help="With --demo: bring its people and target.")
    ] = True,
    origin: Annotated[str, typer.Option(help="The installation's name, given at the first start.")] = "",
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    ephemeral: Annotated[bool, typer.Option(help="Keep nothing.")] = False,
    host: Annotated[str, typer.Option(help="The address to listen on: loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any.")] = PORT,
) -> None:
    """Run the service. A first start needs a bundle or --demo.

    Example: magistrate up --demo
    """
    from magistrate.cli.running import Start, run

    if bundle is not None:
        read_file(bundle)  # a wrong name is said before anything is made
    folder = data or places.data()
    running = _running(folder)
    if running and not ephemeral:
        say.words(f"running already at {running}")
        raise typer.Exit(say.DONE)
    with tempfile.TemporaryDirectory(prefix="magistrate-") if ephemeral else contextlib.nullcontext() as kept:
        base = Path(kept) if kept else None
        start = Start(
            data=base / "data" if base else folder,
            state=base / "state" if base else places.state(),
            people=base / "people" if base else places.configuration(),
            world=demo_ and people,
            bundle=bundle,
            demo=demo_,
            origin=origin,
            host=host,
            port=port,
            began=time.monotonic(),
        )
        uvloop.run(run(start, find_opa()))


def _running(folder: Path) -> str:
    """The address of the service that runs on this folder now; "" for none.

    The address that a killed service left may be anybody's by now: only who holds the folder's lock runs on it.
    """
    from magistrate.client import Client
    from magistrate.engine.opening import in_use

    if not in_use(folder):
        return ""
    try:
        url = places.service(folder)
        with Client(url, seconds=2.0) as client:
            client.get("/livez")
    except MagistrateError:
        return ""
    return url


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the data folder for a look.")] = False,
) -> None:
    """Tell the whole story on a real target, then every attack and how it is stopped.

    Exit 0 only if every step is as told.

    Example: magistrate demo
    """
    from magistrate.demo.story import tell

    raise typer.Exit(tell(find_opa(), keep=keep))


def status(as_json: Json = False) -> None:
    """Say whether the service is armed, and what waits. Exit 0 ready, 6 not.

    Example: magistrate status
    """
    from magistrate.client import Client

    url = CONTEXT.url or places.service(places.data())
    with Client(url) as client:
        said = client.get("/readyz")
    say.data({"url": url, **said, **_waiting()}, as_json=as_json)


def _waiting() -> dict[str, Any]:
    """Whose word is waited for, as far as the caller may see it; nothing where it is not said who calls."""
    try:
        rows = me().client.get("/v1/intents", state="waiting", limit=200)["items"]
    except MagistrateError:
        return {}
    columns = ("intent_id", "action", "target", "wanted")
    return {"waiting": [{name: row[name] for name in columns} for row in rows]}


def doctor(data: Annotated[Path | None, typer.Option(help="The data folder.")] = None, as_json: Json = False) -> None:
    """Check this machine, one line a check; each failure with the command that mends it. Exit 5 where one fails.

    Example: magistrate doctor
    """
    from magistrate.cli.checks import checks

    found = checks(data or places.data())
    if as_json:
        say.data(found, as_json=True)
    else:
        for check in found:
            typer.echo(f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']}: {say.visible(check['detail'])}")
            if not check["ok"] and check["hint"]:
                typer.echo(f"     hint: {check['hint']}")
    raise typer.Exit(say.DONE if all(check["ok"] for check in found) else say.FAILED)


def config_show(as_json: Json = False) -> None:
    """Print every setting, where it comes from, and its value.

    Example: magistrate config show
    """
    from magistrate.cli.settings import SETTINGS

    rows = [
        {
            "setting": setting.name,
            "value": os.environ.get(setting.name, setting.default()),
            "from": "environment" if setting.name in os.environ else "default",
            "meaning": setting.meaning,
        }
        for setting in SETTINGS
    ]
    say.table(rows, ("setting", "value", "from", "meaning"), as_json=as_json)


def bench(
    seconds: Annotated[float, typer.Option(help="How long each measure takes.")] = 3.0,
    what: Annotated[str, typer.Option(help="service, or replay.")] = "service",
    questions: Annotated[int, typer.Option(min=1000, help="With replay: how many recorded decisions.")] = 20_000,
    as_json: Json = False,
) -> None:
    """Measure the service, or a replay, beside bare OPA on the same bundle, as ratios.

    Example: magistrate bench --what replay
    """
    if what not in ("service", "replay"):
        raise typer.BadParameter("--what is service or replay")
    if what == "replay":
        from magistrate.cli.policy import newest_bundle
        from magistrate.demo import bench_replay

        said = bench_replay.measure(find_opa(), newest_bundle(), seconds=seconds, questions=questions)
        say.data(said, as_json=as_json)
        return
    from magistrate.demo.bench import measure

    say.data(measure(find_opa(), seconds=seconds), as_json=as_json)


def write_service(folder: Path, url: str, origin: str) -> None:
    """Leave the address where the command line looks for it."""
    at = folder / "service.json"
    said: dict[str, Any] = {"url": url, "pid": os.getpid(), "origin": origin}
    part = at.with_suffix(".part")
    part.write_bytes(canonical.canonical(said) + b"\n")
    part.replace(at)


def hold_port(port: int) -> None:
    """Raises: Malformed: no port."""
    if not 0 <= port <= 65_535:
        raise Malformed("start.port", f"{port} is no port", hint="magistrate up --port 8420")


def interactive() -> bool:
    """Whether a person is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
