"""A program that was run is gone when the call returns, whichever way it returns."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from magistrate.core.canonical import canonical, digest
from magistrate.executors import Outcome


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


async def test_success_and_its_facts(command):
    outcome = await command("echo done")

    assert outcome == Outcome(
        "succeeded",
        {"exit_code": 0, "stdout_tail": "done\n", "stdout_sha256": digest(b"done\n"), "truncated": False},
        "exit code 0",
        sent=True,
    )
    assert canonical(outcome.facts)


async def test_another_exit_code_is_a_proven_failure(command):
    outcome = await command("echo half; echo first >&2; echo 'disk full' >&2; exit 3")

    assert (outcome.outcome, outcome.facts["exit_code"], outcome.sent) == ("failed", 3, True)
    assert outcome.detail == "exit code 3: disk full"


async def test_a_signal_proves_nothing(command):
    outcome = await command("kill -SEGV $$")

    assert (outcome.outcome, outcome.facts["exit_code"]) == ("unknown", -11)


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/etc/passwd"], ["/bin/sh", "x" * 3_000_000]])
async def test_what_cannot_be_started_is_a_proven_failure(command, argv):
    outcome = await command("", {"argv": argv})

    assert (outcome.outcome, outcome.facts, outcome.sent) == ("failed", {"error": "executor.spawn"}, False)


async def test_a_user_that_is_not_here_is_a_proven_failure(command):
    outcome = await command("true", {"user": "no-such-user"})

    assert (outcome.outcome, outcome.facts) == ("failed", {"error": "executor.user"})


async def test_it_runs_as_the_user_the_row_names(command):
    if os.geteuid() == 0:
        assert (await command("id -un", {"user": "nobody"})).facts["stdout_tail"] == "nobody\n"
    else:
        assert (await command("id -un", {"user": "nobody"})).facts == {"error": "executor.user"}


async def test_its_environment_is_empty_unless_the_row_fills_it(command, monkeypatch):
    monkeypatch.setenv("CANARY", "ours")

    empty = await command("", {"argv": ["/usr/bin/env"]})
    assert empty.facts["stdout_tail"] == ""

    filled = await command("", {"argv": ["/usr/bin/env"], "env": {"A": "b", "V": {"from": "/parameters/version"}}})
    assert filled.facts["stdout_tail"].splitlines() == ["A=b", "V=2.4.1"]


async def test_a_value_is_one_argument_and_never_a_shell_line(command, tmp_path):
    outcome = await command("", {"argv": ["/bin/echo", "$(touch x)", "; ls", {"from": "/parameters/version"}]})

    assert outcome.facts["stdout_tail"] == "$(touch x) ; ls 2.4.1\n"


async def test_long_output_is_cut_at_its_beginning(command):
    script = "i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end"

    outcome = await command(script)

    assert outcome.facts["truncated"] is True
    assert len(outcome.facts["stdout_tail"]) == 2048
    assert outcome.facts["stdout_tail"].endswith("\nend\n")


async def test_output_that_is_no_text_still_makes_facts(command):
    outcome = await command(r"printf '\377\000\355\240\200x'")

    assert outcome.facts["stdout_tail"].endswith("x")
    assert canonical(outcome.facts)


async def test_time_is_over(command, tmp_path):
    began = time.monotonic()

    outcome = await command(f"(sleep 600 & echo $! > {tmp_path}/pid; wait)", {"timeout_seconds": 0.3})

    assert (outcome.outcome, outcome.sent) == ("unknown", True)
    assert outcome.detail == "stopped: its time was over"
    assert time.monotonic() - began < 3
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_the_callers_deadline_counts_when_it_is_shorter(command):
    began = time.monotonic()

    assert (await command("sleep 600", deadline_seconds=0.2)).outcome == "unknown"
    assert time.monotonic() - began < 3


async def test_cancelling_returns_only_when_the_group_is_gone(command, tmp_path):
    script = f"trap '' TERM; (trap '' TERM; echo $$ > {tmp_path}/grandchild; while :; do sleep 1; done) & echo $$ > {tmp_path}/child; wait"
    task = asyncio.create_task(command(script, {"env": {"PATH": "/usr/bin:/bin"}}))
    while not ((tmp_path / "child").exists() and (tmp_path / "grandchild").exists()):
        await asyncio.sleep(0.01)
    pids = [int((tmp_path / name).read_text()) for name in ("child", "grandchild")]

    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()  # impatience changes nothing
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(map(alive, pids))


async def test_cancelling_while_time_runs_out_still_ends_it(command, tmp_path):
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1; done"
    task = asyncio.create_task(command(script, {"timeout_seconds": 0.2, "env": {"PATH": "/usr/bin:/bin"}}))
    await asyncio.sleep(0.5)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_probe_sees_the_object_on_its_output(command):
    outcome = await command("""echo '{"version": "2.4.1", "n": 3}'""", probing=True)

    assert outcome == Outcome("succeeded", {"version": "2.4.1", "n": 3}, "exit code 0", sent=True)


@pytest.mark.parametrize("script", [
    "true", "echo []", "echo 7", "echo '{\"a\": 1, \"a\": 2}'", "echo text", "echo '{}'; echo '{}'",
    "printf '{\"a\": \"'; head -c 300000 /dev/zero | tr '\\0' x; printf '\"}'", "echo '{}'; exit 1",
])  # fmt: skip
async def test_a_probe_without_one_json_object_has_seen_nothing(command, script):
    outcome = await command(script, {"env": {"PATH": "/usr/bin:/bin"}}, probing=True)

    assert (outcome.outcome, set(outcome.facts)) == ("failed", {"exit_code"})


async def test_a_probe_that_was_killed_proves_nothing(command):
    assert (await command("echo '{}'; kill -9 $$", probing=True)).outcome == "unknown"
