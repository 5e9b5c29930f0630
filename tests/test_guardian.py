"""Nothing that runs under the guardian outlives the service, the guardian, or a stop."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import uvloop

from magistrate import guardian, guardian_process
from magistrate.core.errors import Unavailable
from magistrate.guardian import Guarded, Limits, start

as_root = os.geteuid() == 0

# A shell, its child, one that left the session, and a daemon (forked twice); each writes its number.
FAMILY = """
echo $$ > $0/shell
sh -c 'echo $$ > '$0'/child; exec sleep 600' &
setsid sh -c 'echo $$ > '$0'/stranger; exec sleep 600' &
(setsid sh -c '(trap "" TERM HUP; echo $$ >/dev/null; sh -c "echo \\$\\$ > '$0'/daemon; exec sleep 600") &' &)
wait
"""
FAMILY_NAMES = ("shell", "child", "stranger", "daemon")

SERVICE = """
import asyncio, sys
from magistrate.guardian import start
async def serve():
    guarded = await start(["/bin/sh", "-c", sys.argv[1], sys.argv[2]], env={"PATH": "/usr/bin:/bin"})
    print(guarded.pid, guarded.guardian_pid, flush=True)
    await guarded.wait()
asyncio.run(serve())
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def survivors(pids, within: float = 2.0) -> list[int]:
    """Who is still alive when the time is over."""
    end = time.monotonic() + within
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.01)
    return left


async def family(folder: Path) -> dict[str, int]:
    """The members' pids, once all have written theirs."""
    for _ in range(1000):
        texts = {name: (folder / name).read_text() for name in FAMILY_NAMES if (folder / name).exists()}
        if len(texts) == len(FAMILY_NAMES) and all(texts.values()):
            return {name: int(text) for name, text in texts.items()}
        await asyncio.sleep(0.01)
    raise AssertionError(f"only {list(texts)} started")


