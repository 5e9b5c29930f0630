"""What a crash leaves is settled at the next start: nothing is done twice, nothing is believed that was not seen."""

import asyncio
import json

import pytest

from magistrate.core.errors import Conflict, MagistrateError, NoAnswer, Unavailable
from magistrate.core.signature import signer_from_seed
from magistrate.engine import arming, deadlines, gateway, halting, opening, router
from magistrate.engine.installation import Word
from magistrate.executors import Outcome
from magistrate.policy.binary import Binary
from magistrate.policy.sidecar import Sidecar
from magistrate.store.reads import Reader
from tests.support import world as worlds
from tests.support.world import CASCADE, DEPLOY, HANDOVER, RESTART, batch, image, opened, until


class Crashed:
    """A copy of a world as a crash now would leave it, opened again."""

    def __init__(self, ground, folder):
        self._ground, self._folder, self._n = ground, folder, 0
        self.open = []

    async def __call__(self, world):
        self._n += 1
        root = self._folder / f"after-{self._n}"
        image(world.root, root)
        fleet = world.fleet
        after = await opened(root, self._ground, world.time)
        after.fleet = type(self)._same(self._ground, fleet)
        self.open.append(after)
        return after

    @staticmethod
    def _same(ground, fleet):
        ground.handler.fleet = fleet
        return fleet


@pytest.fixture
def crashed(ground, tmp_path):
    return Crashed(ground, tmp_path)


async def closed(*worlds_):
    for one in worlds_:
        await one.close()


async def test_what_we_ran_is_unknown_and_is_not_run_again(world, crashed, monkeypatch):
    warrant = await world.warrant(RESTART)
    ran, hold = [], asyncio.Event()

    async def attempt(self, n, _):
        ran.append(n)
        await hold.wait()
        return Outcome("succeeded")

    monkeypatch.setattr(router.Deed, "attempt", attempt)
    execution = await world.redeem(warrant)
    await until(lambda: ran)
    after = await crashed(world)
    assert after.state("executions", execution["execution_id"]) == "started"

    await deadlines.after_crash(after.house)

    row = after.row("executions", execution["execution_id"])
    assert (row.state, row.data["verdict"], ran) == ("unknown", "inconclusive", [1])
    moved = after.entries("lifecycle", row.id)[-1].content()
    assert (moved["because"], moved["settle"]) == ("crash", "commit")
    left = after.row("warrants", warrant["warrant_id"])
    assert (left.data["uses_left"], left.data["running"]) == (warrant["uses"] - 1, [])
    await deadlines.after_crash(after.house)
    assert len(after.entries("lifecycle", row.id)) == 1
    await router.reconcile(after.house, row.id, Word("ann", "it had not begun"))
    hold.set()
    await closed(after)


async def test_a_program_of_the_last_life_is_unknown_though_opa_is_away(world, crashed):
    execution = await world.redeem(await world.warrant(batch(1)))
    after = await crashed(world)
    with after.silent():
        await deadlines.after_crash(after.house)
        row = after.row("executions", execution["execution_id"])
        assert (row.state, row.data["verdict"]) == ("unknown", "pending")
    await after.tick()
    assert after.row("executions", execution["execution_id"]).data["verdict"] == "inconclusive"
    await closed(after)


async def test_what_a_holder_runs_goes_on_and_its_heartbeats_are_counted_anew(world, crashed):
    warrant = await world.warrant(HANDOVER)
    execution = await world.redeem(warrant)
    id_ = execution["execution_id"]
    world.time.go(10 * warrant["heartbeat_seconds"])
    after = await crashed(world)
    await deadlines.after_crash(after.house)
    await after.tick()
    row = after.row("executions", id_)
    assert (row.state, row.data["missed_heartbeats"]) == ("started", 0)
    after.time.go(warrant["heartbeat_seconds"])
    await after.tick()
    assert after.row("executions", id_).data["missed_heartbeats"] == 1
    await closed(after)


