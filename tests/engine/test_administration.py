"""Acts of administration: decided like anything else, with a floor beneath that no bundle takes away."""

import json

import pytest
import pytest_asyncio

from magistrate.core.errors import MagistrateError, Refused
from magistrate.core.signature import signer_from_seed
from magistrate.core.values import moment
from magistrate.engine import halting
from magistrate.engine.installation import Word
from magistrate.policy import vocabulary
from tests.engine.test_activation import activate, numbered
from tests.support import world as worlds
from tests.support.world import FIRST, OWNER, RESTART

GOVERNED = ("agent.enrol", "agent.key", "agent.release", "operator.enrol", "operator.suspend", "operator.roles")


def lax(folder):
    """Administration at a tier that wants nobody."""
    tiers = json.loads((folder / "tiers" / "data.json").read_text())
    tier = next(name for name, row in tiers.items() if not row["requirement"]["all_of"])
    for path in (folder / "policies" / "administration").iterdir():
        path.unlink()
    acts = json.loads((folder / "catalogue" / "data.json").read_text())["actions"]
    governs = ", ".join(f'"{name}"' for name, row in sorted(acts.items()) if row["administration"])
    (folder / "policies" / "administration" / "administration.rego").write_text(
        f"""package policies.administration

import data.magistrate.reason

governs := {{{governs}}}

# METADATA
# title: Whatever
# custom: {{code: lax.any, floor: {tier}}}
tier contains reason.of(rego.metadata.rule())
"""
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lax_ground(tmp_path_factory, pool, handler):
    """A house set up under a bundle whose administration asks for nothing."""
    raw = worlds.variant(tmp_path_factory.mktemp("lax") / "rego", lax)
    folder = tmp_path_factory.mktemp("lax-ground")
    made = worlds.Ground(folder, raw, pool, handler)
    made.signers = {FIRST: signer_from_seed(b"f" * 32), "ann": signer_from_seed(b"a" * 32)}
    (folder / "bundle.tar.gz").write_bytes(raw)
    world = await worlds.opened(folder, made, bundle=folder / "bundle.tar.gz")
    await worlds.begin(world, made)
    await world.close()
    return made


async def test_no_bundle_takes_the_floor_away(tmp_path, lax_ground):
    async with worlds.live(tmp_path / "lax", lax_ground) as world:
        size = world.size
        for action, parameters in (
            ("operator.enrol", world.joining("ann", world.signers["ann"])),
            ("agent.enrol", {"agent": "bot", "owner": FIRST, **world.credential("bot")}),
        ):
            said = {"action": action, "target": "installation", "parameters": parameters}
            shown = await world.propose(said, by=world.operator())
            assert shown.decision["terms"]["requirement"]["all_of"] == []
            assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)
            assert [r["code"] for r in shown.decision["standing"]["reasons"]] == ["administration.floor"]
        assert set(world.kinds(size)) == {"intent", "decision"}
        assert world.house.store.row("operators", "ann") is None


async def test_what_trust_rests_on_takes_two_operators_whatever_the_bundle_asks(world):
    new = signer_from_seed(b"n" * 32)
    said = {"action": "operator.enrol", "target": "installation", "parameters": world.joining("new", new)}
    shown = await world.propose(said, by=world.operator())
    shown = await world.say(shown, FIRST)
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("ask", None)
    assert sum(row["count"] for row in shown.decision["standing"]["wanted"]) >= 1
    with pytest.raises(Refused):
        await world.say(shown, FIRST)

    shown = await world.approve(shown, skip=(FIRST,))

    assert len(shown.warrant["approvals"]) >= 2
    assert world.house.store.row("operators", "new") is None  # approved is not done
    await world.redeem(shown.warrant)
    assert world.state("operators", "new") == "active"


