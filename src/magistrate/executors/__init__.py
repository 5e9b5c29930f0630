"""The doors to the world: HTTP targets and programs, as the catalogue row says and the warrant's scope fills it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from magistrate.core.errors import MagistrateError
from magistrate.executors.command import Command
from magistrate.executors.http import Http
from magistrate.executors.outcome import Outcome
from magistrate.executors.secret import Purse
from magistrate.executors.template import HttpCall, fill

__all__ = ["Outcome", "run_template"]


async def run_template(
    template: Mapping[str, Any],
    context: Mapping[str, Any],
    *,
    resolve: Mapping[str, str],
    secret: Callable[[str], str],
    deadline_seconds: float,
    idempotency_key: str,
    secrets: Collection[str] | None = None,
    secret_parameters: Collection[str] = (),
    probing: bool = False,
) -> Outcome:
    """Fill a template from `context` and do what it says, once; or, `probing`, look once.

    Never raises for what a row, a value or the world does: a call that cannot be made is `failed`, nothing sent, with
    the fault's code as its fact. `secrets` are the names the row may use (None: any); for `secret_parameters` see
    `template.fill`. Cancelling it raises CancelledError once nothing of it runs here.
    """
    purse = Purse(secret, secrets)
    try:
        if deadline_seconds <= 0:
            return Outcome("failed", {"error": "executor.deadline"}, "no time was left to do it in")
        call = fill(template, context, secret_parameters)
        if isinstance(call, HttpCall):
            http = Http(
                resolve=resolve, purse=purse, deadline_seconds=deadline_seconds, idempotency_key=idempotency_key
            )
            return await (http.probe(call) if probing else http.run(call))
        command = Command(purse=purse, deadline_seconds=deadline_seconds)
        return await (command.probe(call) if probing else command.run(call))
    except MagistrateError as fault:
        detail = purse.redacted(f"{fault.detail} at {fault.pointer}" if fault.pointer else fault.detail)
        return Outcome("failed", {"error": fault.code}, detail)