async def test_what_ended_without_a_verdict_is_asked_about_again(world, crashed):
    with world.silent("verification"):
        row = await world.done(RESTART)
        after = await crashed(world)
    assert after.row("executions", row.id).data["verdict"] == "pending"
    await deadlines.after_crash(after.house)
    await after.tick()
    assert after.row("executions", row.id).data["verdict"] == "conforming"
    assert [e.state for e in after.entries("alert") if e.content()["about"] == row.id] == ["open", "closed"]
    await closed(after)


async def test_news_that_nobody_judged_is_asked_about_again(world, crashed):
    row = await world.done(DEPLOY)
    with world.silent("verification"):
        bad = b'{"facts":{"affected_services":["api-gateway","checkout"]},"phase":"after"}'
        await router.observe(world.house, world.observer(), row.id, bad)
        after = await crashed(world)
    assert after.row("executions", row.id).data["verdict"] == "conforming"
    await deadlines.after_crash(after.house)
    await after.tick()
    assert after.row("executions", row.id).data["verdict"] == "deviating"
    await closed(after)


async def test_a_rollback_under_way_is_unknown_and_is_not_begun_again(world, crashed, monkeypatch):
    begun, hold = [], asyncio.Event()

    async def roll_back(self, *_):
        begun.append(1)
        await hold.wait()
        return Outcome("succeeded")

    monkeypatch.setattr(router.Deed, "roll_back", roll_back)
    execution = await world.redeem(await world.warrant(CASCADE))
    await until(lambda: begun)
    after = await crashed(world)
    assert after.row("executions", execution["execution_id"]).data["rollback"] == "running"
    await deadlines.after_crash(after.house)
    row = after.row("executions", execution["execution_id"])
    assert (row.data["rollback"], row.data["verdict"], begun) == ("unknown", "deviating", [1])
    hold.set()
    await world.finished(execution)
    await closed(after)


async def test_a_rollback_that_was_decided_and_not_begun_is_begun(world, crashed, monkeypatch):
    real = router.roll_back

    async def not_yet(*_):
        return None

    monkeypatch.setattr(router, "roll_back", not_yet)
    row = await world.done(CASCADE)
    assert (row.data["rollback"], "rollback" in row.data["contained"]) == ("none", True)
    monkeypatch.setattr(router, "roll_back", real)
    after = await crashed(world)
    await deadlines.after_crash(after.house)
    await until(lambda: after.row("executions", row.id).data["rollback"] == "done")
    assert {one["version"] for one in after.fleet.services.values()} == {"2.4.0"}
    await closed(after)


async def test_what_expired_while_nobody_looked_is_expired_at_the_first_look(world, crashed):
    warrant = await world.warrant(RESTART)
    waiting = await world.propose(DEPLOY)
    after = await crashed(world)
    after.time.go(waiting.decision["terms"]["requirement"]["wait_seconds"])
    await after.tick()
    assert after.state("warrants", warrant["warrant_id"]) == "expired"
    assert after.state("intents", waiting.intent["intent_id"]) == "expired"
    await closed(after)


async def test_a_deadline_that_cannot_be_met_holds_up_no_other(world, monkeypatch):
    one, other = [await world.warrant(RESTART) for _ in range(2)]
    shown = await world.propose(DEPLOY)
    real = halting.expire_warrant

    async def stuck(house, id_):
        if id_ == one["warrant_id"]:
            raise Unavailable("facts.contended", "again")
        await real(house, id_)

    async def never(*_):
        raise Unavailable("facts.contended", "again")

    monkeypatch.setattr(halting, "expire_warrant", stuck)
    monkeypatch.setattr(gateway, "expire", never)
    world.time.go(shown.decision["terms"]["requirement"]["wait_seconds"])
    await world.tick()
    assert world.state("warrants", other["warrant_id"]) == "expired"
    assert world.state("warrants", one["warrant_id"]) == "live"


# -- opening again


async def test_it_opens_again_as_it_was(world, ground):
    size, pin = world.size, world.entries()[0].leaf_digest
    await world.opened.close()
    again = await opened(world.root, ground, world.time)
    try:
        assert (again.size, again.entries()[0].leaf_digest) == (size, pin)
        await again.opened.begin()
        await again.opened.begin()
        assert again.state("installation", "gate") == "armed"
        assert (await again.propose(RESTART)).warrant is not None
    finally:
        await again.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"origin": "acme/other"}, "start.differs"),
        ({"demo": True}, "start.differs"),
    ],
)
async def test_a_start_that_says_otherwise_is_none(world, ground, change, said):
    await world.opened.close()
    with pytest.raises(Conflict, match=said.replace(".", r"\.")):
        await opened(world.root, ground, world.time, **change)


