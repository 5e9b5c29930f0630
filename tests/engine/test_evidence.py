"""Evidence that does not fit one question and its record: left out, said so, and never to anybody's advantage."""

from dataclasses import replace

import pytest

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.engine import evidence, router
from magistrate.engine.doing import MAX_FACTS
from magistrate.engine.installation import Asked
from tests.support.world import DEPLOY, RESTART

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
    assert world.house.unjudged == set()
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


@pytest.mark.parametrize("spoil", [none, lambda asked: swollen(asked, 1100)], ids=["OPA says so", "its entry would"])
async def test_without_any_facts_an_answer_too_large_is_no_answer(world, talkative, monkeypatch, spoil):
    with monkeypatch.context() as opa:
        answering(world, opa, 0, spoil)
        row = await world.done(RESTART)
        assert (row.state, row.data["verdict"]) == ("succeeded", "pending")
        assert world.house.unjudged == {row.id}
        assert [one["detail"] for one in alerts(world, "verification.pending")] == ["opa.too_large"]
    with monkeypatch.context() as opa:
        answering(world, opa, 0, lambda asked: swollen(asked, 1100))
        await world.tick()
        assert world.house.unjudged == {row.id}
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
    size = len(canonical.canonical(question))

    kept, left = evidence.within(question, size - 1)
    assert [one["source"] for one in left] == ["probe/extra-01"]
    assert kept["reports"] == question["reports"]

    kept, left = evidence.within(question, size - 10_000)
    assert [one["source"] for one in left] == ["probe/extra-01", "executor"]
    assert kept["reports"] == [{"source": "executor", "at": "", "outcome": "succeeded", "facts": {}}]
    assert [one["source"] for one in kept["observations"]] == ["probe/extra-00", "probe/extra-02"]

    kept, left = evidence.within(question, 0)
    assert (len(left), kept["observations"]) == (4, [])
    assert {one["kind"] for one in left} == {"report", "observation"}

    empty = {**question["reports"][0], "facts": {}}
    assert evidence.within({**question, "reports": [empty]}, 0)[1] == left[:1] + left[2:], "nothing is left out of it"


@pytest.mark.parametrize("room", evidence.ROOMS[1:])
def test_it_comes_down_to_the_room_it_is_given(room):
    question = {"reports": [], "observations": [seen(n) for n in range(MANY)]}
    kept, left = evidence.within(question, room)
    assert len(canonical.canonical(kept)) <= max(room, 64)
    assert len(left) + len(kept["observations"]) == MANY


def test_an_alert_names_some_and_counts_the_rest():
    left = [{"kind": "observation", "source": f"probe/{n}", "at": "", "bytes": 9} for n in range(20)]
    assert evidence.told(left).endswith("probe/7 (9 bytes) and 12 more")
    assert evidence.told(left[:1]).endswith("together with the rest: probe/0 (9 bytes)")
