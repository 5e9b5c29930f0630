"""An agent's intents, and an operator's approvals of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from magistrate.cli import activating, say
from magistrate.cli.me import Json, Reason, State, me, read_json, sub
from magistrate.client import Client, operator
from magistrate.core.reasons import link

intent = sub("Propose actions, and see what became of them.")
approvals = sub("An operator's day: what waits for you, and your word on it.")
WAIT_EVERY = 1.0


@intent.command("submit")
def submit(
    file: Annotated[
        str, typer.Argument(help="A JSON file {action, target, parameters, reason?}, or - for standard input.")
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    key: Annotated[str, typer.Option(help="An idempotency key: the same again is the same intent.")] = "",
    as_json: Json = False,
) -> None:
    """Propose an action. Exit 0 warranted, 3 denied, 4 waiting.

    Example: magistrate intent submit deploy.json --wait
    """
    client = me().client
    answer = client.post("/v1/intents", read_json(file), key=key)
    outcome = answer["decision"]["standing"]["outcome"]
    if wait and outcome == "ask":
        shown = _wait(client, answer["intent"]["intent_id"])
        answer, outcome = shown, {"warranted": "allow", "waiting": "ask"}.get(shown["state"], "deny")
    if as_json:
        say.data(answer, as_json=True)
    else:
        _tell(answer)
    raise typer.Exit(say.OUTCOMES[outcome])


def _wait(client: Client, intent_id: str) -> Any:
    while True:
        shown = client.get(f"/v1/intents/{intent_id}")
        if shown["state"] != "waiting":
            return shown
        time.sleep(WAIT_EVERY)


def _tell(answer: dict[str, Any]) -> None:
    standing, terms = answer["decision"]["standing"], answer["decision"]["terms"]
    said = {"allow": "allowed", "ask": "waiting for approval", "deny": "denied"}[standing["outcome"]]
    typer.echo(f"{answer['intent']['intent_id']}  {said}  tier {terms['tier'] or '-'}")
    for reason in standing["reasons"]:
        typer.echo(f"  {reason['code']}: {say.visible(reason['title'])}")
        if reason["remedy"]:
            typer.echo(f"    remedy: {say.visible(reason['remedy'])}")
        if standing["outcome"] == "deny":
            typer.echo(f"    see {say.visible(link(reason['code']))}")
    for wanted in standing["wanted"]:
        typer.echo(f"  wanted: {wanted['count']} of {', '.join(wanted['roles'])}")
    if answer.get("warrant"):
        warrant = answer["warrant"]
        typer.echo(f"  warrant {warrant['warrant_id']} until {warrant['expires_at']}")


@intent.command("ls")
def ls(state: State = "", limit: int = 50, as_json: Json = False) -> None:
    """List intents, yours or all you may see.

    Example: magistrate intent ls --state waiting
    """
    rows = me().client.get("/v1/intents", state=state or None, limit=limit)["items"]
    say.table((_row(r) for r in rows), ("intent_id", "state", "tier", "action", "target", "by"), as_json=as_json)


def _row(shown: dict[str, Any]) -> dict[str, Any]:
    return {**shown, "by": shown["proposer"]["id"]}


@intent.command("show")
def show(id_: Annotated[str, typer.Argument(metavar="ID")], chain: bool = False, as_json: Json = False) -> None:
    """Show an intent; with --chain every step of it, with proofs.

    Example: magistrate intent show int-0198... --chain --json
    """
    say.data(me().client.get(f"/v1/intents/{id_}" + ("/chain" if chain else "")), as_json=as_json)


@intent.command("cancel")
def cancel(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason = "cancelled") -> None:
    """Take a waiting intent back.

    Example: magistrate intent cancel int-0198...
    """
    me().client.post(f"/v1/intents/{id_}/cancel", {"reason": reason})
    say.words("cancelled")


@approvals.command("ls")
def pending(as_json: Json = False) -> None:
    """List what waits for you.

    Example: magistrate --profile olivia approvals ls
    """
    rows = me().client.get("/v1/approvals", state="pending", limit=200)["items"]
    shown = [_row({**r["intent"], "tier": r["decision"]["terms"]["tier"]}) for r in rows]
    if as_json:
        say.data(rows, as_json=True)
    else:
        say.table(shown, ("intent_id", "tier", "action", "target", "by"), as_json=False)


@approvals.command("show")
def shown(id_: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show what you would sign: the intent and the terms, whole.

    Example: magistrate approvals show int-0198...
    """
    client = me().client
    found = client.get(f"/v1/intents/{id_}")
    if as_json:
        say.data(found, as_json=True)
        return
    say.data(_signed_part(found), as_json=False)
    _tell_renewed(found)
    _tell_activation(client, found)


