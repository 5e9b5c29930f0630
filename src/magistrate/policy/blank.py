"""What a new policy's files say before its author has said more: Rego, test twin, numbers, a row of the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from magistrate.core.errors import Broken
from magistrate.core.values import Count, Document
from magistrate.policy import source

CATALOGUE: Final = "catalogue/data.json"
MOST: Final = 2**53 - 2  # of a limit: one above it can still be written
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9 '-]*")


class Wanted(Document):
    """What the author says of the new policy."""

    name: str
    title: str
    actions: tuple[str, ...]
    tier: str
    limits: dict[str, Count]  # the most that a parameter may be, by its name
    target_kind: str
    new_action: bool  # actions that the catalogue does not hold get a row


def place(wanted: Wanted) -> str:
    return f"policies/{wanted.name}/{wanted.name}"


def files(wanted: Wanted, folder: Path, here: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Everything but the table's expectations; and what to tell."""
    written = {
        f"{place(wanted)}.rego": _rego(wanted),
        f"{place(wanted)}{source.TEST}": _twin(wanted),
        f"policies/{wanted.name}/data.json": json.dumps({"limits": wanted.limits}, indent=2) + "\n",
    }
    new = [action for action in wanted.actions if action not in here["catalogue"]["actions"]]
    notes = [f"{action} is a new row of {CATALOGUE}: say there who carries it out and who watches" for action in new]
    if new:
        written[CATALOGUE] = _with_rows(
            (folder / CATALOGUE).read_text("utf-8"), {name: _row(name, wanted) for name in new}
        )
    return written, notes


def _rego(wanted: Wanted) -> str:
    governed = ", ".join(json.dumps(action) for action in sorted(wanted.actions))
    limits = f"import data.policies.{wanted.name}.limits\n" if wanted.limits else ""
    return f"""# METADATA
# title: {_yaml(wanted.title)}
# description: What is decided of {", ".join(sorted(wanted.actions))}.
package policies.{wanted.name}

import data.magistrate.reason
{limits}
# METADATA
# title: The actions this policy judges
governs := {{{governed}}}

# METADATA
# title: {_yaml(f"{wanted.title}: the least care that is taken")}
# custom: {{code: {wanted.name}.any, floor: {json.dumps(wanted.tier)}}}
tier contains reason.of(rego.metadata.rule())
{"".join(_limit(wanted.name, name) for name in sorted(wanted.limits))}"""


def _limit(policy: str, name: str) -> str:
    return f"""
# METADATA
# title: {_yaml(f"{name} is above its limit, or no number")}
# custom: {{code: {policy}.{name}, remedy: "ask for less, or have the limit raised"}}
deny contains reason.of(rego.metadata.rule()) if not _{name}_within

_{name}_within if {{
	is_number(input.intent.parameters.{name}) # null <= 5 is true in Rego
	input.intent.parameters.{name} <= limits.{name}
}}
"""


def _twin(wanted: Wanted) -> str:
    """Tests that need every line: the actions, the tier, each limit at its edge and with what is no number."""
    name = wanted.name
    governed = ", ".join(json.dumps(action) for action in sorted(wanted.actions))
    asked = f'{{"intent": {{"action": {json.dumps(wanted.actions[0])}, "parameters": parameters}}}}'
    text = f"""package tests.policies.{name}

import data.policies.{name}

_asked(parameters) := {asked}

test_it_judges_its_actions if {name}.governs == {{{governed}}}

test_its_lowest_tier_is_stated if {{
	said := {name}.tier with input as _asked({{}})
	{{one.code: one.floor | some one in said}} == {{"{name}.any": {json.dumps(wanted.tier)}}}
}}
"""
    if not wanted.limits:
        return text
    limits = dict.fromkeys(sorted(wanted.limits), 100)
    return f"""{text}
_limits := {json.dumps(limits)}

_denials(change) := {{one.code |
	some one in {name}.deny with input as _asked(object.union(_limits, change))
		with data.policies.{name}.limits as _limits
}}

test_what_is_within_every_limit_is_not_refused if _denials({{}}) == set()
{"".join(_limit_tests(name, limit) for limit in limits)}"""


def _limit_tests(policy: str, name: str) -> str:
    return f"""
test_{name}_above_its_limit_is_refused if _denials({{"{name}": 101}}) == {{"{policy}.{name}"}}

test_{name}_that_is_no_number_is_refused if {{
	every value in ["1", null, true, [], {{}}] {{
		_denials({{"{name}": value}}) == {{"{policy}.{name}"}}
	}}
}}
"""


def _yaml(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _row(action: str, wanted: Wanted) -> dict[str, Any]:
    """A catalogue row whose action the agent carries out itself, watched by nobody yet."""
    properties = {name: {"type": "integer", "title": name, "minimum": 0, "maximum": MOST + 1} for name in wanted.limits}
    return {
        "title": f"{wanted.title}: {action}",
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "required": sorted(properties),
            "properties": properties,
        },
        "secrets": [],
        "secret_parameters": [],
        "targets": {"kinds": [wanted.target_kind]},
        "executor": {"kind": "none"},
        "probes": {},
        "expect": [],
        "evidence": ["holder"],
        "administration": False,
    }


def _with_rows(text: str, rows: Mapping[str, Any]) -> str:
    """The catalogue with rows put before its others: nothing else of the file moves.

    Raises:
        Broken: `new.catalogue`, the file is not laid out so that this can be done by text alone.
    """
    before, mark, after = text.partition('"actions": {\n')
    added = "".join(f"    {json.dumps(name)}: {_indented(row)},\n" for name, row in rows.items())
    whole = f"{before}{mark}{added}{after}"
    meant = json.loads(text)
    meant["actions"].update(rows)
    if not mark or json.loads(whole) != meant:
        raise Broken("new.catalogue", f"{CATALOGUE} is not laid out as it was shipped", hint="add the row by hand")
    return whole


def _indented(row: Mapping[str, Any]) -> str:
    return json.dumps(row, indent=2).replace("\n", "\n    ")
