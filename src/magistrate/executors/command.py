"""The door to programs on this machine: one argument list, never a shell line, under the guardian.

Exit code 0: succeeded. Another exit code: failed. A signal, or our own stop when its time was over: unknown. A program
that cannot be started: failed, nothing was sent. Whatever ends the call, nothing of the program runs when it returns.
"""

from __future__ import annotations

import asyncio
from typing import Any

from magistrate.core.canonical import digest, load
from magistrate.core.errors import Malformed
from magistrate.executors.outcome import Outcome
from magistrate.executors.secret import Purse, Secret
from magistrate.executors.template import CommandCall
from magistrate.guardian import Guarded, Limits, start

MAX_OUTPUT = 1 << 20
MAX_ANSWER = 256 * 1024  # a probe's object; as for HTTP
TAIL = 2048  # characters
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL


class Command:
    """Runs programs. Cancelling a call ends the program and returns only when all of it is gone."""

    def __init__(self, *, purse: Purse, deadline_seconds: float, limits: Limits | None = None) -> None:
        self._purse = purse
        self._deadline = deadline_seconds
        self._limits = limits

    async def run(self, call: CommandCall) -> Outcome:
        """Do it. Facts are `exit_code`, `stdout_tail`, `stdout_sha256`, `truncated`.

        The digest is of the output that was kept (its last MiB) once secrets were struck out.
        """
        guarded, in_time = await self._run(call)
        text: str = self._purse.redacted(guarded.stdout.decode(errors="replace"))
        code = guarded.returncode or 0
        facts: dict[str, Any] = {
            "exit_code": code,
            "stdout_tail": text[-TAIL:],
            "stdout_sha256": digest(text.encode()),
            "truncated": guarded.truncated,
        }
        return self._judged(guarded, facts, in_time=in_time)

    async def probe(self, call: CommandCall) -> Outcome:
        """Look. Facts are the one JSON object on its standard output; none is a failure."""
        guarded, in_time = await self._run(call)
        outcome = self._judged(guarded, {"exit_code": guarded.returncode or 0}, in_time=in_time)
        if outcome.outcome != "succeeded":
            return outcome
        try:
            value = load(guarded.stdout, limit=MAX_ANSWER)
        except Malformed as fault:
            return Outcome("failed", outcome.facts, f"its output is not JSON we read ({fault.code})", sent=True)
        if not isinstance(value, dict):
            return Outcome("failed", outcome.facts, "its output is not a JSON object", sent=True)
        return Outcome("succeeded", self._purse.redacted(value), "exit code 0", sent=True)

    async def _run(self, call: CommandCall) -> tuple[Guarded, bool]:
        """The program once all of it is gone, and whether that was by itself.

        Raises:
            Unavailable: it could not be started, or a secret cannot be had.
        """
        env = {name: self._purse.value(value) if isinstance(value, Secret) else value for name, value in call.env}
        guarded = await start(
            call.argv, env=env, user=call.user, output_limit=MAX_OUTPUT, limits=self._limits or Limits()
        )
        try:
            async with asyncio.timeout(min(call.timeout_seconds, self._deadline)):
                await guarded.wait()
        except TimeoutError:
            await _to_the_end(guarded)
            return guarded, False
        except asyncio.CancelledError:
            await _to_the_end(guarded)
            raise
        return guarded, True

    def _judged(self, guarded: Guarded, facts: dict[str, Any], *, in_time: bool) -> Outcome:
        code = guarded.returncode or 0
        if not in_time:
            return Outcome("unknown", facts, "stopped: its time was over", sent=True)
        if code < 0:
            return Outcome("unknown", facts, f"ended by signal {-code}", sent=True)
        if code == 0:
            return Outcome("succeeded", facts, "exit code 0", sent=True)
        words = self._purse.redacted(guarded.stderr.decode(errors="replace")).strip().splitlines()
        return Outcome("failed", facts, f"exit code {code}" + (f": {words[-1][:200]}" if words else ""), sent=True)


async def _to_the_end(guarded: Guarded) -> None:
    """Stop it, however often we are cancelled meanwhile; the last cancellation is the caller's to raise."""
    stopping = asyncio.ensure_future(guarded.stop(GRACE_SECONDS))
    cancelled = False
    while not stopping.done():
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