async def test_the_proposer_signs_too(world):
    said = {"action": "agent.release", "target": "installation", "parameters": {"agent": "bot"}}
    await halting.quarantine(world.house, "bot", Word("ann", "odd"))
    shown = await world.propose(said, by=world.operator())
    for who in ("ann", "ben", "cleo"):
        if shown.decision["standing"]["outcome"] == "ask":
            shown = await world.say(shown, who)
    assert shown.decision["standing"]["outcome"] == "ask"
    shown = await world.say(shown, FIRST)
    assert shown.warrant is not None


async def test_nobody_signs_an_act_about_themselves(world):
    said = {"action": "operator.suspend", "target": "installation", "parameters": {"operator": "ann"}}
    shown = await world.propose(said, by=world.operator())
    with pytest.raises(Refused):
        await world.say(shown, "ann")
    mine = await world.propose({**said, "parameters": {"operator": FIRST}}, by=world.operator())
    assert mine.decision["standing"]["outcome"] == "deny"


@pytest.mark.parametrize("who", ["bot", "rolf", OWNER])
async def test_who_may_not_propose_it_does_not(world, who):
    by = world.agent() if who == "bot" else world.operator(who)
    if who == OWNER:
        await world.act("operator.suspend", {"operator": OWNER})
    said = {"action": "agent.release", "target": "installation", "parameters": {"agent": "other"}}
    shown = await world.propose(said, by=by)
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)


@pytest.mark.parametrize("kind", ["agent", "observer"])
async def test_an_owner_who_was_suspended_answers_for_nobody_new(world, kind):
    await world.act("operator.suspend", {"operator": OWNER})
    shown = await world.administer(f"{kind}.enrol", {kind: "new", "owner": OWNER, **world.credential("x")})
    with pytest.raises(Refused) as no:
        await world.redeem(shown.warrant)
    assert (no.value.code, no.value.hint) == ("administration.owner", "magistrate operators ls")
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1
    assert world.house.store.row("agents" if kind == "agent" else "watchers", "new") is None


async def test_the_floor_is_held_as_it_is_when_the_act_is_carried_out(tmp_path, ground):
    """Alone, the first operator is given two enrolments; after the first there are two who must sign for the second."""
    root = tmp_path / "alone"
    root.mkdir()
    (root / "bundle.tar.gz").write_bytes(ground.raw)
    world = await worlds.opened(root, ground, bundle=root / "bundle.tar.gz")
    try:
        await worlds.begin(world, ground)
        roles = world.data["catalogue"]["installation"]["first_operator"]["roles"]
        one, two = [
            await world.administer("operator.enrol", world.joining(who, world.signers[who], roles))
            for who in ("ann", "ben")
        ]
        await world.redeem(one.warrant)
        with pytest.raises(Refused) as no:
            await world.redeem(two.warrant)

        assert (no.value.code, bool(no.value.hint)) == ("administration.floor", True)
        assert world.row("warrants", two.warrant["warrant_id"]).data["uses_left"] == 1
        assert world.house.store.row("operators", "ben") is None
        assert world.examined().verdict == "VERIFIED"
        again = await world.administer("operator.enrol", world.joining("ben", world.signers["ben"], roles))
        await world.redeem(again.warrant)
        assert world.examined().verdict == "VERIFIED"
    finally:
        await world.close()


@pytest.fixture
def lying(tmp_path, monkeypatch):
    """A bundle whose catalogue says otherwise of an act: one that came into force before the gate looked."""

    def made(action, change):
        def both(folder):
            numbered(folder, 1000)
            path = folder / "catalogue" / "data.json"
            said = json.loads(path.read_text())
            change(said["actions"][action])
            path.write_text(json.dumps(said))

        monkeypatch.setattr(vocabulary, "_check_acts", lambda _: None)
        return worlds.variant(tmp_path / "lying", both)

    return made


