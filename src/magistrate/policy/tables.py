"""Decision tables: rows of facts and the expected outcome, for people who read no Rego.

`cases.yaml` or `cases.csv` lies beside the policy it is about. A row names only what matters to it; the rest is the
table's `base`, and what that does not name either is an ordinary question: an active agent, every counter at 0, noon
of a Wednesday, nobody has approved yet.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from magistrate.core.errors import Malformed
from magistrate.policy import source, strict_yaml
from magistrate.policy.rows import NONE, Case, Expected, Given, Here, Proposer, Table, Voice

_DEMAND: Final = re.compile(r"([0-9]{1,6}) of (.+)")


def tables(folder: Path, here: Here) -> list[Table]:
    """Every decision table of a folder, each row's words held against the catalogue.

    Raises:
        Malformed: a code under `table.`, with file and line.
    """
    named = ((path, path.relative_to(folder)) for path in sorted(folder.glob("policies/*/cases.*")))
    return [_table(path, str(name), here) for path, name in named if source.is_table(name)]


def _table(path: Path, name: str, here: Here) -> Table:
    raw = path.read_bytes()
    sheet = _from_csv(raw, name, here) if path.suffix == ".csv" else _from_yaml(raw, name)
    if not sheet.rows:
        raise Malformed("table.empty", f"{name}: no row under `cases`")
    base = sheet.read(Given, sheet.base, ("base",))
    cases = tuple(sheet.read(Case, row, ("cases", n)) for n, row in enumerate(sheet.rows))
    lines = tuple(sheet.line(("cases", n)) for n in range(len(cases)))
    table = Table(policy=path.parent.name, file=name, base=base, cases=cases, lines=lines)
    _check(table, here)
    return table


# -- from text to rows -----------------------------------------------------------------------------------------------


class _Sheet:
    """The rows of a file before they are read, and where each value stands."""

    def __init__(self, name: str, base: Any, rows: list[Any], lines: strict_yaml.Lines) -> None:
        self.name, self.base, self.rows, self._lines = name, base, rows, lines

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line of a value, or of what holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def read(self, model: Any, row: Any, path: tuple[str | int, ...]) -> Any:
        """The row as its model."""
        if not isinstance(row, dict):
            raise Malformed("table.value", f"{self.name}:{self.line(path)}: a row is `column: value`")
        try:
            return model.model_validate_json(json.dumps(_spelt_out(row)), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise self._wrong(model, first, path) from None

    def _wrong(self, model: Any, first: Any, path: tuple[str | int, ...]) -> Malformed:
        where = first["loc"]
        at, column = f"{self.name}:{self.line((*path, *where))}", ".".join(map(str, where))
        if first["type"] == "extra_forbidden":
            known = {"expect": Expected, "proposer": Proposer, "approvals": Voice}.get(str(where[0]), model)
            columns = (model if len(where) == 1 else known).model_fields
            return Malformed("table.column", f"{at}: there is no column `{column}`", hint=near(str(where[-1]), columns))
        if first["type"] == "missing":
            return Malformed("table.column", f"{at}: the row has no `{column}`", hint=_SHAPE)
        return Malformed("table.value", f"{at}: `{column}`: {first['msg']}, not {_brief(first['input'])}", hint=_SHAPE)


def _spelt_out(row: dict[str, Any]) -> dict[str, Any]:
    """The short forms at length: a proposer's id alone, `2 of a, b`, `none`."""
    row = {**row, "proposer": {"id": row["proposer"]}} if isinstance(row.get("proposer"), str) else row
    wanted = row.get("expect")
    if not isinstance(wanted, dict):
        return row
    demands = {name: _demands(wanted[name]) for name in ("approvals", "wanted") if name in wanted}
    return {**row, "expect": {**wanted, **demands}}


def _demands(value: Any) -> Any:
    if value == NONE:
        return []
    return [_demand(item) for item in value] if isinstance(value, list) else value


def _demand(value: Any) -> Any:
    found = _DEMAND.fullmatch(value) if isinstance(value, str) else None
    return {"count": int(found[1]), "roles": _words(found[2])} if found else value


def _words(text: str) -> list[str]:
    return [word.strip() for word in re.split(r"[,;]", text) if word.strip()]


_SHAPE: Final = "- {name: …, action: …, target: …, parameters: {…}, expect: {outcome: allow, tier: …}}"


def near(word: str, known: Collection[str]) -> str:
    """What the author may have meant."""
    found = difflib.get_close_matches(word, known, 1)
    return (
        f"did you mean `{found[0]}`?"
        if found
        else f"known: {', '.join(sorted(known)[:12])}{', …' if len(known) > 12 else ''}"
    )


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def _from_yaml(raw: bytes, name: str) -> _Sheet:
    value, lines = strict_yaml.load(raw, name)
    if not isinstance(value, dict) or not isinstance(value.get("cases"), list):
        raise Malformed(
            "table.empty", f"{name}: no list under `cases`", hint="cases: [" + _SHAPE.removeprefix("- ") + "]"
        )
    if foreign := sorted(value.keys() - {"base", "cases"}):
        at = f"{name}:{lines[foreign[0],]}"
        raise Malformed("table.column", f"{at}: `{foreign[0]}`: a table holds base and cases", hint="put it under base")
    return _Sheet(name, value.get("base", {}), value["cases"], lines)


