"""The same tree gives the same bytes; what does not belong into a bundle is refused, not left out in silence."""

import json
import os
import shutil

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.policy.archive import Archive
from magistrate.policy.build import build
from magistrate.policy.bundle import Bundle
from tests.policy.trees import DATA, FILES, MANIFEST, POLICY, packed, tree, unpacked
from tests.support.rego_tools import ROOT


def test_the_same_tree_gives_the_same_bytes_elsewhere_and_later(tmp_path, binary):
    first = tree(tmp_path / "a")
    second = tmp_path / "quite" / "another place" / "b"
    shutil.copytree(first, second)
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)

    assert build(binary, first) == build(binary, second) == build(binary, first)


def test_a_built_bundle_holds_the_rego_the_data_and_the_manifest_and_no_more(tmp_path, binary):
    raw = build(binary, tree(tmp_path))

    files = unpacked(raw)

    assert sorted(files) == [
        "/.manifest",
        "/data.json",
        "/magistrate/decision/decision.rego",
        "/magistrate/reason.rego",
        "/policies/refunds/refunds.rego",
    ]
    assert json.loads(files["/data.json"]) == DATA
    assert json.loads(files["/.manifest"]) == MANIFEST


def test_the_archive_takes_in_what_was_built(tmp_path, binary):
    raw = build(binary, tree(tmp_path / "rego"))

    assert Archive(tmp_path / "bundles", binary).take(raw).sequence == 1


def test_the_revision_is_the_sequence_whatever_the_author_wrote(tmp_path, binary):
    said = {**MANIFEST, "revision": "old", "metadata": {"contract": 1, "sequence": 42}}

    bundle = Bundle.read(build(binary, tree(tmp_path, {".manifest": json.dumps(said)})))

    assert json.loads(bundle.files["/.manifest"])["revision"] == "42"


@pytest.mark.parametrize(
    "change",
    [
        {"policies/refunds/refunds.rego": POLICY.replace("Too much", "Much too much")},
        {"policies/refunds/data.json": '{"limits": {"small": 101}}'},
        {".manifest": json.dumps({**MANIFEST, "metadata": {"contract": 1, "sequence": 2}})},
        {"magistrate/x.rego": "package magistrate.x\n\nx := 1\n"},
    ],
)
def test_every_change_gives_another_digest(tmp_path, binary, change):
    before = build(binary, tree(tmp_path / "a"))

    after = build(binary, tree(tmp_path / "b", change))

    assert Bundle.read(before).digest != Bundle.read(after).digest


@pytest.mark.parametrize(
    "change",
    [
        {"policies/refunds/refunds_test.rego": "package tests.policies.refunds\n\ntest_other if true\n"},
        {"schemas/input.json": '{"type": "object"}', "schemas/more.json": "{}"},
        {"capabilities.json": '{"builtins": []}'},
        {"policies/refunds/cases.yaml": "cases: []", "policies/refunds/cases.csv": "name"},
    ],
)
def test_what_stays_at_home_changes_nothing(tmp_path, binary, change):
    assert build(binary, tree(tmp_path / "a")) == build(binary, tree(tmp_path / "b", change))


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "policies/refunds/README.md",
        "policies/refunds/data.yaml",
        "policies/refunds/limits.json",
        "policies/refunds/.manifest",
        "policies/capabilities.json",
        "policies/refunds/schemas.json",
        ".regal/config.yaml",
        "policy.wasm",
        ".signatures.json",
        "policies/refunds/.keep",
        "policies/refunds/x.rego.bak",
        "policies/cases.yaml",
        "policies/refunds/more/cases.yaml",
        "magistrate/decision/cases.csv",
        "policies/refunds/other.yaml",
    ],
)
def test_a_file_that_does_not_belong_is_refused(tmp_path, binary, name):
    with pytest.raises(Malformed) as refused:
        build(binary, tree(tmp_path, {name: "{}"}))

    assert refused.value.code == "bundle.file"
    assert name in refused.value.detail


