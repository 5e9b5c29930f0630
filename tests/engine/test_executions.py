"""What is done, seen, said and concluded: by the router, by a holder, by observers, and when OPA is away."""

import asyncio

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Absent, Conflict, MagistrateError, Malformed, NoAnswer
from magistrate.engine import alerts, halting, router
from magistrate.engine.installation import Word
from magistrate.engine.unjudged import LONGEST
from magistrate.executors import Outcome
from tests.support import world as worlds
from tests.support.world import CASCADE, DEPLOY, HANDOVER, RESTART, batch, code, refund

DEPLOYED = {"services": {"api-gateway": {"version": "2.4.1"}}}


def raw(**said):
    return canonical.canonical(said)


async def handed_over(world):
    """An execution that its holder runs."""
    warrant = await world.warrant(HANDOVER)
    assert warrant["audience"].endswith("/holder")
    execution = await world.redeem(warrant)
    assert execution["state"] == "started"
    return warrant, execution["execution_id"]


def verdicts(world, id_):
    return [e.state for e in world.entries("verification", id_)]


def codes(row):
    return {deviation["code"] for deviation in row.data["deviations"]}


def severity(world, row):
    return {deviation["severity"] for deviation in row.data["deviations"]}


def following(world, row):
    """What the bundle's data says follows on these deviations."""
    table = world.data["catalogue"]["installation"]["containment"]
    return {act for name in severity(world, row) for act in table[name]}


# -- run by the router


@pytest.mark.parametrize("said", [RESTART, DEPLOY, refund(1), batch(0)], ids=lambda said: said["action"])
async def test_what_went_as_warranted_conforms(world, said):
    size = world.size
    row = await world.done(said)

    assert (row.state, row.data["verdict"], row.data["deviations"]) == ("succeeded", "conforming", [])
    assert [a["outcome"] for a in row.data["attempts"]] == ["succeeded"]
    assert [r["source"] for r in row.data["reports"]] == ["executor"]
    assert "containment" not in world.kinds(size)
    assert world.state("warrants", row.data["warrant_id"]) in ("live", "spent")
    verification = world.entries("verification", row.id)[-1].content()
    assert verification["verification"]["previous"] == ""
    assert verification["asked"][0]["document"] == "verification"


async def test_a_change_beyond_the_affected_services_is_contained_and_rolled_back(world):
    before = world.fleet.read("fleet")["services"]
    row = await world.done(CASCADE)

    assert (row.state, row.data["verdict"]) == ("succeeded", "deviating")
    assert code("verification.affected_services") in codes(row)
    acts = following(world, row)
    assert set(row.data["contained"]) <= acts
    assert ("revoke" in acts) == (world.state("warrants", row.data["warrant_id"]) == "revoked")
    assert ("quarantine" in acts) == (world.state("agents", "bot") == "quarantined")
    assert "rollback" in acts
    assert row.data["rollback"] == "done"
    after = world.fleet.read("fleet")["services"]
    assert {name: one["version"] for name, one in after.items()} == {n: one["version"] for n, one in before.items()}
    assert [e.state for e in world.entries("alert") if e.content()["about"] == row.id] == ["open"]
    kinds = [e.kind for e in world.entries(subject=row.id)]
    assert kinds.index("verification") < kinds.index("containment")
    assert kinds.count("containment") == 1
    assert verdicts(world, row.id) == ["deviating"]


async def test_what_is_seen_after_a_rollback_is_on_record(world):
    row = await world.done(CASCADE)
    seen = [o for o in row.data["observations"] if o["phase"] == "after"]
    assert [o["facts"]["services"]["checkout"]["version"] for o in seen] == ["2.4.1", "2.4.0"]


async def test_a_rollback_that_fails_is_told(world):
    warrant = await world.warrant(CASCADE)

    def fails(*_):
        raise KeyError("no such version")

    world.fleet.rollback = fails
    row = await world.finished(await world.redeem(warrant))
    assert (row.data["rollback"], row.data["verdict"]) == ("failed", "deviating")


