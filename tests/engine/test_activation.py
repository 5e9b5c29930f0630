"""Bundles come into force by an approved act, and by nothing else."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest

from magistrate.core import canonical
from magistrate.core.entry import make
from magistrate.core.errors import Absent, Broken, Conflict, MagistrateError, Malformed, NoAnswer, Refused
from magistrate.core.promotion import NOTHING, Built, authentic
from magistrate.core.signature import decode_public, sign_document, signer_from_seed
from magistrate.engine import activation, arming, deadlines, gateway, recovery, succession
from magistrate.engine.gateway import Submitted
from magistrate.engine.installation import Word
from magistrate.engine.opening import open_store
from magistrate.policy import sidecar as sidecars
from magistrate.policy import vocabulary
from magistrate.policy.bundle import Bundle
from tests.support import world as worlds
from tests.support.world import DEPLOY, FIRST, RESTART, Time, refund, until

FIGURES = Built(tests=362, cases=23, canaries=6, covered=1180, lines=1180)


def _edit(path: Path, change) -> None:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


def numbered(folder: Path, sequence: int) -> None:
    """Give a Rego folder another sequence."""

    def change(manifest):
        manifest["metadata"]["sequence"] = sequence
        manifest["revision"] = str(sequence)

    _edit(folder / ".manifest", change)


def raised(folder: Path) -> None:
    """Small refunds may be larger."""
    numbered(folder, 1000)
    _edit(folder / "policies/refunds/data.json", lambda said: said["limits"].update(small=said["limits"]["large"] - 1))


def tightened(folder: Path) -> None:
    """Every deployment's warrant is shorter."""
    numbered(folder, 1001)

    def change(tiers):
        for row in tiers.values():
            row["warrant"]["ttl"] -= 1

    _edit(folder / "tiers/data.json", change)


def failing(folder: Path) -> None:
    """Its canaries expect what it does not answer."""
    numbered(folder, 1002)
    _edit(folder / "canaries/data.json", lambda said: next(iter(said.values())).update(expect={"no": "such answer"}))


