"""The key that signs for others to pull: made once, announced before it signs, changed by an approved act alone."""

import base64
import json
import sqlite3

import pytest

from magistrate.core import p256
from magistrate.core.errors import Broken, Refused, Unavailable
from magistrate.core.signature import signer_from_seed
from magistrate.core.values import thaw
from magistrate.engine import opening, pulling
from magistrate.policy import signing
from tests.engine.test_examination import append, approved, invalid
from tests.policy.trees import unpacked
from tests.support import world as worlds
from tests.support.world import FIRST, image

STRANGER, OTHER = (p256.signer_from_scalar(bytes([n]) * 32) for n in (1, 2))


def said(signer=STRANGER, following=OTHER, event="rotated", **change):
    """What an entry about the key holds."""
    one = {"algorithm": "ES256", "key_id": signer.key_id, "public_key": signer.public.hex()}
    two = {"algorithm": "ES256", "key_id": following.key_id, "public_key": following.public.hex()}
    return {"event": event, "role": "bundle", **one, "next": two, **change}


def files(world):
    return sorted((world.root / "data" / "keys").glob("bundle-*.key"))


def row(world):
    return world.row("installation", "key/bundle").data


# -- the first making


async def test_the_keys_are_made_once_and_their_making_is_on_record(world):
    await pulling.begin(world.house)
    made = world.entries("key")
    assert [(one.subject, one.state, one.parents) for one in made] == [("bundle", "current", ())]
    kept = files(world)
    assert len(kept) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)

    await pulling.begin(world.house)

    assert [one.leaf for one in world.entries("key")] == [one.leaf for one in made]
    assert files(world) == kept
    assert world.examined().verdict == "VERIFIED"


async def test_a_start_makes_them_for_an_installation_that_has_none(world, ground, tmp_path):
    image(world.root, tmp_path / "old")
    old = await worlds.opened(tmp_path / "old", ground)
    await old.opened.begin()
    assert [one.content()["event"] for one in old.entries("key")] == ["made"]
    await old.close()


async def test_a_crash_between_file_and_entry_costs_nothing(world):
    world.house.bundle_keys.made()
    await pulling.begin(world.house)
    assert (await pulling.pulled(world.house)).etag
    assert len(files(world)) == 3  # what no ledger ever named stays where it is, and signs nothing


async def test_a_ledger_that_may_not_grow_is_opened_without_a_key(world, monkeypatch):
    with monkeypatch.context() as stopped:
        stopped.setattr(type(world.house.store), "stopped", Unavailable("ledger.mark_behind", "behind its mark"))
        await pulling.begin(world.house)
    assert (world.entries("key"), files(world)) == ([], [])
    with pytest.raises(Unavailable, match=r"key\.missing"):
        await pulling.pulled(world.house)


async def test_where_no_key_was_made_there_is_nothing_to_rotate_and_no_use_is_consumed(world):
    shown = await world.administer("key.rotate", {"role": "bundle"})
    with pytest.raises(Unavailable, match=r"key\.missing"):
        await world.redeem(shown.warrant)
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1


# -- a start with keys that are not what they were


@pytest.mark.parametrize("which", ["key_id", "next"])
@pytest.mark.parametrize("what", ["missing", "damaged", "another"])
async def test_an_installation_without_a_key_its_ledger_names_does_not_start(world, ground, tmp_path, which, what):
    await pulling.begin(world.house)
    image(world.root, tmp_path / "copy")
    named = row(world)["key_id"] if which == "key_id" else row(world)["next"]["key_id"]
    path = next((tmp_path / "copy" / "data" / "keys").glob(f"bundle-{named[7:23]}.key"))
    if what == "missing":
        path.unlink()
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes((path.parent / "warrant.key").read_bytes())
    code = {"missing": "key.missing", "damaged": "key.damaged", "another": "key.role"}[what]

    with pytest.raises((Unavailable, Broken)) as no:
        await worlds.opened(tmp_path / "copy", ground)

    assert no.value.code == code
    assert path.exists() == (what != "missing")  # and nothing was made in its place


ANOTHER = {
    "another public key": ("public_key", STRANGER.public.hex(), "key.unexpected"),
    "another algorithm": ("algorithm", "Ed25519", "key.algorithm"),
    "no algorithm": ("algorithm", None, "key.algorithm"),
}