@pytest.mark.parametrize("row", ["said to be none", "about nobody"])
async def test_the_floor_is_held_whatever_the_catalogue_says(world, lying, row):
    change = {
        "said to be none": lambda said: said.update(administration=False),
        "about nobody": lambda said: said.pop("subject"),
    }
    await activate(world, lying("operator.roles", change[row]))
    said = {"operator": "ben", "roles": sorted(world.roles("ann"))}
    shown = await world.propose(
        {"action": "operator.roles", "target": "installation", "parameters": said}, by=world.operator()
    )
    assert shown.decision["standing"]["outcome"] == "ask", shown.decision["standing"]["reasons"]
    with pytest.raises(Refused):
        await world.say(shown, "ben")  # about himself
    shown = await world.say(shown, FIRST)
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("ask", None)

    await world.redeem((await world.approve(shown, skip=(FIRST, "ben"))).warrant)

    assert world.examined().verdict == "VERIFIED"


async def test_no_agent_enrols_another_whatever_the_catalogue_says(world, lying):
    await activate(world, lying("agent.enrol", lambda row: row.update(administration=False)))
    said = {"agent": "twin", "owner": OWNER, **world.credential("twin")}
    act = {"action": "agent.enrol", "target": "installation", "parameters": said}

    def permits(answer):
        warrant = answer["terms"]["warrant"]
        requirement = {**answer["terms"]["requirement"], "all_of": []}
        return {
            "terms": {**answer["terms"], "requirement": requirement},
            "standing": {**answer["standing"], "outcome": "allow", "reasons": [], "wanted": [], "issue": warrant},
        }

    world.answering("decision", permits)
    shown = await world.propose(act)

    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)
    assert [said["code"] for said in shown.decision["standing"]["reasons"]] == ["administration.floor"]


async def test_an_act_that_lacks_what_it_needs_is_denied(world, lying):
    await activate(world, lying("agent.enrol", lambda row: row["parameters"].update(required=["agent"])))
    shown = await world.administer("agent.enrol", {"agent": "new", **world.credential("new"), "owner": OWNER})
    assert shown.warrant is not None

    said = {"agent": "newer", **world.credential("newer")}
    shown = await world.propose(
        {"action": "agent.enrol", "target": "installation", "parameters": said}, by=world.operator()
    )
    shown = await world.say(shown, FIRST)
    while shown.decision["standing"]["outcome"] == "ask":
        shown = await world.say(shown, world.able(shown)[0])

    assert [said["code"] for said in shown.decision["standing"]["reasons"]] == ["administration.parameters"]


BAD = {
    "a name that is taken by an operator": (
        "agent.enrol",
        lambda w: {"agent": "ann", "owner": OWNER, **w.credential("x")},
    ),
    "a name that is taken by an observer": (
        "agent.enrol",
        lambda w: {"agent": "mesh-watch", "owner": OWNER, **w.credential("x")},
    ),
    "an owner nobody knows": ("agent.enrol", lambda w: {"agent": "new", "owner": "team-a", **w.credential("x")}),
    "an owner who is an agent": ("agent.enrol", lambda w: {"agent": "new", "owner": "bot", **w.credential("x")}),
    "an owner spelt otherwise": ("agent.enrol", lambda w: {"agent": "new", "owner": "Owen", **w.credential("x")}),
    "an observer's owner nobody knows": (
        "observer.enrol",
        lambda w: {"observer": "new", "owner": "team-a", **w.credential("x")},
    ),
    "an operator's name again": ("operator.enrol", lambda w: w.joining("ann", signer_from_seed(b"n" * 32))),
    "a proof of another's key": (
        "operator.enrol",
        lambda w: {**w.joining("new", w.signers["ann"]), "public_key": w.signers["ben"].public.hex()},
    ),
    "a proof under another name": (
        "operator.enrol",
        lambda w: {**w.joining("new", w.signers["ann"]), "operator": "newer"},
    ),
    "a proof for another house": (
        "operator.enrol",
        lambda w: {**w.joining("new", signer_from_seed(b"n" * 32)), "proof": "0x" + "0" * 128},
    ),
    "a key nobody may trust": (
        "operator.enrol",
        lambda w: {**w.joining("new", w.signers["ann"]), "public_key": "01" + "0" * 62},
    ),
    "an API key that is somebody's": ("agent.key", lambda w: {"agent": "bot", **w.credential("other")}),
    "an API key that has ended": (
        "agent.key",
        lambda w: {"agent": "bot", **w.credential("x"), "expires_at": moment(w.house.now())},
    ),
    "a key for nobody": ("agent.key", lambda w: {"agent": "nobody", **w.credential("x")}),
    "a release of who is free": ("agent.release", lambda _: {"agent": "bot"}),
    "a release of nobody": ("agent.release", lambda _: {"agent": "nobody"}),
    "roles for nobody": ("operator.roles", lambda _: {"operator": "nobody", "roles": []}),
    "a suspension of nobody": ("operator.suspend", lambda _: {"operator": "nobody"}),
}


