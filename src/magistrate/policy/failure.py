"""Why a test failed, read out of OPA's trace: the line, what it expected, what it got, and which lines said no.

A trace is a list of events, each in a query (a rule's or a comprehension's body) with a parent. OPA keeps those that
led to a failure. The test's own body is the query whose parent is 0; the last of its events that failed is the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from magistrate.core.values import Count, Document
from magistrate.policy import term

Event = Mapping[str, Any]

COMPARISONS: Final = {
    "eq": "==",
    "equal": "==",
    "assign": ":=",
    "neq": "!=",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "internal.member_2": "in",
}
UNDEFINED: Final = "undefined"
_NOTHING: Final = f"   ({UNDEFINED} == {UNDEFINED})"
MOST_LINES: Final = 8  # of an expression, and of what said no: more does not help anyone find it


class Failure(Document):
    """One expression of a test that did not hold, in Rego's own notation; what is not known is ""."""

    part: str  # of a test over a table: the case
    file: str
    line: Count
    text: str
    expected: str
    actual: str
    differences: tuple[str, ...]
    facts: tuple[str, ...]  # what the names on that line stood for
    unmet: tuple[str, ...]  # the last lines elsewhere in the test that did not hold, with their values


class Sources:
    """The text of a folder's files, read once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: dict[str, list[str]] = {}

    def at(self, location: Mapping[str, Any]) -> str:
        """The expression that begins there: to the end of its line, or until its brackets close."""
        text = ""
        for number, line in enumerate(self._from(location)[:MOST_LINES]):
            text += (" " if number else "") + line.strip()
            if sum(map(text.count, "([{")) <= sum(map(text.count, ")]}")):
                break
        return text.partition(" # ")[0]

    def name_at(self, location: Mapping[str, Any]) -> str:
        """The name or call that begins there, as the author wrote it."""
        text = self.at(location)
        depth = 0
        for n, c in enumerate(text):
            if depth == 0 and not (c.isalnum() or c in "_.([") and (n or c != "{"):
                return text[:n]
            depth += (c in "([{") - (c in ")]}")
        return text

    def _from(self, location: Mapping[str, Any]) -> list[str]:
        name, row, column = location["file"], location["row"], location["col"]
        if name not in self._lines:
            path = self._folder / name
            self._lines[name] = path.read_text("utf-8").splitlines() if path.is_file() else []
        here = self._lines[name][row - 1 :]
        return [here[0][max(column - 1, 0) :], *here[1:]] if here else []


def read(trace: Sequence[Event], sources: Sources, parts: Sequence[str] = ()) -> list[Failure]:
    """The expression at which a test ended; of a test over a table, one for each of its failed parts."""
    events = [event for event in trace if event["Location"]["file"]]
    ends = [at for at, event in enumerate(events) if event["Op"] == "Fail" and _own(event)]
    if not parts:
        return [_failure(events, ends[-1], sources, "")] if ends else []
    found = []
    for part in parts:
        mine = [at for at in ends if _part_of(events, at) == part]
        found += [_failure(events, mine[-1], sources, part)] if mine else []
    return found


def _own(event: Event) -> bool:
    return bool(event["ParentID"] == 0 and event["QueryID"] != 0)


def _part_of(events: Sequence[Event], at: int) -> str:
    """The case a test over a table was at: the value of its name's variable."""
    query = events[at]["QueryID"]
    for event in events:
        node = event["Node"]
        if event["QueryID"] == query and isinstance(node, Mapping) and len(node.get("head", {}).get("ref", ())) > 1:
            value = term.value(node["head"]["ref"][1], _known(events[at]))
            return "" if value is None else str(value["value"])
    return ""


def _failure(events: Sequence[Event], end: int, sources: Sources, part: str) -> Failure:
    at = _innermost(events, end)
    event = events[at]
    expected, actual, differences = _compared(events, event, sources)
    location = event["Location"]
    return Failure(
        part=part,
        file=location["file"],
        line=location["row"],
        text=sources.at(_beginning(event, sources)),
        expected=expected,
        actual=actual,
        differences=differences,
        facts=tuple(sorted(_facts(event, sources))),
        unmet=tuple(_unmet(events[:end], event, sources)),
    )


def _beginning(event: Event, sources: Sources) -> Mapping[str, Any]:
    """Where the expression of an event begins: OPA names the operand's place for what it made up itself."""
    location: Mapping[str, Any] = event["Location"]
    if not event["Node"].get("generated"):
        return location
    line = sources.at({**location, "col": 1})
    return {**location, "col": 1 + line.find("test_") if line.startswith("test_") else 1}


def _innermost(events: Sequence[Event], at: int) -> int:
    """An `every` fails by one expression of its body, at one value: that one."""
    terms = events[at]["Node"].get("terms")
    if not isinstance(terms, Mapping) or "domain" not in terms:
        return at
    query = events[at]["QueryID"]
    walks = {event["QueryID"] for event in events[:at] if event["ParentID"] == query}
    inner = [n for n in range(at) if events[n]["Op"] == "Fail" and events[n]["ParentID"] in walks]
    return _innermost(events, inner[-1]) if inner else at