@pytest.mark.parametrize("which", ["current", "next"])
@pytest.mark.parametrize("what", ANOTHER)
async def test_an_installation_whose_row_says_something_else_of_its_key_does_not_start(
    world, ground, tmp_path, which, what
):
    name, value, code = ANOTHER[what]
    await pulling.begin(world.house)
    image(world.root, tmp_path / "copy")
    told = json.loads(json.dumps(thaw(row(world))))
    (told if which == "current" else told["next"])[name] = value
    with sqlite3.connect(tmp_path / "copy" / "data" / "ledger.db") as ledger:
        ledger.execute("UPDATE installation SET data = ? WHERE id = 'key/bundle'", (json.dumps(told),))
    ledger.close()

    with pytest.raises(Broken) as no:
        await worlds.opened(tmp_path / "copy", ground)
    assert no.value.code == code


# -- rotation


async def test_a_rotation_takes_the_announced_key_and_announces_another(world):
    await pulling.begin(world.house)
    before, served = row(world), await pulling.pulled(world.house)

    await world.act("key.rotate", {"role": "bundle"})

    after = row(world)
    assert (after["key_id"], after["public_key"]) == (before["next"]["key_id"], before["next"]["public_key"])
    assert after["next"]["key_id"] not in (before["key_id"], before["next"]["key_id"])
    assert [one["key_id"] for one in after["retired"]] == [before["key_id"]]
    now = await pulling.pulled(world.house)
    assert now.etag != served.etag
    assert after["key_id"].encode() in _claims(now.raw)
    states = [(one["key_id"], one["state"]) for one in pulling.listed(world.house)]
    assert states == [
        (after["key_id"], "current"),
        (after["next"]["key_id"], "next"),
        (before["key_id"], "retired"),
    ]
    assert world.examined().verdict == "VERIFIED"


async def test_a_retired_private_key_is_removed_with_the_first_pull_after_it(world):
    await pulling.begin(world.house)
    old = files(world)
    await world.act("key.rotate", {"role": "bundle"})
    await pulling.pulled(world.house)
    assert f"bundle-{row(world)['retired'][0]['key_id'][7:23]}" not in {path.stem for path in files(world)}
    assert len(set(old) & set(files(world))) == 1


async def test_a_crash_before_that_pull_leaves_it_to_the_next_start(world, ground, tmp_path):
    await pulling.begin(world.house)
    await world.act("key.rotate", {"role": "bundle"})
    image(world.root, tmp_path / "copy")

    again = await worlds.opened(tmp_path / "copy", ground)

    assert {path.stem for path in files(again)} == {
        f"bundle-{one[7:23]}" for one in (row(again)["key_id"], row(again)["next"]["key_id"])
    }
    assert (await pulling.pulled(again.house)) == (await pulling.pulled(world.house))
    await again.close()


async def test_two_operators_rotate_and_one_does_not(world):
    await pulling.begin(world.house)
    asked = {"action": "key.rotate", "target": "installation", "parameters": {"role": "bundle"}}
    shown = await world.propose(asked, by=world.operator())
    shown = await world.say(shown, FIRST)
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("ask", None)
    assert len((await world.approve(shown, skip=(FIRST,))).warrant["approvals"]) >= 2


async def test_an_agent_proposes_no_rotation(world):
    asked = {"action": "key.rotate", "target": "installation", "parameters": {"role": "bundle"}}
    shown = await world.propose(asked, by=world.agent())
    assert (shown.decision["standing"]["outcome"], shown.warrant) == ("deny", None)


@pytest.mark.parametrize("role", ["warrant", "checkpoint", "policy"])
async def test_no_other_key_is_rotated_yet(world, role):
    await pulling.begin(world.house)
    shown = await world.administer("key.rotate", {"role": role})
    with pytest.raises(Refused, match=r"administration\.not_here"):
        await world.redeem(shown.warrant)
    assert len(files(world)) == 2


async def test_a_rotation_that_is_undone_announces_nothing(world, monkeypatch):
    await pulling.begin(world.house)
    before = row(world)
    shown = await world.administer("key.rotate", {"role": "bundle"})
    with monkeypatch.context() as crash:
        crash.setattr(
            "magistrate.engine.router.append_move", lambda *_: (_ for _ in ()).throw(Refused("x.y", "undone"))
        )
        with pytest.raises(Refused, match=r"x\.y"):
            await world.redeem(shown.warrant)
    assert row(world) == before

    await world.redeem(shown.warrant)

    assert row(world)["key_id"] == before["next"]["key_id"]
    assert (await pulling.pulled(world.house)).etag


