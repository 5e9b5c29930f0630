"""The verbs, by the day they belong to."""

from __future__ import annotations

from typing import Annotated

import typer

from magistrate import __version__
from magistrate.cli import (
    activating,
    authoring,
    executions,
    impact,
    intents,
    ledger,
    people,
    policy,
    pulling,
    replaying,
    service,
    warrants,
)
from magistrate.cli.me import CONTEXT

app = typer.Typer(
    name="magistrate",
    help="Execution warrants for AI agents: agents ask, your Rego decides, people approve, everything is provable.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"magistrate {__version__}")
        raise typer.Exit


@app.callback()
def _whoever(
    profile: Annotated[
        str, typer.Option(envvar="MAGISTRATE_PROFILE", help="Who you are: a name in the configuration folder.")
    ] = "",
    url: Annotated[str, typer.Option(envvar="MAGISTRATE_URL", help="The service's address.")] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has printed it
    CONTEXT.profile, CONTEXT.url = profile, url


service.add(app)
app.add_typer(intents.intent, name="intent")
app.add_typer(intents.approvals, name="approvals")
app.add_typer(warrants.warrant, name="warrant")
app.command("execute")(executions.execute)
app.add_typer(executions.execution, name="execution")
app.add_typer(executions.alerts, name="alerts")
authoring.add(policy.policy)
policy.policy.command("activate")(activating.activate)
policy.policy.command("recover")(activating.recover)
pulling.add(policy.policy)
policy.policy.command("diff")(impact.diff)
app.add_typer(policy.policy, name="policy")
app.add_typer(policy.opa, name="opa")
app.command("replay")(replaying.replay)
app.add_typer(ledger.ledger, name="ledger")
app.add_typer(people.agents, name="agents")
app.add_typer(people.operators, name="operators")
app.add_typer(people.observers, name="observers")
app.add_typer(people.auditors, name="auditors")
app.add_typer(people.keys, name="keys")
