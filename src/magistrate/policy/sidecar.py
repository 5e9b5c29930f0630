"""The sidecar: one real OPA for one bundle, started by us, asked over a socket only we can reach.

A started OPA never changes its bundle: the very bytes that were hashed are written into a folder of its own, and
every answer names the bundle's sequence and a word that only this sidecar's start knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

from magistrate import guardian
from magistrate.core import canonical
from magistrate.core.errors import Broken, MagistrateError, NoAnswer, Unavailable
from magistrate.core.values import Document
from magistrate.policy import authz
from magistrate.policy.answer import Answer
from magistrate.policy.apart import Apart
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.folder import Folder
from magistrate.policy.line import MAX_QUESTION, Line

M = TypeVar("M", bound=Document)

BUNDLE: Final = "bundle.tar.gz"
SOCKET: Final = "s"
PATIENCE: Final = 5.0  # for canaries: a busy OPA that took 1.1 s was seen, and late is not wrong
START_SECONDS: Final = 10.0  # about 0.1 s on an idle machine
FIRST_BACKOFF: Final = 0.1
LAST_BACKOFF: Final = 0.5  # decisions are back within two seconds, however often OPA dies
STEADY_SECONDS: Final = 30.0  # having lived so long, a dead OPA is again restarted at once


class Sidecar:
    """Asks one bundle. It starts its OPA again whenever that ends, until `stop`."""

    nested = 0  # levels around each answer where many are asked for at once

    def __init__(
        self,
        binary: Binary,
        bundle: Bundle,
        *,
        deadline: float = 1.0,
        connections: int = 64,
        memory: str = "512MiB",
        grace: float = 2.0,
    ) -> None:
        self.bundle = bundle
        self.restarts = 0
        self.trouble = ""  # why the last restart failed; "" when it did not
        self._binary = binary
        self._deadline = deadline
        self._connections = connections
        self._memory = memory
        self._grace = grace
        self._token = secrets.token_urlsafe(32)
        # what OPA is started with, and the revision by which an answer's provenance names each
        self._revisions = {BUNDLE: str(bundle.sequence), authz.NAME: secrets.token_hex(16)}
        self._home: Folder | None = None
        self._line: Line | None = None
        self._apart: Apart | None = None
        self._opa: guardian.Guarded | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._hashed: tuple[int, ...] = ()
        self._asking = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def pid(self) -> int:
        """OPA's process, 0 when there is none."""
        return self._opa.pid if self._opa is not None and self._opa.returncode is None else 0

    async def start(self) -> None:
        """Return when OPA answers from this bundle.

        Raises:
            Unavailable: `opa.start`, with OPA's last words.
            NoAnswer: it runs, and what it answers is not from this bundle.
        """
        try:
            self._home = await asyncio.to_thread(self._prepare)
            self._line = self._connect(self._connections, self._deadline)
            self._apart = Apart(self._connect(1, max(self._deadline, PATIENCE)))
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End OPA and leave nothing behind; a second stop does nothing."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        lines, self._line, self._apart = (self._line, self._apart), None, None
        for line in lines:
            if line is not None:
                await line.close()
        if self._opa is not None:
            opa, self._opa = self._opa, None
            await opa.stop(self._grace)
        if self._home is not None:
            home, self._home = self._home, None
            await asyncio.to_thread(home.remove)

    @overload
    async def ask(self, document: str, question: bytes, model: None = None, *, apart: bool = False) -> Answer[None]: ...
    @overload
    async def ask(self, document: str, question: bytes, model: type[M], *, apart: bool = False) -> Answer[M]: ...
    async def ask(
        self, document: str, question: bytes, model: type[Document] | None = None, *, apart: bool = False
    ) -> Answer[Any]:
        """Return the answer of `data.magistrate.<document>` to canonical question bytes.

        With a `model` the answer is also read as that. `apart` asks on a connection and an
        event loop that no other question shares.

        Raises:
            NoAnswer: in every other case; the code says which. No answer is a denial.
        """
        line = self._apart if apart else self._line
        if line is None:
            raise NoAnswer("opa.refused", "the sidecar is not running")
        self._asking += 1
        self._idle.clear()
        try:
            return await line.ask(document, question, model)
        finally:
            self._asking -= 1
            if not self._asking:
                self._idle.set()

    async def drain(self) -> None:
        """Return when nothing is being asked; every question has its deadline, so this has one too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * self._deadline):
                await self._idle.wait()

    def access(self) -> tuple[str, dict[str, str]]:
        """The socket and the headers with which this OPA is asked past us: for measuring it bare, and nothing else.

        Raises:
            NoAnswer: it is not running.
        """
        if self._home is None:
            raise NoAnswer("opa.refused", "the sidecar is not running")
        return str(self._folder / SOCKET), {"Authorization": f"Bearer {self._token}"}

    async def restart(self) -> None:
        """Kill OPA, as one does that hangs; it is started again like any other that died."""
        if self._opa is not None:
            await self._opa.stop(0)

    def _connect(self, connections: int, deadline: float) -> Line:
        return Line(
            str(self._folder / SOCKET),
            self._token,
            bundle=self.bundle.digest,
            version=self._binary.version,
            revisions=self._revisions,
            deadline=deadline,
            connections=connections,
            nested=self.nested,
        )

    @property
    def _folder(self) -> Path:
        assert self._home is not None  # noqa: S101
        return self._home.path

    def _prepare(self) -> Folder:
        """Write what OPA is started with into a folder of its own."""
        home = Folder()
        try:
            (home.path / BUNDLE).write_bytes(self.bundle.raw)
            self._furnish(home.path)
        except OSError as error:
            home.remove()
            raise Unavailable("opa.folder", f"{home.path} cannot be written: {error.strerror}") from error
        return home

    def _furnish(self, folder: Path) -> None:
        """Write what lies beside the bundle: the rule that stands before OPA."""
        authz.write(folder, self._token, self._revisions[authz.NAME])

    def _environment(self) -> dict[str, str]:
        """All that OPA finds in its environment."""
        return {"TZ": "UTC", "GOMEMLIMIT": self._memory}

    def _check_files(self, folder: Path) -> None:
        """Raise if what is about to be started is not what was accepted."""
        if canonical.digest((folder / BUNDLE).read_bytes()) != self.bundle.digest:
            raise Broken("bundle.changed", f"the sidecar's copy of {self.bundle.digest} was changed")
        with self._binary.path.open("rb") as file:
            if (now := _identity(file.fileno())) == self._hashed:
                return  # nothing was written to it since it was hashed: a restart need not read 60 MB again
            if hashlib.file_digest(file, "sha256").hexdigest() != self._binary.sha256:
                hint = "magistrate opa install"
                raise Broken("opa.changed", f"{self._binary.path} is not the OPA that was accepted", hint=hint)
            self._hashed = now

    async def _launch(self) -> None:
        """Start OPA and return when it answers."""
        folder = self._folder
        await asyncio.to_thread(self._check_files, folder)
        with contextlib.suppress(FileNotFoundError):
            (folder / SOCKET).unlink()
        self._opa = await guardian.start(self._command(), env=self._environment(), cwd=str(folder), output_limit=4096)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._await_answer(self._opa)
        except BaseException as error:
            await self._opa.stop(0)
            if isinstance(error, TimeoutError):
                words = _words(self._opa)
                raise Unavailable("opa.start", f"OPA does not answer within {START_SECONDS:g} s: {words}") from None
            raise

    def _command(self) -> list[str]:
        """OPA's arguments; the token is not among them."""
        most = MAX_QUESTION + 1024
        return [
            str(self._binary.path),
            *("run", "--server", "--bundle", *self._revisions),
            *("--addr", f"unix://{SOCKET}", "--unix-socket-perm", "600"),
            *("--authentication", "token", "--authorization", "basic"),
            *("--set", f"server.decoding.max_length={most}", "--set", f"server.decoding.gzip.max_length={most}"),
            *("--skip-version-check", "--log-level", "error", "--log-format", "text"),
            *("--shutdown-grace-period", "1"),
        ]

    async def _await_answer(self, opa: guardian.Guarded) -> None:
        """Return once an answer, or its absence, carries the provenance we expect."""
        while opa.returncode is None:
            try:
                await self.ask("access", b"{}")
            except NoAnswer as error:
                if error.code in ("opa.undefined", "opa.null", "opa.not_an_object"):
                    return  # it came from this bundle; whether it can be used is for the canaries to say
                if error.code not in ("opa.refused", "opa.stale_socket", "opa.cut_short", "opa.timeout"):
                    raise
            else:
                return
            await asyncio.sleep(0.005)
        raise Unavailable("opa.start", f"OPA ended at once: {_words(opa)}")

    async def _keep(self) -> None:
        """Start OPA again whenever it ends: at once, and with growing pauses while it ends again soon."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while self._opa is not None:
            began = loop.time()
            await self._opa.wait()
            if loop.time() - began >= STEADY_SECONDS:
                pause = 0.0
            await asyncio.sleep(pause)
            pause = min(max(FIRST_BACKOFF, 2 * pause), LAST_BACKOFF)
            self.restarts += 1
            try:
                await self._launch()
                self.trouble = ""
            except (MagistrateError, OSError) as error:
                self.trouble = str(error)


def _identity(file: int) -> tuple[int, ...]:
    """Which file it is, and when it last changed: the time of change is the kernel's, and no writer sets it."""
    at = os.fstat(file)
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns


def _words(opa: guardian.Guarded) -> str:
    """What OPA said last."""
    said = (opa.stderr + opa.stdout).decode("utf-8", "replace").strip()
    return said[-600:] or "it said nothing"