async def test_only_a_proven_failure_is_tried_again(world):
    warrant = await world.warrant(RESTART)
    tries = 1 + warrant["constraints"]["max_retries"]
    assert tries >= 2
    calls = []

    def fails(name, said):
        calls.append(name)
        raise ValueError("not now")

    world.fleet.restart = fails
    row = await world.finished(await world.redeem(warrant))

    assert (row.state, len(calls)) == ("failed", tries)
    assert [(a["n"], a["outcome"]) for a in row.data["attempts"]] == [(n + 1, "failed") for n in range(tries)]
    assert row.data["verdict"] == "deviating"


async def test_a_failure_that_mends_itself_succeeds(world):
    warrant = await world.warrant(RESTART)
    real, calls = world.fleet.restart, []

    def once(name, said):
        calls.append(name)
        if len(calls) == 1:
            raise ValueError("not now")
        return real(name, said)

    world.fleet.restart = once
    row = await world.finished(await world.redeem(warrant))
    assert (row.state, row.data["verdict"]) == ("succeeded", "conforming")
    assert [a["outcome"] for a in row.data["attempts"]] == ["failed", "succeeded"]
    assert world.fleet.services["api-gateway"]["restarts"] == 1


@pytest.mark.parametrize("result", ["unknown", "succeeded"])
async def test_what_may_have_happened_is_not_done_again(world, result, monkeypatch):
    done = []

    async def attempt(self, n, _):
        done.append(n)
        return Outcome(result, {})

    monkeypatch.setattr(router.Deed, "attempt", attempt)
    row = await world.done(RESTART)
    assert (row.state, done) == (result, [1])
    assert row.data["verdict"] == ("inconclusive" if result == "unknown" else "conforming")


async def test_a_target_that_lies_is_caught_by_the_probe(world):
    warrant = await world.warrant(DEPLOY)
    world.fleet.deploy = lambda name, said: {"version": said["version"]}
    row = await world.finished(await world.redeem(warrant))
    assert (row.state, row.data["verdict"]) == ("succeeded", "deviating")
    assert codes(row) & {code("verification.expect"), code("deploys.version")}


async def test_a_use_under_a_warrant_that_deviated_ends_the_others(world, monkeypatch):
    """Revoked by containment: whatever else runs under it halts."""
    warrant = await world.warrant(RESTART)
    assert warrant["uses"] >= 2
    slow, release = asyncio.Event(), asyncio.Event()
    real = router.Deed.attempt

    async def attempt(self, n, seconds):
        if not slow.is_set():
            slow.set()
            await release.wait()
        return await real(self, n, seconds)

    monkeypatch.setattr(router.Deed, "attempt", attempt)
    first = await world.redeem(warrant)
    await slow.wait()
    world.fleet.restart = lambda *_: world.fleet.services["payments"].update(version="9.9.9")
    second = await world.finished(await world.redeem(warrant))
    assert second.data["verdict"] == "deviating"
    assert "revoke" in second.data["contained"]
    row = await world.finished(first)
    assert (row.state, row.data["halted_because"]) == ("halted", "revoked")


# -- run by the holder


async def test_a_holder_that_did_as_warranted_conforms(world):
    _, id_ = await handed_over(world)
    assert await router.heartbeat(world.house, id_) == {"verdict": "continue"}
    world.fleet.deploy("api-gateway", HANDOVER["parameters"])
    verdict = await router.report(world.house, id_, raw(outcome="succeeded", facts=DEPLOYED))

    assert verdict["verdict"] == "conforming"
    row = world.row("executions", id_)
    assert (row.state, [r["source"] for r in row.data["reports"]]) == ("succeeded", ["holder"])


async def test_a_holder_whose_word_the_probe_contradicts_deviates(world):
    warrant, id_ = await handed_over(world)
    verdict = await router.report(world.house, id_, raw(outcome="succeeded", facts=DEPLOYED))

    assert verdict["verdict"] == "deviating"
    row = world.row("executions", id_)
    assert codes(row) & {code("verification.contradiction"), code("verification.expect")}
    assert ("revoke" in following(world, row)) == (world.state("warrants", warrant["warrant_id"]) == "revoked")
    assert {"probe/fleet"} & {d["source"] for d in row.data["deviations"]}


