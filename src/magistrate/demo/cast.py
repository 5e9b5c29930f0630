"""The demo's cast: every person and program in a process of its own, the target too."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from magistrate import shipped
from magistrate.core.errors import Broken, MagistrateError, Refused
from magistrate.core.signature import Signer
from magistrate.core.values import thaw
from magistrate.demo.actor import Actor

MODULE = "magistrate.demo"


def story() -> dict[str, Any]:
    """People, roles and story: a data file beside the bundles."""
    path = Path(os.environ.get("MAGISTRATE_DEMO_STORY") or shipped.folder("bundles") / "demo.json")
    said: dict[str, Any] = json.loads(path.read_bytes())
    return said


class Answered(Refused):
    """An actor's order was refused by the service."""


class Member:
    """One person or program, spoken to over its standard input and output."""

    def __init__(self, _: str, id_: str) -> None:
        self.id = id_
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{MODULE}.actor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
            text=True,
        )
        self._tell({"id": id_, "seed": secrets.token_hex(32)})

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(json.dumps(thaw(order)) + "\n")
        self._process.stdin.flush()

    def do(self, verb: str, **said: Any) -> Any:
        """Order it and return what came of it.

        Raises:
            Answered: the service refused; `code` and `reasons` are its own.
        """
        self._tell({"do": verb, **said})
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise Broken("demo.actor", f"{self.id} ended unexpectedly")
        answer = json.loads(line)
        if "error" in answer:
            no = answer["error"]
            raise Answered(no["code"], no["detail"], reasons=no["reasons"])
        return answer["ok"]

    def close(self) -> None:
        """Let them go."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=10)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Player(Protocol):
    """Somebody of the cast: in a process of their own in the demo, in this one where a person plays them all."""

    id: str

    def do(self, verb: str, **said: Any) -> Any: ...
    def close(self) -> None: ...


class Local:
    """Somebody played in this process, whose key lies in a file."""

    def __init__(self, id_: str, signer: Signer) -> None:
        self.id = id_
        self._actor = Actor(id_, signer)

    def do(self, verb: str, **said: Any) -> Any:
        """As `Member.do`."""
        return getattr(self._actor, verb)(**said)

    def close(self) -> None:
        """Let them go."""
        self._actor.close()


class Target:
    """The fleet, in its own process; its token is known to the service's secrets and to nobody else."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{MODULE}.target"],
            stdin=subprocess.PIPE,  # its end is the target's end: even a killed service leaves none behind
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "FLEET_TOKEN": self.token},
            text=True,
            start_new_session=True,  # a Ctrl-C is the service's, which may still have something in flight
        )
        assert self._process.stdout is not None  # noqa: S101
        self.port = int(self._process.stdout.readline())

    def read(self, what: str) -> Any:
        """Read the target itself, past everybody."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{what}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Cast:
    """Everybody who takes part, enrolled by the acts that enrol anybody."""

    def __init__(self, said: dict[str, Any], make: Callable[[str, str], Player]) -> None:
        self._said = said
        self._make = make
        self.members: dict[str, Player] = {}
        self.operators: list[str] = [person["id"] for person in said["operators"]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members.values():
            member.close()

    def __getitem__(self, id_: str) -> Player:
        return self.members[id_]

    def enter(self) -> None:
        """Bring everybody in."""
        for type_ in ("operator", "agent", "observer", "auditor"):
            for person in self._said[f"{type_}s"]:
                self.members[person["id"]] = self._make(type_, person["id"])

    def begin(self, url: str, code: str) -> dict[str, Any]:
        """Set up by the first operator, then enrol everybody else; returns what genesis answered."""
        first = self[self.operators[0]]
        genesis: dict[str, Any] = first.do("setup", url=url, code=code)
        first.do("meet", url=url, signs=True)
        for person in self._said["operators"][1:]:
            request = self[person["id"]].do("join", origin=genesis["origin"])
            self._enrol("operator.enrol", {**request, "roles": person["roles"]})
            self[person["id"]].do("meet", url=url, signs=True)
        for group, action, name in (
            ("agents", "agent.enrol", "agent"),
            ("observers", "observer.enrol", "observer"),
            ("auditors", "auditor.enrol", "auditor"),
        ):
            for person in self._said[group]:
                hashed = self[person["id"]].do("key_hash")
                owner = {"owner": person["owner"]} if "owner" in person else {}
                self._enrol(action, {name: person["id"], **owner, **hashed})
                self[person["id"]].do("meet", url=url, signs=False)
        return genesis

    def _enrol(self, action: str, parameters: dict[str, Any]) -> None:
        first = self[self.operators[0]]
        done = first.do("administer", action=action, parameters=parameters, reason="the demo's people")
        if "execution" in done:
            return
        intent_id = done["intent"]["intent_id"]
        self.approve(intent_id, skip=(self.operators[0],))
        first.do("finish", intent_id=intent_id)

    def approve(
        self, intent_id: str, *, skip: tuple[str, ...] = (), narrowing: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Have operators approve until nothing more is wanted; who may not is told so by policy, and the next is asked.

        Raises:
            Broken: nobody is left to ask.
        """
        for id_ in self.operators:
            if id_ in skip:
                continue
            try:
                answer: dict[str, Any] = self[id_].do("act", intent_id=intent_id, narrowing=narrowing)
            except MagistrateError:
                continue
            if answer["decision"]["standing"]["outcome"] != "ask":
                return answer
        raise Broken("demo.approvals", f"{intent_id} still waits, and nobody is left to ask")