@approvals.command("approve")
def approve(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason = "",
    ttl: Annotated[int, typer.Option(help="Shorter than decided: seconds.")] = 0,
    uses: Annotated[int, typer.Option(help="Fewer uses than decided.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Sign a yes to exactly this intent on exactly these terms. It is shown whole first.

    Example: magistrate approvals approve int-0198... --reason "release 2.4.1 is due"
    """
    narrowing = {name: value for name, value in (("ttl", ttl), ("uses", uses)) if value}
    _speak(id_, "approve", reason, narrowing, yes=yes, as_json=as_json)


@approvals.command("deny")
def deny(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why; the proposer is told.")],
    as_json: Json = False,
) -> None:
    """Sign a no; it is final.

    Example: magistrate approvals deny int-0198... --reason "not during the sale"
    """
    _speak(id_, "deny", reason, {}, yes=True, as_json=as_json)


def _speak(id_: str, verdict: str, reason: str, narrowing: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    who = me()
    name, signer = who.operator()
    shown = who.client.get(f"/v1/intents/{id_}")
    if not yes:
        say.words("You are about to sign this:")
        say.words("\n".join(say.lines(_signed_part(shown))))
        _tell_renewed(shown)
        _tell_activation(who.client, shown)
        typer.confirm("Sign?", abort=True, err=True)
    answer = operator.act(
        who.client, shown, operator=name, signer=signer, verdict=verdict, reason=reason, narrowing=narrowing
    )
    if as_json:
        say.data(answer, as_json=True)
    else:
        _tell(answer)
    outcome = answer["decision"]["standing"]["outcome"]
    raise typer.Exit(say.DONE if verdict == "deny" else say.OUTCOMES[outcome])


def _signed_part(shown: dict[str, Any]) -> dict[str, Any]:
    """What is signed, and what was said before; not where else to look."""
    return {name: value for name, value in shown.items() if name not in ("activation", "links")}


def _tell_activation(client: Client, shown: dict[str, Any]) -> None:
    """Of an act about a bundle: what it changes, and which past decisions; last, right above the question."""
    about = shown.get("activation")
    if about:
        activating.tell(about)
        if about.get("impact"):
            activating.tell_impact(client.get(f"/v1/bundles/{about['digest']}/impact"))


def _tell_renewed(shown: dict[str, Any]) -> None:
    """What was approved before counts no more: whether it would be approved for the same now."""
    renewed = shown["renewed"]
    if renewed:
        same = "the same terms as before" if renewed["same_terms"] else "OTHER TERMS THAN BEFORE"
        say.words(f"This is round {shown['decision']['round']}, asked anew, on {same}; earlier approvals do not count.")


@approvals.command("watch")
def watch(every: Annotated[float, typer.Option(help="Seconds between looks.")] = 2.0, once: bool = False) -> None:
    """Say when something new waits for you, until Ctrl-C.

    Example: magistrate approvals watch
    """
    client, known = me().client, set[str]()
    while True:
        for item in client.get("/v1/approvals", state="pending", limit=200)["items"]:
            intent_ = item["intent"]
            if intent_["intent_id"] not in known:
                known.add(intent_["intent_id"])
                tier, by = item["decision"]["terms"]["tier"], intent_["proposer"]["id"]
                typer.echo(f"{intent_['intent_id']}  {tier}  {intent_['action']} {intent_['target']} by {by}")
        if once:
            return
        time.sleep(every)