def _from_csv(raw: bytes, name: str, here: Here) -> _Sheet:
    """Columns are named like YAML's, with dots: `parameters.amount`, `expect.outcome`; an empty cell names nothing."""
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets put a mark before it
    except UnicodeDecodeError:
        raise Malformed("table.csv", f"{name}: not UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[Any] = []
    lines: strict_yaml.Lines = {}
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
                continue
            at = f"{name}:{reader.line_num}"
            if not header:
                header = _header([cell.strip() for cell in cells], at)
                continue
            lines["cases", len(rows)] = reader.line_num
            rows.append(_row(header, cells, at, here))
    except csv.Error as error:
        raise Malformed("table.csv", f"{name}:{reader.line_num}: {error}") from None
    return _Sheet(name, {}, rows, lines)


def _header(names: list[str], at: str) -> list[str]:
    if len(names) == 1 and ";" in names[0]:
        raise Malformed("table.csv", f"{at}: cells are separated by commas, not by semicolons")
    for n, name in enumerate(names):
        if name in names[:n]:
            raise Malformed("table.twice", f"{at}: the column `{name}` stands twice")
        first, _, rest = name.partition(".")
        _hold_column(first, Case.model_fields, name, at)
        if first == "expect":
            _hold_column(rest.split(".")[0], Expected.model_fields, name, at)
    return names


def _hold_column(word: str, known: Collection[str], name: str, at: str) -> None:
    """Said of the header, where it was misspelt, and not of the first row that misses it."""
    if word not in known:
        raise Malformed("table.column", f"{at}: there is no column `{name}`", hint=near(word, known))


def _row(header: list[str], cells: list[str], at: str, here: Here) -> dict[str, Any]:
    if len(cells) != len(header):
        raise Malformed("table.csv", f"{at}: {len(cells)} cells under {len(header)} columns", hint="quote a comma")
    named = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    row: dict[str, Any] = {}
    for column, cell in named.items():
        name = "proposer.id" if column == "proposer" else column
        value = _typed(name, cell, _schema(here, named.get("action", ""), name), at)
        holder, _, last = name.rpartition(".")
        inside = row
        for part in filter(None, holder.split(".")):
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise Malformed("table.column", f"{at}: `{part}` is a column and holds columns too")
        inside[last] = value
    return row


_NUMBERS: Final = re.compile(r"facts\..+|operators|proposer\.open_intents|expect\.(?:ttl|uses)")
_LISTS: Final = re.compile(r"proposer\.roles|blind|expect\.reasons")


def _schema(here: Here, action: str, name: str) -> str:
    """The type that the catalogue, or the vocabulary of constraints, gives to a column."""
    column, _, rest = name.partition(".")
    if column == "parameters":
        row = here.get("catalogue", {}).get("actions", {}).get(action, {})
        schema = row.get("parameters", {}).get("properties", {}).get(rest, {})
        return str(schema.get("type", "string"))
    if name.startswith("expect.constraints."):
        kinds = here.get("magistrate", {}).get("constraints", {}).get("kinds", {})
        return str(kinds.get(rest.removeprefix("constraints."), {}).get("type", "string"))
    return "string"


def _typed(name: str, cell: str, kind: str, at: str) -> Any:
    """A cell as its column reads it: spreadsheets know only text."""
    if _NUMBERS.fullmatch(name) or kind in ("integer", "number"):
        if not re.fullmatch(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", cell):
            raise Malformed("table.value", f"{at}: `{name}`: {_brief(cell)} is not a number such as 5000")
        return json.loads(cell)
    if kind == "boolean":
        if cell not in ("true", "false"):
            raise Malformed("table.value", f"{at}: `{name}`: {_brief(cell)} is neither true nor false")
        return cell == "true"
    if name in ("expect.approvals", "expect.wanted"):
        return cell if cell == NONE else [part.strip() for part in cell.split(";")]
    if name == "approvals":
        return [_voice(part, at) for part in cell.split(";")]
    if _LISTS.fullmatch(name) or kind in ("strings", "array"):
        return [] if cell == NONE else _words(cell)
    return cell


def _voice(text: str, at: str) -> dict[str, Any]:
    """`olivia: release-manager, dba`: who approved, with which roles."""
    operator, colon, roles = text.partition(":")
    if not colon:
        hint = "name: role, role; name: role"
        raise Malformed("table.value", f"{at}: `approvals`: {_brief(text)} names no role", hint=hint)
    return {"operator": operator.strip(), "roles": _words(roles)}


# -- words held against the folder's data ----------------------------------------------------------------------------


def _check(table: Table, here: Here) -> None:
    """Every row has its own name, and names an action, a target, facts, a tier and constraints that exist.

    Raises:
        Malformed: with file and line, and what was perhaps meant.
    """
    names: dict[str, int] = {}
    for case, line in zip(table.cases, table.lines, strict=True):
        at = f"{table.file}:{line}"
        if case.name in names:
            raise Malformed("table.name", f"{at}: {case.name!r} is the name of line {names[case.name]} too")
        names[case.name] = line
        for code, what, word, known in _references(case, table.base, here):
            if word is None:
                raise Malformed(code, f"{at}: neither the row nor the base names its {what}", hint=_SHAPE)
            if word not in known:
                raise Malformed(code, f"{at}: there is no {what} `{word}`", hint=near(word, known))


def _references(case: Case, base: Given, here: Here) -> Iterator[tuple[str, str, str | None, Collection[str]]]:
    catalogue = here.get("catalogue", {})
    yield "table.action", "action", case.action or base.action, catalogue.get("actions", {})
    yield "table.target", "target", case.target or base.target, catalogue.get("targets", {})
    counters = here.get("counters", {})
    yield from (("table.fact", "counter", name, counters) for name in {**base.facts, **case.facts})
    if case.expect.tier not in (None, NONE):
        yield "table.tier", "tier", case.expect.tier, here.get("tiers", {})
    kinds = here.get("magistrate", {}).get("constraints", {}).get("kinds", {})
    yield from (("table.constraint", "kind of constraint", kind, kinds) for kind in case.expect.constraints)
