"""What another bundle would have decided: exactly the decisions that a planted change loosens, by the rule it is in."""

import json
import sqlite3
from types import SimpleNamespace

import pytest
import pytest_asyncio

from magistrate.core import canonical
from magistrate.core.looseness import RECORDED, Ranks
from magistrate.core.merkle import leaf_hash
from magistrate.core.responsible import Changed
from magistrate.engine import certifying, impact, replaying
from magistrate.engine.replaying import Order
from magistrate.engine.tally import Between, Impact
from magistrate.policy import batches
from magistrate.policy.bundle import Bundle
from magistrate.store.reads import Reader
from tests.support import world as worlds
from tests.support.world import DEPLOY, RESTART, refund

LATE = """

decision := "late" if count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); i < j + input.now.unix]) == 0
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lived(tmp_path_factory, ground):
    """Refunds on both sides of the limit, and other work; the amounts just above the limit are those that will move."""
    root = tmp_path_factory.mktemp("impact") / "world"
    async with worlds.live(root, ground) as world:
        small = world.limit("refunds", "small")
        amounts = [small - 1, small, small + 1, small + 2, small * 2, small * 2 + 1]
        for number, amount in enumerate(amounts):
            await world.propose(refund(amount, f"A-{number}"))
        await world.propose(RESTART)
        await world.propose(DEPLOY)
        await world.approve(await world.propose(refund(small + 1, "B-1")))
    return root, small, world.house.sidecars.bundle


def built(tmp_path, name, change):
    """A bundle of the Rego under test, one sequence on, in which something was changed."""

    def changed(folder):
        manifest = json.loads((folder / ".manifest").read_text())
        manifest["metadata"]["sequence"] += 1
        manifest["revision"] = str(manifest["metadata"]["sequence"])
        (folder / ".manifest").write_text(json.dumps(manifest))
        change(folder)

    return Bundle.read(worlds.variant(tmp_path / name, changed))


def limits(folder, policy, **values):
    path = folder / "policies" / policy / "data.json"
    said = json.loads(path.read_text())
    said["limits"] |= values
    path.write_text(json.dumps(said))


def record(root):
    return certifying.record_of(root / "data", root / "state", worlds.binary(), root / "pins", opas=1)


def active(root):
    archive = record(root).archive
    return archive.load(archive.digests()[-1])


async def test_a_raised_limit_loosens_exactly_what_lies_between(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    found = await impact.impact(record(root), raised, was=active(root))
    said = found.plain()
    assert said["reproduced"] == said["questions"]
    loosened = {row["entry"] for row in said["examples"] if row["direction"] == "loosened"}
    between = set()
    for entry in _decisions(root):
        question = entry.content()["asked"][-1]["question"]
        amount = question["intent"]["parameters"].get("amount", 0)
        if question["intent"]["action"] == "refund.create" and small < amount <= small * 2:
            between.add(entry.index)
    large = worlds.code("refunds.large")
    assert {row["code"] for row in said["rules"] if row["loosened"]} == {large}
    assert {row["entry"] for row in said["loosened_answers"]} == between
    assert loosened <= between
    assert said["tightened"] == 0
    rule = next(row for row in said["rules"] if row["code"] == large)
    assert rule["was_at"] == rule["now_at"] == f"policies/refunds/refunds.rego:{_line(large)}"
    assert "policies.refunds.limits.small" in rule["names"]
    assert {"name": "policies.refunds.limits.small", "was": str(small), "now": str(small * 2)} in said["data"]
    assert found.uncovered() == said["loosened"] == rule["loosened"] == rule["uncovered"]
    assert found.uncovered([large]) == found.uncovered(["policies.refunds.limits.small"]) == 0
    assert found.uncovered(["policies.refunds.limits.large"]) == said["loosened"]


async def test_the_other_way_round_it_tightens_and_nothing_is_to_be_accepted(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    found = await impact.impact(record(root), active(root), was=raised)
    assert found.tally.loosened == 0
    assert found.tally.tightened > 0
    assert found.uncovered() == 0


async def test_beside_recorded_answers_nothing_else_is_asked(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    both = await impact.impact(record(root), raised, was=active(root))
    alone = await impact.impact(record(root), raised)
    assert alone.plain() | {"was": ""} == both.plain() | {"was": ""}
    assert alone.was == RECORDED


async def test_a_replay_of_a_candidate_counts_the_same_beside_its_certificate(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    large = worlds.code("refunds.large")

    found = await replaying.replay(record(root), Order(candidate=raised))
    accepted = await replaying.replay(record(root), Order(candidate=raised, accepted=(large,)))

    assert found.impact.plain() == (await impact.impact(record(root), raised)).plain()
    (moved,) = found.said["impact"]
    assert moved["loosened"] == moved["uncovered"] == found.impact.tally.loosened > 0
    assert accepted.said["impact"] == [{**moved, "uncovered": 0, "accepted": [large]}]
    assert (await replaying.replay(record(root), Order())).said["impact"] == []


async def test_a_tier_that_asks_for_fewer_people_is_looser_and_its_data_is_responsible(lived, tmp_path):
    root, *_ = lived

    def fewer(folder):
        path = folder / "tiers" / "data.json"
        tiers = json.loads(path.read_text())
        for row in tiers.values():
            if "proposer" in row["requirement"]["exclude"]:
                row["requirement"]["all_of"] = []
                row["warrant"]["ttl"] -= 1
        path.write_text(json.dumps(tiers))

    found = await impact.impact(record(root), built(tmp_path, "fewer", fewer), was=active(root))
    said = found.plain()
    assert said["loosened"] > 0
    assert said["tightened"] > 0  # what was allowed at once got a shorter ttl
    assert all(row["code"].startswith("tiers.") for row in said["rules"] if row["loosened"])


async def test_a_bundle_that_answers_nothing_permits_nothing(lived, tmp_path):
    root, *_ = lived

    def broken(folder):
        path = folder / "magistrate" / "decision" / "decision.rego"
        path.write_text(path.read_text().replace('"standing": standing.now', '"standin": standing.now'))

    found = await impact.impact(record(root), built(tmp_path, "broken", broken), was=active(root))
    said = found.plain()
    assert said["no_answer"] > 0
    assert said["loosened"] == 0
    assert any(row["now"] == "no answer" for row in said["transitions"])


async def test_of_a_limited_comparison_the_newest_questions_are_taken(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    found = await impact.impact(record(root), raised, was=active(root), order=Order(limit=3))
    assert 3 <= found.questions <= 5
    assert all(row["entry"] > 100 for row in found.examples)


async def test_whoever_asks_often_does_not_crowd_out_what_a_bundle_loosens(ground, tmp_path):
    root = tmp_path / "world"
    async with worlds.live(root, ground) as world:
        small = world.limit("refunds", "small")
        await world.propose(refund(small + 1, "A-1"))
        for _ in range(12):
            await world.propose(RESTART)
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    whole = (await impact.impact(record(root), raised, was=active(root))).plain()
    some = (await impact.impact(record(root), raised, was=active(root), order=Order(limit=10))).plain()

    assert some["loosened"] == whole["loosened"] > 0
    assert some["questions"] == 10
    assert some["range"]["left_out"] > 0
    assert 0 < some["range"]["first"] < some["range"]["end"] == some["range"]["size"]
    assert whole["range"] == {**some["range"], "first": 0, "left_out": 0}


async def test_a_changed_entry_is_not_compared_and_that_is_counted(lived, tmp_path):
    kept, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    sound = (await impact.impact(record(kept), raised, was=active(kept))).plain()
    assert (sound["unread"], sound["uncovered"] > 0) == (0, True)
    worlds.image(kept, tmp_path / "world")
    conn = sqlite3.connect(tmp_path / "world" / "data" / "ledger.db", isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    loosened = {row["entry"] for row in sound["loosened_answers"]}
    conn.executemany("UPDATE bodies SET salt = zeroblob(32) WHERE seq = ?", [(seq,) for seq in loosened])
    conn.close()
    found = (await impact.impact(record(tmp_path / "world"), raised, was=active(kept))).plain()
    assert found["loosened"] == 0
    assert found["unread"] == found["skipped"]["changed"] == len(loosened)
    again = await replaying.replay(record(tmp_path / "world"), Order(candidate=raised))
    assert again.impact.plain()["skipped"] == found["skipped"]
    assert not again.passes


async def test_what_was_erased_was_not_compared_for_no_act_on_record_erases(lived, tmp_path):
    kept, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    worlds.image(kept, tmp_path / "world")
    conn = sqlite3.connect(tmp_path / "world" / "data" / "ledger.db", isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    conn.execute("DELETE FROM bodies WHERE seq = (SELECT max(seq) FROM entries WHERE kind = 'decision')")
    conn.close()
    found = (await replaying.replay(record(tmp_path / "world"), Order(candidate=raised))).impact
    beside = await impact.impact(record(tmp_path / "world"), raised, was=active(kept))
    assert (found.skipped, found.unread) == (beside.skipped, beside.unread) == ({"erased": 1}, 1)


async def test_entries_that_were_written_anew_are_not_compared_as_if_they_were_the_record(lived, tmp_path):
    kept, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    worlds.image(kept, tmp_path / "world")
    conn = sqlite3.connect(tmp_path / "world" / "data" / "ledger.db", isolation_level=None)
    for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {name}")
    (seq, raw) = conn.execute("SELECT seq, header FROM entries WHERE kind = 'decision' ORDER BY seq DESC").fetchone()
    fresh = canonical.canonical({**json.loads(raw), "state": "other"})
    conn.execute("UPDATE entries SET header = ?, leaf = ? WHERE seq = ?", (fresh, leaf_hash(fresh), seq))
    conn.close()
    found = (await impact.impact(record(tmp_path / "world"), raised, was=active(kept))).plain()
    assert found["unread"] > 0


async def test_a_bundle_that_answers_nothing_in_time_is_its_own_finding_and_passes_nothing(
    lived, tmp_path, monkeypatch
):
    root, *_ = lived
    monkeypatch.setattr(batches, "SECONDS", 1.0)

    def late(folder):
        path = folder / "magistrate" / "decision" / "decision.rego"
        path.write_text(path.read_text() + LATE)

    bundle = built(tmp_path, "late", late)

    found = await replaying.replay(record(root), Order(candidate=bundle))
    beside = await impact.impact(record(root), bundle)

    counts = found.said["counts"]["findings"]
    assert counts["replay.no_answer"] in (batches.GIVE_UP, batches.GIVE_UP + 1)  # two are on their way at once
    assert counts["replay.slow"] == found.impact.skipped["slow"] > counts["replay.no_answer"]
    assert not found.passes
    assert beside.unread == beside.skipped["slow"] > beside.silent > 0  # those that were asked: no answer is a denial


async def test_a_limits_name_covers_no_rule_whose_rego_was_changed_with_it(lived, tmp_path):
    root, small, _ = lived

    def neutralised(folder):
        limits(folder, "refunds", small=small * 2)
        path = folder / "policies" / "refunds" / "refunds.rego"
        path.write_text(path.read_text() + "\n_unused := 1\n")

    found = await impact.impact(record(root), built(tmp_path, "both", neutralised), was=active(root))
    recorded = await impact.impact(record(root), built(tmp_path, "again", neutralised))
    large = worlds.code("refunds.large")
    assert {tuple(row["names"]) for row in found.plain()["rules"] if row["loosened"]} == {(large,)}
    for each in (found, recorded):
        assert each.uncovered(["policies.refunds.limits.small"]) == each.tally.loosened > 0
        assert each.uncovered([large]) == 0


def test_a_code_is_one_row_though_the_answers_on_record_are_of_several_bundles():
    limit = Changed("policies.a.limits.small", "/policies/a/limits/small", "1", "2")
    reason = {"code": "a.large", "policy": "policies.a", "title": "", "remedy": ""}
    row = SimpleNamespace(document="access", question={}, index=1, leaf="")
    found = Impact(RECORDED, "next")
    for rewritten in ((), ("policies.a",)):
        between = Between(Ranks({}, {}), [limit], [], frozenset(rewritten))
        found.note(
            row, {"allowed": False, "reason": reason}, {"allowed": True, "reason": {**reason, "code": ""}}, between
        )

    (told,) = found.plain([limit.name])["rules"]
    assert (told["code"], told["names"], told["loosened"], told["uncovered"]) == ("a.large", ["a.large"], 2, 1)
    assert (found.uncovered([limit.name]), found.uncovered(["a.large"])) == (1, 0)


async def test_every_changed_limit_of_a_policy_is_accepted_before_its_rules_are(lived, tmp_path):
    root, small, _ = lived
    both = built(tmp_path, "both", lambda folder: limits(folder, "refunds", small=small * 2, daily=10**9))
    found = await impact.impact(record(root), both, was=active(root))
    names = ["policies.refunds.limits.daily", "policies.refunds.limits.small"]
    assert all(found.uncovered([name]) == found.tally.loosened > 0 for name in names)
    assert found.uncovered(names) == 0


async def test_a_changed_counter_is_accepted_by_name_for_no_recorded_answer_shows_it(lived, tmp_path):
    root, *_ = lived

    def shorter(folder):
        path = folder / "counters" / "data.json"
        said = json.loads(path.read_text())
        for row in said.values():
            row["window"] = {"seconds": 1}
        path.write_text(json.dumps(said))

    bundle = built(tmp_path, "shorter", shorter)
    names = [f"counters.{name}" for name in bundle.data["counters"]]
    found = await impact.impact(record(root), bundle, was=active(root))
    said = found.plain()
    assert (said["loosened"], said["uncovered"]) == (0, len(names))
    assert [(row["name"], row["accepted"]) for row in said["unseen"]] == [(name, False) for name in names]
    assert {row["name"].rpartition(".window")[0] for row in said["data"]} == set(names)
    assert found.uncovered(names) == 0

    open_ = await replaying.replay(record(root), Order(candidate=bundle))
    meant = await replaying.replay(record(root), Order(candidate=bundle, accepted=tuple(names)))
    assert (open_.clean, open_.passes) == (True, False)
    assert (meant.clean, meant.passes) == (True, True)
    assert open_.impact.plain() | {"was": ""} == said | {"was": ""}


async def test_taken_up_a_replay_does_not_forget_a_changed_counter(lived, tmp_path, monkeypatch):
    root, *_ = lived

    def gone(folder):
        (folder / "counters" / "data.json").write_text("{}")

    bundle = built(tmp_path, "gone", gone)
    names = tuple(f"counters.{name}" for name in active(root).data["counters"])
    for accepted, found in (((), {"replay.unseen": 1}), (names, {})):
        order, state = Order(candidate=bundle, accepted=accepted), tmp_path / "state.json"

        def stop(progress):
            if progress.entry > 30:
                raise RuntimeError

        with monkeypatch.context() as soon:
            soon.setattr(replaying, "SAVE_SECONDS", 0.0)
            soon.setattr(replaying, "TELL_SECONDS", 0.0)
            with pytest.raises(RuntimeError):
                await replaying.replay(record(root), order, tell=stop, resume=state)
        taken_up = await replaying.replay(record(root), order, resume=state)

        assert "resumed" in taken_up.said["checked"]
        assert taken_up.said["counts"]["findings"] == found
        assert taken_up.passes is bool(accepted)


async def test_the_summary_stays_small(lived, tmp_path):
    root, small, _ = lived
    raised = built(tmp_path, "raised", lambda folder: limits(folder, "refunds", small=small * 2))
    found = await impact.impact(record(root), raised)
    assert len(canonical.canonical(found.plain())) < 64 * 1024


def _decisions(root):
    reader = Reader(record(root).ledger)
    try:
        return [
            entry
            for start in range(0, reader.size(), 500)
            for entry in reader.entries(start, 500)
            if entry.kind == "decision"
        ]
    finally:
        reader.close()


def _line(code):
    lines = (worlds.rego() / "policies" / "refunds" / "refunds.rego").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if code in line)
    return at + 2  # the rule stands below its METADATA