async def test_another_bundle_at_the_start_is_none(world, ground, tmp_path):
    await world.opened.close()

    def other(folder):
        path = folder / ".manifest"
        said = json.loads(path.read_text())
        said |= {"revision": "1000", "metadata": {**said["metadata"], "sequence": 1000}}
        path.write_text(json.dumps(said))

    (tmp_path / "other.tar.gz").write_bytes(worlds.variant(tmp_path / "rego", other))
    with pytest.raises(Conflict, match=r"start\.differs"):
        await opened(world.root, ground, world.time, bundle=tmp_path / "other.tar.gz")


async def test_another_opa_is_none(world, ground, monkeypatch):
    await world.opened.close()
    mine = worlds.binary()
    monkeypatch.setattr(worlds, "binary", lambda: Binary(mine.path, mine.version, "0" * 64, mine.origin))
    with pytest.raises(Conflict, match=r"start\.opa"):
        await opened(world.root, ground, world.time)


@pytest.mark.parametrize("lost", ["warrant.key", "checkpoint.key", "policy.key"])
async def test_a_lost_key_is_no_start_and_no_new_key(world, ground, lost):
    await world.opened.close()
    (world.root / "data" / "keys" / lost).unlink()
    with pytest.raises(MagistrateError):
        await opened(world.root, ground, world.time)
    assert not (world.root / "data" / "keys" / lost).exists()


async def test_a_warrant_key_that_is_not_genesis_is_no_start(world, ground, monkeypatch):
    await world.opened.close()
    real = opening._keys

    def others(settings, *, first):
        keys = real(settings, first=first)
        return opening.Keys(signer_from_seed(bytes(32)), keys.checkpoint, keys.policy)

    monkeypatch.setattr(opening, "_keys", others)
    with pytest.raises(Unavailable, match=r"start\.keys"):
        await opened(world.root, ground, world.time)


