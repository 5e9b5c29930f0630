"""Children that cannot outlive us: each runs under a small process of its own that ends it when we end.

`start` runs one program. Between the service and the program stands `guardian_process.py`, which holds a
socket to us: when we are gone, even by SIGKILL, it kills the program, its group and every descendant. The
program has its own session, the environment it is given and nothing else, and no descriptor but its stdio.
The job travels over the socket, never in an argument list.

Linux only: the promise rests on PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from magistrate.core.errors import Unavailable

_SCRIPT = str(Path(__file__).with_name("guardian_process.py"))
_LAST_WORDS_SECONDS = 0.5  # for output still in a pipe, once every process that could write to it is gone


@dataclass(frozen=True)
class Limits:
    """What the kernel lets the program have; 0 = no limit of ours. Core dumps are never written."""

    open_files: int = 4096
    cpu_seconds: int = 0
    memory_bytes: int = 0  # address space: unfit for Go and Java, which reserve far more than they use
    processes: int = 0  # counted by the kernel over all processes of the user

    def chosen(self) -> dict[str, int]:
        """The limits to set, by name."""
        wanted = {
            "open_files": self.open_files,
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory_bytes,
            "processes": self.processes,
        }
        return {"core": 0} | {kind: value for kind, value in wanted.items() if value > 0}


class Guarded:
    """One running program. `stop` it: letting go of it is no promise about when it ends."""

    def __init__(self, pid: int, guardian: subprocess.Popen[bytes], control: _Control, out: _Kept, err: _Kept) -> None:
        self.pid = pid  # the program's, and its process group's and session's
        self.guardian_pid = guardian.pid
        self._guardian = guardian
        self._control = control
        self._out = out
        self._err = err
        self._end = asyncio.ensure_future(self._watch())

    def __repr__(self) -> str:
        return f"Guarded(pid={self.pid}, returncode={self.returncode})"

    @property
    def stdout(self) -> bytes:
        """What it wrote so far: the last `output_limit` bytes."""
        return bytes(self._out.kept)

    @property
    def stderr(self) -> bytes:
        """What it wrote to stderr so far: the last `output_limit` bytes."""
        return bytes(self._err.kept)

    @property
    def truncated(self) -> bool:
        """Whether stdout was longer than the limit, so that its beginning was dropped."""
        return self._out.dropped > 0

    @property
    def stderr_truncated(self) -> bool:
        """Whether stderr was longer than the limit, so that its beginning was dropped."""
        return self._err.dropped > 0

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while anything of it still runs."""
        return self._end.result() if self._end.done() else None

    async def wait(self) -> int:
        """Return its exit code (negative = signal) once it and every descendant is gone.

        A program that exits takes what it left running with it.
        """
        return await asyncio.shield(self._end)

    async def stop(self, grace: float) -> int:
        """SIGTERM its group, SIGKILL all that is left after `grace` seconds; return when nothing is left."""
        self._control.write(struct.pack("!d", grace))
        return await self.wait()

    async def _watch(self) -> int:
        line = await self._control.line()
        code = int(line.removeprefix("exit ")) if line.startswith("exit ") else None
        self._control.close()
        await asyncio.to_thread(self._guardian.wait)
        if code is None:
            code = -signal.SIGKILL
            await _end_session(self.pid)
        await asyncio.gather(self._out.finish(), self._err.finish())
        return code


class _Control(asyncio.Protocol):
    """Our end of the guardian's socket."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        *whole, self._held = (self._held + data).split(b"\n")
        for line in whole:
            self._lines.put_nowait(line.decode())

    def connection_lost(self, _: Exception | None) -> None:
        self._lines.put_nowait("")

    async def line(self) -> str:
        """The guardian's next line, "" when it is gone."""
        return await self._lines.get()

    def write(self, data: bytes) -> None:
        """Send, if there is anyone to send to."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Let go: a guardian that is still there kills everything it guards."""
        if self._transport is not None:
            self._transport.close()


