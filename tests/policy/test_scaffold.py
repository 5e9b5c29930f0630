"""A new policy passes every check at once; what cannot be is refused with what was perhaps meant, and nothing written."""

import json
import shutil

import pytest

from magistrate.core.errors import Conflict, Malformed
from magistrate.engine.installation import ANSWERS
from magistrate.policy import gated, scaffold
from magistrate.policy.blank import Wanted
from magistrate.policy.scaffold import made, write
from magistrate.policy.trial import tried
from tests.support.rego_tools import REGO


def _wanted(**changes):
    said = {
        "name": "payouts",
        "title": "Payouts",
        "actions": ("payout.create",),
        "tier": "T1",
        "limits": {"amount": 5000},
        "target_kind": "ledger",
        "new_action": True,
    }
    return Wanted.model_validate({**said, **changes})


SHAPES = {
    "a new action with two limits": _wanted(limits={"amount": 5000, "fee": 0}),
    "two new actions without a limit": _wanted(name="more", actions=("more.one", "more.two"), limits={}),
    "an action that another policy judges": _wanted(
        name="small_refunds", title='It\'s: a "title"', actions=("refund.create",), tier="T0", limits={"amount": 200000}
    ),
    "actions of a kind, with texts of a pattern": _wanted(
        name="letters", actions=("mail.send",), tier="T0", limits={}, target_kind="", new_action=False
    ),
}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(REGO, tmp_path / "rego")


def test_policies_of_every_shape_pass_the_whole_gate_together(folder, binary):
    for wanted in SHAPES.values():
        write(folder, made(binary, folder, wanted))

    found = gated.examined(binary, folder, ANSWERS)

    assert [str(finding) for finding in found.findings] == []
    assert found.report.bundle.engine


@pytest.mark.parametrize("name", SHAPES)
def test_a_new_policy_has_its_files_and_its_tests_pass(folder, binary, name):
    wanted = SHAPES[name]
    before = {path for path in folder.rglob("*") if path.is_file()}

    write(folder, made(binary, folder, wanted))

    home = folder / "policies" / wanted.name
    new = {path for path in folder.rglob("*") if path.is_file()} - before
    assert {path.relative_to(home).as_posix() for path in new} == {
        f"{wanted.name}.rego",
        f"{wanted.name}_test.rego",
        "data.json",
        "cases.yaml",
    }
    assert json.loads((home / "data.json").read_text()) == {"limits": wanted.limits}
    trial = tried(binary, folder, rf"policies\.{wanted.name}\.|^cases\.{wanted.name}\.", reach=True)
    assert not trial.failed
    assert trial.unreached == ()
    assert len(trial.cases) == 1 + len(wanted.limits)


def test_a_new_action_is_a_row_and_nothing_else_of_the_catalogue_moves(folder, binary):
    before = (folder / "catalogue/data.json").read_text()

    what = made(binary, folder, _wanted())
    write(folder, what)

    after = (folder / "catalogue/data.json").read_text()
    rows = json.loads(after)
    row = rows["actions"].pop("payout.create")
    assert rows == json.loads(before)
    assert row["targets"] == {"kinds": ["ledger"]}
    assert row["parameters"]["required"] == ["amount"]
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    assert any("payout.create is a new row" in note for note in what.notes)


def test_whoever_judges_with_others_is_told(folder, binary):
    what = made(binary, folder, SHAPES["an action that another policy judges"])

    assert any("refund.create is judged by another policy too" in note for note in what.notes)


REFUSED = {
    "a name with a dash": (_wanted(name="pay-outs"), "new.name", "pay_outs"),
    "a name with a capital": (_wanted(name="Payouts"), "new.name", "payouts"),
    "a name that climbs": (_wanted(name="../x"), "new.name", "magistrate policy new x"),
    "no name": (_wanted(name=""), "new.name", "magistrate policy new"),
    "a word of Rego's": (_wanted(name="import"), "new.name", "magistrate policy new"),
    "a title of two lines": (_wanted(title="a\nb"), "new.title", "--title"),
    "no title": (_wanted(title=""), "new.title", "--title"),
    "no action": (_wanted(actions=()), "new.action", "--action"),
    "an action nobody knows": (_wanted(actions=("refund.creat",), new_action=False), "new.action", "`refund.create`"),
    "an action that is no name": (_wanted(actions=("pay out",)), "new.action", "--action"),
    "a new action on nothing": (_wanted(target_kind=""), "new.target_kind", "--target-kind"),
    "a tier nobody knows": (_wanted(tier="t1"), "new.tier", "T1"),
    "no tier": (_wanted(tier=""), "new.tier", "--tier"),
    "a kind of target nobody knows": (_wanted(target_kind="legder"), "new.target_kind", "`ledger`"),
    "a limit that is no name": (_wanted(limits={"a-b": 1}), "new.limit", "--limit"),
    "a limit that would share the tier's code": (_wanted(limits={"any": 1}), "new.limit", "--limit"),
    "a limit of another parameter": (
        _wanted(actions=("refund.create",), limits={"amont": 5}), "new.limit", "`amount`",
    ),
    "a limit on a text": (_wanted(actions=("refund.create",), limits={"order": 5}), "new.limit", "amount"),
    "a limit that would never speak": (
        _wanted(actions=("refund.create",), limits={"amount": 100000000}), "new.limit", "--limit amount=99999999",
    ),
    "a limit too large to be exceeded": (_wanted(limits={"amount": 2**53 - 1}), "new.limit", "--limit"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_what_was_meant(binary, name):
    wanted, code, hint = REFUSED[name]

    with pytest.raises(Malformed) as refused:
        made(binary, REGO, wanted)

    assert refused.value.code == code, refused.value
    assert hint in refused.value.hint


def test_a_policy_that_exists_is_not_made_again(binary):
    with pytest.raises(Conflict) as refused:
        made(binary, REGO, _wanted(name="refunds"))

    assert refused.value.code == "new.exists"


def test_nothing_is_written_before_it_was_tried(folder, binary, monkeypatch):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(scaffold, "_hold", lambda *_: (_ for _ in ()).throw(Malformed("x.y", "no")))

    with pytest.raises(Malformed):
        made(binary, folder, _wanted())

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_without_a_catalogue_is_no_place_for_a_policy(tmp_path, binary):
    with pytest.raises(Malformed) as refused:
        made(binary, tmp_path, _wanted())

    assert refused.value.code == "new.folder"


def test_nothing_is_left_beside_the_folder(folder, binary):
    write(folder, made(binary, folder, _wanted()))

    assert list(folder.parent.iterdir()) == [folder]