async def test_a_bundle_whose_file_was_changed_is_not_asked(world, ground):
    await world.opened.close()
    archive = world.root / "data" / "bundles"
    path = next(archive.glob("*.tar.gz"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MagistrateError, match=r"bundle\.changed"):
        await opened(world.root, ground, world.time, pooled=False)


async def test_two_do_not_open_one_folder(world, ground):
    with pytest.raises(Unavailable):
        await opened(world.root, ground, world.time)


async def test_stopping_finishes_what_is_short_and_halts_what_is_long(world, monkeypatch):
    monkeypatch.setattr(opening, "STOP_SECONDS", 0.3)
    short = await world.redeem(await world.warrant(RESTART))
    long = await world.redeem(await world.warrant(batch(world.limit("batch", "short"))))
    await until(lambda: world.state("executions", short["execution_id"]) == "succeeded")
    await asyncio.sleep(0.05)
    await world.opened.close()

    reader = Reader(world.root / "data" / opening.LEDGER)
    row = reader.row("executions", long["execution_id"])
    reader.close()
    assert (row.state, row.data["halted_because"]) == ("halted", "shutdown")


# -- the gate


async def test_three_silences_in_a_row_shut_the_gate_and_one_answer_opens_it(world):
    house = world.house

    class Mute:
        async def of(self, _):
            raise NoAnswer("opa.timeout", "slow")

        def __getattr__(self, name):
            return getattr(real, name)

    real, house.sidecars = house.sidecars, Mute()
    missed = 0
    for n in range(arming.MISSES):
        assert world.state("installation", "gate") == "armed"
        missed = await arming.check(house, missed)
        assert missed == n + 1
    assert world.row("installation", "gate").data == {"armed": False, "because": "opa.timeout"}
    with pytest.raises(Unavailable, match=r"gate\.disarmed"):
        await world.propose(RESTART)
    size = world.size
    await arming.check(house, missed)
    assert world.size == size  # one entry each time a state changes
    house.sidecars = real
    assert await arming.check(house, missed) == 0
    assert world.state("installation", "gate") == "armed"
    assert [e.state for e in world.entries("alert")][-2:] == ["open", "closed"]


@pytest.mark.parametrize("code", ["opa.bundle", "opa.version", "opa.eval_error", "opa.undefined"])
async def test_an_answer_that_is_none_of_ours_shuts_the_gate_at_once_with_one_alert(world, monkeypatch, code):
    """From another bundle, of another OPA, an error, nothing: each is an answer, and a wrong one."""
    ask, start = Sidecar.ask, world.size

    async def another(*_, **__):
        raise NoAnswer(code, "not ours")

    monkeypatch.setattr(Sidecar, "ask", another)
    for _ in range(3):
        assert await arming.check(world.house) == 0
        assert world.state("installation", "gate") == "disarmed"
    monkeypatch.setattr(Sidecar, "ask", ask)
    for _ in range(3):
        await arming.check(world.house)

    assert world.kinds(start) == ["arming", "alert", "arming", "alert"]
    assert world.state("alerts", "alr-gate.disarmed-gate") == "closed"


async def test_one_wrong_canary_shuts_the_gate_at_once(world, monkeypatch):
    async def wrong(*_):
        return ["a canary: /standing/outcome is 'allow', not 'deny'"]

    monkeypatch.setattr(arming, "failures", wrong)
    await arming.check(world.house)
    assert world.state("installation", "gate") == "disarmed"
    assert "a canary" in world.row("installation", "gate").data["because"]


async def test_a_start_without_an_answer_has_its_gate_shut(world, ground):
    await world.opened.close()
    again = await opened(world.root, ground, world.time)
    assert again.state("installation", "gate") == "armed"  # as it was left

    async def nothing(*_):
        raise NoAnswer("opa.timeout", "slow")

    real, arming.failures = arming.failures, nothing
    try:
        await again.opened.begin()
        assert again.state("installation", "gate") == "disarmed"
    finally:
        arming.failures = real
        await again.close()


async def test_a_dead_opa_is_a_no_and_its_successor_answers(world, ground):
    """The real one, killed; refusals meanwhile, decisions back by themselves."""
    await world.opened.close()
    own = await opened(world.root, ground, world.time, pooled=False)
    try:
        await worlds.arm(own)
        sidecar = await own.house.sidecars.of(own.house.active())
        for _ in range(3):
            pid, size = sidecar.pid, own.size
            opa = await asyncio.create_subprocess_exec("kill", "-9", str(pid))
            await opa.wait()
            refused, began = 0, asyncio.get_running_loop().time()
            while True:
                try:
                    shown = await own.propose(RESTART)
                    break
                except NoAnswer:
                    refused += 1
                    await asyncio.sleep(0.02)
                assert asyncio.get_running_loop().time() - began < 20
            assert shown.warrant is not None
            assert own.kinds(size).count("refusal") == refused
            assert own.kinds(size).count("warrant") == 1
    finally:
        await own.close()


async def test_an_opa_that_does_not_start_is_no_answer(world):
    class Nothing:
        async def of(self, _):
            raise Unavailable("opa.start", "OPA ended at once")

        def __getattr__(self, name):
            return getattr(real, name)

    warrant = await world.warrant(RESTART)
    real, world.house.sidecars = world.house.sidecars, Nothing()
    size = world.size
    with pytest.raises(NoAnswer, match=r"opa\.start"):
        await world.propose(RESTART)
    with pytest.raises(NoAnswer, match=r"opa\.start"):
        await world.redeem(warrant)
    assert world.kinds(size) == ["intent", "refusal", "refusal"]
    world.house.sidecars = real


async def test_a_service_whose_keeper_ended_issues_nothing(world, crashed, monkeypatch):
    async def ends(_):
        raise RuntimeError("a fault nobody foresaw")

    monkeypatch.setattr(opening, "_pulse", ends)
    after = await crashed(world)
    await after.opened.begin()
    await until(lambda: after.house.fault)
    with pytest.raises(Unavailable, match=r"keeper\.ended"):
        await after.propose(RESTART)
