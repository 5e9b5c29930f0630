"""What `up --demo` brings along: the target it acts on, and people with their credentials on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from magistrate.cli import say
from magistrate.core.errors import Unavailable
from magistrate.core.signature import signer_from_seed
from magistrate.demo.cast import Cast, Local, Target, story
from magistrate.keys import operator, private

FLEET = "fleet.internal:80"


class World:
    """The demo's target and people, for as long as the service runs."""

    def __init__(self) -> None:
        self._target = Target()
        self._story = story()

    def resolve(self) -> dict[str, str]:
        """Where the catalogue's host leads."""
        return {FLEET: f"127.0.0.1:{self._target.port}"}

    def secret(self, name: str) -> str:
        """The secrets the catalogue's rows name."""
        if name == "fleet-token":
            return self._target.token
        raise Unavailable("secret.unknown", f"the demo has no secret named {name}", hint="magistrate config show")

    def people(self, url: str, code: str, folder: Path, state: Path) -> None:
        """Set up and enrol everybody at a first start; tell their profiles the address at every other."""
        private.folder(folder, what="configuration")
        if not code:
            for name in operator.profiles(folder):
                said = operator.profile(folder, name)
                operator.save(folder, name, said.model_copy(update={"url": url}))
            return
        lock = operator.lock(folder, state, first_start=True)
        with Cast(self._story, lambda type_, id_: self._player(type_, id_, folder, lock)) as cast:
            cast.enter()
            genesis = cast.begin(url, code)
            for type_ in ("operator", "agent", "observer", "auditor"):
                for person in self._story[f"{type_}s"]:
                    _save(folder, url, genesis, type_, person["id"], cast[person["id"]])

    @staticmethod
    def _player(type_: str, id_: str, folder: Path, lock: Any) -> Local:
        if type_ == "operator":
            return Local(id_, operator.make(folder, id_, lock).signer)
        return Local(id_, signer_from_seed(bytes(32)))  # speaks with its API key; never signs

    def tell(self, url: str, folder: Path) -> None:
        """Who is there, and three things to try."""
        say.words("")
        typer.echo(f"Magistrate is at {url} (a demo)")
        say.words(f"people, each with a profile in {folder}:")
        for group in ("operators", "agents", "observers", "auditors"):
            for person in self._story[group]:
                say.words(f"  {person['id']:<12} {group[:-1]:<9} {person['title']}")
        deploy = self._story["story"]["deploy"]
        say.words("three things to try, in another terminal:")
        say.words(f"  ./run --profile {self._story['agents'][0]['id']} intent submit bundles/try/deploy.json")
        say.words(f"  ./run --profile {self._story['operators'][1]['id']} approvals ls")
        say.words("  ./run demo")
        say.words(f"(the first asks for {deploy['action']} on {deploy['target']}; Ctrl-C ends the service)")

    def close(self) -> None:
        """End the target."""
        self._target.close()


def _save(folder: Path, url: str, genesis: dict[str, Any], type_: str, id_: str, player: Any) -> None:
    api_key = "" if type_ == "operator" else player.do("profile")["api_key"]
    profile = {
        "url": url,
        "origin": genesis["origin"],
        "type": type_,
        "id": id_,
        "key_file": str(operator.path(folder, id_)) if type_ == "operator" else "",
        "api_key": api_key,
        "genesis": genesis["leaf"],
    }
    operator.save(folder, id_, operator.Profile.model_validate(profile))
