"""What would have changed an answer: the nearest facts that flip it, each found by asking OPA and none by guessing.

One fact at a time first: its own suggestions (`facts`), and for a whole number also the values at distances 1, 2, 4, …;
where two neighbouring values get different answers, bisection finds the two integers between which it changes. Then
approvals; then, for the outcomes still not reached, two facts at a time. Questions are bounded, and the same record
gives the same explanation. What is not listed was not found within that bound; it is not proven to be impossible.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.answers import OUTCOMES
from magistrate.core.errors import Malformed, NoAnswer
from magistrate.policy import batches
from magistrate.policy.batches import Batches, Said
from magistrate.policy.facts import WHOSE, Fact, Question
from magistrate.policy.people import approval, filled, with_approvals
from magistrate.policy.states import State, state

MOST: Final = 4000  # questions over all facts, one at a time: a second or three
EACH: Final = 250  # of one fact at most
PAIRS: Final = 800  # questions of two facts at a time
AFTER: Final = 200  # changes after which everybody wanted is let say yes
NEARER: Final = 3  # pairs for each outcome that are brought as near as they can be
SAMPLES: Final = 6  # values of one fact that are tried together with another's
ENGINE: Final = "magistrate."


@dataclass(frozen=True)
class Change:
    """One fact made another."""

    pointer: str
    whose: str
    before: Any
    after: Any

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"pointer": self.pointer, "whose": self.whose, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class Flip:
    """Changes that together give another answer, and which."""

    changes: tuple[Change, ...]
    state: State
    wanted: tuple[Mapping[str, Any], ...]
    distance: int

    def rank(self) -> tuple[Any, ...]:
        """Nearest first: fewer facts, then the proposer's own, then the smaller step."""
        whose = [WHOSE.index(change.whose) for change in self.changes]
        return len(self.changes), max(whose), self.distance, [change.pointer for change in self.changes]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "outcome": self.state.outcome,
            "tier": self.state.tier,
            "reasons": [{"policy": policy, "code": code} for policy, code in self.state.reasons],
            "wanted": [dict(row) for row in self.wanted],
            "changes": [change.plain() for change in self.changes],
        }


@dataclass(frozen=True)
class Nearest:
    """What was found, how many questions it took, and how many it could have taken."""

    flips: tuple[Flip, ...]
    asked: int
    bound: int
    unreached: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "flips": [flip.plain() for flip in self.flips],
            "unreached": list(self.unreached),
            "asked": self.asked,
            "bound": self.bound,
        }


@dataclass(frozen=True)
class _Answer:
    state: State
    wanted: tuple[Mapping[str, Any], ...]


class _Oracle:
    """Asks each question once; those that come while every OPA is busy go together."""

    def __init__(self, opas: Batches, document: str) -> None:
        self.document = document
        self._opas = opas
        self._free = asyncio.Semaphore(opas.wide)
        self._known: dict[bytes, tuple[asyncio.Task[list[_Answer | None]], int]] = {}  # in which batch, and where
        self._batch: list[bytes] = []  # what may still grow
        self._asking: asyncio.Task[list[_Answer | None]] | None = None

    @property
    def asked(self) -> int:
        """How many different questions there were."""
        return len(self._known)

    async def ask(self, question: Question) -> _Answer | None:
        """What the answer comes to; None where there is none that can be used."""
        try:
            raw = canonical.canonical(question)
        except Malformed:
            return None
        if raw not in self._known:
            self._known[raw] = self._put(raw)
        batch, place = self._known[raw]
        return (await batch)[place]

    def _put(self, raw: bytes) -> tuple[asyncio.Task[list[_Answer | None]], int]:
        full = len(self._batch) == batches.MOST or sum(map(len, self._batch)) + len(raw) > batches.MOST_BYTES
        if self._asking is None or full:
            self._batch = []
            self._asking = asyncio.create_task(self._ask(self._batch))
        self._batch.append(raw)
        return self._asking, len(self._batch) - 1

    async def _ask(self, batch: list[bytes]) -> list[_Answer | None]:
        async with self._free:
            if batch is self._batch:
                self._asking = None  # it is on its way: what comes now goes with the next
            return [self._read(said) for said in await self._opas.ask([(self.document, raw) for raw in batch])]

    def _read(self, said: Said) -> _Answer | None:
        if isinstance(said, NoAnswer):
            return None
        wanted = said["standing"]["wanted"] if self.document == "decision" else ()
        return _Answer(state(self.document, said), tuple(wanted))


