"""The service, from folder to address and back to nothing left running."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from magistrate import api
from magistrate.cli import say
from magistrate.cli.demo_world import World
from magistrate.cli.policy import newest_bundle
from magistrate.cli.service import hold_port, write_service
from magistrate.core.errors import Malformed, Unavailable
from magistrate.engine.opening import Open, Settings, open_installation
from magistrate.keys import private
from magistrate.policy.binary import Binary

CODE_BYTES = 16
GARBAGE = 20_000  # objects between two looks: an intent makes few cycles (measured: 5 to 10 % less CPU)


@dataclass(frozen=True)
class Start:
    """What `up` was told."""

    data: Path
    state: Path
    people: Path
    bundle: Path | None
    demo: bool
    world: bool
    origin: str
    host: str
    port: int
    began: float


async def run(start: Start, binary: Binary) -> None:
    """Run until told to stop; then finish what is in flight and leave nothing behind."""
    hold_port(start.port)
    world = World() if start.world else None
    bundle = start.bundle
    if bundle is None and start.demo and not (start.data / "installation.json").exists():
        bundle = Path(os.environ.get("MAGISTRATE_DEMO_BUNDLE") or newest_bundle())
    settings = Settings(
        data=start.data,
        binary=binary,
        state=start.state,
        origin=start.origin,
        demo=True if start.demo else None,
        bundle=bundle,
        resolve={**resolve(os.environ.get("MAGISTRATE_RESOLVE", "")), **(world.resolve() if world else {})},
        secret=world.secret if world else secrets_in(os.environ.get("MAGISTRATE_SECRETS", "")),
        opa_seconds=seconds(os.environ.get("MAGISTRATE_OPA_SECONDS", "1.0")),
    )
    say.words(f"  OPA {binary.version} ({binary.origin})")
    opened = await open_installation(settings)
    say.words(f"  {opened.house.origin} is open {_since(start)}")
    gc.collect()
    gc.freeze()  # what stands now stands until the end: looking through it again finds nothing
    gc.set_threshold(GARBAGE, 20, 50)
    try:
        await _serve(start, opened, world)
    finally:
        if world is not None:
            world.close()


async def _serve(start: Start, opened: Open, world: World | None) -> None:
    beginning: list[asyncio.Task[None]] = []

    def ready(url: str) -> None:
        task = asyncio.create_task(_begin(start, opened, world, url))
        task.add_done_callback(_end_with)
        beginning.append(task)

    async def stop() -> None:
        (start.data / "service.json").unlink(missing_ok=True)
        for task in beginning:
            task.cancel()
        await opened.close()

    app = api.create(opened.house, opened.setup, begun=opened.begin, folder=start.data)
    await api.serve(app, api.Address(host=start.host, port=start.port), ready=ready, stop=stop)
    for task in beginning:
        if not task.cancelled():
            task.result()


async def _begin(start: Start, opened: Open, world: World | None, url: str) -> None:
    """What is done once the address answers: set-up where it is due, then the gate is armed."""
    write_service(start.data, url, opened.house.origin)
    code = opened.setup.new_code(lambda: os.urandom(CODE_BYTES).hex()) if not opened.setup.done else ""
    await opened.begin()
    if world is not None:
        await asyncio.to_thread(world.people, url, code, start.people, start.state)
    say.words(f"  ready {_since(start)}")
    if world is not None:
        world.tell(url, start.people)
        return
    typer.echo(url)
    if code:
        say.words(f"set it up within 15 minutes: magistrate operators setup {code} --id YOUR-NAME")


def _end_with(task: asyncio.Task[None]) -> None:
    """A service that could not be set up is none."""
    if not task.cancelled() and task.exception() is not None:
        os.kill(os.getpid(), signal.SIGTERM)


def _since(start: Start) -> str:
    return f"({time.monotonic() - start.began:.1f} s)"


def seconds(said: str) -> float:
    """A deadline.

    Raises:
        Malformed: not a number above 0.
    """
    try:
        value = float(said)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise Malformed("start.opa_seconds", f"{said!r} is no number of seconds", hint="magistrate config show")
    return value


def resolve(said: str) -> dict[str, str]:
    """`HOST:PORT=ADDRESS:PORT,...` as a table.

    Raises:
        Malformed: another form.
    """
    table = {}
    for part in filter(None, (p.strip() for p in said.split(","))):
        name, sep, address = part.partition("=")
        if not sep or ":" not in name or ":" not in address:
            raise Malformed("start.resolve", f"{part!r} is not HOST:PORT=ADDRESS:PORT", hint="magistrate config show")
        table[name] = address
    return table


def secrets_in(folder: str) -> Callable[[str], str] | None:
    """Secrets from a folder: one 0600 file for each name, read when it is needed and never kept."""
    if not folder:
        return None

    def secret(name: str) -> str:
        if "/" in name or name.startswith("."):
            raise Unavailable("secret.unknown", f"no secret named {name} can lie in a folder")
        raw = private.read(Path(folder) / name, what="secret", limit=65_536)
        return raw.decode().rstrip("\n")

    return secret
