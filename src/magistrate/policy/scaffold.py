"""A new policy from a few words: its Rego, its test twin, its numbers and a decision table, which pass every check.

The rows of the table are what the folder's own Rego answers with the new policy in it: they say what is, and the author
says what shall be.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from magistrate.core.errors import Broken, Conflict, Malformed
from magistrate.core.values import IDENTIFIER, Document
from magistrate.policy import blank, cases, gate, places, source, tables
from magistrate.policy.binary import Binary
from magistrate.policy.blank import CATALOGUE, MOST, Wanted, place
from magistrate.policy.command import run
from magistrate.policy.tables import near

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
KEYWORDS: Final = frozenset({  # what Rego keeps for itself
    "as", "contains", "data", "default", "else", "every", "false", "if", "import", "in", "input", "not", "null",
    "package", "some", "true", "with",
})  # fmt: skip
_SAMPLES: Final = ("plain", "A-1", "1.0.0", "ann@example.com", "2027-01-01T00:00:00Z", "0" * 64, "sha256:" + "0" * 64)


class Made(Document):
    """What was written: files by name in the folder, and what the author should know."""

    files: dict[str, str]
    notes: tuple[str, ...]


def made(binary: Binary, folder: Path, wanted: Wanted) -> Made:
    """Return the new policy's files, tried in a copy of the folder; nothing is written into the folder itself.

    Raises:
        Malformed: a code under `new.`: a name, an action, a tier, a limit or a kind of target that cannot be.
        Conflict: `new.exists`, there is a policy of that name.
    """
    here = source.data(folder)
    _check(folder, wanted, here)
    files, notes = blank.files(wanted, folder, here)
    with tempfile.TemporaryDirectory(prefix="magistrate-new-") as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "rego"))
        _write(copy, files)
        for name in (f"{place(wanted)}.rego", f"{place(wanted)}{source.TEST}"):
            files[name] = _formatted(binary, copy, name)
        table = f"policies/{wanted.name}/cases.yaml"
        _write(copy, files)
        files[table] = _table(binary, copy, wanted)
        _write(copy, {table: files[table]})
        _hold(binary, copy, wanted)
    shared = _shared(binary, folder, wanted)
    notes += [f"{action} is judged by another policy too: what is more cautious holds" for action in shared]
    return Made(files=files, notes=tuple(notes))


def _shared(binary: Binary, folder: Path, wanted: Wanted) -> list[str]:
    """The actions that some policy of the folder names already."""
    governed = {
        str(term["value"])
        for rule in places.of(source.trees(binary, folder)).rules()
        if rule.name == "governs"
        for term in rule.tree["head"].get("value", {}).get("value", ())
        if isinstance(term, dict)
    }
    return [action for action in wanted.actions if action in governed]


def write(folder: Path, what: Made) -> None:
    """Write the files; those of the new policy appear at once, and what a killed attempt leaves is no part of it."""
    own = {name: text for name, text in what.files.items() if name != CATALOGUE}
    home = folder / Path(next(iter(own))).parent
    with tempfile.TemporaryDirectory(prefix=".magistrate-new-", dir=folder.resolve().parent) as beside:
        part = Path(beside) / home.name
        _write(part, {Path(name).name: text for name, text in own.items()})
        _write(folder, {name: text for name, text in what.files.items() if name == CATALOGUE})
        part.rename(home)


# -- what the author may say -----------------------------------------------------------------------------------------


def _check(folder: Path, wanted: Wanted, here: Mapping[str, Any]) -> None:
    """Each word of the author's, held against the folder."""
    if missing := sorted({"catalogue", "tiers"} - here.keys()):
        raise Malformed("new.folder", f"{folder} holds no {missing[0]}", hint="magistrate policy new NAME --rego rego")
    if not NAME.fullmatch(wanted.name) or wanted.name in KEYWORDS:
        near_ = re.sub(r"[^a-z0-9_]+", "_", wanted.name.lower()).strip("_0123456789")
        hint = f"magistrate policy new {near_ if NAME.fullmatch(near_) and near_ not in KEYWORDS else 'payouts'}"
        raise Malformed("new.name", f"{wanted.name!r} is no name for a policy: a-z, 0-9 and _", hint=hint)
    if (folder / "policies" / wanted.name).exists():
        raise Conflict("new.exists", f"policies/{wanted.name} exists", hint=f"ls {folder / 'policies' / wanted.name}")
    if not wanted.title.isprintable() or not 0 < len(wanted.title) <= 100:
        raise Malformed("new.title", "a title is one line of at most 100 characters", hint="--title 'Payouts'")
    if not wanted.actions:
        raise Malformed("new.action", "a policy governs at least one action", hint="--action refund.create")
    actions, kinds = here["catalogue"]["actions"], _kinds(here)
    for action in wanted.actions:
        _check_action(action, actions, wanted)
    if not wanted.tier:
        raise Malformed("new.tier", "a policy says its lowest tier", hint=f"--tier {min(here['tiers'])}")
    _known("new.tier", "tier", wanted.tier, here["tiers"])
    if wanted.target_kind:
        _known("new.target_kind", "kind of target", wanted.target_kind, kinds)
    for name, most in wanted.limits.items():
        _check_limit(name, most, wanted, actions)


def _check_action(action: str, actions: Mapping[str, Any], wanted: Wanted) -> None:
    if action in actions:
        return
    if not wanted.new_action:
        hint = f"{near(action, actions)}; --new-action adds a row for it"
        raise Malformed("new.action", f"the catalogue has no action `{action}`", hint=hint)
    if not re.fullmatch(IDENTIFIER, action):
        raise Malformed("new.action", f"{action!r} is no name for an action", hint="--action payout.create")
    if not wanted.target_kind:
        hint = "--target-kind says what it may be done to"
        raise Malformed("new.target_kind", f"a row for `{action}` names a kind of target", hint=hint)