@pytest.mark.parametrize("what", BAD)
async def test_an_act_that_cannot_be_done_uses_no_use(shared, what):
    action, parameters = BAD[what]
    shown = await shared.administer(action, parameters(shared))
    size = shared.size
    people = {t: len(await shared.house.store.rows(t)) for t in ("agents", "operators", "watchers", "credentials")}

    with pytest.raises(MagistrateError):
        await shared.redeem(shown.warrant)

    assert set(shared.kinds(size)) <= {"refusal"}
    row = shared.row("warrants", shown.warrant["warrant_id"])
    assert (row.state, row.data["uses_left"]) == ("live", shown.warrant["uses"])
    assert people == {t: len(await shared.house.store.rows(t)) for t in people}


async def test_admission_effect_report_and_end_are_one_commit(world):
    shown = await world.administer("agent.key", {"agent": "bot", **world.credential("new")})
    size, commits = world.size, world.house.store.commits

    execution = await world.redeem(shown.warrant)

    assert world.kinds(size)[:5] == ["admission", "lifecycle", "agent", "report", "lifecycle"]
    assert world.house.store.commits - commits <= 2  # the act, then its verification
    admission, changed = world.entries("admission")[-1], world.entries("agent")[-1]
    assert changed.parents == (admission.leaf_digest,)
    row = world.row("executions", execution["execution_id"])
    assert (row.state, row.data["verdict"]) == ("succeeded", "conforming")


async def test_a_new_key_ends_the_old_one(world):
    old = world.row("agents", "bot").data["credential"]
    await world.act("agent.key", {"agent": "bot", **world.credential("new")})
    new = world.row("agents", "bot").data["credential"]
    assert (world.state("credentials", old), world.state("credentials", new)) == ("replaced", "active")


async def test_an_act_is_done_once(world):
    shown = await world.administer("agent.key", {"agent": "bot", **world.credential("new")})
    await world.redeem(shown.warrant)
    with pytest.raises(Refused):
        await world.redeem(shown.warrant)


async def test_what_changes_roles_changes_what_one_may_approve(world):
    await world.act("operator.roles", {"operator": "ann", "roles": []})
    shown = await world.propose(worlds.SQL)
    assert "ann" not in world.able(shown)
    with pytest.raises(Refused):
        await world.say(shown, "ann")


async def test_a_quarantined_agent_is_released_by_an_approved_act_only(world):
    await halting.quarantine(world.house, "bot", Word("ann", "odd"))
    assert (await world.propose(RESTART)).decision["standing"]["outcome"] == "deny"
    await world.act("agent.release", {"agent": "bot"})
    assert (await world.propose(RESTART)).warrant is not None


@pytest.mark.parametrize("action", ["key.rotate", "opa.accept", "data.erase"])
async def test_what_this_version_cannot_carry_out_is_refused_and_uses_nothing(shared, action):
    parameters = {
        "key.rotate": {"role": "warrant"},
        "opa.accept": {"version": "1.22.2", "sha256": "sha256:" + "0" * 64},
        "data.erase": {"intent": "int-1"},
    }[action]
    shown = await shared.administer(action, parameters)
    with pytest.raises(Refused, match=r"administration\.not_here"):
        await shared.redeem(shown.warrant)
    assert shared.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1
