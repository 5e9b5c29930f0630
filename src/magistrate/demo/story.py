"""The demo's story: seven steps from intent to proof on a real target, then every attack and how it is stopped.

Each step is checked as it is told: the reason codes are those of the story's data file, and the target itself is read
past everybody to see that nothing changed. One step that is not as told ends the demo with exit code 1.

Long because it is one story, told from top to bottom: each step is a few lines, and none is used elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from magistrate.core import canonical
from magistrate.core import checkpoint as checkpoints
from magistrate.core.errors import Broken, MagistrateError
from magistrate.core.merkle import leaf_hash, verify_inclusion
from magistrate.core.signature import decode_public, encode_public
from magistrate.core.warrant import authentic
from magistrate.demo.cast import Answered, Cast, Member, Target, story
from magistrate.engine.examination import examine
from magistrate.engine.opening import mark_path
from magistrate.keys import pins
from magistrate.policy.binary import Binary

START_SECONDS = 60.0
PERSONAL = ("MAGISTRATE_KEK_FILE", "MAGISTRATE_URL", "MAGISTRATE_PROFILE")  # the user's own, nothing to a demo
END_SECONDS = 30.0
ENDED = ("succeeded", "failed", "halted", "unknown")
_CODE = re.compile(r"operators setup ([0-9a-f]{32})")
_URL = re.compile(r"^http://127\.0\.0\.1:\d+$", re.MULTILINE)


def tell(binary: Binary, *, keep: bool = False) -> int:
    """Tell it all; 0 if everything was as told, else 1."""
    folder = Path(tempfile.mkdtemp(prefix="magistrate-demo-"))
    try:
        target = Target()
        try:
            with _service(folder, target, binary) as (url, code), Cast(story(), Member) as cast:
                _Story(folder, url, code, cast, target).run()
        finally:
            target.close()
    except MagistrateError as wrong:
        typer.echo(f"\nNOT AS TOLD: {wrong.detail} [{wrong.code}]", err=True)
        for reason in getattr(wrong, "reasons", ()):
            typer.echo(f"  {reason.get('code')}: {reason.get('title')}", err=True)
        return 1
    finally:
        if keep:
            typer.echo(f"kept in {folder}", err=True)
        else:
            _remove(folder)
    return 0


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


@contextlib.contextmanager
def _service(folder: Path, target: Target, binary: Binary) -> Iterator[tuple[str, str]]:
    """A service of the demo's own, in a fresh folder, with an origin nobody else has."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    token = secrets / "fleet-token"
    token.touch(mode=0o600)
    token.write_text(target.token)
    env = {
        **{name: value for name, value in os.environ.items() if name not in PERSONAL},
        "MAGISTRATE_DATA": str(folder / "data"),
        "MAGISTRATE_STATE": str(folder / "state"),
        "MAGISTRATE_CONFIG": str(folder / "nobody"),
        "MAGISTRATE_SECRETS": str(secrets),
        "MAGISTRATE_RESOLVE": f"fleet.internal:80=127.0.0.1:{target.port}",
        "MAGISTRATE_OPA": str(binary.path),
        "MAGISTRATE_OPA_SHA256": binary.sha256,
        "PYTHONUNBUFFERED": "1",
    }
    log = folder / "service.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "magistrate", "up", "--demo", "--no-people", "--port", "0"),
                *("--origin", f"demo/{os.urandom(4).hex()}"),
            ],
            env=env,
            stdout=out,
            stderr=out,
        )
    try:
        yield _announced(process, log)
    finally:
        process.terminate()
        process.wait(timeout=END_SECONDS)


