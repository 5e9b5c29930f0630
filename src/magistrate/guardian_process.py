"""Runs one program and sees to it that nothing of it outlives the service.

A script, never imported: `magistrate.guardian` starts it with `-I -S`, so it sees the standard library
alone, and only the parts that load fast. One thread: PR_SET_PDEATHSIG follows a thread, not a process.

The one argument is the number of a socket whose other end only the service holds. In: the job
(8 bytes of length, then marshal), later one double for each stop (the grace in seconds). Out: the lines
`pid N`, then `exit CODE`; or `failed STEP ERRNO`. When the socket ends, so does everything that runs here.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import select
import signal
import sys
import time
from struct import unpack

TYPE_CHECKING = False  # typing itself is slow to load
if TYPE_CHECKING:
    from typing import TypedDict

    class Job(TypedDict):
        """What `magistrate.guardian` asks for."""

        program: bytes
        argv: list[bytes]
        env: dict[bytes, bytes]
        cwd: bytes
        user: tuple[int, int, list[int]] | None
        limits: dict[str, int]


PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
POLL_SECONDS = 0.02  # how often a dying group is looked at
KINDS = {
    "core": resource.RLIMIT_CORE,
    "open_files": resource.RLIMIT_NOFILE,
    "cpu_seconds": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "processes": resource.RLIMIT_NPROC,
}
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def control(option: int, value: int) -> None:
    """Set one of the kernel's process attributes on this process."""
    if _prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def read_exactly(fd: int, size: int) -> bytes:
    """Return `size` bytes, or fewer when the other end is gone."""
    held = b""
    try:
        while len(held) < size and (more := os.read(fd, size - len(held))):
            held += more
    except ConnectionResetError:  # gone before it had read all we said
        return held
    return held


def receive_job(fd: int) -> Job:
    """Return the job; a service that died before it was whole ends this process."""
    head = read_exactly(fd, 8)
    size = unpack("!Q", head)[0] if len(head) == 8 else 0
    body = read_exactly(fd, size)
    if not size or len(body) != size:
        os._exit(0)
    job: Job = marshal.loads(body)  # noqa: S302 - from our own parent, the same interpreter; json takes twice the start
    return job


def say(fd: int, line: str) -> None:
    """Tell the service, if it still is there to hear it."""
    try:
        os.write(fd, line.encode() + b"\n")
    except OSError:
        return  # it died: the end of the socket is seen next


def become_the_program(job: Job, parent: int, failure: int) -> None:
    """In the forked child: give up all that is ours, then exec. Returns only by raising."""
    step = "start"
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # an ignored signal would stay ignored after exec
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.closerange(3, failure)
        os.closerange(failure + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        step = "limits"
        for kind, value in job["limits"].items():
            _, ceiling = resource.getrlimit(KINDS[kind])
            bounded = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
            resource.setrlimit(KINDS[kind], (bounded, bounded))
        step = "user"
        if job["user"] is not None:
            uid, gid, groups = job["user"]
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
        step = "start"
        control(PR_SET_NO_NEW_PRIVS, 1)  # a set-uid program could not be killed by us
        control(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
        if os.getppid() != parent:
            os._exit(1)  # the guardian died before the line above
        step = "cwd"
        os.chdir(job["cwd"])
        step = "exec"
        os.execve(job["program"], job["argv"], job["env"])  # noqa: S606 - a shell is what this avoids
    except OSError as error:
        os.write(failure, f"{step} {error.errno}".encode())
    except BaseException:  # noqa: BLE001 - whatever it is, this process may not go on as a second guardian
        os.write(failure, f"{step} 0".encode())
    os._exit(127)


def spawn(job: Job, fd: int) -> int:
    """Start the program and return its pid; when it cannot be started, say why and end."""
    parent = os.getpid()
    told, failure = os.pipe()  # the write end closes by itself when exec succeeds
    pid = os.fork()
    if pid == 0:
        become_the_program(job, parent, failure)
    os.close(failure)
    why = os.read(told, 64).decode()
    os.close(told)
    if why:
        os.waitpid(pid, 0)
        say(fd, f"failed {why}")
        os._exit(0)
    return pid


def children() -> list[int]:
    """Every direct child, those whose own parents died included (we are their subreaper)."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as listing:  # noqa: PTH123 - pathlib is slow to load
            return [int(pid) for pid in listing.read().split()]
    except FileNotFoundError:  # a kernel built without CONFIG_PROC_CHILDREN
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(pid) == me]  # noqa: PTH208


def parent_of(pid: int) -> int:
    """The parent of any process, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def reap(main: int) -> bool:
    """Bury every dead child but `main`; True when `main` is dead.

    `main` stays a zombie to the end, so that its number, the group's, cannot become another's.
    """
    dead = False
    for pid in children():
        if pid == main:
            ended = os.waitid(os.P_PID, main, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            dead = ended is not None
        else:
            os.waitpid(pid, os.WNOHANG)
    return dead


def kill_all(main: int) -> None:
    """SIGKILL the group and every descendant until none is left but the zombie of `main`.

    Only direct children are signalled: their numbers cannot be reused before we bury them. What they
    leave behind becomes our child and is met in the next round.
    """
    signal_group(main, signal.SIGKILL)
    while True:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        if reap(main) and children() == [main]:
            return
        time.sleep(0.001)


def signal_group(main: int, number: int) -> None:
    """Signal the program's process group, if anyone is left in it."""
    try:
        os.killpg(main, number)
    except ProcessLookupError:
        return


def watch(fd: int, wake: int, main: int) -> None:
    """Return when the program is to be ended: it exited, its grace is over, or the service is gone."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, min(POLL_SECONDS, deadline - time.monotonic())) * 1000
        ready = [number for number, _ in poll.poll(timeout)]
        if wake in ready:
            os.read(wake, 4096)
        dead = reap(main)
        if fd in ready:
            asked = read_exactly(fd, 8)
            if len(asked) < 8:
                return  # the service is gone
            grace = unpack("!d", asked)[0]
            if grace <= 0:
                return
            deadline = min(time.monotonic() + grace, deadline or float("inf"))
            signal_group(main, signal.SIGTERM)
        if deadline is None and dead:
            return  # what it left behind ends with it
        if deadline is not None and (time.monotonic() >= deadline or (dead and children() == [main])):
            return


def main() -> None:
    """Run the job that stands in the socket."""
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)  # the socket alone decides when we end
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    job = receive_job(fd)
    try:
        control(PR_SET_CHILD_SUBREAPER, 1)
        program = spawn(job, fd)
    except OSError as error:
        say(fd, f"failed start {error.errno}")
        return
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):  # its pipes end with it, not with us
            os.dup2(silence, number)
        say(fd, f"pid {program}")
        watch(fd, woken, program)
    finally:  # whatever ends us ends all that runs here
        kill_all(program)
    _, status = os.waitpid(program, 0)
    say(fd, f"exit {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
