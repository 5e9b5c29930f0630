"""The facts of a question that could have been others, each with the values worth trying.

What is worth trying comes from the rules' own syntax and data: the numbers they compare with and their neighbours, the
texts they look for, the members of their lists; and from the catalogue's schemas. Who somebody is, digests, signatures
and the shape of the question are no such facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from magistrate.core import canonical
from magistrate.core.canonical import MAX_SAFE
from magistrate.core.lifecycle import EXECUTION
from magistrate.core.values import clock_facts
from magistrate.policy.bundle import Bundle
from magistrate.policy.edits import distance, edited
from magistrate.policy.places import Places, Rule
from magistrate.policy.reading import MISSING, Reading, leaves

# The names of the question's fields (contracts, section 2) that say which thing it is, not how things stand.
_FIXED: Final = frozenset(
    {
        "bundle",
        "contract",
        "decision_digest",
        "digest",
        "execution_id",
        "id",
        "intent_digest",
        "intent_id",
        "key_id",
        "nonce",
        "origin",
        "received_at",
        "round",
        "round_began",
        "signature",
        "type",
        "warrant_id",
    }
)
_SIGNED: Final = ("/warrant", "/terms", "/issue")  # what was decided or signed before: bytes, no facts of this question
_STATES: Final = {  # by what it is the state of
    "agent": ("active", "quarantined"),
    "operator": ("active", "suspended"),
    "execution": (*EXECUTION, "succeeded", "failed", "halted"),
    "": ("live", "spent", "expired", "revoked"),  # an admission's: the warrant's
}
_CREDENTIALS: Final = ("api-key", "ed25519", "webauthn")
_POOL: Final = 64  # values a rule's one list may suggest
_LONG: Final = 64  # characters; only where a rule counts them, shorter texts are cut too
_DAY: Final = 86_400
WHOSE: Final = ("proposer", "claims", "people", "world")

Question = dict[str, Any]
Put = Callable[[Question, Any], None]


@dataclass(frozen=True)
class Fact:
    """One fact: where, whose, what it is now, and what to try. `grid`: whole numbers between `low` and `high` too."""

    pointer: str
    whose: str
    value: Any
    put: Put = field(repr=False)
    choices: tuple[Any, ...] = ()
    grid: bool = False
    low: int = 0
    high: int = MAX_SAFE
    apart: int = 0  # how much farther than its distance says: one would rather read of another fact

    def changed(self, question: Question, value: Any) -> Question:
        """The question with this fact another."""
        other: Question = orjson.loads(orjson.dumps(question))  # the quickest copy of JSON; there are thousands
        self.put(other, value)
        return other

    def distance(self, value: Any) -> int:
        """How far a value is from what it is now."""
        if self.grid and type(self.value) is int:
            return abs(int(value) - self.value) + self.apart
        if isinstance(value, str) and isinstance(self.value, str):
            return distance(self.value, value) + self.apart
        return 1 + self.apart


@dataclass
class _Pool:
    """What the rules compare the facts below one pointer with."""

    values: dict[str | int, None] = field(default_factory=dict)
    others: dict[int, None] = field(default_factory=dict)  # numbers of other facts in the same comparison
    counted: bool = False


class Facts:
    """Finds the facts of one question to one document."""

    def __init__(self, places: Places, bundle: Bundle, question: Question, rules: Iterable[Rule]) -> None:
        self._bundle = bundle
        self._question = question
        self._reading = Reading(places, bundle, question)
        self._pools: dict[str, _Pool] = {}
        self._read: dict[str, None] = {}  # pointers the rules name, there or not
        self._gather(rules)

    def all(self) -> list[Fact]:
        """Every fact, in the question's order; the clock is one that moves as a whole."""
        found = list(self._leaves())
        found += self._absent({fact.pointer for fact in found})
        return [*found, *self._clock()]

    # -- what the rules compare

    def _gather(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            seen = self._reading.whole(rule)
            facts = [self._reading.fact(path) for path in seen.paths if len(path) > 1]
            values: dict[str | int, None] = dict.fromkeys(v for v in seen.literals if not isinstance(v, bool))
            for fact in facts:
                listed = list(leaves(fact.value)) if fact.of == "data" and fact.present else []
                values.update(dict.fromkeys(listed if len(listed) <= _POOL else ()))
            asked = {fact.pointer: fact.value for fact in facts if fact.of == "input"}
            self._read.update(dict.fromkeys(asked))
            numbers = {pointer: value for pointer, value in asked.items() if type(value) is int}
            for pointer in asked:
                pool = self._pools.setdefault(pointer, _Pool())
                pool.values.update(values)
                pool.others.update(dict.fromkeys(value for other, value in numbers.items() if other != pointer))
                pool.counted |= "count" in seen.calls

    def _pool(self, pointer: str) -> _Pool:
        """What is compared with this fact, or with something it is a part of."""
        found = _Pool()
        for at, pool in self._pools.items():
            if pointer == at or pointer.startswith(at + "/"):
                found.values.update(pool.values)
                found.others.update(pool.others)
                found.counted |= pool.counted
        return found

    # -- facts that are there

    def _leaves(self) -> Iterator[Fact]:
        intent = self._question.get("intent")
        if isinstance(intent, dict):
            catalogue = self._bundle.data.get("catalogue", {})
            for name, listed in (("action", "actions"), ("target", "targets")):
                if name in intent:
                    yield self._choice(f"/intent/{name}", intent[name], tuple(sorted(catalogue.get(listed, {}))))
        for pointer, value in _scalars(self._question, ""):
            name = pointer.rsplit("/", 1)[-1]
            if pointer.startswith(("/now/", "/approvals", "/intent/proposer", *_SIGNED)) or name in _FIXED:
                continue
            if pointer not in ("/intent/action", "/intent/target"):
                yield from self._of(pointer, value)

    def _of(self, pointer: str, value: Any) -> Iterator[Fact]:
        """The fact at a pointer, by the type of its value."""
        schema = self._schema(pointer)
        if "enum" in schema:
            yield self._choice(pointer, value, tuple(schema["enum"]))
        elif isinstance(value, bool):
            yield self._choice(pointer, value, (not value,))
        elif type(value) is int:
            yield self._number(pointer, value, schema)
        elif isinstance(value, str):
            yield from self._text(pointer, value)
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            yield self._choice(pointer, value, tuple(self._lists(pointer, value)))

    def _choice(self, pointer: str, value: Any, choices: tuple[Any, ...]) -> Fact:
        others = tuple(choice for choice in choices if choice != value)
        return Fact(pointer, whose(pointer), value, put_at(pointer), others)

    def _number(self, pointer: str, value: int, schema: Mapping[str, Any]) -> Fact:
        pool = self._pool(pointer)
        numbers = [number for number in pool.values if type(number) is int]
        low, high = int(schema.get("minimum", 0)), int(schema.get("maximum", MAX_SAFE))
        near = {n + step for n in numbers for step in (-1, 0, 1)}
        near |= {n - other + step for n in numbers for other in pool.others for step in (-1, 0, 1)}
        choices = tuple(sorted((n for n in near if low <= n <= high and n != value), key=lambda n: (abs(n - value), n)))
        return Fact(pointer, whose(pointer), value, put_at(pointer), choices, grid=True, low=low, high=high)

    def _text(self, pointer: str, value: str) -> Iterator[Fact]:
        pool = self._pool(pointer)
        words = [word for word in pool.values if isinstance(word, str) and word]
        written = whose(pointer) in ("proposer", "claims")
        choices = self._known(pointer) or tuple(dict.fromkeys(edited(value, words) if written else ()))
        if choices:
            yield self._choice(pointer, value, choices)
        if written and value and (pool.counted or len(value) > _LONG):
            yield self._length(pointer, value, pool)

    def _known(self, pointer: str) -> tuple[str, ...]:
        """The words a field of the question can hold."""
        parent, _, name = pointer.rpartition("/")
        if name == "state":
            kind = self._reading.at(("input", *parent.split("/")[1:], "type"))
            return _STATES.get(kind if isinstance(kind, str) else parent.removeprefix("/"), ())
        return _CREDENTIALS if name == "credential" else ()

    def _length(self, pointer: str, value: str, pool: _Pool) -> Fact:
        """A text's length: its beginning, or itself and more of the same letter."""
        put = put_at(pointer)

        def resize(question: Question, length: int) -> None:
            put(question, (value + "x" * max(0, length - len(value)))[:length])

        bounds = sorted({n + step for n in pool.values if type(n) is int and 0 < n < 8192 for step in (-1, 0, 1)})
        return Fact(
            f"{pointer} (length)",
            whose(pointer),
            len(value),
            resize,
            tuple(bounds),
            grid=True,
            low=1,
            high=8192,
            apart=1000,
        )

    def _lists(self, pointer: str, value: list[str]) -> Iterator[list[str]]:
        """The list with one member less, or one more that a rule knows."""
        for member in value:
            yield [other for other in value if other != member]
        words = sorted({word for word in self._pool(pointer).values if isinstance(word, str)} - set(value))
        yield from (sorted([*value, word]) for word in words[:_POOL])

    def _schema(self, pointer: str) -> Mapping[str, Any]:
        """What the catalogue says of a parameter."""
        head, _, name = pointer.rpartition("/")
        if head != "/intent/parameters":
            return {}
        action = self._question["intent"].get("action")
        found = self._reading.at(("data", "catalogue", "actions", action, "parameters", "properties", name))
        return found if isinstance(found, Mapping) else {}

    # -- facts that are not there, and the clock

    def _absent(self, known: set[str]) -> Iterator[Fact]:
        """What a rule looks for and the proposer did not say: the texts it is compared with."""
        for pointer in self._read:
            path = tuple(pointer.split("/")[1:])
            parent = self._reading.at(("input", *path[:-1]))
            if pointer in known or not pointer.startswith("/intent/") or not isinstance(parent, Mapping):
                continue
            if self._reading.at(("input", *path)) is MISSING:
                schema = self._schema(pointer)
                words = schema.get("enum") or [word for word in self._pool(pointer).values if isinstance(word, str)]
                yield Fact(pointer, whose(pointer), None, put_at(pointer), tuple(words)[:_POOL])

    def _clock(self) -> Iterator[Fact]:
        """Another time: of the day, day of the week, or later. The whole of `now` moves together."""
        now = self._question.get("now")
        if not isinstance(now, dict) or now != clock_facts(now.get("unix", 0)):
            return
        unix = now["unix"]

        def move(question: Question, to: int) -> None:
            question["now"] = clock_facts(to)

        start, minute = unix - now["minute_of_day"] * 60, now["minute_of_day"]
        bounds = {n + s for n in self._pool("/now/minute_of_day").values if type(n) is int for s in (-1, 0, 1)}
        yield Fact(
            "/now/minute_of_day",
            "world",
            minute,
            lambda question, to: move(question, start + to * 60),
            tuple(sorted(n for n in bounds if 0 <= n < 1440)),
            grid=True,
            high=1439,
        )
        days = {clock_facts(unix + day * _DAY)["weekday"]: unix + day * _DAY for day in range(1, 7)}
        yield Fact("/now/weekday", "world", now["weekday"], lambda question, to: move(question, days[to]), tuple(days))
        soon = [start + day * _DAY + n * 60 for day in range(8) for n in sorted(bounds) if 0 <= n < 1440]
        yield Fact(
            "/now/unix",
            "world",
            unix,
            move,
            tuple(at for at in soon if at > unix),
            grid=True,
            low=unix,
            high=unix + 366 * _DAY,
        )


def whose(pointer: str) -> str:
    """Who could have made a fact another one."""
    if pointer.startswith("/intent/claims"):
        return "claims"
    if pointer.startswith(("/intent/", "/call/")):
        return "proposer"
    return "people" if pointer.startswith(("/approvals", "/statement")) else "world"


def put_at(pointer: str) -> Put:
    """What sets the value at a pointer."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]

    def put(question: Question, value: Any) -> None:
        at: Any = question
        for step in steps[:-1]:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[int(steps[-1]) if isinstance(at, list) else steps[-1]] = value

    return put


def _scalars(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Every value that holds no object, with its pointer; a list of texts is one value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _scalars(inner, canonical.pointer_to(pointer, name))
    elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
        for number, inner in enumerate(value):
            yield from _scalars(inner, canonical.pointer_to(pointer, number))
    else:
        yield pointer, value