def test_a_link_is_refused(tmp_path, binary):
    folder = tree(tmp_path / "rego")
    (tmp_path / "outside.rego").write_text("package policies.refunds\n")
    (folder / "policies/refunds/more.rego").symlink_to(tmp_path / "outside.rego")

    with pytest.raises(Malformed, match=r"bundle\.file"):
        build(binary, folder)


MANIFESTS = {
    "none": (None, "bundle.manifest"),
    "not JSON": ("{", "bundle.manifest"),
    "a list": ("[]", "bundle.sequence"),
    "no sequence": (json.dumps({**MANIFEST, "metadata": {"contract": 1}}), "bundle.sequence"),
    "sequence true": (json.dumps({**MANIFEST, "metadata": {"contract": 1, "sequence": True}}), "bundle.sequence"),
    "sequence 0": (json.dumps({**MANIFEST, "metadata": {"contract": 1, "sequence": 0}}), "bundle.sequence"),
    "another contract": (json.dumps({**MANIFEST, "metadata": {"contract": 9, "sequence": 1}}), "bundle.contract"),
    "no roots": (json.dumps({k: v for k, v in MANIFEST.items() if k != "roots"}), "bundle.roots"),
    "rego 0": (json.dumps({**MANIFEST, "rego_version": 0}), "gate.compile"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, binary, name):
    text, code = MANIFESTS[name]

    with pytest.raises(Malformed) as refused:
        build(binary, tree(tmp_path, {".manifest": text}))

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("_x := time.now_ns()", "gate.builtin"),
        ("_x := y", "gate.compile"),
        ("_x if {", "gate.compile"),
        ("denies contains 1 if input.x", "gate.public_rule"),
    ],
)
def test_the_gate_stands_before_a_build_too(tmp_path, binary, text, code):
    with pytest.raises(Malformed) as refused:
        build(binary, tree(tmp_path, {"policies/refunds/refunds.rego": f"{POLICY}\n{text}\n"}))

    assert refused.value.code == code


def test_input_is_typed_by_the_schemas_beside_the_rego(tmp_path, binary):
    typed = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.input\n" + POLICY
    schema = json.dumps({"type": "object", "properties": {"x": {"type": "number"}}, "additionalProperties": False})
    files = {"policies/refunds/refunds.rego": typed, "schemas/input.json": schema}
    build(binary, tree(tmp_path / "a", files))

    with pytest.raises(Malformed, match=r"gate\.compile"):
        build(
            binary,
            tree(tmp_path / "b", {**files, "policies/refunds/refunds.rego": typed.replace("input.x", "input.amout")}),
        )


@pytest.mark.parametrize("name", ["/policies/refunds/cases.yaml", "/policies/refunds/cases.csv"])
def test_a_decision_table_inside_a_bundle_is_refused(name):
    with pytest.raises(Malformed) as refused:
        Bundle.read(packed({**FILES, name: b"cases: []"}))

    assert refused.value.code == "bundle.file"


def test_decision_tables_leave_the_shipped_bundle_as_it_was(binary):
    index = json.loads((ROOT / "bundles/index.json").read_text())["bundles"]

    assert canonical.digest(build(binary, ROOT / "rego")) == max(index, key=lambda row: row["sequence"])["digest"]


def test_the_projects_own_tree_builds_twice_to_the_same_bytes(binary):
    from tests.support.rego_tools import REGO

    assert build(binary, REGO) == build(binary, REGO)


@pytest.mark.parametrize("typo", ["input.intent.paramters.amount", "input.intnt.target", "input.now.wekday"])
def test_a_field_that_no_question_holds_is_refused(tmp_path, binary, typo):
    """A misspelt fact is undefined, and an undefined denial denies nothing."""
    shutil.copytree(ROOT / "rego", tmp_path / "rego")
    path = tmp_path / "rego/policies/refunds/refunds.rego"
    path.write_text(path.read_text() + f"\n_typo := {typo}\n")

    with pytest.raises(Malformed, match=r"gate\.compile.*undefined ref"):
        build(binary, tmp_path / "rego")
