"""Executions and alerts: using a warrant, saying and seeing what was done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import say
from magistrate.cli.me import Json, Reason, State, me, read_json, read_object, sub

execution = sub("Executions: their state, heartbeats, reports, observations.")
alerts = sub("What wants a person's eye.")
ENDED = ("succeeded", "failed", "halted", "unknown", "reconciled")


def execute(
    warrant: Annotated[str, typer.Argument(help="A warrant file, or the id of a warrant.")],
    call: Annotated[
        str, typer.Option(help="A JSON file {action, target, parameters}; the warrant's scope when left out.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and the verdict.")] = False,
    key: Annotated[str, typer.Option(help="An idempotency key: the same again never costs a use.")] = "",
    as_json: Json = False,
) -> None:
    """Use a warrant once. With --wait: exit 0 conforming, 5 otherwise.

    Example: magistrate execute wrt-0198... --wait
    """
    client = me().client
    by_id = warrant.startswith("wrt-") and not Path(warrant).exists()
    presented: Any = warrant if by_id else read_object(warrant)
    if call:
        scope = read_json(call)
    elif by_id:
        scope = client.get(f"/v1/warrants/{warrant}")["warrant"]["scope"]
    else:
        scope = presented.get("scope", {})  # the service says what such a document lacks
    done = client.post("/v1/executions", {"warrant": presented, "call": scope}, key=key)
    while wait and (done["state"] not in ENDED or done["verdict"] == "pending"):
        time.sleep(0.1)
        done = client.get(f"/v1/executions/{done['execution_id']}")
    if as_json:
        say.data(done, as_json=True)
    else:
        typer.echo(f"{done['execution_id']}  {done['state']}  {done['verdict']}")
        for deviation in done["deviations"]:
            typer.echo(f"  {deviation['code']} at {deviation['pointer']}: {say.visible(deviation['observed'])}")
    if wait and done["verdict"] != "conforming":
        raise typer.Exit(say.FAILED)


@execution.command("ls")
def ls(state: State = "", limit: int = 50, as_json: Json = False) -> None:
    """List executions.

    Example: magistrate execution ls --state started
    """
    rows = me().client.get("/v1/executions", state=state or None, limit=limit)["items"]
    say.table(rows, ("execution_id", "state", "verdict", "warrant_id", "holder"), as_json=as_json)


@execution.command("show")
def show(id_: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show an execution with all that is known of it.

    Example: magistrate execution show exe-0198... --json
    """
    say.data(me().client.get(f"/v1/executions/{id_}"), as_json=as_json)


@execution.command("heartbeat")
def heartbeat(id_: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Say that you are alive and hear whether to go on. Exit 0 continue, 5 halt.

    Example: magistrate execution heartbeat exe-0198...
    """
    said = me().client.post(f"/v1/executions/{id_}/heartbeat", {})
    say.data(said, as_json=as_json)
    raise typer.Exit(say.DONE if said["verdict"] == "continue" else say.FAILED)


@execution.command("report")
def report(id_: Annotated[str, typer.Argument(metavar="ID")], file: str, as_json: Json = False) -> None:
    """Report what you did: FILE is JSON {outcome, facts?}, or - for standard input.

    Example: echo '{"outcome": "succeeded"}' | magistrate execution report exe-0198... -
    """
    say.data(me().client.post(f"/v1/executions/{id_}/report", read_json(file)), as_json=as_json)


@execution.command("observe")
def observe(id_: Annotated[str, typer.Argument(metavar="ID")], file: str, as_json: Json = False) -> None:
    """Say what you saw: FILE is JSON {phase, facts}, or - for standard input.

    Example: echo '{"phase": "after", "facts": {"services": {}}}' | magistrate execution observe exe-0198... -
    """
    say.data(me().client.post(f"/v1/executions/{id_}/observations", read_json(file)), as_json=as_json)


@execution.command("halt")
def halt(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason = "halted by an operator") -> None:
    """Stop a running execution.

    Example: magistrate execution halt exe-0198... --reason "wrong cluster"
    """
    me().client.post(f"/v1/executions/{id_}/halt", {"reason": reason})
    say.words("halting")


@execution.command("reconcile")
def reconcile(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    finding: Annotated[str, typer.Option(help="What it turned out to be.")],
) -> None:
    """Put on record what an unknown outcome turned out to be.

    Example: magistrate execution reconcile exe-0198... --finding "it was deployed"
    """
    me().client.post(f"/v1/executions/{id_}/reconcile", {"finding": finding})
    say.words("reconciled")


@alerts.command("ls")
def alerts_ls(state: State = "open", as_json: Json = False) -> None:
    """List alerts.

    Example: magistrate alerts ls
    """
    rows = me().client.get("/v1/alerts", state=state or None, limit=200)["items"]
    say.table(rows, ("id", "state", "code", "about", "detail"), as_json=as_json)


@alerts.command("ack")
def ack(id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Say that you have seen it.

    Example: magistrate alerts ack alr-...
    """
    me().client.post(f"/v1/alerts/{id_}/ack", {})
    say.words("acknowledged")
