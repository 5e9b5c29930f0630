"""The words the shipped policies use exist: tiers, roles, severities, constraint kinds; and the gate takes the bundle."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from magistrate.policy import build, capabilities, gate
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from tests.support.rego_tools import PINNED, REGO, opa, parsed, policies

SPOKEN = {"deny", "tier", "approval", "deviation"}
POLICIES = sorted((REGO / "policies").glob("*/*.rego"))
SHIPPED = [path for path in POLICIES if not path.name.endswith("_test.rego")]


def _data(*parts: str) -> Any:
    return json.loads(REGO.joinpath(*parts, "data.json").read_text("utf-8"))


def _noted(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every rule of the vocabulary with what its METADATA says."""
    for rule in parsed(path)["rules"]:
        name = rule["head"]["ref"][0]["value"]
        if name in SPOKEN:
            (note,) = rule["annotations"]
            yield name, {**note.get("custom", {}), "title": note.get("title", "")}


@pytest.fixture(scope="module")
def binary() -> Binary:
    return Binary(Path(opa()), PINNED, "", "test")


def test_the_gate_takes_the_shipped_bundle(binary: Binary):
    gate.check(binary, Bundle.read(build.build(binary, REGO)))


def test_the_gate_and_the_tree_hold_the_same_capabilities(binary: Binary):
    assert (REGO / "capabilities.json").read_text("utf-8") == capabilities.text(binary)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_rule_says_what_it_must(path: Path):
    tiers, severities = _data("tiers"), _data("catalogue")["installation"]["containment"]
    for name, note in _noted(path):
        assert re.fullmatch(rf"{path.parent.name}\.[a-z_]+", note["code"])
        assert note["title"]
        assert (note.get("floor") in tiers) == (name == "tier"), note["code"]
        assert (note.get("severity") in severities) == (name == "deviation"), note["code"]
        assert bool(note.get("remedy")) == (name == "deny"), f"{note['code']}: only a refusal tells what to do"


def test_no_two_rules_have_one_code():
    codes = Counter(note["code"] for path in SHIPPED for name, note in _noted(path))

    assert [code for code, times in codes.items() if times > 1] == []


def test_every_folder_is_one_package_with_its_twin_and_its_numbers():
    for folder in sorted((REGO / "policies").iterdir()):
        name = folder.name
        found = {path.name for path in folder.iterdir()} - {"cases.yaml", "cases.csv"}
        assert found == {f"{name}.rego", f"{name}_test.rego", "data.json"}
        assert f"\npackage policies.{name}\n" in (folder / f"{name}.rego").read_text("utf-8")
        assert f"package tests.policies.{name}\n" in (folder / f"{name}_test.rego").read_text("utf-8")
        assert list(_data("policies", name)) == ["limits"]


def test_no_number_of_a_policy_stands_in_its_rego():
    """0, 1 and 2 count parts and steps; whatever someone may want to change lies in data."""
    numbers = [
        f"{path.name}: {line}"
        for path in SHIPPED
        for line in path.read_text("utf-8").splitlines()
        if not line.lstrip().startswith("#") and re.search(r"(?<![\w.\\x\"-])(?:[3-9]|\d\d+)\b", line.split(" #")[0])
    ]

    assert numbers == []


def test_every_role_that_is_asked_for_is_one_the_first_operator_has():
    """Else a new installation could not meet the requirement of its own policies."""
    known = set(_data("catalogue")["installation"]["first_operator"]["roles"])
    asked = [row for path in sorted(REGO.rglob("data.json")) for row in _rows(json.loads(path.read_text("utf-8")))]

    assert len(asked) > 5
    assert [row for row in asked if not set(row["roles"]) <= known] == []


def test_every_action_is_judged_by_exactly_one_policy():
    actions = _data("catalogue")["actions"]
    governed = Counter(action for path in SHIPPED for action in _governs(path))

    assert governed == Counter(list(actions))


def _governs(path: Path) -> list[str]:
    (rule,) = [rule for rule in parsed(path)["rules"] if rule["head"].get("name") == "governs"]
    return [row["value"] for row in rule["head"]["value"]["value"]]


def _rows(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("roles"), list):
            yield value
        for inner in value.values():
            yield from _rows(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _rows(inner)


def test_the_words_of_the_engine_have_codes_of_their_own():
    codes = Counter(
        note["custom"]["code"]
        for path in policies(REGO / "magistrate")
        for rule in parsed(path).get("rules", [])
        for note in rule.get("annotations", [])
        if "code" in note.get("custom", {})
    )

    assert codes
    assert not set(codes) & {note["code"] for path in SHIPPED for _, note in _noted(path)}