def older(folder: Path) -> None:
    """A sequence that was passed already."""
    numbered(folder, 0 + 1)
    _edit(folder / "policies/refunds/data.json", lambda said: said["limits"].update(daily=1))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Other generations of the bundle under test, each through the gate."""
    home = tmp_path_factory.mktemp("generations")
    return {change.__name__: worlds.variant(home / change.__name__, change) for change in (raised, tightened, failing)}


async def taken(world, raw, by="ann") -> str:
    shown = await activation.take(world.house, raw, FIGURES, Word(by, "a new policy"))
    return shown["digest"]


async def propose(world, digest, live="keep", by=FIRST):
    said = {"digest": digest, "live_warrants": live}
    act = {"action": "bundle.activate", "target": "installation", "parameters": said}
    shown = await world.propose(act, by=world.operator(by))
    return await world.say(shown, by) if shown.decision["standing"]["outcome"] == "ask" else shown


async def activate(world, raw, live="keep", author="ann"):
    """Take it in and put it in force, by people other than its author."""
    digest = await taken(world, raw, by=author)
    shown = await world.approve(await propose(world, digest, live), skip=(FIRST, author))
    assert shown.warrant is not None, shown.decision["standing"]
    await world.redeem(shown.warrant)
    await succession.settle(world.house)
    return digest


# -- what an activation does


async def test_a_bundle_comes_into_force_by_an_approved_act_and_its_promotion_says_so(world, bundles):
    before = world.house.active()
    digest = await activate(world, bundles["raised"])

    assert world.house.active() == digest
    assert (world.state("bundles", digest), world.state("bundles", before)) == ("active", "retired")
    said = world.entries("bundle", digest)[-1].content()["promotion"]
    promotion = authentic(said, world.house.keys.policy.public and decode_public(world.house.keys.policy.public.hex()))
    assert (promotion.previous, promotion.digest, promotion.sequence) == (before, digest, 1000)
    assert promotion.built == FIGURES
    assert promotion.author == "ann"
    assert len(promotion.approvals) >= 2
    assert world.examined().verdict == "VERIFIED"


async def test_decisions_follow_the_new_bundle_and_live_warrants_the_old(world, bundles):
    amount = world.limit("refunds", "small") + 1
    asked = await world.propose(refund(amount))
    assert asked.decision["standing"]["outcome"] == "ask"
    warrant = await world.warrant(RESTART)
    old = world.house.active()

    digest = await activate(world, bundles["raised"])

    now = await world.propose(refund(amount, "A-2"))
    assert (now.decision["standing"]["outcome"], now.decision["bundle"]) == ("allow", digest)
    run = await world.finished(await world.redeem(warrant))
    assert run.data["bundle"] == old
    assert run.data["verdict"] == "conforming"
    asked_of = {one["bundle"] for one in world.entries("admission", run.id)[0].content()["asked"]}
    assert asked_of == {old}


async def test_what_waits_is_asked_again_in_a_round_of_its_own_and_old_approvals_never_count(world, bundles):
    waiting = await world.propose(DEPLOY)
    assert waiting.decision["standing"]["outcome"] == "ask"
    stale = world.word(waiting, world.able(waiting)[0])

    digest = await activate(world, bundles["tightened"])

    row = world.row("intents", waiting.intent["intent_id"])
    assert (row.state, row.data["round"], row.data["bundle"]) == ("waiting", 2, digest)
    assert row.data["renewed"] == {"after": waiting.decision["bundle"], "same_terms": False}
    with pytest.raises(Conflict, match=r"approval\.round_over"):
        await world.send(waiting.intent["intent_id"], stale, world.able(waiting)[0])


async def test_the_people_are_told_when_the_terms_are_the_same(world, bundles):
    waiting = await world.propose(DEPLOY)

    await activate(world, bundles["raised"])

    assert world.row("intents", waiting.intent["intent_id"]).data["renewed"]["same_terms"] is True


async def test_an_approval_that_comes_before_the_new_question_is_refused(world, bundles):
    waiting = await world.propose(DEPLOY)
    speaker = world.able(waiting)[0]
    word = world.word(waiting, speaker)
    with world.silent("decision"):
        digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    settle, world.house.settled = succession.settle, world.row("installation", "active").version + 1  # not yet
    await world.redeem(shown.warrant)

    with pytest.raises(Conflict, match=r"approval\.round_over"):
        await world.send(waiting.intent["intent_id"], word, speaker)
    world.house.settled = 0
    await settle(world.house)
    assert world.row("intents", waiting.intent["intent_id"]).data["round"] == 2


async def test_what_could_not_be_asked_again_is_asked_at_a_later_look(world, bundles):
    waiting = await world.propose(DEPLOY)
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    with world.silent("decision"):
        await world.redeem(shown.warrant)
        await succession.settle(world.house)
        assert world.row("intents", waiting.intent["intent_id"]).data["round"] == 1
    await succession.settle(world.house)
    assert world.row("intents", waiting.intent["intent_id"]).data["round"] == 2


async def test_live_warrants_are_ended_where_the_act_says_so_but_its_own(world, bundles):
    one, two = await world.warrant(RESTART), await world.warrant(refund(1))

    await activate(world, bundles["raised"], live="revoke")

    assert {world.state("warrants", each["warrant_id"]) for each in (one, two)} == {"revoked"}
    own = world.entries("bundle")[-1].content()["promotion"]["intent_id"].replace("int-", "wrt-")
    assert world.state("warrants", own) == "spent"
    with pytest.raises(Refused):
        await world.redeem(one)


async def _not_yet(_house):
    """What follows an activation, in the moment before it does."""


async def test_a_warrant_issued_while_the_act_was_carried_out_is_ended_too(world, bundles):
    """Gathered before the transaction, some were not there yet."""
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest, "revoke"), skip=(FIRST, "ann"))
    late = []

    async def one_more():
        late.append(await world.warrant(RESTART))

    ready = activation.ready

    async def slowly(house, intent):
        made = await ready(house, intent)
        await one_more()
        return made

    activation.ready, settle = slowly, succession.settle
    succession.settle = _not_yet
    try:
        await world.redeem(shown.warrant)
    finally:
        activation.ready, succession.settle = ready, settle
    assert world.state("warrants", late[0]["warrant_id"]) == "live"
    with pytest.raises(Refused, match=r"warrant\.revoked"):
        await world.redeem(late[0])
    await activate(world, bundles["tightened"])  # keeps what lives, and brings nothing back that was ended

    assert world.state("warrants", late[0]["warrant_id"]) == "revoked"


async def test_what_runs_under_a_warrant_that_is_ended_halts(world, bundles):
    run = await world.redeem(await world.warrant(worlds.batch(30)))

    await activate(world, bundles["raised"], live="revoke")

    ended = await world.finished(run)
    assert (ended.state, ended.data["halted_because"]) == ("halted", "revoked")


async def test_an_old_bundles_opa_stays_while_something_names_it_and_is_let_go_then(tmp_path, ground, bundles):
    async with worlds.live(tmp_path / "world", ground, pooled=False) as world:
        old = world.house.active()
        warrant = await world.warrant(RESTART)
        new = await activate(world, bundles["raised"])

        await succession.let_go(world.house)
        assert set(world.house.sidecars.live()) == {old, new}

        world.time.go(warrant["ttl"] + 10_000)
        await arming.check(world.house)
        await world.tick()
        await world.tick()
        await succession.let_go(world.house)
        assert set(world.house.sidecars.live()) == {new}


async def test_a_request_in_flight_is_answered_wholly_by_one_bundle(world, bundles):
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    asked = world.between("decision", lambda: world.redeem(shown.warrant))

    answer = await world.propose(RESTART)

    assert answer.decision["bundle"] == digest
    assert [one.bundle for one in asked][-1] == digest
    recorded = world.entries("decision", answer.intent["intent_id"])
    assert len(recorded) == 1
    assert {one["bundle"] for one in recorded[0].content()["asked"]} == {digest}


async def test_what_the_old_bundles_canaries_said_changes_nothing(world, bundles):
    old = world.house.active()
    await activate(world, bundles["raised"])

    await arming.put(world.house, armed=False, because="a late answer", bundle=old)

    assert world.state("installation", "gate") == "armed"


# -- what is refused


async def test_a_bundle_nobody_took_in_is_no_subject_of_an_act(world):
    with pytest.raises(Absent, match=r"bundle\.unknown"):
        await propose(world, "sha256:" + "0" * 64)


async def test_a_bundle_is_not_approved_by_its_own_author(world, bundles):
    digest = await taken(world, bundles["raised"], by="ann")
    shown = await propose(world, digest)
    assert shown.decision["standing"]["outcome"] == "ask"

    with pytest.raises(Refused) as no:
        await world.say(shown, "ann")

    assert no.value.code == worlds.code("approval.author")
    assert world.house.active() != digest


async def test_no_bundle_lets_an_author_carry_the_act_whatever_it_says_of_approvals(world, bundles):
    digest = await taken(world, bundles["raised"], by="ann")
    shown = await propose(world, digest)
    world.answering("approval", lambda _: {"may": True, "reasons": []})
    shown = await world.say(shown, "ann")
    shown = await world.approve(shown, skip=(FIRST, "ann"))

    with pytest.raises(Broken, match=r"promotion\.author"):
        await world.redeem(shown.warrant)

    assert world.house.active() != digest
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1


async def test_an_author_who_proposes_still_needs_another(world, bundles):
    digest = await taken(world, bundles["raised"], by=FIRST)
    shown = await propose(world, digest)

    assert shown.decision["standing"]["outcome"] == "ask"
    assert shown.warrant is None


async def test_whoever_hands_the_same_bundle_in_again_is_not_its_author(world, bundles):
    await taken(world, bundles["raised"], by="ann")
    digest = await taken(world, bundles["raised"], by="ben")

    assert world.row("bundles", digest).data["author"] == "ann"
    assert len(world.entries("bundle", digest)) == 1


async def test_a_bundle_that_fails_its_canaries_uses_nothing_up_and_changes_nothing(world, bundles):
    before = world.house.active()
    digest = await taken(world, bundles["failing"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))

    with pytest.raises(Refused, match=r"bundle\.canaries"):
        await world.redeem(shown.warrant)

    assert world.house.active() == before
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1
    assert (await world.propose(RESTART)).decision["standing"]["outcome"] == "allow"


async def test_sequences_only_go_up_and_nobody_is_asked_to_sign_for_less(world, bundles):
    await activate(world, bundles["tightened"])
    digest, start = await taken(world, bundles["raised"]), world.size

    with pytest.raises(Conflict, match=r"bundle\.older"):
        await propose(world, digest)
    assert world.size == start


async def test_one_that_was_proposed_in_time_and_is_older_now_does_not_come_into_force(world, bundles):
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    newer = await activate(world, bundles["tightened"])

    with pytest.raises(MagistrateError, match=r"bundle\.older"):
        await world.redeem(shown.warrant)
    assert world.house.active() == newer


async def test_nobody_is_asked_to_sign_for_what_is_in_force_already(world, bundles):
    digest = await taken(world, bundles["raised"])
    second = await propose(world, digest)
    await activate(world, bundles["raised"])
    size = world.size

    with pytest.raises(Conflict, match=r"bundle\.active"):
        await propose(world, digest)
    row = world.row("intents", second.intent["intent_id"])
    decision = {name: row.data[name] for name in second.decision}
    again = Submitted(row.data["intent"], decision, None)
    assert decision["round"] == 2
    for who in ("ben", FIRST):
        with pytest.raises(Conflict, match=r"bundle\.active"):
            await world.say(again, who)
    assert world.size == size
    await world.say(again, "ben", "deny")
    assert world.state("intents", second.intent["intent_id"]) == "denied"


async def test_an_author_may_give_the_figures_later_and_nobody_else_may(world, bundles):
    await activation.take(world.house, bundles["raised"], NOTHING, Word("ann", ""))
    other = Built(tests=1, cases=1, canaries=1, covered=1, lines=1)
    assert (await activation.take(world.house, bundles["raised"], other, Word("ben", "")))["built"] == NOTHING.plain()

    shown = await activation.take(world.house, bundles["raised"], FIGURES, Word("ann", ""))
    assert (shown["built"], shown["state"], shown["author"]) == (FIGURES.plain(), "archived", "ann")
    assert (await activation.take(world.house, bundles["raised"], other, Word("ann", "")))["built"] == FIGURES.plain()


async def test_an_intent_whose_rounds_are_used_up_by_activations_is_denied(world, bundles, tmp_path):
    waiting = await world.propose(DEPLOY)
    id_ = waiting.intent["intent_id"]
    raws = [bundles["raised"]]
    for sequence in range(1001, 1005):

        def change(folder, sequence=sequence):
            raised(folder)
            numbered(folder, sequence)

        raws.append(worlds.variant(tmp_path / str(sequence), change))
    for raw in raws:
        await activate(world, raw)

    row = world.row("intents", id_)
    assert (row.state, row.data["round"]) == ("denied", 6)
    assert row.data["standing"]["reasons"][0]["code"] == "rounds.exhausted"


async def test_of_two_acts_in_a_race_the_older_one_loses(world, bundles):
    """Both were ready; what was ready is judged again inside the transaction."""
    first, second = await taken(world, bundles["raised"]), await taken(world, bundles["tightened"])
    one = await world.approve(await propose(world, first), skip=(FIRST, "ann"))
    two = await world.approve(await propose(world, second), skip=(FIRST, "ann"))
    ready = activation.ready

    async def slowly(house, intent):
        made = await ready(house, intent)
        if intent["parameters"]["digest"] == first:
            await world.redeem(two.warrant)
        return made

    activation.ready = slowly
    try:
        with pytest.raises(MagistrateError, match=r"bundle\.older"):
            await world.redeem(one.warrant)
    finally:
        activation.ready = ready
    assert world.house.active() == second


async def test_a_second_bundle_of_a_known_sequence_is_not_taken_in(world, bundles, tmp_path):
    await taken(world, bundles["raised"])

    def other(folder):
        numbered(folder, 1000)
        _edit(folder / "policies/refunds/data.json", lambda said: said["limits"].update(small=7))

    with pytest.raises(Conflict, match=r"bundle\.sequence_taken"):
        await taken(world, worlds.variant(tmp_path / "rego", other))


async def test_a_file_changed_after_it_was_taken_in_never_comes_into_force(world, bundles):
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    path = world.root / "data" / "bundles" / f"{digest.removeprefix('sha256:')}.tar.gz"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"\x00")

    with pytest.raises(Broken, match=r"bundle\.changed"):
        await world.redeem(shown.warrant)


async def test_an_opa_that_does_not_answer_the_new_bundle_changes_nothing(world, bundles):
    before = world.house.active()
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    ask = sidecars.Sidecar.ask

    async def mute(self, document, question, model=None, *, apart=False):
        if self.bundle.digest == digest:
            raise NoAnswer("opa.timeout", "late")
        return await ask(self, document, question, model, apart=apart)

    sidecars.Sidecar.ask = mute
    try:
        with pytest.raises(NoAnswer):
            await world.redeem(shown.warrant)
    finally:
        sidecars.Sidecar.ask = ask
    assert world.house.active() == before


async def test_a_denial_that_comes_while_a_bundle_is_exchanged_is_taken_under_the_new_one(world, bundles):
    waiting = await world.propose(DEPLOY)
    digest = await taken(world, bundles["tightened"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    asked = world.between("decision", lambda: world.redeem(shown.warrant))

    said = await world.say(waiting, world.able(waiting)[0], "deny")

    assert said.decision["standing"]["outcome"] == "deny"
    assert asked[-1].bundle == digest
    assert world.examined().verdict == "VERIFIED"


async def test_a_running_service_asks_again_and_lets_go_by_itself(tmp_path, ground, bundles, monkeypatch):
    monkeypatch.setattr(deadlines, "TICK", 0.01)
    async with worlds.live(tmp_path / "world", ground, pooled=False) as world:
        waiting = await world.propose(DEPLOY)
        digest = await taken(world, bundles["raised"])
        shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
        monkeypatch.setattr(succession, "begin", lambda _: None)
        await world.redeem(shown.warrant)
        monkeypatch.undo()
        monkeypatch.setattr(deadlines, "TICK", 0.01)
        world.time.go(100_000)
        keeping = asyncio.create_task(deadlines.keep(world.house))
        try:
            await until(lambda: set(world.house.sidecars.live()) == {digest})
            await until(lambda: world.row("intents", waiting.intent["intent_id"]).state != "waiting")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_a_running_service_renews_what_waits_by_itself(world, bundles, monkeypatch):
    waiting = await world.propose(DEPLOY)
    monkeypatch.setattr(succession, "begin", lambda _: None)
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    await world.redeem(shown.warrant)
    assert world.row("intents", waiting.intent["intent_id"]).data["round"] == 1
    monkeypatch.undo()
    keeping = asyncio.create_task(deadlines.keep(world.house))
    try:
        await until(lambda: world.row("intents", waiting.intent["intent_id"]).data["round"] == 2)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_a_fault_with_one_thing_keeps_no_other_from_being_done(world, bundles, monkeypatch, caplog):
    """Neither what is due, nor what waits to be asked again under another bundle; and it is told once."""
    first, second = sorted([(await world.propose(DEPLOY)).intent["intent_id"] for _ in range(2)])
    renew, expire = succession.renew, gateway.expire

    async def faulty(house, intent_id, work):
        if intent_id == first:
            raise KeyError("a fault nobody foresaw")
        await work(house, intent_id)

    monkeypatch.setattr(succession, "renew", lambda house, id_: faulty(house, id_, renew))
    monkeypatch.setattr(gateway, "expire", lambda house, id_: faulty(house, id_, expire))
    await activate(world, bundles["raised"])
    assert [world.row("intents", one).data["round"] for one in (first, second)] == [1, 2]
    world.time.go(100_000)
    for _ in range(3):
        await deadlines.tick(world.house)

    assert (world.state("intents", first), world.state("intents", second)) == ("waiting", "expired")
    told = [line.getMessage() for line in caplog.records if "nobody foresaw" in line.getMessage()]
    assert len([line for line in told if first not in line]) == 1
    assert any(first in line for line in told)


# -- answers that nobody can carry out


async def test_terms_beyond_the_calendar_are_no_answer(world, tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "_check_tiers", lambda *_: None)  # it came into force before the gate looked

    def endless(folder):
        numbered(folder, 1000)

        def change(tiers):
            for row in tiers.values():
                row["warrant"]["report_by_seconds"] = 2**53 - 1 if not row["requirement"]["all_of"] else 60

        _edit(folder / "tiers/data.json", change)

    await activate(world, worlds.variant(tmp_path / "rego", endless))
    size = world.size

    with pytest.raises(NoAnswer, match=r"decision\.impossible.*report_by_seconds"):
        await world.propose(RESTART)

    assert world.kinds(size) == ["intent", "refusal"]
    assert world.examined().verdict == "VERIFIED"


# -- accepting what a bundle loosens


async def test_an_acceptance_is_on_record_with_what_it_names_and_by_whom(world, bundles):
    digest, against = await taken(world, bundles["raised"]), world.house.active()

    shown = await activation.accept(world.house, digest, against, ["refunds.large"], Word("ben", "agreed"))

    given = {"against": against, "codes": ["refunds.large"], "by": "ben", "reason": "agreed"}
    assert shown["accepted"] == [given]
    assert shown["state"] == "archived"


async def test_an_acceptance_names_something_of_a_bundle_on_record(world, bundles):
    digest, against = await taken(world, bundles["raised"]), world.house.active()
    with pytest.raises(Malformed):
        await activation.accept(world.house, digest, against, [], Word("ben", ""))
    with pytest.raises(Absent):
        await activation.accept(world.house, "sha256:" + "0" * 64, against, ["x.y"], Word("ben", ""))


# -- whose words carry it


async def _carried(world, shown, by):
    """Let people say yes until the act is permitted, carry it out, and return the promotion."""
    for who in by:
        if shown.decision["standing"]["outcome"] == "ask":
            shown = await world.say(shown, who)
    await world.redeem(shown.warrant)
    await succession.settle(world.house)
    promotion = world.entries("bundle")[-1].content()["promotion"]
    assert promotion["approvals"] == shown.warrant["approvals"]
    told = world.examined()
    assert told.verdict == "VERIFIED", told.finding


async def test_a_word_that_ended_and_was_signed_again_leaves_the_ledger_verified(world, bundles):
    shown = await propose(world, await taken(world, bundles["raised"], by="emma"))
    world.time.go(shown.decision["terms"]["requirement"]["approval_seconds"] + 5)

    await _carried(world, shown, (FIRST, "ann", "ben"))


async def test_the_word_of_somebody_suspended_meanwhile_leaves_the_ledger_verified(world, bundles):
    said = {"digest": await taken(world, bundles["raised"], by="emma"), "live_warrants": "keep"}
    act = {"action": "bundle.activate", "target": "installation", "parameters": said}
    shown = await world.say(await world.propose(act, by=world.operator()), "dora")
    await world.act("operator.suspend", {"operator": "dora"}, by="ann")

    await _carried(world, shown, ("ann", FIRST, "ben"))


# -- what else than policy changes


async def test_a_bundle_that_changes_the_engine_or_what_is_run_says_so_first(world, tmp_path):
    def meddling(folder):
        numbered(folder, 1003)
        path = folder / "magistrate" / "reason.rego"
        path.write_text(path.read_text() + "\n# nothing\n")
        _edit(
            folder / "catalogue/data.json",
            lambda said: said["actions"]["refund.create"]["executor"].update(timeout_seconds=11),
        )

    digest = await taken(world, worlds.variant(tmp_path / "rego", meddling))

    told = activation.about(world.house, digest)["changes"]
    assert (told["engine"], told["actions"], told["targets"]) == (["/magistrate/reason.rego"], ["refund.create"], [])
    assert told["rows"] == ["/catalogue/actions/refund.create"]


async def test_a_bundle_that_changes_policy_alone_says_nothing(world, bundles):
    digest = await taken(world, bundles["raised"])

    assert not any(activation.about(world.house, digest)["changes"].values())


async def test_every_change_of_a_tier_a_counter_or_a_row_of_the_catalogue_is_told_as_it_was_and_is(world, tmp_path):
    def meddling(folder):
        numbered(folder, 1003)
        _edit(folder / "tiers/data.json", lambda said: said[tier]["warrant"].update(ttl=299))
        _edit(folder / "counters/data.json", lambda said: said["refunded_today"].update(window={"seconds": 1}))
        _edit(
            folder / "catalogue/data.json",
            lambda said: said["actions"]["refund.create"].update(evidence=["holder", "executor", "x" * 500]),
        )

    tier = min(world.data["tiers"])
    ttl = world.data["tiers"][tier]["warrant"]["ttl"]
    digest = await taken(world, worlds.variant(tmp_path / "rego", meddling))

    told = activation.about(world.house, digest)["changes"]
    assert told["actions"] == []  # nothing else is run
    assert told["rows"] == [f"/tiers/{tier}", "/counters/refunded_today", "/catalogue/actions/refund.create"]
    fields = {row["name"]: (row["was"], row["now"]) for row in told["data"]}
    assert fields[f"/tiers/{tier}/warrant/ttl"] == (str(ttl), "299")
    assert fields["/counters/refunded_today/window/utc_day"] == ("true", "")
    assert fields["/counters/refunded_today/window/seconds"] == ("", "1")
    assert told["data"][-1]["name"].startswith("/catalogue/actions/refund.create/evidence")
    assert "sha256:" in told["data"][-1]["now"]  # longer than anybody is shown, and yet told apart
    assert told["more"] == 0


# -- a start believes no row


async def _stopped_row(world, ground, **change):
    """The world closed, its row of the active bundle altered by whoever can write the database."""
    await world.opened.close()
    conn = sqlite3.connect(world.root / "data" / "ledger.db")
    data = json.loads(conn.execute("SELECT data FROM installation WHERE id = 'active'").fetchone()[0])
    data.update(change)
    with conn:
        conn.execute("UPDATE installation SET data = ? WHERE id = 'active'", (json.dumps(data),))
    conn.close()


async def test_a_bundle_that_a_row_alone_names_is_not_started(tmp_path, ground, bundles):
    worlds.copied(ground, tmp_path / "world")
    world = await worlds.opened(tmp_path / "world", ground)
    await worlds.arm(world)
    digest = await taken(world, bundles["raised"])
    await _stopped_row(world, ground, bundle=digest)

    with pytest.raises(Broken, match=r"promotion\.other"):
        await worlds.opened(tmp_path / "world", ground, world.time)


async def test_a_row_that_names_the_bundle_before_is_not_started(tmp_path, ground, bundles):
    worlds.copied(ground, tmp_path / "world")
    world = await worlds.opened(tmp_path / "world", ground)
    await worlds.arm(world)
    first = world.row("installation", "active").data
    await activate(world, bundles["raised"])
    await _stopped_row(world, ground, bundle=first["bundle"], leaf=first["leaf"])

    with pytest.raises(Broken, match=r"promotion\.other"):
        await worlds.opened(tmp_path / "world", ground, world.time)


async def test_an_entry_that_is_not_of_the_tree_puts_nothing_in_force(tmp_path, ground, bundles):
    worlds.copied(ground, tmp_path / "world")
    world = await worlds.opened(tmp_path / "world", ground)
    await worlds.arm(world)
    digest = await taken(world, bundles["raised"])
    body = canonical.canonical(
        {"what": "bundle", "bundle": {"digest": digest}, "statements": [], "reason": "", "asked": []}
    )
    laid = make(
        -7,
        origin=world.house.origin,
        kind="recovery",
        at=world.house.now(),
        subject="bundle",
        state="recovered",
        parents=(),
        body=body,
        body_type="magistrate/recovery-record/v1",
        salt=bytes(32),
    )
    await _stopped_row(world, ground, bundle=digest, leaf=laid.leaf_digest)
    conn = sqlite3.connect(world.root / "data" / "ledger.db")
    with conn:
        for name in ("entries_next", "bodies_next"):
            conn.execute(f"DROP TRIGGER {name}")
        row = (-7, "recovery", "bundle", "", laid.at, laid.header, laid.leaf)
        conn.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        conn.execute("INSERT INTO bodies VALUES (?, ?, ?)", (-7, bytes(32), body))
    conn.close()

    with pytest.raises(Broken, match=r"promotion\.missing"):
        await worlds.opened(tmp_path / "world", ground, world.time)


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda said: {**said, "signature": ""}, "promotion.unsigned"),
        (
            lambda said: sign_document(
                {**{k: v for k, v in said.items() if k != "signature"}, "key_id": _STRANGER.key_id}, _STRANGER
            ),
            "signature",
        ),
        (lambda said: {**said, "sequence": 7}, "signature"),
    ],
)
async def test_a_promotion_that_the_policy_key_did_not_sign_puts_nothing_in_force(world, bundles, forge, code):
    await activate(world, bundles["raised"])
    said = world.entries("bundle")[-1].content()["promotion"]

    with pytest.raises(Broken, match=code):
        authentic(forge(said), decode_public(world.house.keys.policy.public.hex()))


_STRANGER = signer_from_seed(b"\x07" * 32)


# -- recovery


async def _locked_out(tmp_path, ground, bundles):
    worlds.copied(ground, tmp_path / "world")
    world = await worlds.opened(tmp_path / "world", ground)
    await worlds.arm(world)
    before = world.house.active()
    await activate(world, bundles["tightened"])
    await world.opened.close()
    return world, before


def _word(store, world, digest, by, **change):
    said = recovery.statement(
        store,
        world.house.origin,
        what="bundle",
        to=digest,
        reason="locked out",
        operator=by,
        signer=world.signers[by],
        at=world.house.now(),
    )
    if not change:
        return said
    unsigned = {k: v for k, v in said.items() if k != "signature"}
    if change.get("reason") == "by-turns":
        change = {"reason": f"as {by} sees it"}
    return sign_document({**unsigned, **change}, world.signers[by])


async def test_two_operators_bring_an_archived_bundle_back_and_every_verification_tells(tmp_path, ground, bundles):
    world, before = await _locked_out(tmp_path, ground, bundles)
    store, origin = open_store(world.root / "data", world.root / "state")
    bundle = Bundle.read(ground.raw)
    words = [_word(store, world, before, by) for by in ("ann", "ben")]
    try:
        done = await recovery.recover_bundle(store, origin, words, bundle, worlds.binary(), now=world.house.now())
    finally:
        store.close_now()
    assert done["what"] == "bundle"

    back = await worlds.opened(
        world.root, ground, Time(time.time() + 1)
    )  # the stopped ledger was written by a real clock
    try:
        await worlds.arm(back)
        assert back.house.active() == before
        assert (await back.propose(RESTART)).decision["bundle"] == before  # and the examination follows it there
        told = back.examined()
        assert told.verdict == "VERIFIED", told.finding
        assert any("bundle" in line for line in told.recoveries)
    finally:
        await back.close()


@pytest.mark.parametrize(
    ("people", "change", "code"),
    [
        (("ann",), {}, "recovery.operators"),
        (("ann", "ann"), {}, "recovery.operators"),
        (("ann", "ben"), {"to": "sha256:" + "0" * 64}, "recovery.other"),
        (("ann", "ben"), {"what": "mark"}, "recovery.other"),
        (("ann", "ben"), {"from": {"size": 1, "root": "00"}}, "recovery.other"),
        (("ann", "ben"), {"reason": "by-turns"}, "recovery.other"),
    ],
)
async def test_fewer_or_other_words_bring_nothing_back(tmp_path, ground, bundles, people, change, code):
    world, before = await _locked_out(tmp_path, ground, bundles)
    store, origin = open_store(world.root / "data", world.root / "state")
    words = [_word(store, world, before, by, **change) for by in people]
    try:
        with pytest.raises(Refused) as no:
            await recovery.recover_bundle(
                store, origin, words, Bundle.read(ground.raw), worlds.binary(), now=world.house.now()
            )
        assert no.value.code == code
        assert store.row("installation", "active").data["bundle"] != before
    finally:
        store.close_now()


async def test_a_bundle_that_fails_its_canaries_is_not_brought_back(tmp_path, ground, bundles):
    world, _ = await _locked_out(tmp_path, ground, bundles)
    bundle = Bundle.read(bundles["failing"])
    store, origin = open_store(world.root / "data", world.root / "state")
    words = [_word(store, world, bundle.digest, by) for by in ("ann", "ben")]
    try:
        with pytest.raises(Refused, match=r"bundle\.canaries"):
            await recovery.recover_bundle(store, origin, words, bundle, worlds.binary(), now=world.house.now())
    finally:
        store.close_now()


# -- under load


async def test_requests_that_come_while_a_bundle_is_exchanged_are_all_answered(world, bundles):
    digest = await taken(world, bundles["raised"])
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))
    going, answered = True, []

    async def ask():
        while going:
            answered.append((await world.propose(RESTART)).decision["bundle"])

    askers = [asyncio.create_task(ask()) for _ in range(8)]
    await until(lambda: len(answered) > 20)
    await world.redeem(shown.warrant)
    size = len(answered)
    await until(lambda: len(answered) > size + 40)
    going = False
    await asyncio.gather(*askers)

    assert answered[0] != digest
    assert answered[-1] == digest
    assert set(answered[size + 2 * len(askers) :]) == {digest}  # what was under way when it was exchanged has ended
