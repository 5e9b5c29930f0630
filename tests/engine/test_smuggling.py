"""A bundle that came into the archive past the gate does not come into force, whoever approves it."""

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Absent, Malformed
from magistrate.engine import activation
from magistrate.policy import capabilities, gate
from tests.engine import test_activation as acts
from tests.engine.test_activation import numbered, propose
from tests.support import world as worlds
from tests.support.rego_tools import run
from tests.support.world import DEPLOY, FIRST


def _late(folder):
    """A policy that would read the clock."""
    numbered(folder, 2000)
    path = folder / "policies" / "refunds" / "refunds.rego"
    path.write_text(path.read_text() + "\n_late if time.now_ns() > 0\n")


@pytest.fixture(scope="module")
def smuggled(tmp_path_factory):
    """Its bytes, built by somebody who left the gate out."""
    with pytest.MonkeyPatch.context() as lax:
        lax.setattr(capabilities, "text", lambda _: _all())
        lax.setattr(gate, "check", lambda *_: None)
        return worlds.variant(tmp_path_factory.mktemp("late") / "rego", _late)


def _all():
    return run("capabilities", "--current").stdout


def lay(world, raw):
    """What somebody does who may write the folder: file and index."""
    archive = world.house.sidecars.archive
    digest = canonical.digest(raw)
    archive.path(digest).write_bytes(raw)
    index = archive._folder / "index.json"
    said = canonical.load_object(index.read_bytes())
    rows = [*said["bundles"], {"contract": 1, "digest": digest, "sequence": 2000}]
    index.write_bytes(canonical.canonical({"bundles": rows}) + b"\n")
    return digest


async def test_laid_into_the_folder_it_is_on_no_record_and_no_subject_of_an_act(world, smuggled):
    digest = lay(world, smuggled)
    assert world.house.sidecars.archive.load(digest).sequence == 2000
    with pytest.raises(Absent, match=r"bundle\.unknown"):
        await world.redeem((await world.approve(await propose(world, digest), skip=(FIRST,))).warrant)
    assert world.house.active() != digest


async def test_with_a_record_too_it_does_not_pass_the_gate_and_uses_nothing_up(world, smuggled):
    digest, before = lay(world, smuggled), world.house.active()
    body = {
        "event": "taken",
        "sequence": 2000,
        "contract": 1,
        "author": "ann",
        "built": acts.FIGURES.plain(),
        "by": "ann",
        "reason": "",
        "asked": [],
    }
    await world.house.commit(lambda txn: activation._append(txn, digest, "archived", body))
    shown = await world.approve(await propose(world, digest), skip=(FIRST, "ann"))

    with pytest.raises(Malformed) as no:
        await world.redeem(shown.warrant)

    assert no.value.code == "gate.builtin"
    assert world.row("warrants", shown.warrant["warrant_id"]).data["uses_left"] == 1
    assert world.house.active() == before
    assert (await world.done(DEPLOY)).state == "succeeded"