async def test_a_holder_that_says_it_failed_and_did_it_deviates(world):
    _, id_ = await handed_over(world)
    world.fleet.deploy("api-gateway", HANDOVER["parameters"])
    verdict = await router.report(world.house, id_, raw(outcome="failed", facts={}))
    assert verdict["verdict"] == "deviating"
    assert code("verification.contradiction") in codes(world.row("executions", id_))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        raw(outcome="great"),
        raw(outcome="succeeded", facts=[]),
        raw(outcome="succeeded", source="probe/fleet"),
        raw(outcome="succeeded", execution_id="exe-1"),
        raw(outcome="succeeded", at="2026-03-25T12:00:00Z"),
        raw(facts={}),
    ],
)
async def test_what_is_no_report_changes_nothing(shared, said):
    _, id_ = await handed_over(shared)
    size = shared.size
    with pytest.raises(Malformed):
        await router.report(shared.house, id_, said)
    assert shared.size == size


async def test_nobody_reports_on_what_we_run_or_on_what_has_ended(world):
    row = await world.done(RESTART)
    with pytest.raises(Conflict, match=r"execution\.router_run"):
        await router.report(world.house, row.id, raw(outcome="failed"))
    _, id_ = await handed_over(world)
    await router.report(world.house, id_, raw(outcome="failed"))
    size = world.size
    with pytest.raises(Conflict, match=r"execution\.ended"):
        await router.report(world.house, id_, raw(outcome="succeeded"))
    assert world.size == size
    with pytest.raises(Absent):
        await router.report(world.house, "exe-unknown", raw(outcome="succeeded"))


async def test_many_reports_at_once_are_one(world):
    _, id_ = await handed_over(world)
    said = [raw(outcome="succeeded", facts=DEPLOYED), raw(outcome="failed"), raw(outcome="unknown")]
    came = await asyncio.gather(*(router.report(world.house, id_, one) for one in said * 3), return_exceptions=True)
    assert sum(not isinstance(one, Exception) for one in came) == 1
    assert {one.code for one in came if isinstance(one, MagistrateError)} <= {"execution.ended", "execution.state"}
    assert len(world.row("executions", id_).data["reports"]) == 1


# -- observers


async def test_an_observer_that_the_warrant_names_is_heard(world):
    row = await world.done(DEPLOY)
    facts = {"affected_services": ["api-gateway"]}
    said = await router.observe(world.house, world.observer(), row.id, raw(phase="after", facts=facts))
    assert said is None  # it conforms as before
    seen = world.row("executions", row.id).data["observations"][-1]
    assert (seen["source"], seen["facts"]) == ("observer/mesh-watch", facts)


async def test_an_observer_turns_conforming_into_deviating_and_nobody_turns_it_back(world):
    row = await world.done(DEPLOY)
    assert row.data["verdict"] == "conforming"
    bad = raw(phase="after", facts={"affected_services": ["api-gateway", "checkout"]})
    said = await router.observe(world.house, world.observer(), row.id, bad)

    assert said["verdict"] == "deviating"
    assert said["previous"] == row.data["verification_id"]
    after = world.row("executions", row.id)
    assert after.data["rollback"] == "done" if "rollback" in after.data["contained"] else True
    good = raw(phase="after", facts={"affected_services": ["api-gateway"]})
    assert await router.observe(world.house, world.observer(), row.id, good) is None
    assert world.row("executions", row.id).data["verdict"] == "deviating"
    assert verdicts(world, row.id) == ["conforming", "deviating"]


@pytest.mark.parametrize("who", ["stranger", "nobody", "agent", "operator", "auditor"])
async def test_nobody_else_observes(shared, who):
    row = await shared.done(DEPLOY)
    by = {
        "agent": shared.agent(),
        "operator": shared.operator(),
        "auditor": type(shared.agent())("auditor", "mesh-watch", "api-key"),
    }.get(who) or shared.observer(who)
    size = shared.size
    with pytest.raises(Absent):
        await router.observe(shared.house, by, row.id, raw(phase="after", facts={}))
    assert shared.size == size


