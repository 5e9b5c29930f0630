"""A folder as its author has it: what of it is data, and what is a table."""

import json
from pathlib import Path

import pytest

from magistrate.core.errors import Malformed
from magistrate.core.values import thaw
from magistrate.policy import source
from magistrate.policy.build import build
from magistrate.policy.bundle import Bundle
from tests.support.rego_tools import REGO


def test_the_data_of_a_folder_is_what_its_bundle_holds(binary):
    assert source.data(REGO) == thaw(Bundle.read(build(binary, REGO)).data)


@pytest.mark.parametrize(
    "files",
    [
        {"a/data.json": "{"},
        {"a/data.json": '{"b": 1, "b": 2}'},
        {"data.json": "[]"},
        {"data.json": '{"a": {"b": 1}}', "a/data.json": '{"b": 2}'},
        {"data.json": '{"a": 1}', "a/data.json": "{}"},
    ],
)
def test_data_that_is_none_or_says_two_things_is_refused_by_file(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    with pytest.raises(Malformed) as refused:
        source.data(tmp_path)

    assert refused.value.code == "gate.data_file"
    assert "data.json" in refused.value.detail


def test_data_of_several_files_is_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "data.json").write_text(json.dumps({"a": {"x": {"y": 1}}, "b": 2}))
    (tmp_path / "a" / "data.json").write_text(json.dumps({"x": {"z": 3}}))

    assert source.data(tmp_path) == {"a": {"x": {"y": 1, "z": 3}}, "b": 2}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("policies/refunds/cases.yaml", True),
        ("policies/refunds/cases.csv", True),
        ("policies/refunds/cases.yml", False),
        ("policies/cases.yaml", False),
        ("policies/refunds/more/cases.yaml", False),
        ("catalogue/refunds/cases.yaml", False),
    ],
)
def test_a_table_lies_beside_its_policy_and_nowhere_else(name, is_one):
    assert source.is_table(Path(name)) is is_one