def _known(event: Event) -> term.Known:
    """What each variable was bound to at an event."""
    return {local["name"]: local for local in event["Locals"] or ()}


def _compared(events: Sequence[Event], event: Event, sources: Sources) -> tuple[str, str, tuple[str, ...]]:
    """What an expression wanted and what it got; a written-out value is what was wanted."""
    node = event["Node"]
    if node.get("generated"):
        return *_missing(events, event, sources), ()
    terms = node["terms"]
    if node.get("negated"):
        return "not to hold", "holds", ()
    if not isinstance(terms, list):
        return "to hold", UNDEFINED + " or false", ()
    operator = term.text(terms[0])
    if operator not in COMPARISONS or len(terms) != 3:
        return "to hold", _called(operator, terms[1:], _known(event)), ()
    return _sides(COMPARISONS[operator], terms[1], terms[2], _known(event))


def _sides(sign: str, left: term.Term, right: term.Term, known: term.Known) -> tuple[str, str, tuple[str, ...]]:
    found, wanted = term.value(left, known), term.value(right, known)
    if sign == "==" and term.literal(left) and not term.literal(right):
        found, wanted = wanted, found
    if sign == "in" and term.literal(left) and wanted is not None:
        return f"{term.text(left)} among them", term.text(wanted), ()
    same = sign in ("==", ":=")
    differ = tuple(term.differences(wanted, found)) if same and found and wanted else ()
    before = "" if same else f"{sign} "
    return before + _said(wanted), _said(found), differ if len(differ) <= MOST_LINES else differ[:MOST_LINES]


def _said(value: term.Term | None) -> str:
    return UNDEFINED if value is None else term.text(value)


def _called(operator: str, operands: Sequence[term.Term], known: term.Known) -> str:
    given = ", ".join(_said(term.value(operand, known)) for operand in operands)
    return f"{operator.removeprefix('data.')}({given}) does not"


def _missing(events: Sequence[Event], event: Event, sources: Sources) -> tuple[str, str]:
    """A part of an expression has no value at all: what the whole wanted it to be, if it says."""
    made, query = event["Node"]["terms"], event["QueryID"]
    name = made[-1]["value"] if isinstance(made, list) and len(made) > 2 else ""
    if isinstance(made, list) and term.text(made[0]) == "eq":
        name = made[1]["value"]
    actual = f"{sources.name_at(event['Location'])} is {UNDEFINED}"
    for row in _body(events, query):
        terms = row.get("terms")
        if isinstance(terms, list) and len(terms) == 3 and not row.get("generated") and terms[1].get("value") == name:
            sign = COMPARISONS.get(term.text(terms[0]), "")
            wanted = term.value(terms[2], _known(event))
            return (f"{sign} {_said(wanted)}".removeprefix("== ") if sign and wanted else "a value"), actual
    return "a value", actual


def _body(events: Sequence[Event], query: int) -> list[Mapping[str, Any]]:
    """The expressions of the rule that a query evaluates."""
    for event in events:
        if event["QueryID"] == query and isinstance(event["Node"], Mapping) and "body" in event["Node"]:
            return list(event["Node"]["body"])
    return []


def _facts(event: Event, sources: Sources) -> Iterator[str]:
    """What the names and calls on the failing line stood for."""
    row, rows = event["Location"]["row"], event["LocalMetadata"]
    own = {place["name"] for place in rows.values() if not place["name"].startswith("__local")}
    seen = set()
    for local in event["Locals"] or ():
        place = rows.get(local["name"], {})
        location = place.get("location") or {}
        written = not place.get("name", "__local").startswith("__local")
        name = place["name"] if written else ""
        if not written and location.get("row") == row and location.get("file") == event["Location"]["file"]:
            name = sources.name_at(location)
            name = "" if name in own else name  # `x` of `x + y`: the value is the sum's
        if name and name not in seen:
            seen.add(name)
            yield f"{name} = {term.text(local)}"


def _unmet(events: Sequence[Event], chosen: Event, sources: Sources) -> list[str]:
    """The last of the other lines that did not hold: those of policies, and of the test's helpers."""
    found: dict[str, None] = {}
    for event in events:
        location, node = event["Location"], event["Node"]
        if event["Op"] != "Fail" or _own(event) or location == chosen["Location"]:
            continue
        walk = isinstance(node.get("terms"), Mapping) and "domain" in node["terms"]
        values = _values(event)
        if not walk and values != _NOTHING:  # `some x in …` ends with nothing, having gone through all
            found[f"{location['file']}:{location['row']}: {sources.at(_beginning(event, sources))}{values}"] = None
    return list(found)[-MOST_LINES:]


def _values(event: Event) -> str:
    """The two values a comparison was about."""
    terms = event["Node"].get("terms")
    sign = COMPARISONS.get(term.text(terms[0]), "") if isinstance(terms, list) and len(terms) == 3 else ""
    if not sign or event["Node"].get("generated"):
        return ""
    left, right = (_said(term.value(side, _known(event))) for side in terms[1:])
    return f"   ({left} {sign} {right})" if len(left) + len(right) <= 200 else ""