async def test_an_observer_watches_only_what_names_it(world):
    row = await world.done(refund(1))
    with pytest.raises(Absent):
        await router.observe(world.house, world.observer(), row.id, raw(phase="after", facts={}))
    with pytest.raises(Absent):
        await router.observe(world.house, world.observer(), "exe-unknown", raw(phase="after", facts={}))


@pytest.mark.parametrize(
    "said", [b"", raw(facts={}), raw(phase="later", facts={}), raw(phase="after", facts={}, source="probe/fleet")]
)
async def test_what_is_no_observation_changes_nothing(shared, said):
    row = await shared.done(DEPLOY)
    size = shared.size
    with pytest.raises(Malformed):
        await router.observe(shared.house, shared.observer(), row.id, said)
    assert shared.size == size


async def test_what_an_observer_sees_while_it_runs_halts_it_and_then_rolls_it_back(world):
    _, id_ = await handed_over(world)
    world.fleet.deploy("api-gateway", {"version": "2.4.1", "strategy": "cascade"})
    bad = raw(phase="during", facts={"affected_services": ["api-gateway", "checkout"]})
    said = await router.observe(world.house, world.observer(), id_, bad)
    assert said["verdict"] == "deviating"
    row = world.row("executions", id_)
    assert (row.state, row.data["halted_because"], row.data["rollback"]) == ("halting", "deviation", "none")
    assert (await router.heartbeat(world.house, id_)) == {"verdict": "halt", "because": "deviation"}

    await router.report(world.house, id_, raw(outcome="halted"))

    row = world.row("executions", id_)
    assert (row.state, row.data["rollback"]) == ("halted", "done")
    assert {one["version"] for one in world.fleet.services.values()} == {"2.4.0"}
    assert sorted(row.data["contained"]) == sorted(set(row.data["contained"]))


# -- provisional and final


async def test_what_was_not_seen_is_inconclusive_and_may_still_conform(world):
    world.fleet.read = lambda *_: None  # the probe sees nothing
    warrant_world = world.fleet
    warrant = None
    try:
        warrant = await world.warrant(DEPLOY)
        with pytest.raises(MagistrateError):
            await world.redeem(warrant)  # what changes could not be told from what was
    finally:
        del warrant_world.read
    real, calls = world.fleet.read, []

    def blind_after(what):
        calls.append(what)
        return real(what) if len(calls) == 1 else None

    world.fleet.read = blind_after
    row = await world.finished(await world.redeem(warrant))
    assert (row.state, row.data["verdict"], row.data["provisional"]) == ("succeeded", "inconclusive", True)


async def test_a_verdict_is_final_when_report_by_has_passed(world, monkeypatch):
    async def nothing(self, phase):
        return before if phase == "before" else ()

    warrant = await world.warrant(DEPLOY)
    before = await router.Deed(world.house, warrant, "exe-x").probe("before")
    monkeypatch.setattr(router.Deed, "probe", nothing)
    execution = await world.redeem(warrant)
    row = await world.finished(execution)
    assert (row.data["verdict"], row.data["provisional"]) == ("inconclusive", True)

    world.time.go(row.data["report_by"] - world.house.now())
    await world.tick()
    await world.tick()

    row = world.row("executions", row.id)
    assert (row.data["verdict"], row.data["provisional"]) == ("inconclusive", False)
    assert verdicts(world, row.id) == ["inconclusive", "inconclusive"]
    late = raw(phase="after", facts=DEPLOYED)
    await router.observe(world.house, world.observer(), row.id, late)
    assert world.row("executions", row.id).data["verdict"] == "inconclusive"  # never better after it is final
    bad = raw(phase="after", facts={"affected_services": ["api-gateway", "checkout"]})
    await router.observe(world.house, world.observer(), row.id, bad)
    assert world.row("executions", row.id).data["verdict"] == "deviating"


