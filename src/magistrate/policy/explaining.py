"""Explaining a recorded answer: who spoke, what they saw, and what would have changed it.

First the recorded question is asked again of the recorded bundle, and must get the recorded answer byte for byte: to
explain another answer would be a lie. Everything after that is asked of the same bundle. No live decision depends on
the OPAs that are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from magistrate.core import canonical
from magistrate.core.errors import Broken, NoAnswer
from magistrate.core.replay import difference
from magistrate.core.values import thaw
from magistrate.policy import places as places_
from magistrate.policy.batches import Batches
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.facts import Facts
from magistrate.policy.nearest import Nearest, nearest
from magistrate.policy.places import POLICIES, Places, Rule
from magistrate.policy.reading import Fact, Reading
from magistrate.policy.states import State, state
from magistrate.policy.tracing import Trace, governing, trace

# which words of a policy a document hears
HEARD: Final = {"decision": ("deny", "tier", "approval", "constraint"), "verification": ("deviation",)}


@dataclass(frozen=True)
class Told:
    """A rule, and the facts it looks at."""

    rule: Rule
    facts: tuple[Fact, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        rule = self.rule
        return {
            "policy": rule.package,
            "word": rule.name,
            "code": rule.code,
            "title": rule.title,
            "description": rule.description,
            "remedy": rule.remedy,
            "file": rule.path,
            "line": rule.row,
            "last_line": rule.last,
            "source": rule.source,
            "facts": [thaw(fact.plain()) for fact in self.facts],
        }


@dataclass(frozen=True)
class Explanation:
    """Why one question got its answer. `spoke` held, `silent` are the governing policies' rules that did not."""

    document: str
    state: State
    governing: tuple[str, ...]
    spoke: tuple[Told, ...]
    silent: tuple[Told, ...]
    engine_silent: int  # rules of the engine that could have said no
    nearest: Nearest | None
    places: Places = field(repr=False)
    trace: Trace = field(repr=False)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "outcome": self.state.outcome,
            "tier": self.state.tier,
            "governing": list(self.governing),
            "spoke": [told.plain() for told in self.spoke],
            "silent": [told.plain() for told in self.silent],
            "engine_silent": self.engine_silent,
            "nearest": self.nearest.plain() if self.nearest else None,
        }

    def lines(self, *, engine: bool) -> list[str]:
        """The trace, of the governing policies' files or of the engine's too."""
        mine = {rule.file for rule in self.places.rules() if engine or rule.package in self.governing}
        return list(self.trace.lines(self.places, frozenset(mine)))


async def explain(
    binary: Binary,
    bundle: Bundle,
    document: str,
    question: Mapping[str, Any],
    answer: Any,
    *,
    search: bool = True,
    places: Places | None = None,
) -> Explanation:
    """Explain the answer a question got; `search` also looks for what would have changed it.

    `places` are the bundle's, where they were read before.

    Raises:
        Broken: `explain.differs`, the bundle gives another answer now.
        NoAnswer: the bundle gives none.
        Unavailable: OPA does not run.
    """
    async with Batches(binary, bundle, opas=0 if search else 1) as opas:
        raw = canonical.canonical(question)
        (said,) = await opas.ask([(document, raw)])
        if isinstance(said, NoAnswer):
            raise said
        hold_same(answer, said)
        traced = trace(binary, bundle, document, raw)
        hold_same(answer, traced.answer)
        places = places or places_.read(binary, bundle)
        told = _told(binary, bundle, document, dict(question), places, traced)
        found = await _nearest(opas, bundle, document, dict(question), told) if search else None
    return Explanation(
        document=document,
        state=state(document, answer),
        governing=told.governing,
        spoke=told.spoke,
        silent=told.silent,
        engine_silent=told.engine_silent,
        nearest=found,
        places=places,
        trace=traced,
    )


def hold_same(recorded: Any, now: Any) -> None:
    """Return if the answer is the recorded one, byte for byte.

    Raises:
        Broken: `explain.differs`, with the pointer of the first difference.
    """
    found = difference(recorded, now)
    if found is not None:
        detail = f"asked again, the bundle does not give the recorded answer: it differs at {found.pointer or '/'}"
        raise Broken("explain.differs", detail, pointer=found.pointer, hint="magistrate replay")


@dataclass(frozen=True)
class _Told:
    governing: tuple[str, ...]
    spoke: tuple[Told, ...]
    silent: tuple[Told, ...]
    engine_silent: int
    rules: tuple[Rule, ...]  # whatever was evaluated, for the search
    places: Places


def _told(
    binary: Binary, bundle: Bundle, document: str, question: dict[str, Any], places: Places, traced: Trace
) -> _Told:
    """Which rules held, by OPA's own trace, and which of those that could have did not."""
    action = question.get("intent", {}).get("action") if document in HEARD else None
    governs = tuple(governing(binary, bundle, action)) if isinstance(action, str) else ()
    reading, held, entered = Reading(places, bundle, question), traced.held(), traced.entered()
    heard = HEARD.get(document, ())
    able = [rule for rule in places.rules() if rule.spoken and rule.file in entered]
    policies = [rule for rule in places.rules() if rule.package in governs and rule.name in heard]
    engine = [rule for rule in able if not rule.package.startswith(POLICIES)]
    return _Told(
        governing=governs,
        spoke=tuple(_with_facts(reading, (rule for rule in (*policies, *engine) if rule.spot in held))),
        silent=tuple(_with_facts(reading, (rule for rule in policies if rule.spot not in held))),
        engine_silent=sum(1 for rule in engine if rule.spot not in held),
        rules=(*policies, *(rule for rule in places.rules() if _of_engine(rule) and rule.file in entered)),
        places=places,
    )


def _with_facts(reading: Reading, rules: Iterable[Rule]) -> Iterator[Told]:
    return (Told(rule, tuple(reading.facts(rule))) for rule in rules)


def _of_engine(rule: Rule) -> bool:
    return not rule.package.startswith(POLICIES)


async def _nearest(opas: Batches, bundle: Bundle, document: str, question: dict[str, Any], told: _Told) -> Nearest:
    # each expression of a helper is read with whoever calls it: rules that say something are the ones to read
    rules = [rule for rule in told.rules if rule.spoken]
    facts = Facts(told.places, bundle, thaw(question), rules).all()
    return await nearest(opas, document, thaw(question), facts)
