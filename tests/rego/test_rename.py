"""The policies work as well under other names and numbers: the engine's Rego holds none of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rego import questions
from tests.support.opa_server import Rego, served
from tests.support.rego_tools import IGNORED, REGO, run
from tests.support.rename import Names, names, renamed


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Names]:
    target = tmp_path_factory.mktemp("renamed") / "rego"
    return target, renamed(target)


@pytest.fixture(scope="module")
def both(copy: tuple[Path, Names]) -> Iterator[tuple[Rego, Rego, Names]]:
    with served() as old, served(copy[0]) as new:
        yield old, new, copy[1]


def test_every_tier_role_and_code_gets_another_name():
    mapping = names()

    for kind in (mapping.tiers, mapping.roles, mapping.codes):
        assert len(kind) > 3
        assert not set(kind) & set(kind.values())
        assert len(set(kind.values())) == len(kind)


def test_no_old_name_is_left_in_the_copy(copy: tuple[Path, Names]):
    folder, mapping = copy
    old = {*mapping.tiers, *mapping.roles, *mapping.codes}

    data = {path: _strings(json.loads(path.read_text("utf-8"))) for path in sorted(folder.rglob("data.json"))}

    assert {str(path): found & old for path, found in data.items() if found & old} == {}
    again = names(folder)
    assert (set(again.tiers), set(again.roles), set(again.codes)) == tuple(
        set(kind.values()) for kind in (mapping.tiers, mapping.roles, mapping.codes)
    )


def test_every_threshold_and_approval_count_is_another(copy: tuple[Path, Names]):
    folder, mapping = copy
    for path in sorted(REGO.glob("policies/*/data.json")):
        before, after = (
            _numbers(json.loads((root / path.relative_to(REGO)).read_text("utf-8"))) for root in (REGO, folder)
        )
        assert not [where for where in before if before[where] == after[where]], path
    tiers = json.loads((REGO / "tiers" / "data.json").read_text("utf-8"))
    counted = json.loads((folder / "tiers" / "data.json").read_text("utf-8"))
    for old, tier in tiers.items():
        rows = zip(tier["requirement"]["all_of"], counted[mapping[old]]["requirement"]["all_of"], strict=True)
        assert all(before["count"] != after["count"] for before, after in rows if before["count"] > 0)


def test_the_copy_passes_the_strict_check(copy: tuple[Path, Names]):
    ran = run("check", "--strict", "--capabilities", str(REGO / "capabilities.json"), ".", *IGNORED, cwd=copy[0])

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_copy_decides_the_same_in_its_own_words(both: tuple[Rego, Rego, Names]):
    """Where no threshold stands between them, the same question gets the same outcome and the same tier, renamed."""
    old, new, mapping = both
    catalogue, facts = old.value("catalogue"), dict.fromkeys(old.value("counters"), 0)
    roles = catalogue["installation"]["first_operator"]["roles"]
    for action, row in catalogue["actions"].items():
        target = next(name for name, one in catalogue["targets"].items() if one["kind"] in row["targets"]["kinds"])
        parameters = next(questions.allowed(row["parameters"]))
        question = {**questions.decision(action, target, parameters, row, roles), "facts": facts}
        before = old.ask("decision", question)
        after = new.ask("decision", _in_words(question, mapping))
        assert before["standing"]["outcome"] == after["standing"]["outcome"] != "deny", (action, after)
        assert mapping[before["terms"]["tier"]] == after["terms"]["tier"]
        assert {mapping[reason["code"]] for reason in before["standing"]["reasons"]} == {
            reason["code"] for reason in after["standing"]["reasons"]
        }


def _in_words(question: dict[str, Any], mapping: Names) -> dict[str, Any]:
    """The question as asked where roles have other names: only the actor's roles are names of the policy."""
    proposer = question["proposer"]
    return {**question, "proposer": {**proposer, "roles": [mapping[role] for role in proposer["roles"]]}}


def _strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_strings(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(_strings(inner) for inner in value))
    return {value} if isinstance(value, str) else set()


def _numbers(value: Any, where: str = "") -> dict[str, int]:
    if isinstance(value, dict):
        return {place: n for key in value for place, n in _numbers(value[key], f"{where}/{key}").items()}
    if isinstance(value, list):
        return {place: n for i, inner in enumerate(value) for place, n in _numbers(inner, f"{where}/{i}").items()}
    return {where: value} if isinstance(value, int) and not isinstance(value, bool) else {}
