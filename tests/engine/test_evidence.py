"""Evidence that does not fit one question and its record: left out, said so, and never to anybody's advantage."""

import asyncio
from dataclasses import replace

import pytest

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.engine import evidence, router
from magistrate.engine.doing import MAX_FACTS
from magistrate.engine.installation import Asked
from magistrate.engine.unjudged import FIRST, LONGEST, Unjudged
from magistrate.engine.verification import MAX_OBSERVATIONS, MAX_OBSERVED
from tests.support.world import DEPLOY, HANDOVER, RESTART

MANY = 24  # probes that each say as much as one may: more than a question holds


def seen(n, size=MAX_FACTS - 64):
    return {
        "type": "magistrate/observation/v1",
        "execution_id": "exe-x",
        "source": f"probe/extra-{n:02}",
        "at": "2026-03-25T14:00:00Z",
        "phase": "after",
        "facts": {"log": "x" * size},
        "key_id": "",
        "signature": "",
    }


@pytest.fixture
def verbose(monkeypatch):
    """Probes that see very much after the end, beside what the bundle's own see."""
    probe = router.Deed.probe

    async def too_much(self, phase):
        more = [seen(n) for n in range(MANY)] if phase == "after" else []
        return (*await probe(self, phase), *({**one, "execution_id": self._id} for one in more))

    monkeypatch.setattr(router.Deed, "probe", too_much)


def bodies(world, kind, id_):
    return [entry.content() for entry in world.entries(kind, id_)]


def alerts(world, code):
    return [e.content() for e in world.entries("alert") if e.content()["code"] == code and e.state == "open"]


async def test_what_does_not_fit_is_recorded_without_it_and_is_no_proof(world, verbose):
    row = await world.done(RESTART)

    assert (row.state, row.data["verdict"]) == ("succeeded", "inconclusive")
    (body,) = bodies(world, "verification", row.id)
    (asked,) = body["asked"]
    assert asked["answer"]["verdict"] == "conforming", "what was left would have been enough, and is not taken for it"
    left = {one["source"] for one in body["left_out"]}
    whole = {canonical.digest(canonical.canonical(one)) for one in bodies(world, "observation", row.id)}
    assert {one["digest"] for one in body["left_out"] if one["kind"] == "observation"} <= whole
    assert left
    assert left.isdisjoint(one["source"] for one in asked["question"]["observations"])
    assert "probe/fleet" in {one["source"] for one in asked["question"]["observations"]}
    assert len(row.data["observations"]) > MANY, "each stands whole in its own entry"
    (told,) = alerts(world, evidence.ALERT)
    assert told["about"] == row.id
    assert "probe/extra-" in told["detail"]


async def test_it_is_not_asked_again_and_again_and_one_alert_is_raised(world, verbose):
    row = await world.done(RESTART)
    size = world.size
    assert set(world.house.unjudged) == set()
    await world.tick()
    assert world.size == size

    world.time.go(row.data["report_by"] - world.house.now())
    await world.tick()
    await world.tick()

    row = world.row("executions", row.id)
    assert (row.data["verdict"], row.data["provisional"]) == ("inconclusive", False)
    assert len(bodies(world, "verification", row.id)) == 2
    assert len(alerts(world, evidence.ALERT)) == 1


async def test_what_deviates_without_it_deviates(world, verbose):
    warrant = await world.warrant(DEPLOY)
    world.fleet.deploy = lambda name, said: {"version": said["version"]}
    row = await world.finished(await world.redeem(warrant))
    assert (row.state, row.data["verdict"]) == ("succeeded", "deviating")
    assert row.data["contained"]


def answering(world, monkeypatch, most, spoil):
    """OPA as it is for a question of at most `most` bytes; a larger one is spoilt."""
    ask = world.house.ask

    async def spoilt(document, question, *, bundle):
        asked = await ask(document, question, bundle=bundle)
        large = document == "verification" and len(canonical.canonical(question)) > most
        return spoil(asked) if large else asked

    monkeypatch.setattr(world.house, "ask", spoilt)


