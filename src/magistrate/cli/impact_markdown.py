"""An impact as Markdown, to stand in a pull request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from magistrate.cli import say
from magistrate.cli.impact_words import NOTHING, looked
from magistrate.core.looseness import RECORDED


class Mark(str):
    """A cell whose markup is our own: nothing in it is from the record or a bundle."""

    __slots__ = ()


_MARKUP = "\\`*_{}[]<>|#!~&@"
_MARKS = {"loosened": "**▲ {} loosened**", "tightened": "▼ {} tightened", "other": "{} other"}


def page(said: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> str:
    """The page; its last line is that of the text form."""
    return "\n".join([*_lines(said), "", _plain(text(said).splitlines()[-1])])


def _peace(said: dict[str, Any]) -> str:
    if not said["questions"]:
        return f"⚠ {NOTHING}"
    return f"{said['loosened']} loosened, all accepted by name" if said["loosened"] else "nothing loosened"


def _lines(said: dict[str, Any]) -> Iterator[str]:
    blind = sum(not row["accepted"] for row in said["unseen"])
    loose = said["uncovered"] - blind
    verdict = f"⚠ {loose} loosened and not accepted" if loose else _peace(said)
    if blind:
        verdict = f"⚠ {blind} changed that no recorded answer can show, and not accepted; beside that, {verdict}"
    if said["unread"]:
        verdict = f"⚠ {said['unread']} entries or questions not compared; of the rest, {verdict}"
    yield f"### Policy impact: {verdict}"
    yield ""
    now = f"`{said['now'][:23]}`"
    both = f"{now}, beside the answers on record" if said["was"] == RECORDED else f"`{said['was'][:23]}` and {now}"
    yield f"{said['questions']} recorded questions asked of {both};"
    yield f"{looked(said['range'])}."
    yield f"{said['same']} answers permit the same. Totals: {_counts(said)}."
    yield from _table("What became of them", ("document", "was", "now", ""), _transitions(said))
    yield from _table("Rules responsible", ("code", "where", "", "what it says"), _rules(said))
    yield from _table("Changed, and no recorded answer can show it", ("name", "was", "now", ""), _unseen(said))
    yield from _table("Data that changed", ("name", "was", "now"), _data(said))
    if said["data_untold"]:
        yield f"… and {said['data_untold']} more changed values."
    yield from _table("Agents most touched", ("agent", ""), ((row["agent"], _counts(row)) for row in said["agents"]))
    yield from _table(
        "Actions most touched", ("action", ""), ((row["action"], _counts(row)) for row in said["actions"])
    )
    yield from _table("Examples", ("", "intent", "agent", "action", "was → now", "because"), _examples(said))


def _transitions(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    return ((row["document"], row["was"], row["now"], _counts(row)) for row in said["transitions"])


def _rules(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    return ((row["code"], row["now_at"] or row["was_at"], _counts(row), row["title"]) for row in said["rules"])


def _data(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    return ((row["name"], row["was"], row["now"]) for row in said["data"])


def _unseen(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in said["unseen"]:
        yield row["name"], row["was"], row["now"], "accepted" if row["accepted"] else "NOT ACCEPTED"


def _examples(said: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in said["examples"]:
        shown = row["intent_id"] or f"entry {row['entry']}"
        moved = f"{row['was']} → {row['now']}"
        yield row["direction"], shown, row["agent"], row["action"], moved, ", ".join(row["because"])


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    listed = list(rows)
    if not listed:
        return
    yield ""
    yield f"#### {title}"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in listed:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _counts(row: dict[str, Any]) -> Mark:
    return Mark(", ".join(mark.format(int(row[way])) for way, mark in _MARKS.items() if row[way]) or "none")


def _cell(text: str) -> str:
    """A cell in which nothing of the record's own words is markup; what we mark ourselves is a `Mark`."""
    return text if isinstance(text, Mark) else _plain(text)


def _plain(text: str) -> str:
    """The same words, none of them markup, and no link made of an address."""
    shown = "".join(f"\\{c}" if c in _MARKUP else c for c in say.visible(text))
    return shown.replace("://", "\\://").replace("www.", "www\\.")
