"""Who takes part: operators, agents, observers, auditors, and the keys one pins.

Every enrolment is an act of administration: proposed, signed, perhaps waiting for a second person, then carried out.
Secrets are made here, on the newcomer's side; the service hears the hash of an API key, never the key.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from magistrate.cli import places, say
from magistrate.cli.me import CONTEXT, Json, Reason, me, read_file, read_object, sub
from magistrate.client import Client, Credential, operator
from magistrate.core import canonical
from magistrate.core.administration import possession
from magistrate.core.errors import Conflict, Malformed, Refused
from magistrate.core.signature import sign_document
from magistrate.core.values import moment
from magistrate.keys import operator as credentials
from magistrate.keys import pins, private

agents = sub("Agents: enrol, give another key, quarantine, release.")
operators = sub("Operators: set up, join, enrol, suspend, change roles.")
observers = sub("Observers: who may say what they saw.")
auditors = sub("Auditors: who may read everything.")
keys = sub("Public keys: export what the service uses, pin what you trust.")

DAYS = 90
Days = Annotated[int, typer.Option(help="How long the API key lives.")]
Out = Annotated[Path | None, typer.Option(help="Write the newcomer's profile to this file instead of your folder.")]


# -- operators


@operators.command("setup")
def setup(
    code: Annotated[str, typer.Argument(help="The one-time code the service printed.")],
    id_: Annotated[str, typer.Option("--id", help="Your name as an operator.")],
    as_json: Json = False,
) -> None:
    """Begin the ledger as its first operator: make your key here, sign the genesis statement you are shown.

    Example: magistrate operators setup 4f1c-... --id olivia
    """
    url = places.service(places.data(), CONTEXT.url)
    signer = places.operator_key(id_)
    with Client(url, Credential()) as client:
        shown = client.post("/v1/setup", {"code": code, "id": id_, "public_key": signer.public.hex()})
        statement = shown["statement"]
        say.words("You sign this statement; it is entry 0 for ever:")
        say.words("\n".join(say.lines(statement)))
        begun = client.post("/v1/setup", {"code": code, "statement": sign_document(statement, signer)})
    places.save_profile(url, begun["origin"], "operator", id_, genesis=begun["leaf"])
    say.data(begun, as_json=as_json)
    say.words(f"auditors pin the leaf {begun['leaf']}")


@operators.command("join")
def join(
    id_: Annotated[str, typer.Option("--id", help="Your name as an operator.")],
    origin: Annotated[str, typer.Option(help="The installation you join.")],
    out: Annotated[Path, typer.Option(help="Where the request for an enrolled operator goes.")] = Path("join.json"),
    url: Annotated[str, typer.Option(help="The service's address.")] = "",
) -> None:
    """Make your key here, and a request that an operator enrols you with.

    Example: magistrate operators join --id omar --origin acme/prod --out omar.json
    """
    signer = places.operator_key(id_)
    public = signer.public.hex()
    proof = "0x" + signer.sign(possession(origin, id_, public)).hex()
    out.write_bytes(canonical.canonical({"operator": id_, "public_key": public, "proof": proof}) + b"\n")
    places.save_profile(places.service(places.data(), url or CONTEXT.url), origin, "operator", id_)
    say.words(f"give {out} to an operator, who runs: magistrate operators add {out} --role ROLE")


@operators.command("add")
def add_operator(
    file: Annotated[Path, typer.Argument(help="The newcomer's join request.")],
    role: Annotated[list[str], typer.Option(help="A role; again for each.")],
    reason: Reason = "enrolment",
    as_json: Json = False,
) -> None:
    """Propose and sign the enrolment of an operator.

    Example: magistrate operators add omar.json --role release-manager
    """
    administer("operator.enrol", {**read_object(file), "roles": role}, reason, as_json=as_json)


@operators.command("suspend")
def suspend(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason, as_json: Json = False) -> None:
    """Propose and sign the suspension of an operator.

    Example: magistrate operators suspend omar --reason "left the team"
    """
    administer("operator.suspend", {"operator": id_}, reason, as_json=as_json)


@operators.command("roles")
def roles(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    role: Annotated[list[str], typer.Option(help="A role; again for each. These replace the present ones.")],
    reason: Reason = "change of roles",
    as_json: Json = False,
) -> None:
    """Propose and sign other roles for an operator.

    Example: magistrate operators roles omar --role dba --role release-manager
    """
    administer("operator.roles", {"operator": id_, "roles": role}, reason, as_json=as_json)


@operators.command("finish")
def finish(intent_id: Annotated[str, typer.Argument(metavar="INTENT")], as_json: Json = False) -> None:
    """Carry out an act you proposed, once everybody wanted has signed.

    Example: magistrate operators finish int-0198...
    """
    client = me().client
    _tell(operator.finish(client, client.get(f"/v1/intents/{intent_id}")), as_json=as_json)


@operators.command("ls")
def operators_ls(as_json: Json = False) -> None:
    """List operators.

    Example: magistrate operators ls
    """
    rows = me().client.get("/v1/operators", limit=200)["items"]
    say.table(rows, ("id", "state", "roles", "key_id"), as_json=as_json)


def administer(
    action: str, parameters: dict[str, Any], reason: str, *, as_json: bool, who: places.Me | None = None
) -> None:
    """Propose and sign an act, carry it out if nobody else is wanted, and say where it stands."""
    who = who or me()
    name, signer = who.operator()
    done = operator.administer(
        who.client, action=action, parameters=parameters, reason=reason, operator=name, signer=signer
    )
    _tell(done, as_json=as_json)


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say.data(done, as_json=True)
    if "execution" in done:
        say.words("done")
        return
    standing = done["decision"]["standing"]
    id_ = done["intent"]["intent_id"]
    if standing["outcome"] == "ask":
        wanted = "; ".join(f"{one['count']} of {' / '.join(one['roles'])}" for one in standing["wanted"])
        say.words(f"{id_} waits for {say.visible(wanted)}, signed in this round: magistrate approvals approve {id_}")
        say.words(f"then you run: magistrate operators finish {id_}")
    for reason in standing["reasons"] if standing["outcome"] == "deny" else ():
        say.words(f"{reason['code']}: {say.visible(reason['title'])}")
    raise typer.Exit(say.OUTCOMES[standing["outcome"]])


# -- agents, observers, auditors


@agents.command("add")
def add_agent(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    owner: Annotated[str, typer.Option(help="The operator who answers for it.")],
    days: Days = DAYS,
    out: Out = None,
    reason: Reason = "enrolment",
    as_json: Json = False,
) -> None:
    """Enrol an agent: its API key is made here, and lies in a profile afterwards.

    Example: magistrate agents add deploy-bot --owner olivia
    """
    _enrol("agent", "agent.enrol", id_, {"agent": id_, "owner": owner}, days, out, reason, as_json=as_json)


@agents.command("rotate-key")
def rotate_key(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    days: Days = DAYS,
    out: Out = None,
    reason: Reason = "rotation",
    as_json: Json = False,
) -> None:
    """Give an agent another API key; the one before stops at once.

    Example: magistrate agents rotate-key deploy-bot
    """
    _enrol("agent", "agent.key", id_, {"agent": id_}, days, out, reason, as_json=as_json)


@agents.command("quarantine")
def quarantine(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason) -> None:
    """Take an agent's word no more; what it runs halts.

    Example: magistrate agents quarantine deploy-bot --reason "acts strangely"
    """
    me().client.post(f"/v1/agents/{id_}/quarantine", {"reason": reason})
    say.words("quarantined")


@agents.command("release")
def release(id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason, as_json: Json = False) -> None:
    """Propose and sign an agent's release from quarantine.

    Example: magistrate agents release deploy-bot --reason "the cause was found"
    """
    administer("agent.release", {"agent": id_}, reason, as_json=as_json)


@agents.command("ls")
def agents_ls(as_json: Json = False) -> None:
    """List agents.

    Example: magistrate agents ls
    """
    say.table(me().client.get("/v1/agents", limit=200)["items"], ("id", "state", "owner"), as_json=as_json)


@observers.command("add")
def add_observer(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    owner: Annotated[str, typer.Option(help="The operator who answers for it.")],
    days: Days = DAYS,
    out: Out = None,
    reason: Reason = "enrolment",
    as_json: Json = False,
) -> None:
    """Enrol an observer.

    Example: magistrate observers add mesh-watch --owner olivia
    """
    said = {"observer": id_, "owner": owner}
    _enrol("observer", "observer.enrol", id_, said, days, out, reason, as_json=as_json)


@observers.command("ls")
def observers_ls(as_json: Json = False) -> None:
    """List observers.

    Example: magistrate observers ls
    """
    say.table(me().client.get("/v1/observers", limit=200)["items"], ("id", "type", "state", "owner"), as_json=as_json)


@auditors.command("add")
def add_auditor(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    days: Days = DAYS,
    out: Out = None,
    reason: Reason = "enrolment",
    as_json: Json = False,
) -> None:
    """Enrol an auditor.

    Example: magistrate auditors add audrey
    """
    _enrol("auditor", "auditor.enrol", id_, {"auditor": id_}, days, out, reason, as_json=as_json)


@auditors.command("ls")
def auditors_ls(as_json: Json = False) -> None:
    """List auditors.

    Example: magistrate auditors ls
    """
    rows = [r for r in me().client.get("/v1/observers", limit=200)["items"] if r["type"] == "auditor"]
    say.table(rows, ("id", "state"), as_json=as_json)


def _enrol(
    type_: str,
    action: str,
    id_: str,
    said: dict[str, Any],
    days: int,
    out: Path | None,
    reason: str,
    *,
    as_json: bool,
) -> None:
    key = credentials.new_api_key()
    parameters = {
        **said,
        "key_sha256": credentials.api_key_hash(key).removeprefix("sha256:"),
        "expires_at": moment(int(time.time()) + days * 86_400),
    }
    who = me()  # once: the profile that is written now makes one more to choose from
    who.operator()
    before = places.known_profile(id_) if out is None else None
    at = _keep(who, type_, id_, key, out)  # kept first: a key that is lost cannot be shown again
    say.words(f"the API key lies in {at}; it works once the act is carried out")
    try:
        administer(action, parameters, reason, as_json=as_json, who=who)
    except (Malformed, Refused, Conflict, typer.Exit) as end:
        if before is not None:
            _put_back(id_, before, waits=isinstance(end, typer.Exit) and end.exit_code == say.WAITING)
        raise


def _put_back(id_: str, before: credentials.Profile, *, waits: bool) -> None:
    """The key that works is the one before; a new one that waits for approval lies beside it."""
    folder = places.configuration()
    if waits:
        credentials.save(folder, f"{id_}.next", credentials.profile(folder, id_))
        say.words(f"until then the key before works; the new one lies in the profile {id_}.next")
    credentials.save(folder, id_, before)
    if not waits:
        say.words("refused: the profile that lay there before is back")


def _keep(who: places.Me, type_: str, id_: str, key: str, out: Path | None) -> Path:
    assert who.profile is not None  # noqa: S101 - `me` raises where there is none
    origin, url = who.profile.origin, who.client.url
    if out is None:
        return places.save_profile(url, origin, type_, id_, api_key=key, genesis=who.profile.genesis)
    profile = {
        "url": url,
        "origin": origin,
        "type": type_,
        "id": id_,
        "key_file": "",
        "api_key": key,
        "genesis": who.profile.genesis,
    }
    private.make(out, canonical.canonical(profile) + b"\n", what="profile")
    return out


# -- keys


@keys.command("export")
def export(
    role: Annotated[
        str, typer.Option(help="warrant, checkpoint or policy; or bundle, which OPA verifies.")
    ] = "warrant",
    form: Annotated[str, typer.Option("--format", help="pin, a file to pin; or pem, for OPA's configuration.")] = "",
) -> None:
    """Print a public key of the service as a file to pin. Compare its fingerprint by another way before pinning.

    The bundle key, which signs what other OPAs pull, is printed as PEM.

    Example: magistrate keys export --role warrant > warrant.key.json
    """
    rows = me().client.get("/v1/keys")["items"]
    found = next((r for r in rows if r["role"] == role), None)  # the current one stands before next and retired ones
    if found is None:
        raise typer.BadParameter(f"the service has no key of role {role}")
    if (form or ("pem" if "pem" in found else "pin")) != ("pem" if "pem" in found else "pin"):
        raise typer.BadParameter("the bundle key is printed as pem, every other as pin", param_hint="--format")
    if "pem" in found:
        typer.echo(found["pem"].rstrip("\n"))
    else:
        raw = pins.export(found["origin"], found["role"], bytes.fromhex(found["public_key"]))
        typer.echo(raw.decode().rstrip("\n"))
    say.words(f"fingerprint {found['key_id']}")


@keys.command("rotate")
def rotate(
    role: Annotated[str, typer.Option(help="bundle: the key that signs what other OPAs pull.")],
    reason: Reason = "rotation",
    as_json: Json = False,
) -> None:
    """Propose and sign a key's rotation: the announced one signs from then on, and another is announced.

    Example: magistrate keys rotate --role bundle
    """
    if role != "bundle":
        raise Malformed(
            "key.role", f"this version rotates the bundle key, not {role}", hint="magistrate keys rotate --role bundle"
        )
    administer("key.rotate", {"role": role}, reason, as_json=as_json)


@keys.command("pin")
def pin(
    file: Annotated[Path, typer.Argument(help="An exported key.")],
    fingerprint: Annotated[str, typer.Option(help="Its fingerprint, as you learnt it another way.")],
) -> None:
    """Trust a public key from now on; it is never read from a service.

    Example: magistrate keys pin warrant.key.json --fingerprint sha256:...
    """
    folder = private.folder(places.configuration(), what="configuration") / "pins"
    said = pins.pin(folder, read_file(file), fingerprint)
    say.words(f"pinned the {said.role} key of {said.origin}")