async def test_a_conforming_verdict_stays_and_is_asked_about_no_more(world):
    row = await world.done(RESTART)
    size = world.size
    world.time.go(row.data["report_by"] - world.house.now())
    with world.silent():
        await world.tick()
    assert verdicts(world, row.id) == ["conforming"]
    assert set(world.kinds(size)) <= {"lifecycle"}


async def test_a_holder_that_never_reports_is_unknown_and_that_is_final(world):
    warrant, id_ = await handed_over(world)
    world.time.go(warrant["ttl"])
    await world.tick()
    assert world.state("executions", id_) == "halting"
    world.time.go(world.row("executions", id_).data["report_by"] - world.house.now())
    await world.tick()
    row = world.row("executions", id_)
    assert (row.state, row.data["verdict"]) == ("unknown", "deviating")
    assert code("verification.silent") in codes(row)
    with pytest.raises(Conflict):
        await router.report(world.house, id_, raw(outcome="succeeded"))


async def test_an_unknown_end_is_reconciled_by_an_operators_act_once(world):
    _, id_ = await handed_over(world)
    with pytest.raises(Conflict):
        await router.reconcile(world.house, id_, Word("ann", "it ran"))
    world.time.go(world.row("executions", id_).data["report_by"] - world.house.now())
    await world.tick()
    await router.reconcile(world.house, id_, Word("ann", "it ran"))
    assert world.state("executions", id_) == "reconciled"
    moved = world.entries("lifecycle", id_)[-1]
    assert (moved.state, moved.content()["because"], moved.content()["by"]) == ("reconciled", "it ran", "ann")
    with pytest.raises(Conflict):
        await router.reconcile(world.house, id_, Word("ann", "again"))
    with pytest.raises(Absent):
        await router.reconcile(world.house, "exe-unknown", Word("ann", "x"))


# -- OPA away at verification


async def test_without_an_answer_the_end_is_recorded_and_the_verdict_asked_for_again(world):
    warrant = await world.warrant(RESTART)
    with world.silent("verification", no=NoAnswer("opa.timeout", "slow")):
        row = await world.finished(await world.redeem(warrant))
        assert (row.state, row.data["verdict"]) == ("succeeded", "pending")
        assert [r["outcome"] for r in row.data["reports"]] == ["succeeded"]
        for _ in range(3):
            await world.tick()
    raised = [e for e in world.entries("alert") if e.content()["about"] == row.id]
    assert [(e.state, e.content()["code"], e.content()["detail"]) for e in raised] == [
        ("open", "verification.pending", "opa.timeout")
    ]

    world.time.go(LONGEST)
    await world.tick()

    assert world.row("executions", row.id).data["verdict"] == "conforming"
    raised = [e.state for e in world.entries("alert") if e.content()["about"] == row.id]
    assert raised == ["open", "closed"]
    assert set(world.house.unjudged) == set()


async def test_news_of_what_conforms_without_an_answer_is_judged_later_and_its_alert_closes(world):
    row = await world.done(DEPLOY)
    good = raw(phase="after", facts={"affected_services": ["api-gateway"]})
    with world.silent("verification"):
        await router.observe(world.house, world.observer(), row.id, good)
    assert set(world.house.unjudged) == {row.id}
    await world.tick()
    states = [e.state for e in world.entries("alert") if e.content()["about"] == row.id]
    assert (states, set(world.house.unjudged)) == (["open", "closed"], set())
    assert world.row("executions", row.id).data["verdict"] == "conforming"


async def test_bad_news_without_an_answer_is_contained_when_it_comes(world):
    row = await world.done(DEPLOY)
    bad = raw(phase="after", facts={"affected_services": ["api-gateway", "checkout"]})
    with world.silent("verification"):
        assert await router.observe(world.house, world.observer(), row.id, bad) is None
    assert world.row("executions", row.id).data["contained"] == []
    await world.tick()
    row = world.row("executions", row.id)
    assert row.data["verdict"] == "deviating"
    assert set(row.data["contained"]) <= following(world, row)
    assert row.data["contained"]