class _Kept(asyncio.Protocol):
    """One output of the program: always read, its last `limit` bytes kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._total = 0
        self._ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    @property
    def kept(self) -> bytes:
        """The last `limit` bytes."""
        return bytes(self._held[-self._limit :])

    @property
    def dropped(self) -> int:
        """How many bytes came before those."""
        return max(0, self._total - self._limit)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._total += len(data)
        self._held += data
        if len(self._held) > 2 * self._limit:  # trimmed now and then, not for every piece
            del self._held[: -self._limit]

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set()

    async def finish(self) -> None:
        """Return when all was read; a descriptor handed on to a stranger does not hold us up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _LAST_WORDS_SECONDS)
        self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._transport is not None:
            self._transport.close()


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str = "",
    stdin: bytes | None = None,
    output_limit: int = 1 << 20,
    limits: Limits | None = None,
) -> Guarded:
    """Start `argv` under a guardian and return it running.

    `argv[0]` is an absolute path, or a name looked up in the PATH of `env`. The working directory is `/`
    unless given. A `user` other than our own needs root.

    Raises:
        Unavailable: `executor.spawn` the program cannot be started; `executor.user` not as that user.
    """
    job = _job(argv, env, cwd, user, limits or Limits())
    control, out, err = _Control(), _Kept(output_limit), _Kept(output_limit)
    with contextlib.ExitStack() as ours:
        launched = _launch(ours, stdin)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: control, sock=launched.control)
            await loop.connect_read_pipe(lambda: out, launched.out)
            await loop.connect_read_pipe(lambda: err, launched.err)
            ours.pop_all()  # the transports own and close them from here on
            control.write(struct.pack("!Q", len(job)) + job)
            pid = _started(await control.line(), argv[0])
        except BaseException:
            for end in (control, out, err):
                end.close()
            ours.close()  # the guardian sees the end of its socket, kills what there is, and ends
            await asyncio.shield(asyncio.to_thread(launched.guardian.wait))
            raise
    return Guarded(pid, launched.guardian, control, out, err)


@dataclass(frozen=True)
class _Launched:
    """A guardian that waits for its job, and our ends of what it holds."""

    guardian: subprocess.Popen[bytes]
    control: socket.socket
    out: IO[bytes]
    err: IO[bytes]


def _launch(ours: contextlib.ExitStack, stdin: bytes | None) -> _Launched:
    """Start a guardian; its stdio is what the program will inherit."""
    with contextlib.ExitStack() as theirs:
        control, far = socket.socketpair()
        ours.enter_context(control)
        theirs.enter_context(far)
        control.setblocking(False)
        source = theirs.enter_context(_source(stdin))
        out, out_end = _pipe(ours, theirs)
        err, err_end = _pipe(ours, theirs)
        try:
            guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", _SCRIPT, str(far.fileno())],
                env={},
                cwd="/",
                stdin=source,
                stdout=out_end,
                stderr=err_end,
                pass_fds=(far.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable("executor.spawn", f"no guardian could be started: {error.strerror}") from error
    return _Launched(guardian, control, out, err)


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return ours.enter_context(os.fdopen(reading, "rb", 0)), theirs.enter_context(os.fdopen(writing, "wb", 0))


def _source(stdin: bytes | None) -> IO[bytes]:
    """What the program reads: a file in memory needs no one to feed it."""
    if stdin is None:
        return Path(os.devnull).open("rb")
    held = os.fdopen(os.memfd_create("stdin"), "w+b")
    held.write(stdin)
    held.seek(0)
    return held


def _job(argv: Sequence[str], env: Mapping[str, str], cwd: str | None, user: str, limits: Limits) -> bytes:
    """Everything the guardian needs, as the bytes it reads."""
    texts = [*argv, *env, *env.values(), cwd or "/"]
    if not argv or any("\0" in text for text in texts) or any("=" in name or not name for name in env):
        raise Unavailable("executor.spawn", "the arguments or the environment hold what no process can be given")
    return marshal.dumps(
        {
            "program": os.fsencode(_program(argv[0], env)),
            "argv": [os.fsencode(part) for part in argv],
            "env": {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
            "cwd": os.fsencode(cwd or "/"),
            "user": _credentials(user),
            "limits": limits.chosen(),
        }
    )


def _program(name: str, env: Mapping[str, str]) -> str:
    """The file to run."""
    if name.startswith("/"):
        return name
    found = shutil.which(name, path=env["PATH"]) if "/" not in name and env.get("PATH") else None
    if found is None:
        detail = f"no such program: {name}; it is named by its absolute path, or lies in the PATH it is given"
        raise Unavailable("executor.spawn", detail)
    return found


def _credentials(user: str) -> tuple[int, int, list[int]] | None:
    """Whom to become (uid, gid, groups); None = stay who we are."""
    if not user:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Unavailable("executor.user", f"this machine has no user {user!r}") from None
    if os.geteuid() == 0:
        return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)
    if entry.pw_uid == os.geteuid():
        return None
    raise Unavailable("executor.user", f"only root can run a program as {user!r}; this service is not root's")


def _started(line: str, program: str) -> int:
    """The program's pid, from the guardian's first line."""
    if line.startswith("pid "):
        return int(line.removeprefix("pid "))
    if not line:
        raise Unavailable("executor.spawn", f"the guardian ended before it started {program}")
    _, step, number = line.split(" ")
    why = os.strerror(int(number)) if number != "0" else "unexpected error"
    raise Unavailable("executor.spawn", f"{program} cannot be started ({step}): {why}")


async def _end_session(session: int) -> None:
    """Kill what a killed guardian left behind, as far as it can be told: everything in the session."""
    while members := _members(session):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.005)


def _members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                state, _, _, its_session = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:4]
                if int(its_session) == session and state not in (b"Z", b"X"):
                    found.append(int(entry.name))
    return found