async def test_an_operator_called_like_the_role_may_sign_a_rotation(world):
    await pulling.begin(world.house)
    world.signers["bundle"] = signer_from_seed(b"b" * 32)
    roles = world.data["catalogue"]["installation"]["first_operator"]["roles"]
    await world.act("operator.enrol", world.joining("bundle", world.signers["bundle"], roles))
    asked = {"action": "key.rotate", "target": "installation", "parameters": {"role": "bundle"}}
    shown = await world.say(await world.propose(asked, by=world.operator()), FIRST)
    shown = await world.say(shown, "bundle")
    await world.redeem(shown.warrant)
    assert world.examined().verdict == "VERIFIED"
    del world.signers["bundle"]


# -- what a lying service would append


async def test_a_second_first_making_is_found(world):
    await pulling.begin(world.house)
    await append(world, "key", "bundle", "current", said(event="made"))
    assert await invalid(world, "administration.floor")


@pytest.mark.parametrize("algorithm", [{}, {"algorithm": "Ed25519"}])
async def test_a_first_key_that_does_not_name_its_algorithm_is_found(world, algorithm):
    body = {name: value for name, value in said(event="made").items() if name != "algorithm"}
    await append(world, "key", "bundle", "current", {**body, **algorithm})
    assert await invalid(world, "key.algorithm")


async def test_every_key_on_record_and_in_the_list_names_its_algorithm(world):
    await pulling.begin(world.house)
    await world.act("key.rotate", {"role": "bundle"})
    bodies = [entry.content() for entry in world.entries("key")]
    assert [one["algorithm"] for body in bodies for one in (body, body["next"])] == ["ES256"] * 4
    assert [one["algorithm"] for one in pulling.listed(world.house)] == ["ES256"] * 3
    assert row(world)["retired"][0]["algorithm"] == "ES256"


async def test_a_rotation_nobody_approved_is_found(world):
    await append(world, "key", "bundle", "current", said())
    assert await invalid(world, "administration.floor")


LIES = {
    "a key that was not announced": (said(), "key.announced"),
    "an id of another key": (said(key_id=OTHER.key_id), "key.id"),
    "an announced id of another key": (said(next={**said()["next"], "key_id": STRANGER.key_id}), "key.id"),
    "no point of the curve": (said(public_key="02" + "ff" * 32), "key.no_point"),
    "an Ed25519 key": (said(public_key="00" * 32), "key.length"),
    "a field more": (said(more=1), "key.entry"),
    "a field more announced": (said(next={**said()["next"], "more": 1}), "key.entry"),
    "another role": (said(role="warrant"), "key.entry"),
    "nothing announced": (said(next={}), "key.algorithm"),
    "no algorithm": ({k: v for k, v in said().items() if k != "algorithm"}, "key.algorithm"),
    "another algorithm": (said(algorithm="Ed25519"), "key.algorithm"),
    "another algorithm, spelt nearly alike": (said(algorithm="es256"), "key.algorithm"),
    "another algorithm announced": (said(next={**said()["next"], "algorithm": "Ed25519"}), "key.algorithm"),
    "no algorithm announced": (said(next={k: said()["next"][k] for k in ("key_id", "public_key")}), "key.algorithm"),
}


@pytest.mark.parametrize("what", LIES)
async def test_an_approved_rotation_that_says_something_else_is_found(world, what):
    body, code = LIES[what]
    await pulling.begin(world.house)
    leaf = await approved(world, "key.rotate", {"role": "bundle"})
    await append(world, "key", "bundle", "current", body, [leaf])
    assert await invalid(world, code)


async def test_an_approval_for_another_role_rotates_nothing(world):
    await pulling.begin(world.house)
    leaf = await approved(world, "key.rotate", {"role": "warrant"})
    await append(world, "key", "bundle", "current", said(), [leaf])
    assert await invalid(world, "administration.act")


# -- what is served


async def test_what_is_served_is_the_active_bundle_by_the_ledger(world):
    await pulling.begin(world.house)
    raw = (await pulling.pulled(world.house)).raw
    assert world.house.active().encode() in _claims(raw)
    assert (await pulling.pulled(world.house)).raw is raw  # kept for as long as it is the answer


async def test_doctor_finds_a_bundle_key_that_does_not_open(world):
    await pulling.begin(world.house)
    assert "sign and verify" in opening.probe_keys(world.root / "data", world.root / "state")
    files(world)[1].write_bytes(b"{}\n")
    with pytest.raises(Broken, match=r"key\.damaged"):
        opening.probe_keys(world.root / "data", world.root / "state")
    world.house.bundle_keys = None


def _claims(raw):
    """The claims of what is served, decoded without a judgement."""
    payload = json.loads(unpacked(raw)[signing.SIGNATURES])["signatures"][0].split(".")[1]
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