@pytest.fixture
def talkative(monkeypatch):
    """Probes that see half of what a question holds."""
    probe = router.Deed.probe

    async def much(self, phase):
        more = [seen(n) for n in range(MANY // 2)] if phase == "after" else []
        return (*await probe(self, phase), *({**one, "execution_id": self._id} for one in more))

    monkeypatch.setattr(router.Deed, "probe", much)


def swollen(asked, much=600):
    reasons = [{"code": "x.y", "title": "t" * 1000, "remedy": "", "policy": "policies.x"}] * much
    return replace(asked, answer={**asked.answer, "reasons": reasons})


def none(_):
    raise NoAnswer("opa.too_large", "an answer too large to be recorded")


@pytest.mark.parametrize("spoil", [none, swollen], ids=["OPA says so", "its entry would"])
async def test_an_answer_too_large_to_be_recorded_is_asked_for_again_with_less(world, talkative, monkeypatch, spoil):
    answering(world, monkeypatch, 300 * 1024, spoil)
    row = await world.done(RESTART)
    (body,) = bodies(world, "verification", row.id)
    assert (row.data["verdict"], len(row.data["reports"])) == ("inconclusive", 1)
    assert 0 < len(body["left_out"]) < MANY // 2


@pytest.mark.parametrize("why", ["opa.question_too_large", "opa.too_large", "entry.large", "opa.answer_shape"])
async def test_whatever_size_is_in_the_way_less_is_asked_about(world, talkative, monkeypatch, why):
    def no(asked):
        raise NoAnswer(why, "too large")

    answering(world, monkeypatch, 300 * 1024, no)
    row = await world.done(RESTART)
    assert (row.data["verdict"], set(world.house.unjudged)) == ("inconclusive", set())


@pytest.mark.parametrize("spoil", [none, lambda asked: swollen(asked, 1100)], ids=["OPA says so", "its entry would"])
async def test_without_any_facts_an_answer_too_large_is_no_answer(world, talkative, monkeypatch, spoil):
    with monkeypatch.context() as opa:
        answering(world, opa, 0, spoil)
        row = await world.done(RESTART)
        assert (row.state, row.data["verdict"]) == ("succeeded", "pending")
        assert set(world.house.unjudged) == {row.id}
        assert [one["detail"] for one in alerts(world, "verification.pending")] == ["opa.too_large"]
    with monkeypatch.context() as opa:
        answering(world, opa, 0, lambda asked: swollen(asked, 1100))
        await world.tick()
        assert set(world.house.unjudged) == {row.id}
    world.time.go(LONGEST)
    await world.tick()
    assert world.row("executions", row.id).data["verdict"] == "conforming"


def test_a_record_holds_deviations_twice_and_leaves_room_for_what_was_left_out():
    def asked(size):
        answer = {"verdict": "deviating", "deviations": [{"code": "x" * size}]}
        return Asked("verification", {}, answer, "sha256:x", {"version": "1", "sha256": "x"})

    half = canonical.MAX_RECORD // 2
    evidence.hold_recordable(asked(half - 40 * 1024))
    for size in (half - 16 * 1024, half):
        with pytest.raises(NoAnswer, match=r"opa\.too_large"):
            evidence.hold_recordable(asked(size))


def test_the_largest_goes_first_and_no_more_than_must():
    question = {
        "reports": [{"source": "executor", "at": "", "outcome": "succeeded", "facts": {"a": "y" * 5000}}],
        "observations": [seen(0, 100), seen(1, 9000), seen(2, 3000)],
    }
    assert evidence.within(question, 1.0) == (question, [])

    kept, left = evidence.within(question, 0.5)
    assert [one["source"] for one in left] == ["probe/extra-01"]
    assert kept["reports"] == question["reports"]

    kept, left = evidence.within(question, 0.25)
    assert [one["source"] for one in left] == ["probe/extra-01", "executor"]
    assert kept["reports"] == [{"source": "executor", "at": "", "outcome": "succeeded", "facts": {}}]
    assert [one["source"] for one in kept["observations"]] == ["probe/extra-00", "probe/extra-02"]

    kept, left = evidence.within(question, 0)
    assert (len(left), kept["observations"]) == (4, [])
    assert {one["kind"] for one in left} == {"report", "observation"}

    assert [one["source"] for one in evidence.within(question, 0.5, {"reports": 1, "observations": 1})[1]] == [
        "executor",
        "probe/extra-00",
        "probe/extra-01",
    ], "what was judged goes before what was not"

    empty = {**question["reports"][0], "facts": {}}
    assert evidence.within({**question, "reports": [empty]}, 0)[1] == left[:1] + left[2:], "nothing is left out of it"


@pytest.mark.parametrize("size", [10, 1000, MAX_FACTS - 64])
def test_each_step_leaves_something_out_however_small_it_all_is(size):
    question = {"reports": [], "observations": [seen(n, size) for n in range(MANY)]}
    kept = [len(evidence.within(question, share)[0]["observations"]) for share in evidence.SHARES]
    assert kept == [MANY, MANY // 2, MANY // 4, MANY // 8, 0]


def test_an_alert_names_some_and_counts_the_rest():
    left = [{"kind": "observation", "source": f"probe/{n}", "at": "", "bytes": 9} for n in range(20)]
    assert evidence.told(left).endswith("probe/7 (9 bytes) and 12 more")
    assert evidence.told(left[:1]).endswith("together with the rest: probe/0 (9 bytes)")


# -- to nobody's advantage


async def handed_over(world):
    """A deploy that its holder carries out."""
    execution = await world.redeem(await world.warrant(HANDOVER))
    return execution["execution_id"]


def told(facts):
    return canonical.canonical({"outcome": "succeeded", "facts": facts})


def watched(facts):
    return canonical.canonical({"phase": "after", "facts": facts})


@pytest.mark.parametrize("length", [10, 8180, 8192, 40_000])
async def test_a_value_is_not_too_long_to_deviate(world, length):
    """What is quoted of it has an end: a long one kept the verdict from its document once, and all that follows."""
    id_ = await handed_over(world)
    world.fleet.deploy("api-gateway", {"version": "6.6.6"})
    await router.report(world.house, id_, told({"services": {"api-gateway": {"version": "x" * length}}}))
    row = world.row("executions", id_)
    assert (row.data["verdict"], "revoke" in row.data["contained"]) == ("deviating", True)
    assert world.state("warrants", row.data["warrant_id"]) == "revoked"


async def grown_by(world, services):
    """A deploy in which the fleet grows by so many services that nobody asked for, when it is over."""
    warrant = await world.warrant(DEPLOY)
    deploy = world.fleet.deploy

    def wide(name, said):
        for n in range(services):
            world.fleet.services[f"svc-{n:04}"] = {"version": "1", "restarts": 0}
        return deploy(name, said)

    world.fleet.deploy = wide
    return await world.finished(await world.redeem(warrant))


async def test_many_things_touched_are_not_too_many_to_deviate(world):
    row = await grown_by(world, 800)
    assert row.data["verdict"] == "deviating"
    assert row.data["contained"]


async def test_what_deviated_before_something_was_left_out_still_does(world, talkative, monkeypatch):
    """An answer that could not be recorded is not forgotten: the next one says no better."""

    def deviating(asked):
        found = {
            "code": "x.y",
            "pointer": "",
            "expected": "1",
            "observed": "2",
            "severity": "grave",
            "source": "probe/fleet",
        }
        said = {"verdict": "deviating", "deviations": [found] * 4000, "containment": ["revoke"]}
        return replace(asked, answer={**asked.answer, **said})

    answering(world, monkeypatch, 300 * 1024, deviating)
    row = await world.done(RESTART)
    (body,) = bodies(world, "verification", row.id)
    assert body["asked"][0]["answer"]["verdict"] == "conforming"
    assert (row.data["verdict"], row.data["contained"]) == ("deviating", ["revoke"])
    assert body["found"][0]["containment"] == ["revoke"]
    assert (len(body["verification"]["deviations"]), bool(body["left_out"])) == (20, True)


async def test_a_probe_that_saw_too_much_is_named(world):
    row = await grown_by(world, 2500)
    (body,) = bodies(world, "verification", row.id)
    assert row.data["verdict"] == "inconclusive"
    assert [one["source"] for one in body["left_out"]] == ["probe/fleet"]
    assert len(alerts(world, evidence.ALERT)) == 1


async def test_observers_who_come_at_once_find_no_more_room_than_one_after_the_other(world):
    id_ = await handed_over(world)
    raw = watched({"x": "y" * 60_000})
    came = [router.observe(world.house, world.observer(), id_, raw) for _ in range(12)]
    done = await asyncio.gather(*came, return_exceptions=True)
    seen_ = world.row("executions", id_).data["observations"]
    assert len(canonical.canonical(seen_)) < MAX_OBSERVED
    assert len(seen_) < MAX_OBSERVATIONS
    assert {one.code for one in done if isinstance(one, Exception)} == {"observation.full"}


async def test_one_that_gets_no_answer_keeps_nobody_else_from_being_heard(world):
    """However many wait for an answer that does not come, what is due is done; and they ask less and less."""
    quiet = [await handed_over(world) for _ in range(3)]
    report_by = max(world.row("executions", id_).data["report_by"] for id_ in quiet)
    asked = []
    ask = world.house.ask

    async def deaf(document, question, *, bundle):
        if document == "verification" and question["execution"]["execution_id"] in quiet[:2]:
            asked.append(question["execution"]["execution_id"])
            raise NoAnswer("opa.timeout", "slow")
        return await ask(document, question, bundle=bundle)

    world.house.ask = deaf
    world.time.go(report_by - world.house.now() + 1)
    await world.tick()
    assert world.state("executions", quiet[2]) == "unknown"
    asked.clear()
    for _ in range(10):
        world.time.go(0.2)
        await world.tick()
    assert 2 <= len(asked) <= 8


def test_who_gets_no_answer_waits_twice_as_long_each_time():
    waiting = Unjudged()
    waiting.judged("exe", 0.0, silent=True)
    assert waiting.may("exe", 0.0), "a single silence is asked about at the next look"
    now, waits = 0.0, []
    for _ in range(6):
        waiting.judged("exe", now, silent=True)
        wait = next(n / 10 for n in range(200) if waiting.may("exe", now + n / 10))
        waits.append(wait)
        now += wait
    assert waits == [FIRST, 2.0, 4.0, 8.0, LONGEST, LONGEST]
    waiting.judged("exe", now, silent=False)
    assert (len(waiting), waiting.may("exe", 0.0)) == (0, True)
