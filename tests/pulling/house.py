"""A real service whose operators, observers and auditors are at hand, for those who pull from it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from magistrate.cli import pulling
from magistrate.core.signature import Signer, signer_from_seed
from magistrate.demo.cast import Cast, Local, story
from magistrate.keys import files, kek, operator, private
from tests.support.second_opa import TOKEN, fetched
from tests.support.service import Service

PATH = "/opa/v1/bundles/active.tar.gz"
AGENT, OBSERVER, AUDITOR = "deploy-bot", "edge-opa", "audrey"


class House(Service):
    """The service of `tests.support.service`, whose operators stay to sign."""

    cast: Cast
    operators: list[str]

    def set_up(self) -> None:
        """Begin the ledger and enrol people, one observer among them who runs an OPA."""
        said = story()
        owner = said["operators"][0]["id"]
        people = {
            "operators": said["operators"][:3],
            "agents": [{**one, "owner": owner} for one in said["agents"] if one["id"] == AGENT],
            "observers": [{"id": OBSERVER, "owner": owner}],
            "auditors": said["auditors"],
        }
        self.said("operators setup ")
        assert self.now is not None
        code = re.search(r"operators setup (\S+)", self.now.told())
        assert code is not None
        self.operators = [one["id"] for one in people["operators"]]
        folder = private.folder(self.root / "people", what="configuration")
        lock = operator.lock(folder, self.root / "state", first_start=True)
        self.cast = Cast(people, lambda type_, id_: Local(id_, _signer(type_, id_, folder, lock)))
        self.cast.enter()
        self.genesis = self.cast.begin(self.url, code[1])
        self.keys = {who: self.cast[who].do("profile")["api_key"] for who in (AGENT, OBSERVER, AUDITOR)}
        for type_, who in (
            ("observer", OBSERVER),
            ("auditor", AUDITOR),
            *(("operator", id_) for id_ in self.operators),
        ):
            self._profile(folder, type_, who)

    def _profile(self, folder: Path, type_: str, who: str) -> None:
        said = {"url": self.url, "origin": self.origin, "type": type_, "id": who, "genesis": ""}
        key_file = str(operator.path(folder, who)) if type_ == "operator" else ""
        made = {**said, "key_file": key_file, "api_key": self.keys.get(who, "")}
        operator.save(folder, who, operator.Profile.model_validate(made))

    @property
    def origin(self) -> str:
        return str(self.genesis["origin"])

    def rotate(self) -> None:
        """Two operators rotate the bundle key."""
        self.cast._enrol("key.rotate", {"role": "bundle"})

    def listed(self) -> list[dict[str, Any]]:
        """The bundle keys, as the service lists them."""
        with self.client(OBSERVER) as client:
            return [row for row in client.get("/v1/keys")["items"] if row["role"] == "bundle"]

    def key(self, state: str) -> dict[str, Any]:
        return next(row for row in self.listed() if row["state"] == state)

    def signer(self) -> Signer:
        """The private key that signs, as only who holds the data folder and the installation key has it."""
        lock = kek.find(self.data, kek.Places(state=self.root / "state"))
        name = files.beside("bundle", self.key("current")["key_id"])
        return files.load(self.data / "keys", "bundle", lock, name=name).signer

    def pull(self, who: str = OBSERVER, **headers: str) -> tuple[int, dict[str, str], bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetched(self.url + PATH, {**sent, "authorization": f"Bearer {self.keys[who]}"})

    def configuration(self, url: str = "", *, keys: tuple[str, ...] = pulling.TRUSTED, scope: str = "") -> str:
        """The configuration this service prints, polled every second, in part changed."""
        rows = [row for row in self.listed() if row["state"] in keys]
        made = pulling.configuration(url or self.url, rows, TOKEN)
        made["bundles"]["magistrate"]["polling"] = {"min_delay_seconds": 1, "max_delay_seconds": 1}
        if scope:
            made["bundles"]["magistrate"]["signing"] = {"scope": scope}
        return pulling.yaml(made)

    def close(self) -> None:
        if hasattr(self, "cast"):
            self.cast.__exit__(None, None, None)
        super().close()


def _signer(type_: str, id_: str, folder: Path, lock: kek.Kek) -> Signer:
    """Operators sign with keys the command line finds; whoever has an API key never signs."""
    return operator.make(folder, id_, lock).signer if type_ == "operator" else signer_from_seed(bytes(32))


def printed(house: House, *words: str, who: str = OBSERVER) -> tuple[int, str]:
    """The exit code of a command, and what it printed on its standard output."""
    started = house.launched([sys.executable, "-m", "magistrate", "--profile", who, "--url", house.url, *words])
    code = started.ended(60)
    return code, "".join(started.out)


def entries(house: House) -> int:
    with house.client(AUDITOR) as client:
        return int(client.get("/v1/status")["size"])