async def test_an_alert_is_seen_once(world):
    row = await world.done(CASCADE)
    alert = next(e.subject for e in world.entries("alert") if e.content()["about"] == row.id)
    await alerts.acknowledge(world.house, alert, Word("ann", ""))
    assert world.state("alerts", alert) == "acked"
    with pytest.raises(Conflict):
        await alerts.acknowledge(world.house, alert, Word("ann", ""))
    with pytest.raises(Absent):
        await alerts.acknowledge(world.house, "alr-unknown", Word("ann", ""))


# -- heartbeats


async def test_a_heartbeat_says_go_on_and_is_no_entry(world):
    _, id_ = await handed_over(world)
    size = world.size
    for _ in range(5):
        world.time.go(1)
        assert await router.heartbeat(world.house, id_) == {"verdict": "continue"}
        await world.tick()
    assert world.size == size
    with pytest.raises(Absent):
        await router.heartbeat(world.house, "exe-unknown")


@pytest.mark.parametrize("cause", ["revoked", "quarantined", "expired", "expired, unnoticed", "asked", "ended"])
async def test_a_heartbeat_says_halt_and_why(world, cause):
    warrant, id_ = await handed_over(world)
    if cause == "revoked":
        await halting.revoke(world.house, warrant["warrant_id"], Word("ann", "x"))
    if cause == "quarantined":
        await halting.quarantine(world.house, "bot", Word("ann", "x"))
    if cause.startswith("expired"):
        world.time.go(warrant["ttl"])
    if cause == "expired":
        await world.tick()
    if cause == "asked":
        await halting.halt(world.house, id_, "asked", Word("ann", "x"))
    if cause == "ended":
        await router.report(world.house, id_, raw(outcome="failed"))
    because = {"ended": "failed", "expired, unnoticed": "expired"}.get(cause, cause)
    assert await router.heartbeat(world.house, id_) == {"verdict": "halt", "because": because}
    if cause in ("revoked", "quarantined", "expired", "asked"):
        assert world.state("executions", id_) == "halting"
        with pytest.raises(Conflict, match=r"execution\.halting"):
            await router.report(world.house, id_, raw(outcome="succeeded", facts=DEPLOYED))
        await router.report(world.house, id_, raw(outcome="halted"))
        row = world.row("executions", id_)
        assert (row.state, row.data["halted_because"]) == ("halted", because)


async def test_missed_heartbeats_are_on_record_and_the_bundle_says_what_follows(world):
    warrant, id_ = await handed_over(world)
    apart = warrant["heartbeat_seconds"]
    assert apart > 0
    world.time.go(apart - 1)
    await world.tick()
    assert world.row("executions", id_).data["missed_heartbeats"] == 0
    world.time.go(1)
    await world.tick()
    await world.tick()
    row = world.row("executions", id_)
    assert row.data["missed_heartbeats"] == 1
    missed = [e for e in world.entries("lifecycle", id_) if e.content()["event"] == "missed_heartbeats"]
    assert [(e.state, e.content()["count"]) for e in missed] == [("started", 1)]
    assert code("verification.heartbeats") in codes(row)
    if "halt" in following(world, row):
        assert row.state == "halting"


async def test_what_is_admitted_is_not_admitted_elsewhere(world):
    """A warrant for the holder is not run by us, and one for us not by the holder."""
    _, id_ = await handed_over(world)
    await asyncio.sleep(0.02)
    assert world.fleet.services["api-gateway"]["restarts"] == 0
    assert id_ not in world.house.running
    row = await world.done(RESTART)
    with pytest.raises(Conflict):
        await router.report(world.house, row.id, raw(outcome="succeeded"))


def test_the_proposals_of_this_suite_are_the_catalogues():
    assert {DEPLOY["action"], HANDOVER["action"]} <= set(
        worlds.json.loads((worlds.rego() / "catalogue" / "data.json").read_text())["actions"]
    )