def descriptors() -> set[str]:
    """Our open files, by number."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def run(script: str, **options) -> Guarded:
    """Start a shell script."""
    guarded = await start(["/bin/sh", "-c", script], env=options.pop("env", {}), **options)
    await guarded.wait()
    return guarded


@pytest.fixture
def service(tmp_path):
    """A process of its own that runs the family under a guardian."""
    process = subprocess.Popen([sys.executable, "-c", SERVICE, FAMILY, str(tmp_path)], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


async def test_kill_9_of_the_service_ends_child_grandchild_stranger_and_daemon(service, tmp_path):
    _, guardian = map(int, service.stdout.readline().split())
    members = await family(tmp_path)
    assert all(map(alive, members.values()))

    service.kill()

    assert survivors([*members.values(), guardian]) == []


def test_a_service_killed_before_it_read_the_pid_leaves_no_grandchild(tmp_path):
    """The kernel then tells the guardian of a connection that was reset, not of one that ended."""
    ours, theirs = socket.socketpair()
    argv = ["/bin/sh", "-c", 'sleep 600 & echo $! > "$0/child"; wait', str(tmp_path)]
    job = guardian._job(argv, {"PATH": "/usr/bin:/bin"}, None, "", Limits())
    with (
        ours,
        theirs,
        subprocess.Popen(
            [sys.executable, "-I", "-S", guardian._SCRIPT, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as process,
    ):
        theirs.close()
        ours.sendall(struct.pack("!Q", len(job)) + job)
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().endswith("\n"):
            time.sleep(0.005)
        ours.close()  # with the pid still unread in it
        _, words = process.communicate(timeout=10)
    assert survivors([int((tmp_path / "child").read_text())]) == []
    assert words == ""
    assert process.returncode == 0


async def test_kill_9_of_the_guardian_ends_the_child_and_its_session(tmp_path):
    guarded = await start(["/bin/sh", "-c", FAMILY, str(tmp_path)], env={"PATH": "/usr/bin:/bin"})
    members = await family(tmp_path)

    os.kill(guarded.guardian_pid, signal.SIGKILL)

    assert await asyncio.wait_for(guarded.wait(), 2) == -signal.SIGKILL
    assert survivors([members["shell"], members["child"]], within=0) == []
    for left in (
        "stranger",
        "daemon",
    ):  # what the promise does not cover: a stranger when the guardian itself is killed
        os.kill(members[left], signal.SIGKILL)


async def test_kill_9_of_service_and_guardian_at_once_still_ends_the_child(service, tmp_path):
    pid, guardian = map(int, service.stdout.readline().split())
    await family(tmp_path)

    service.send_signal(signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)

    assert survivors([pid]) == []
    for name, left in (await family(tmp_path)).items():
        if name != "shell":
            os.kill(left, signal.SIGKILL)


async def test_stop_returns_only_when_the_whole_family_is_gone(tmp_path):
    guarded = await start(["/bin/sh", "-c", FAMILY, str(tmp_path)], env={"PATH": "/usr/bin:/bin"})
    members = await family(tmp_path)

    await guarded.stop(0.2)

    assert survivors(members.values(), within=0) == []


async def test_stop_kills_a_child_that_ignores_term():
    guarded = await start(["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done"], env={})
    while guarded.stdout != b"up\n":
        await asyncio.sleep(0.01)
    began = time.monotonic()

    assert await guarded.stop(0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 2
    assert not alive(guarded.pid)


async def test_stop_lets_a_child_finish_within_its_grace():
    script = "trap 'echo tidy; exit 7' TERM; echo up; while :; do sleep 0.02; done"
    guarded = await start(["/bin/sh", "-c", script], env={})
    while guarded.stdout != b"up\n":
        await asyncio.sleep(0.01)

    assert await guarded.stop(5) == 7
    assert guarded.stdout == b"up\ntidy\n"


async def test_stop_waits_for_a_grandchild_that_tidies_up_after_its_parent_died():
    script = "sh -c \"trap 'sleep 0.2; echo tidy; exit' TERM; echo up; while :; do sleep 0.02; done\" & wait"
    guarded = await start(["/bin/sh", "-c", script], env={})
    while guarded.stdout != b"up\n":
        await asyncio.sleep(0.01)

    assert await guarded.stop(5) == -signal.SIGTERM
    assert guarded.stdout == b"up\ntidy\n"


async def test_stop_without_grace_kills_at_once():
    guarded = await start(["/bin/sh", "-c", "trap 'echo heard' TERM; sleep 600"], env={})

    assert await guarded.stop(0) == -signal.SIGKILL
    assert guarded.stdout == b""


async def test_a_shorter_second_stop_wins():
    guarded = await start(["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done"], env={})
    while guarded.stdout != b"up\n":
        await asyncio.sleep(0.01)
    slow = asyncio.create_task(guarded.stop(60))
    await asyncio.sleep(0.05)

    await asyncio.wait_for(guarded.stop(0.1), 2)

    assert await slow == -signal.SIGKILL


async def test_stop_after_the_end_is_harmless():
    guarded = await run("exit 3")

    assert await guarded.stop(1) == 3


async def test_a_stopped_process_is_killed_too():
    guarded = await start(["/bin/sh", "-c", "kill -STOP $$"], env={})
    await asyncio.sleep(0.1)

    assert await guarded.stop(0.1) == -signal.SIGKILL


async def test_what_a_program_leaves_running_ends_with_it(tmp_path):
    guarded = await start(["/bin/sh", "-c", FAMILY.replace("wait\n", ""), str(tmp_path)], env={"PATH": "/usr/bin:/bin"})

    assert await asyncio.wait_for(guarded.wait(), 5) == 0

    left = [
        int(text) for name in FAMILY_NAMES if (tmp_path / name).exists() and (text := (tmp_path / name).read_text())
    ]
    assert left
    assert survivors(left, within=0) == []


async def test_a_program_that_forks_as_fast_as_it_can_is_ended():
    script = "f() { while :; do sleep 60 & done; }; f & f & f & wait"
    guarded = await start(["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, limits=Limits(cpu_seconds=20))
    await asyncio.sleep(0.3)

    await asyncio.wait_for(guarded.stop(0), 5)

    assert survivors([guarded.pid], within=0) == []


async def test_exit_codes_and_signals_are_told_apart():
    assert (await run("exit 0")).returncode == 0
    assert (await run("exit 42")).returncode == 42
    assert (await run("kill -USR1 $$")).returncode == -signal.SIGUSR1


async def test_returncode_is_none_while_it_runs():
    guarded = await start(["/bin/sh", "-c", "sleep 600"], env={})

    assert guarded.returncode is None
    await guarded.stop(0)


async def test_a_cancelled_wait_leaves_it_running():
    guarded = await start(["/bin/sh", "-c", "sleep 600"], env={})

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(guarded.wait(), 0.05)

    assert alive(guarded.pid)
    await guarded.stop(0)


async def test_no_descriptor_is_inherited_but_stdio(tmp_path):
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        guarded = await start([sys.executable, "-I", "-c", "import os; print(os.listdir('/proc/self/fd'))"], env={})
        assert await guarded.wait() == 0
        os.close(reading)
        os.close(writing)

    numbers = eval(guarded.stdout)
    assert set(numbers) <= {"0", "1", "2", "3"}  # 3 is the listing's own


async def test_the_environment_is_what_was_given_and_nothing_else(monkeypatch):
    monkeypatch.setenv("CANARY", "from the service")
    code = "import os; print(dict(os.environ))"

    empty = await start([sys.executable, "-I", "-c", code], env={"LC_ALL": "C.UTF-8"})
    assert await empty.wait() == 0
    assert eval(empty.stdout) == {"LC_ALL": "C.UTF-8"}

    bare = await start(["/usr/bin/env"], env={})
    assert await bare.wait() == 0
    assert bare.stdout == b""


async def test_arguments_and_environment_stay_out_of_the_guardians_own():
    guarded = await start(
        ["/bin/sh", "-c", "sleep 600", "canary-argument"], env={"K": "canary-value"}, stdin=b"canary-in"
    )

    for name in ("cmdline", "environ"):
        assert b"canary" not in Path(f"/proc/{guarded.guardian_pid}/{name}").read_bytes()
    assert "canary" not in repr(guarded)
    await guarded.stop(0)


async def test_it_has_its_own_session_and_group():
    guarded = await start(["/bin/sh", "-c", "sleep 600"], env={})

    assert os.getsid(guarded.pid) == guarded.pid
    assert os.getpgid(guarded.pid) == guarded.pid
    assert os.getsid(guarded.guardian_pid) == guarded.guardian_pid
    await guarded.stop(0)


async def test_signals_are_as_a_shell_expects_them():
    guarded = await start(["/bin/cat", "/proc/self/status"], env={})
    await guarded.wait()

    fields = dict(line.split(":\t", 1) for line in guarded.stdout.decode().splitlines() if ":\t" in line)
    assert int(fields["SigIgn"], 16) == 0
    assert int(fields["SigBlk"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


async def test_output_beyond_the_limit_is_drained_and_its_end_kept():
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo $i-0123456789012345678901234567890123456789; i=$((i+1)); done; echo last"
    )

    guarded = await run(script, output_limit=1000)

    assert guarded.returncode == 0
    assert len(guarded.stdout) == 1000
    assert guarded.stdout.endswith(b"\nlast\n")
    assert guarded.truncated
    assert not guarded.stderr_truncated


async def test_output_of_exactly_the_limit_is_whole():
    guarded = await run("printf 0123456789; printf 01234567890 >&2", output_limit=10)

    assert (guarded.stdout, guarded.truncated) == (b"0123456789", False)
    assert (guarded.stderr, guarded.stderr_truncated) == (b"1234567890", True)


async def test_stdin_is_what_was_given_however_large():
    data = os.urandom(300_000).hex().encode()

    guarded = await start(["/bin/cat"], env={}, stdin=data)
    await guarded.wait()
    assert guarded.stdout == data

    unread = await start(["/bin/true"], env={}, stdin=data)
    assert await unread.wait() == 0

    none = await start(["/bin/cat"], env={})
    assert (await none.wait(), none.stdout) == (0, b"")


async def test_limits_are_set():
    limits = Limits(open_files=64, cpu_seconds=77, memory_bytes=1 << 30)
    guarded = await run("ulimit -n; ulimit -t; ulimit -v; ulimit -c; ulimit -Hn", limits=limits)

    assert guarded.stdout.split() == [b"64", b"77", str((1 << 30) // 1024).encode(), b"0", b"64"]


async def test_a_program_beyond_its_processor_time_is_killed():
    guarded = await run("while :; do :; done", limits=Limits(cpu_seconds=1))

    assert guarded.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


async def test_the_working_directory(tmp_path):
    assert (await run("pwd")).stdout == b"/\n"
    assert (await run("pwd", cwd=str(tmp_path))).stdout.decode().strip() == str(tmp_path.resolve())
    with pytest.raises(Unavailable, match="cwd") as refused:
        await start(["/bin/true"], env={}, cwd=str(tmp_path / "absent"))
    assert refused.value.code == "executor.spawn"


async def test_a_name_is_looked_up_in_the_path_it_is_given():
    guarded = await start(["true"], env={"PATH": "/usr/bin:/bin"})
    assert await guarded.wait() == 0


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["/no/such/program"], {}),
        (["/etc/passwd"], {}),  # not executable
        (["/tmp"], {}),  # a folder
        (["true"], {}),  # no PATH, so no search
        (["no-such-program"], {"PATH": "/usr/bin:/bin"}),
        (["bin/true"], {"PATH": "/usr"}),  # relative
        ([], {}),
        (["/bin/true", "a\0b"], {}),
        (["/bin/true"], {"A\0": "b"}),
        (["/bin/true"], {"A=": "b"}),
        (["/bin/true"], {"": "b"}),
        (["/bin/true", "x" * 3_000_000], {}),
    ],
)
async def test_what_cannot_be_started_is_one_clear_error(argv, env):
    with pytest.raises(Unavailable) as refused:
        await start(argv, env=env)
    assert refused.value.code == "executor.spawn"
    assert len(str(refused.value)) < 200


async def test_a_user_this_machine_does_not_have_is_refused():
    with pytest.raises(Unavailable, match="no user") as refused:
        await start(["/bin/true"], env={}, user="no-such-user-here")
    assert refused.value.code == "executor.user"


async def test_another_user_needs_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(Unavailable, match="only root") as refused:
        await start(["/bin/true"], env={}, user="nobody")
    assert refused.value.code == "executor.user"


async def test_as_another_user_it_has_nothing_of_ours():
    if as_root:
        guarded = await start(["/usr/bin/id"], env={}, user="nobody")
        await guarded.wait()
        assert b"uid=65534(nobody)" in guarded.stdout
        assert b"(root)" not in guarded.stdout

        refused = await start(["/bin/kill", "-9", str(guarded.guardian_pid), "1"], env={}, user="nobody")
        assert await refused.wait() != 0
    else:
        with pytest.raises(Unavailable, match="only root"):
            await start(["/usr/bin/id"], env={}, user="nobody")


async def test_another_users_family_is_killed_too(tmp_path):
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    user = "nobody" if as_root else ""
    guarded = await start(["/bin/sh", "-c", FAMILY, str(tmp_path)], env={"PATH": "/usr/bin:/bin"}, user=user)
    members = await family(tmp_path)

    await guarded.stop(0)

    assert survivors(members.values(), within=0) == []


async def test_a_cancelled_start_leaves_nothing():
    before = descriptors()
    for delay in (0, 0.002, 0.01, 0.02):
        task = asyncio.create_task(start(["/bin/sleep", "601"], env={}))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            guarded = await task
        except asyncio.CancelledError:
            continue
        await guarded.stop(0)

    await asyncio.sleep(0.05)
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "/bin/sleep 601" not in listing
    assert descriptors() == before


def children() -> set[str]:
    """The processes this one has started and not yet seen end."""
    me = str(os.getpid())
    return set(Path(f"/proc/{me}/task/{me}/children").read_text().split())


async def test_no_descriptor_and_no_zombie_is_left_behind():
    await run("true")
    before, others = len(descriptors()), children()
    for _ in range(5):
        await run("echo x; echo y >&2", env={"A": "b"})
    with pytest.raises(Unavailable):
        await start(["/no/such/program"], env={})

    assert len(descriptors()) == before
    assert children() <= others


async def test_many_at_once():
    guarded = await asyncio.gather(*(start(["/bin/sh", "-c", f"echo {n}"], env={}) for n in range(12)))
    assert await asyncio.gather(*(one.wait() for one in guarded)) == [0] * 12
    assert [int(one.stdout) for one in guarded] == list(range(12))


def test_the_same_holds_under_uvloop():
    async def serve() -> tuple[int, int, bytes]:
        first = await start(["/bin/sh", "-c", "echo out; exit 5"], env={}, stdin=b"x")
        second = await start(["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done"], env={})
        while second.stdout != b"up\n":
            await asyncio.sleep(0.01)
        return await first.wait(), await second.stop(0.1), first.stdout

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(serve()) == (5, -signal.SIGKILL, b"out\n")


def test_without_the_kernels_list_of_children_they_are_found_by_their_parent(monkeypatch):
    """CONFIG_PROC_CHILDREN is a choice of whoever built the kernel."""

    def without_children(path, mode):
        if path.endswith("/children"):
            raise FileNotFoundError(path)
        return Path(path).open(mode)

    child = subprocess.Popen(["/bin/sleep", "600"])
    with_list = guardian_process.children()
    monkeypatch.setattr(guardian_process, "open", without_children, raising=False)

    assert child.pid in guardian_process.children()
    assert sorted(guardian_process.children()) == sorted(with_list)
    assert guardian_process.parent_of(child.pid) == os.getpid()
    child.kill()
    child.wait()
    assert guardian_process.parent_of(child.pid) == 0


def test_the_guardian_loads_nothing_slow():
    """asyncio, json, re or typing would double its start."""
    ours, theirs = socket.socketpair()
    ours.close()  # a service that died at once
    script = Path(start.__code__.co_filename).with_name("guardian_process.py")
    command = [sys.executable, "-I", "-S", "-X", "importtime", script, str(theirs.fileno())]
    ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=True)
    theirs.close()

    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "ctypes" in loaded
    assert not {"asyncio", "json", "re", "typing", "pathlib", "subprocess", "socket", "site"} & loaded