def _announced(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text()
        url, code = _URL.search(said), _CODE.search(said)
        if url and code:
            return url[0], code[1]
        time.sleep(0.05)
    raise Broken("demo.service", f"the service did not start: {log.read_text()[-800:]}")


def _say(text: str = "") -> None:
    typer.echo(text)


def _short(digest: str) -> str:
    return digest[:19] + "…"


class _Story:
    """The story, told and checked."""

    def __init__(self, folder: Path, url: str, code: str, cast: Cast, target: Target) -> None:
        self._folder = folder
        self._url = url
        self._code = code
        self._cast = cast
        self._target = target
        said = story()
        self._said: dict[str, Any] = said["story"]
        self._auditor = said["auditors"][0]["id"]
        self._codes: dict[str, str] = self._said["codes"]
        self._checks = 0

    def run(self) -> None:
        """Set up, the seven steps, the attacks, the proof."""
        genesis = self._set_up()
        intent_id = self._seven_steps()
        _say("\nThe attacks\n")
        for attack in (
            self._other_parameters,
            self._used_twice,
            self._stolen,
            self._moved,
            self._expired,
            self._cascade,
            self._liar,
        ):
            attack()
        self._forensics(intent_id, genesis)
        _say(f"\nAll as told: {self._checks} checks.")

    # -- how it is told

    def _expect(self, true: object, what: str) -> None:
        if not true:
            raise Broken("demo.not_as_told", what)
        self._checks += 1
        _say(f"     ok   {what}")

    def _refused(self, code: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Answered as no:
            said = {no.code, *(reason["code"] for reason in no.reasons)}
            self._expect(code in said, f"refused: {code}: {no.reasons[0]['title'] if no.reasons else no.detail}")
            return
        raise Broken("demo.not_as_told", f"was to be refused with {code}, and was not")

    def _unchanged(self, before: Any) -> None:
        self._expect(self._target.read("fleet") == before, "the target's state did not change")

    def _propose(self, agent: str, name: str) -> dict[str, Any]:
        submitted: dict[str, Any] = self._cast[agent].do("post", path="/v1/intents", said=self._said[name])
        return submitted

    def _warranted(self, agent: str, name: str, narrowing: dict[str, Any] | None = None) -> dict[str, Any]:
        submitted = self._propose(agent, name)
        if submitted["warrant"] is None:
            submitted = self._cast.approve(submitted["intent"]["intent_id"], narrowing=narrowing)
        warrant: dict[str, Any] = submitted["warrant"]
        return warrant

    def _execute(self, agent: str, warrant: dict[str, Any], call: dict[str, Any] | None = None) -> dict[str, Any]:
        said = {"warrant": warrant, "call": call or warrant["scope"]}
        execution: dict[str, Any] = self._cast[agent].do("post", path="/v1/executions", said=said)
        return execution

    def _wait(self, agent: str, execution_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until:
            execution: dict[str, Any] = self._cast[agent].do("get", path=f"/v1/executions/{execution_id}")
            if done(execution):
                return execution
            time.sleep(0.05)
        raise Broken("demo.not_as_told", f"{execution_id} did not come to its end: {execution['state']}")

    def _ended(self, agent: str, execution_id: str) -> dict[str, Any]:
        return self._wait(agent, execution_id, lambda e: e["state"] in ENDED and e["verdict"] != "pending")

    # -- set-up and the seven steps

    def _set_up(self) -> dict[str, Any]:
        _say("Set-up\n")
        self._cast.enter()
        genesis = self._cast.begin(self._url, self._code)
        _say(f"     {genesis['origin']} began; auditors pin the genesis leaf {genesis['leaf']}")
        people = ", ".join(self._cast.members)
        _say(f"     enrolled, each in a process with a credential of its own: {people}")
        for row in self._cast[self._auditor].do("get", path="/v1/keys")["items"]:
            if row["role"] == "bundle":
                continue  # an OPA that pulls lists it; nothing that is verified here is signed with it
            public = bytes.fromhex(row["public_key"])
            raw = pins.export(row["origin"], row["role"], public)
            pins.pin(self._folder / "pins", raw, canonical.digest(public))
        return genesis

    def _seven_steps(self) -> str:
        agent = self._said["agent"]
        before = self._target.read("fleet")
        _say("\nThe seven steps\n")
        submitted = self._propose(agent, "deploy")
        intent, decision = submitted["intent"], submitted["decision"]
        asked = self._said["deploy"]
        _say(f"  1. intent        {agent} asks: {asked['action']} {asked['target']} {asked['parameters']}")
        _say(f"                   {intent['intent_id']}  digest {_short(decision['intent_digest'])}")
        standing, terms = decision["standing"], decision["terms"]
        _say(f"  2. decision      OPA says {standing['outcome']}, tier {terms['tier']}: " + self._why(standing))
        _say(
            f"                   decision {_short(decision['decision_digest'])} by bundle {_short(decision['bundle'])}"
        )
        self._expect(standing["outcome"] == "ask", "policy asks for a person")
        _say(f"  3. approval      wanted: {self._wanted(standing)}")
        approved = self._cast.approve(intent["intent_id"])
        warrant = approved["warrant"]
        self._expect(warrant is not None, "approved by as many as were wanted")
        _say(f"                   the last word was {warrant['issuer']['id']}'s")
        _say(f"  4. warrant       {warrant['warrant_id']}  {warrant['uses']} use(s) until {warrant['expires_at']}")
        _say(f"                   signature {warrant['signature'][:22]}…  constraints {warrant['constraints']}")
        key = pins.pinned(self._folder / "pins", warrant["origin"], "warrant")[0]
        authentic(canonical.canonical(warrant), key)
        self._expect(key.raw, "verified offline: the file and a pinned key are enough")
        execution = self._execute(agent, warrant)
        _say(f"  5. execution     {execution['execution_id']}  the router runs it; the agent never holds the token")
        done = self._ended(agent, execution["execution_id"])
        name = asked["target"].removesuffix("-prod")
        now = self._target.read("fleet")["services"][name]["version"]
        was = before["services"][name]["version"]
        self._expect(now == asked["parameters"]["version"], f"the target really runs {now} (it ran {was})")
        _say(f"  6. verification  {done['verification_id']}  {done['verdict']}")
        self._expect(
            done["verdict"] == "conforming", "what was done is what was warranted, by the probes before and after"
        )
        chain = self._chain(intent["intent_id"])
        _say(f"  7. ledger        {len(chain['steps'])} entries, each proven under checkpoint {chain['size']}")
        return str(intent["intent_id"])

    @staticmethod
    def _why(standing: dict[str, Any]) -> str:
        return "; ".join(reason["title"] for reason in standing["reasons"])

    @staticmethod
    def _wanted(standing: dict[str, Any]) -> str:
        return ", ".join(f"{row['count']} of {' / '.join(row['roles'])}" for row in standing["wanted"])

    # -- the attacks

    def _other_parameters(self) -> None:
        agent = self._said["agent"]
        _say("  a. Parameters other than approved")
        warrant = self._warranted(agent, "deploy")
        before = self._target.read("fleet")
        call = {**warrant["scope"], "parameters": self._said["other_parameters"]}
        self._refused(self._codes["other_parameters"], lambda: self._execute(agent, warrant, call))
        wider = {**warrant, "scope": call}
        self._refused("warrant.shape", lambda: self._execute(agent, wider, call))
        self._unchanged(before)
        self._spare = warrant

    def _used_twice(self) -> None:
        agent = self._said["agent"]
        _say("  b. A warrant used once more than it allows")
        warrant = self._spare
        for _ in range(warrant["uses"]):
            execution = self._execute(agent, warrant)
            self._ended(agent, execution["execution_id"])
        before = self._target.read("fleet")
        self._refused(self._codes["used_twice"], lambda: self._execute(agent, warrant))
        self._unchanged(before)

    def _stolen(self) -> None:
        agent, thief = self._said["agent"], self._said["thief"]
        _say(f"  c. A warrant that {thief} stole from {agent}")
        warrant = self._warranted(agent, "deploy")
        before = self._target.read("fleet")
        self._refused(self._codes["stolen"], lambda: self._execute(thief, warrant))
        self._unchanged(before)

    def _moved(self) -> None:
        agent = self._said["agent"]
        _say("  d. An approval moved to another intent")
        first = self._propose(agent, "deploy")["intent"]["intent_id"]
        self._cast.approve(first)
        before = self._target.read("fleet")
        second = self._propose(agent, "second")["intent"]["intent_id"]
        mover = next(id_ for id_ in self._cast.operators if self._spoke(id_, first))
        self._refused(self._codes["moved"], lambda: self._cast[mover].do("move", intent_id=first, other=second))
        state = self._cast[agent].do("get", path=f"/v1/intents/{second}")["state"]
        self._expect(state == "waiting", "the other intent still waits")
        self._unchanged(before)

    def _spoke(self, operator_id: str, intent_id: str) -> bool:
        shown = self._cast[operator_id].do("get", path=f"/v1/intents/{intent_id}")
        return any(given["operator"] == operator_id for given in shown["approvals"])

    def _expired(self) -> None:
        agent, seconds = self._said["agent"], self._said["long_seconds"]
        _say(f"  e. A warrant of {seconds} seconds whose execution wants {self._long_seconds():.0f}")
        warrant = self._warranted(agent, "long", narrowing={"ttl": seconds})
        self._expect(warrant["ttl"] == seconds, f"the approver narrowed it to {seconds} seconds")
        execution = self._execute(agent, warrant)
        done = self._ended(agent, execution["execution_id"])
        self._expect(done["state"] == "halted", f"halted because it {done['halted_because']}")
        self._deviates(done, "halted")
        time.sleep(0.3)
        still = self._target.read("fleet")
        time.sleep(1.0)
        self._expect(self._target.read("fleet") == still, "the target's restart counter stands still")

    def _long_seconds(self) -> float:
        asked = self._said["long"]["parameters"]
        return float(asked["count"] * asked["pause_ms"] / 1000)

    def _cascade(self) -> None:
        agent = self._said["careless"]
        _say("  f. An execution that also touched a service outside affected_services")
        before = self._target.read("fleet")
        warrant = self._warranted(agent, "cascade")
        execution = self._execute(agent, warrant)
        self._wait(agent, execution["execution_id"], lambda e: e["rollback"] in ("done", "failed", "unknown"))
        done = self._cast[agent].do("get", path=f"/v1/executions/{execution['execution_id']}")
        self._deviates(done, "cascade")
        self._expect(done["rollback"] == "done", "rolled back by the catalogue's own template")
        versions = self._versions(self._target.read("fleet"))
        self._expect(versions == self._versions(before), f"every service runs the version it ran: {versions}")
        shown = self._cast[self._cast.operators[0]].do("get", path=f"/v1/warrants/{warrant['warrant_id']}")
        self._expect(shown["state"] == "revoked", "the warrant is revoked")

    def _liar(self) -> None:
        agent = self._said["liar"]
        _say("  g. An agent's report that contradicts the probe")
        before = self._target.read("fleet")
        warrant = self._warranted(agent, "handover")
        execution = self._execute(agent, warrant)
        path = f"/v1/executions/{execution['execution_id']}/report"
        self._cast[agent].do("post", path=path, said=self._said["lie"])
        done = self._cast[agent].do("get", path=f"/v1/executions/{execution['execution_id']}")
        self._deviates(done, "liar")
        self._unchanged(before)

    def _deviates(self, done: dict[str, Any], name: str) -> None:
        found = {deviation["code"]: deviation for deviation in done["deviations"]}
        code = self._codes[name]
        self._expect(done["verdict"] == "deviating" and code in found, f"the verdict is {done['verdict']}: {code}")
        deviation = found[code]
        _say(f"          expected {deviation['expected']}, observed {deviation['observed']} by {deviation['source']}")

    @staticmethod
    def _versions(fleet: dict[str, Any]) -> dict[str, str]:
        return {name: service["version"] for name, service in fleet["services"].items()}

    # -- the proof

    def _chain(self, intent_id: str) -> dict[str, Any]:
        """The chain of an intent, every entry's inclusion checked here under a checkpoint that a pinned key signed."""
        chain: dict[str, Any] = self._cast[self._auditor].do("get", path=f"/v1/intents/{intent_id}/chain")
        key = pins.pinned(self._folder / "pins", chain["origin"], "checkpoint")[0]
        signed = checkpoints.verify(chain["checkpoint"], chain["origin"], decode_public(encode_public(key.raw)))
        for step in chain["steps"]:
            path = [bytes.fromhex(node) for node in step["path"]]
            verify_inclusion(leaf_hash(step["header"].encode()), step["index"], chain["size"], path, signed.root)
        return chain

    def _forensics(self, intent_id: str, genesis: dict[str, Any]) -> None:
        _say(f"\nWho authorized what, when and why: {intent_id}\n")
        for step in self._chain(intent_id)["steps"]:
            _say(f"  {step['index']:>4}  {step['kind']:<13} {step['state'] or '-':<11} {_short(step['leaf'])}")
        found = examine(
            self._folder / "data",
            self._folder / "pins",
            genesis=genesis["leaf"],
            mark=mark_path(self._folder / "state", self._folder / "data"),
        )
        _say("\nledger verify\n")
        for line in found.lines():
            _say(f"  {line}")
        self._expect(found.verdict == "VERIFIED", "the whole ledger stands under pinned keys")