async def nearest(opas: Batches, document: str, question: Question, facts: list[Fact]) -> Nearest:
    """Look for the nearest facts that change the answer.

    Raises:
        NoAnswer: the question itself has no answer.
    """
    oracle = _Oracle(opas, document)
    base = await oracle.ask(question)
    if base is None:
        raise NoAnswer("opa.undefined", "the bundle gives no answer to this question")
    search = _Search(oracle, question, base, facts)
    flips = await search.singles()
    flips += await search.approvals(flips)
    if missing := search.unreached(flips):
        flips += await search.pairs(missing)
    kept = sorted(_best(flips), key=Flip.rank)
    return Nearest(tuple(kept), oracle.asked, search.bound, tuple(search.unreached(kept)))


class _Search:
    def __init__(self, oracle: _Oracle, question: Question, base: _Answer, facts: list[Fact]) -> None:
        self._oracle = oracle
        self._question = question
        self._base = base
        self._facts = facts
        self._each = min(EACH, MOST // max(1, len(facts)))
        self._found: dict[int, dict[Any, _Answer]] = {}  # by fact: what each value tried gives

    @property
    def bound(self) -> int:
        """How many questions it may take at most: each part's share, and 53 halvings of each number of a pair."""
        people = AFTER + 2 + len(self._question.get("approvals", ()))
        halvings = (len(OUTCOMES[self._oracle.document]) - 1) * NEARER * 2 * 53
        return 1 + self._each * len(self._facts) + people + PAIRS + halvings

    def unreached(self, flips: Iterable[Flip]) -> list[str]:
        """The outcomes nothing leads to yet."""
        reached = {flip.state.outcome for flip in flips} | {self._base.state.outcome}
        return [outcome for outcome in OUTCOMES[self._oracle.document] if outcome not in reached]

    # -- one fact

    async def singles(self) -> list[Flip]:
        """Each fact alone: the nearest value for each other answer."""
        await asyncio.gather(*(self._try(number, fact) for number, fact in enumerate(self._facts)))
        return [
            self._flip([(fact, value)], answer)
            for number, fact in enumerate(self._facts)
            for value, answer in self._samples(number, fact)
            if answer.state.place != self._base.state.place
        ]

    async def _try(self, number: int, fact: Fact) -> None:
        """Ask the fact's values, within its share of the questions."""
        left = self._each
        tried: dict[Any, _Answer] = {}
        self._found[number] = tried

        async def ask(values: list[Any]) -> None:
            nonlocal left
            values = values[:left]
            left -= len(values)
            answers = await asyncio.gather(*(self._oracle.ask(fact.changed(self._question, v)) for v in values))
            for value, answer in zip(values, answers, strict=True):
                if answer is not None and not self._a_fault(fact, answer):
                    tried[_key(value)] = answer

        values = sorted(_values(fact), key=fact.distance) if fact.grid else list(_values(fact))
        await ask(values)
        while fact.grid and left > 0:
            between = _between({fact.value: self._base, **tried})
            if not between:
                break
            await ask(sorted(between, key=fact.distance))

    def _a_fault(self, fact: Fact, answer: _Answer) -> bool:
        """What the engine itself refuses to read is a mistake in the asking, not another fact."""
        new = set(answer.state.reasons) - set(self._base.state.reasons)
        return fact.whose in ("proposer", "claims") and any(policy.startswith(ENGINE) for policy, _ in new)

    def _samples(self, number: int, fact: Fact) -> list[tuple[Any, _Answer]]:
        """The nearest value of a fact for each answer that is not the one it has."""
        best: dict[State, tuple[int, Any, _Answer]] = {}
        for key, answer in self._found[number].items():
            value = _value(key)
            far = fact.distance(value)
            if answer.state != self._base.state and (answer.state not in best or far < best[answer.state][0]):
                best[answer.state] = (far, value, answer)
        return [(value, answer) for _, value, answer in sorted(best.values(), key=lambda one: one[0])]

    def _flip(self, made: list[tuple[Fact, Any]], answer: _Answer) -> Flip:
        changes = tuple(Change(fact.pointer, fact.whose, fact.value, value) for fact, value in made)
        return Flip(changes, answer.state, answer.wanted, sum(fact.distance(value) for fact, value in made))

    # -- approvals

    async def approvals(self, flips: list[Flip]) -> list[Flip]:
        """Everybody who is wanted says yes, as things are and after each change that leaves it to people; somebody
        says no; one who spoke had not.
        """
        if self._oracle.document != "decision":
            return []
        given = [self._people(self._question, (), self._base)]
        given += [
            self._people(self._applied(flip), flip.changes, _Answer(flip.state, flip.wanted))
            for flip in _best(flips)
            if flip.state.outcome == "ask" and len(flip.changes) == 1 and flip.changes[0].whose != "people"
        ][:AFTER]
        made = [one for group in given for one in group]
        answers = await asyncio.gather(*(self._oracle.ask(question) for question, _ in made))
        return [
            Flip(changes, answer.state, answer.wanted, len(changes))
            for (_, changes), answer in zip(made, answers, strict=True)
            if answer is not None and answer.state.place != self._base.state.place
        ]

    def _people(
        self, question: Question, before: tuple[Change, ...], answer: _Answer
    ) -> list[tuple[Question, tuple[Change, ...]]]:
        held = question.get("approvals", [])
        made = []
        if answer.wanted:
            change = Change("/approvals", "people", "", {"approve": [dict(row) for row in answer.wanted]})
            made.append((with_approvals(question, filled(question, answer.wanted)), (*before, change)))
        if not before:
            no = {**approval(question, [], "ed25519", len(held)), "verdict": "deny"}
            made.append((with_approvals(question, [no]), (Change("/approvals", "people", "", {"deny": 1}),)))
            for number, spoken in enumerate(held):
                other = copy.deepcopy(question)
                del other["approvals"][number]
                made.append((other, (Change(f"/approvals/{number}", "people", spoken["verdict"], ""),)))
        return made

    def _applied(self, flip: Flip) -> Question:
        facts = {fact.pointer: fact for fact in self._facts}
        question = self._question
        for change in flip.changes:
            question = facts[change.pointer].changed(question, change.after)
        return question

    # -- two facts

    async def pairs(self, missing: list[str]) -> list[Flip]:
        """Two facts at a time, each at a value that alone changed something; then each as near as it can be."""
        samples = [
            [(fact, value) for value, _ in self._samples(number, fact)[:SAMPLES]]
            for number, fact in enumerate(self._facts)
        ]
        made = [
            pair
            for one, two in itertools.combinations(samples, 2)
            for pair in itertools.product(one, two)
            if pair[0][0].pointer.split(" ")[0] != pair[1][0].pointer.split(" ")[0]
        ]
        made = sorted(made, key=lambda pair: [fact.distance(value) for fact, value in pair])[:PAIRS]
        answers = await asyncio.gather(*(self._ask_both(list(pair)) for pair in made))
        near = []
        for outcome in missing:
            hits = [
                (list(pair), answer)
                for pair, answer in zip(made, answers, strict=True)
                if answer is not None
                and answer.state.outcome == outcome
                and not any(self._a_fault(fact, answer) for fact, _ in pair)
            ]
            near += sorted(hits, key=lambda hit: self._flip(*hit).rank())[:NEARER]
        return await asyncio.gather(*(self._nearer(pair, answer) for pair, answer in near))

    async def _ask_both(self, made: list[tuple[Fact, Any]]) -> _Answer | None:
        question = self._question
        for fact, value in made:
            question = fact.changed(question, value)
        return await self._oracle.ask(question)

    async def _nearer(self, made: list[tuple[Fact, Any]], answer: _Answer) -> Flip:
        """The same flip with each whole number as near to what it was as bisection brings it."""
        for at, (fact, value) in enumerate(made):
            if not fact.grid or type(fact.value) is not int:
                continue
            near, far = fact.value, value
            while abs(far - near) > 1:
                middle = (near + far) // 2
                found = await self._ask_both([*made[:at], (fact, middle), *made[at + 1 :]])
                if found is not None and found.state.outcome == answer.state.outcome:
                    far, answer = middle, found
                else:
                    near = middle
            made = [*made[:at], (fact, far), *made[at + 1 :]]
        return self._flip(made, answer)


def _values(fact: Fact) -> Iterable[Any]:
    """What is tried of a fact, each once."""
    steps = [fact.value + sign * 2**n for n in range(54) for sign in (1, -1)] if fact.grid else []
    inside = [n for n in (fact.low, *steps, fact.high) if fact.low <= n <= fact.high and n != fact.value]
    seen = set()
    for value in (*fact.choices, *(inside if fact.grid else ())):
        if (key := _key(value)) not in seen and value != fact.value:
            seen.add(key)
            yield value


def _between(tried: Mapping[Any, _Answer]) -> list[int]:
    """The middle of each two neighbouring numbers that get different answers."""
    numbers = sorted(tried)
    return [
        (low + high) // 2
        for low, high in itertools.pairwise(numbers)
        if high - low > 1 and tried[low].state != tried[high].state
    ]


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _value(key: Any) -> Any:
    return list(key) if isinstance(key, tuple) else key


def _best(flips: Iterable[Flip]) -> list[Flip]:
    """Of the same facts with the same outcome and tier, the nearest; with more facts only where fewer do not do."""
    best: dict[Any, Flip] = {}
    for flip in sorted(flips, key=Flip.rank):
        best.setdefault((flip.state.place, tuple(change.pointer for change in flip.changes)), flip)
    alone = {(flip.state.place, flip.changes[0].pointer) for flip in best.values() if len(flip.changes) == 1}
    return [
        flip
        for flip in best.values()
        if len(flip.changes) == 1 or not any((flip.state.place, change.pointer) in alone for change in flip.changes)
    ]
