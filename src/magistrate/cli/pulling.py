"""What somebody who runs an OPA of their own needs to pull the active bundle: its configuration."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from magistrate.cli import say
from magistrate.cli.me import Json, me
from magistrate.core import canonical, p256
from magistrate.core.errors import Broken, Unavailable

RESOURCE: Final = "bundles/active.tar.gz"
TRUSTED: Final = ("current", "next")  # a retired key signs nothing any more; whoever holds it must not either
TOKEN: Final = "OPA_PULL_TOKEN"  # noqa: S105 - the name of a variable, not a token


def add(policy: typer.Typer) -> None:
    """Put the verb beside the other verbs about bundles."""
    policy.command("pull-config")(pull_config)


def pull_config(
    address: Annotated[str, typer.Option(help="The service as that OPA reaches it; yours when left out.")] = "",
    token: Annotated[str, typer.Option(help="The environment variable of that OPA with its API key.")] = TOKEN,
    as_json: Json = False,
) -> None:
    """Print the configuration with which an OPA of yours pulls the active bundle and refuses any other.

    The keys come from the service: compare their fingerprints by another way before that OPA trusts them.

    Example: magistrate policy pull-config > opa.yaml
    """
    client = me().client
    listed = client.get("/v1/keys")["items"]
    rows = [held(row) for row in listed if row["role"] == "bundle" and row["state"] in TRUSTED]
    if not rows:
        raise Unavailable(
            "key.missing", "the service has no key to sign bundles with: a start makes it", hint="magistrate up"
        )
    made = configuration((address or client.url).rstrip("/"), rows, token)
    typer.echo(json.dumps(made, indent=2) if as_json else yaml(made), nl=as_json)
    for row in rows:
        say.words(f"fingerprint {row['key_id']} ({row['state']})")


def held(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a key whose fingerprint and PEM are those of its public key, and none but OPA's algorithm for it.

    What a person compares is the fingerprint, what OPA trusts is the PEM: a service that lies gives one key's
    fingerprint with the PEM of another, or an algorithm under which the PEM, known to all, is the secret.

    Raises:
        Broken: `key.id`.
        Forged: it is no key.
    """
    try:
        public = bytes.fromhex(row["public_key"])
    except ValueError:
        raise Broken("key.id", "the service lists a public key that is none") from None
    made = {"key_id": canonical.digest(public), "algorithm": p256.ALGORITHM, "pem": p256.pem(public)}
    for name, value in made.items():
        if row[name] != value:
            raise Broken("key.id", f"the service lists the key {made['key_id']} with another {name}; nothing was made")
    return row


def configuration(url: str, rows: list[dict[str, Any]], token: str) -> dict[str, Any]:
    """OPA's configuration. `signing` has no `keyid`: a bundle names its key, and a rotation changes nothing here."""
    return {
        "services": {"magistrate": {"url": f"{url}/opa/v1", "credentials": {"bearer": {"token": f"${{{token}}}"}}}},
        "bundles": {
            "magistrate": {
                "service": "magistrate",
                "resource": RESOURCE,
                "polling": {"min_delay_seconds": 10, "max_delay_seconds": 20},
                "signing": {"scope": rows[0]["origin"]},
            }
        },
        "keys": {row["key_id"]: {"algorithm": row["algorithm"], "key": row["pem"]} for row in rows},
    }


def yaml(value: dict[str, Any], depth: int = 0) -> str:
    """The configuration as people write it; every text is quoted as JSON, a text of several lines is a block."""
    lines = ""
    for name, item in value.items():
        head = "  " * depth + (name if name.replace("_", "").isalpha() else json.dumps(name)) + ":"
        if isinstance(item, dict):
            lines += f"{head}\n{yaml(item, depth + 1)}"
        elif isinstance(item, str) and "\n" in item:
            lines += f"{head} |\n" + "".join("  " * (depth + 1) + line + "\n" for line in item.splitlines())
        else:
            lines += f"{head} {json.dumps(item)}\n"
    return lines
