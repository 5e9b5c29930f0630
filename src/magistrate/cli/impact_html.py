"""An impact as one HTML page: nothing is fetched, no script runs, and nothing is told by colour alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from magistrate.cli import say
from magistrate.cli.impact_words import NOTHING, WHY_NOT, looked
from magistrate.core.looseness import RECORDED

STYLE = """
:root { color-scheme: light dark; --ground: #fbfaf7; --ink: #1c1b19; --faint: #6a665e; --line: #d9d4c9; --card: #fff;
  --edge: #0004;
  --loose: 178 58 24; --tight: 32 98 142; }
@media (prefers-color-scheme: dark) { :root { --ground: #16171a; --ink: #ece9e2; --faint: #a29d92; --line: #3a3b40;
  --card: #1e2024; --edge: #fff6; --loose: 255 137 92; --tight: 118 184 230; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2.25rem 0 .6rem; }
p { margin: .3rem 0; } code { font: .875em ui-monospace, monospace; overflow-wrap: anywhere; }
table code { overflow-wrap: break-word; }
.faint { color: var(--faint); font-size: .9rem; }
.verdict { border-left: .35rem solid rgb(var(--tight)); padding: .1rem 0 .1rem .9rem; margin: 0 0 1rem; }
.verdict.bad { border-left: .6rem double rgb(var(--loose)); }
.totals { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
.totals li { flex: 1 1 8rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .55rem .8rem; }
.totals b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.totals .loosened { border: 3px solid rgb(var(--loose)); } .totals .tightened { border: 1px dashed rgb(var(--tight)); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; background:
  linear-gradient(90deg, var(--card) 40%, transparent) 0 0 / 3rem 100% no-repeat local,
  linear-gradient(270deg, var(--card) 40%, transparent) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(90deg, var(--edge), transparent) 0 0 / 1rem 100% no-repeat scroll,
  linear-gradient(270deg, var(--edge), transparent) 100% 0 / 1rem 100% no-repeat scroll, var(--card); }
.scroll:focus-visible { outline: 3px solid rgb(var(--tight)); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .45rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; } thead th { color: var(--faint); font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.heat th[scope=row] { position: sticky; left: 0; background: var(--card); border-right: 1px solid var(--line);
  font-weight: 600; }
.heat thead th { min-width: 7rem; } .heat td { min-width: 7rem; }
.cell { display: block; padding: .3rem .5rem; border-radius: .35rem; white-space: nowrap; }
.cell + .cell { margin-top: .25rem; }
.cell.loosened { background: rgb(var(--loose) / var(--heat)); border: 2px solid rgb(var(--loose)); font-weight: 700; }
.cell.tightened { background: rgb(var(--tight) / var(--heat)); border: 1px dashed rgb(var(--tight)); }
.cell.other, .none { color: var(--faint); }
.tag { white-space: nowrap; } .tag.loosened { font-weight: 700; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 3rem; } th, td { padding: .4rem .5rem; }
  td, td code, th[scope=row] { overflow-wrap: anywhere; } .cell { white-space: normal; }
  .stack, .stack tbody, .stack tr, .stack th[scope=row] { display: block; }
  .stack thead, .stack td.blank { display: none; }
  .stack td { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem; border: 0; padding: .2rem .6rem; }
  .stack td::before { content: attr(data-head); color: var(--faint); }
  .stack tr { border-bottom: 1px solid var(--line); padding: .35rem 0; } .stack tr:last-child { border-bottom: 0; }
  .stack td > div { min-width: 0; } .heat.stack th[scope=row] { position: static; border: 0; padding: .2rem .6rem; }
  .heat.stack th[scope=row] { max-width: none; } .heat.stack td { align-items: center; } }
@media print { .scroll { overflow: visible; } }
"""
_JOINTS = re.compile(r"([./_](?=\w))")
_SHAPES = {"loosened": "▲", "tightened": "▼", "other": "•"}


def page(said: dict[str, Any]) -> str:
    """The whole page."""
    title = "Policy impact"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            *_head(said),
            *_heat(said),
            *_rules(said),
            *_data(said),
            *_outcomes(said),
            *_touched(said),
            *_examples(said),
            "</main></body></html>",
        ]
    )


def _head(said: dict[str, Any]) -> Iterator[str]:
    bad = said["uncovered"] or said["unread"] or not said["questions"]
    blind = sum(not row["accepted"] for row in said["unseen"])
    answers = said["uncovered"] - blind
    verdict = f"{_answers(answers)} would be looser, and nobody accepted that" if answers else _calm(said)
    if blind:
        verdict = f"{blind} changed that no recorded answer can show, and nobody accepted it; beside that: {verdict}"
    if said["unread"]:
        verdict = f"{said['unread']} entries or questions were not compared: {WHY_NOT}; of the rest: {verdict}"
    yield "<header><h1>What this bundle would have changed</h1>"
    yield f'<p class="verdict{" bad" if bad else ""}"><strong>{_text(verdict)}</strong></p>'
    yield f"<p class=faint>{said['questions']} recorded questions, asked of {_asked(said)}.</p>"
    yield f"<p class=faint>{looked(said['range'])}.</p>"
    yield f"<p class=faint>from {_side(said['was'])}<br>to {_side(said['now'])}</p>"
    if said["accepted"]:
        yield f"<p>Accepted by name: {', '.join(f'<code>{_text(name)}</code>' for name in said['accepted'])}</p>"
    yield "</header><ul class=totals>"
    for way in ("loosened", "tightened", "other"):
        word = "other words, same permission" if way == "other" else way
        yield f"<li class={way}><b>{_SHAPES[way]} {said[way]}</b>{word}"
    yield f"<li><b>{said['same']}</b>the same<li><b>{said['no_answer']}</b>without an answer now</ul>"


def _asked(said: dict[str, Any]) -> str:
    if said["was"] == RECORDED:
        return "the bundle; its answers stand beside those on record"
    return f"both bundles; {said['reproduced']} answers of the first are those on record"


def _side(name: str) -> str:
    return "the answers on record" if name == RECORDED else _code(name)


def _calm(said: dict[str, Any]) -> str:
    if not said["loosened"]:
        return "Nothing looser" if said["questions"] else NOTHING
    return f"{_answers(said['loosened'])} would be looser, accepted by name"


def _answers(count: int) -> str:
    return f"{count} answer{'' if count == 1 else 's'}"


def _heat(said: dict[str, Any]) -> Iterator[str]:
    """Actions against transitions: a shape, a word and a count in each cell, and a shade for how many."""
    if not said["heat"]:
        return
    cells = {(row["action"], row["was"], row["now"]): row for row in said["heat"]}
    moves = sorted({key[1:] for key in cells}, key=lambda move: (-_looser(cells, move=move), move))
    actions = sorted({key[0] for key in cells}, key=lambda action: (-_looser(cells, action=action), action))
    most = max(row[way] for row in cells.values() for way in ("loosened", "tightened", "other")) or 1
    title = "Impact by action and transition"
    yield f"<h2>{title}</h2>"
    yield f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table class="heat stack">'
    heads = "".join(f"<th scope=col>{_text(was)} → {_text(now)}" for was, now in moves)
    yield f"<thead><tr><th scope=col>action{heads}</thead><tbody>"
    for action in actions:
        row = "".join(_move(move, cells.get((action, *move)), most) for move in moves)
        yield f"<tr><th scope=row>{_text(action) or '(none)'}{row}"
    yield "</tbody></table></div>"


def _looser(
    cells: dict[tuple[str, str, str], dict[str, Any]], *, action: str | None = None, move: tuple[str, ...] | None = None
) -> int:
    """How many got looser with this action, or in this transition: those stand first."""
    return sum(
        int(row["loosened"]) for key, row in cells.items() if action in (None, key[0]) and move in (None, key[1:])
    )


def _move(move: tuple[str, str], row: dict[str, Any] | None, most: int) -> str:
    """What became of one action in one transition."""
    if row is None:
        return '<td class=blank><span class=none aria-label="none">·</span>'
    cells = "".join(
        f'<span class="cell {way}" style="--heat: {0.12 + 0.38 * row[way] / most:.2f}">{shape} {row[way]} {way}</span>'
        for way, shape in _SHAPES.items()
        if row[way]
    )
    return f'<td data-head="{escape(say.visible(" → ".join(move)))}"><div>{cells}</div>'


def _rules(said: dict[str, Any]) -> Iterator[str]:
    rows = (
        (_code(row["code"]), _counts(row), _text(row["title"]), _where(row), _code(", ".join(row["names"][1:])))
        for row in said["rules"]
    )
    yield from _table("Rules responsible", ("code", "impact", "what it says", "where", "changed data"), rows)


def _where(row: dict[str, Any]) -> str:
    was, now = row["was_at"], row["now_at"]
    if was and now and was != now:
        return f"{_code(was)} → {_code(now)}"
    note = "" if was and now else " (gone)" if was else " (new)" if now else ""
    return f"{_code(now or was)}{note}" if now or was else ""


def _data(said: dict[str, Any]) -> Iterator[str]:
    rows = ((_code(row["name"]), _code(row["was"]), _code(row["now"])) for row in said["data"])
    yield from _table("Data that changed", ("name", "was", "now"), rows)
    if said["data_untold"]:
        yield f"<p>… and {said['data_untold']} more changed values.</p>"
    blind = (
        (_code(row["name"]), _code(row["was"]), _code(row["now"]), "yes" if row["accepted"] else "<b>no</b>")
        for row in said["unseen"]
    )
    yield from _table("Changed, and no recorded answer can show it", ("name", "was", "now", "accepted"), blind)


def _outcomes(said: dict[str, Any]) -> Iterator[str]:
    rows = ((_text(row["document"]), _text(row["was"]), _text(row["now"]), _counts(row)) for row in said["transitions"])
    yield from _table("Every transition", ("document", "was", "now", "impact"), rows)


def _touched(said: dict[str, Any]) -> Iterator[str]:
    for what in ("agent", "action"):
        rows = ((_text(row[what]), _counts(row)) for row in said[f"{what}s"])
        yield from _table(f"{what.capitalize()}s most touched", (what, "impact"), rows)


def _examples(said: dict[str, Any]) -> Iterator[str]:
    rows = (
        (
            _tag(row["direction"], ""),
            _code(row["intent_id"] or f"entry {row['entry']}"),
            _text(row["agent"]),
            _text(row["action"]),
            f"{_text(row['was'])} → {_text(row['now'])}",
            _code(", ".join(row["because"])),
        )
        for row in said["examples"]
    )
    yield from _table("Examples to open", ("impact", "intent", "agent", "action", "was → now", "because"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    listed = list(rows)
    if not listed:
        return
    yield f"<h2>{title}</h2>"
    yield f'<div class="scroll" role="region" aria-label="{title}" tabindex="0"><table{_narrow(heads)}><thead><tr>'
    yield "".join(f"<th scope=col>{head}" for head in heads) + "</thead><tbody>"
    for row in listed:
        yield "<tr>" + "".join(
            f'<td data-head="{head}"><div>{cell}</div>' if cell else "<td class=blank>"
            for head, cell in zip(heads, row, strict=True)
        )
    yield "</tbody></table></div>"


def _narrow(heads: Sequence[str]) -> str:
    """Where a phone has no room for the columns, each row is a card: nothing lies outside of what one sees."""
    return " class=stack" if len(heads) > 2 else ""


def _counts(row: dict[str, Any]) -> str:
    return "<br>".join(_tag(way, str(row[way])) for way in _SHAPES if row[way]) or "none"


def _tag(way: str, count: str) -> str:
    return f'<span class="tag {way}">{_SHAPES[way]} {count} {way}</span>'


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _text(text: str) -> str:
    """The record's words as text: neither markup nor anything that hides. Long names break where they are joined."""
    return _JOINTS.sub(r"\1<wbr>", escape(say.visible(text)))
