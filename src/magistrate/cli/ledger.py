"""An auditor's day: is the ledger whole, and does it prove what it says?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from magistrate.cli import places, say
from magistrate.cli.me import Json, me, sub
from magistrate.core.errors import Malformed
from magistrate.core.values import DIGEST

ledger = sub("Check, prove and rebuild the ledger.")
Data = Annotated[Path | None, typer.Option(help="The data folder.")]


@ledger.command("verify")
def verify(
    genesis: Annotated[str, typer.Option(help="The genesis leaf you pinned.")] = "",
    data: Data = None,
    keys: Annotated[Path | None, typer.Option(help="The folder of pinned keys; your own when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Check every entry, the tree, its checkpoint, and that administration kept its floor. Reads only.

    Exit 0: all stands under a pinned key. 5: something does not, or nothing is pinned (UNVERIFIABLE).

    Example: magistrate ledger verify --genesis sha256:...
    """
    from magistrate.engine.examination import examine
    from magistrate.engine.opening import mark_path

    if genesis and not re.fullmatch(DIGEST, genesis):
        hint = "magistrate ledger verify --genesis sha256:..."
        raise Malformed("input.digest", f"{genesis!r} is not sha256: and 64 hex digits", hint=hint)
    folder = data or places.data()
    mark = mark_path(places.state(), folder)
    found = examine(folder, keys or places.configuration() / "pins", genesis=genesis, mark=mark)
    if as_json:
        say.data(found.plain(), as_json=True)
    else:
        for line in found.lines():
            typer.echo(line)
    raise typer.Exit(say.DONE if found.verdict == "VERIFIED" else say.FAILED)


@ledger.command("prove")
def prove(entry: Annotated[int, typer.Argument(help="The entry's index.")], as_json: Json = True) -> None:
    """Print an entry with its inclusion proof, after checking the proof here.

    Example: magistrate ledger prove 12
    """
    from magistrate.core.checkpoint import read
    from magistrate.core.merkle import leaf_hash, verify_inclusion

    shown = me().client.get(f"/v1/entries/{entry}/proof")
    root = read(shown["checkpoint"].split("\n\n")[0] + "\n").root
    path = [bytes.fromhex(node) for node in shown["path"]]
    verify_inclusion(leaf_hash(shown["header"].encode()), entry, shown["size"], path, root)
    say.data(shown, as_json=as_json)


@ledger.command("checkpoint")
def checkpoint() -> None:
    """Print the newest signed checkpoint.

    Example: magistrate ledger checkpoint
    """
    typer.echo(me().client.text("/checkpoint"), nl=False)


@ledger.command("recover")
def recover(
    reason: Annotated[str, typer.Option(help="Why history may go on from here; it is told for ever.")],
    clock: Annotated[bool, typer.Option("--clock", help="On the running service: the clock is right.")] = False,
    sign: Annotated[Path | None, typer.Option(help="Only sign, into this file.")] = None,
    signatures: Annotated[
        list[Path] | None, typer.Option(help="Another operator's signed file; again for each.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a ledger grow again that its high-water mark stopped. The service is stopped; two operators sign.

    Example: magistrate ledger recover --reason "restored from last night" --sign olivia.json
    """
    from magistrate.cli import recovering

    who = me()
    if clock:
        say.data(recovering.clock(who, reason), as_json=as_json)
        return
    done = recovering.mark(who, data or places.data(), reason, sign, signatures or [])
    say.data(done, as_json=as_json)


@ledger.command("rebuild")
def rebuild(
    check: Annotated[bool, typer.Option("--check", help="Compare, change nothing.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Fold the whole ledger again and compare every state row. Exit 5 where they differ.

    Example: magistrate ledger rebuild --check
    """
    from magistrate.engine.examination import LEDGER, rebuilt

    if not check:
        raise typer.BadParameter("--check is the only form: state is rebuilt by restoring, never in place")
    differences = rebuilt((data or places.data()) / LEDGER)
    say.data({"differences": differences}, as_json=as_json)
    raise typer.Exit(say.FAILED if differences else say.DONE)