def _check_limit(name: str, most: int, wanted: Wanted, actions: Mapping[str, Any]) -> None:
    """A limit is about a number among the parameters of each action, and can be exceeded."""
    if not NAME.fullmatch(name) or name in KEYWORDS or name == "any" or most > MOST:
        raise Malformed("new.limit", f"{name!r} is no limit", hint="--limit amount=5000")
    for row in (actions[action] for action in wanted.actions if action in actions):
        schemas = row["parameters"].get("properties", {})
        numbers = [key for key, schema in schemas.items() if schema.get("type") in ("integer", "number")]
        _known("new.limit", "number among the parameters", name, numbers)
        if most >= schemas[name].get("maximum", MOST):
            detail = (
                f"the catalogue allows `{name}` up to {schemas[name]['maximum']}: the limit {most} would never speak"
            )
            raise Malformed("new.limit", detail, hint=f"--limit {name}={schemas[name]['maximum'] - 1}")


def _known(code: str, what: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        raise Malformed(code, f"there is no {what} `{word}`", hint=near(word, known))


def _kinds(here: Mapping[str, Any]) -> set[str]:
    return {str(row["kind"]) for row in here["catalogue"]["targets"].values()}


# -- tried in a copy -------------------------------------------------------------------------------------------------


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _formatted(binary: Binary, folder: Path, name: str) -> str:
    ran = run(binary, "fmt", name, cwd=folder)
    if ran.returncode != 0:
        raise gate.refusal(ran.stderr or ran.stdout)
    return ran.stdout.decode("utf-8")


def _table(binary: Binary, folder: Path, wanted: Wanted) -> str:
    """The table: one row within every limit, one beyond each, each expecting what the Rego says."""
    here = source.data(folder)
    action = wanted.actions[0]
    parameters = _parameters(action, wanted, here)
    base = {"action": action, "target": _target(action, wanted, here), "parameters": parameters}
    rows: list[tuple[str, dict[str, int]]] = [("within its limits" if wanted.limits else "as a rule", {})]
    rows += [(f"{name} above its limit is refused", {name: most + 1}) for name, most in sorted(wanted.limits.items())]
    asked = {name: {**base, "parameters": {**parameters, **change}} for name, change in rows}
    answers = cases.answers(binary, folder, here, asked)
    lines = [
        f"# What becomes of {action}, row by row: these rows are what the Rego says today. Say here what it shall say.",
        "base:",
        *(f"  {key}: {_flow(value)}" for key, value in base.items()),
        "",
        "cases:",
    ]
    for name, change in rows:
        lines += [f"  - name: {name}", *([f"    parameters: {_flow(change)}"] if change else [])]
        lines += [f"    expect: {_flow(_expected(wanted.name, answers[name]))}", ""]
    return "\n".join(lines)


def _expected(policy: str, answer: Any) -> dict[str, Any]:
    """What a row may expect of an answer."""
    if not isinstance(answer, dict):
        raise Broken("new.answer", f"the folder's Rego gives no decision: {answer}", hint="magistrate policy check")
    said = {"outcome": answer["standing"]["outcome"]}
    tier = {"tier": answer["terms"]["tier"]} if answer["terms"]["tier"] else {}
    return {**said, **tier, "reasons": sorted(cases.codes_of(policy, answer["standing"]))}


def _target(action: str, wanted: Wanted, here: Mapping[str, Any]) -> str:
    catalogue = here["catalogue"]
    kinds = [wanted.target_kind] if wanted.target_kind else catalogue["actions"][action]["targets"]["kinds"]
    found = sorted(name for name, row in catalogue["targets"].items() if row["kind"] in kinds)
    if not found:
        raise Malformed("new.target", f"the catalogue has no target of kind {', '.join(kinds)}", hint="add one to it")
    return str(found[0])


def _parameters(action: str, wanted: Wanted, here: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that the action's row takes, where they can be thought of; each limit at its edge."""
    schema = here["catalogue"]["actions"][action]["parameters"]
    return {
        name: wanted.limits[name] if name in wanted.limits else _sample(schema.get("properties", {}).get(name, {}))
        for name in schema.get("required", ())
    } | dict(wanted.limits)


def _sample(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") in ("integer", "number"):
        return schema.get("minimum", 1)
    simple: dict[str, Any] = {"boolean": False, "array": [], "object": {}}
    return simple[schema["type"]] if schema.get("type") in simple else next(_texts(schema), "…")


def _texts(schema: Mapping[str, Any]) -> Iterator[str]:
    for text in _SAMPLES:
        fits = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 2**20)
        if fits and re.search(schema.get("pattern", ""), text):
            yield text


def _flow(value: Any) -> str:
    """A value as one line of YAML that every YAML reads alike: JSON is."""
    return json.dumps(value, ensure_ascii=False)


def _hold(binary: Binary, folder: Path, wanted: Wanted) -> None:
    """The table must say what the Rego says, read back as anyone's.

    Raises:
        Broken: `new.table`, it does not: a fault of ours, and nothing was written.
    """
    here = source.data(folder)
    own = [table for table in tables.tables(folder, here) if table.policy == wanted.name]
    rows = [(table, case) for table in own for case in table.cases]
    if wrong := [row for row in cases.judged(binary, folder, here, rows) if not row.passed]:
        raise Broken("new.table", f"{wrong[0].name}: {wrong[0].cells}", hint="magistrate doctor")
