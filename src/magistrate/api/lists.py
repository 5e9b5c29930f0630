"""Lists: a page of rows, in order of id, and the cursor that goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from inspect import isawaitable
from typing import Any, Final

from starlette.responses import Response

from magistrate.api.visit import Visit
from magistrate.api.wire import cursor_for, cursor_of, limit_of, query, reply
from magistrate.core.errors import Malformed
from magistrate.store import Row

PAGE: Final = ("limit", "cursor")
LOOKED_AT: Final = 2000  # rows one request goes through at most, where few of them are wanted
STEP: Final = 200


def state_of(given: dict[str, str], known: Collection[str]) -> str | None:
    """The state asked for; None for any.

    Raises:
        Malformed: no such state.
    """
    said = given.get("state")
    if said is not None and said not in known:
        raise Malformed("input.query", f"state is one of {', '.join(sorted(known))}", pointer="/state")
    return said


async def page(
    visit: Visit,
    table: str,
    view: Callable[[Row], Any | Awaitable[Any]],
    *,
    states: Collection[str] = (),
    state: str | None = None,
    owned: bool = True,
    wanted: Callable[[Row], bool] | None = None,
) -> Response:
    """One page of a table. Who may not be shown foreign chains gets only their own rows."""
    given = query(visit.request, (*PAGE, "state") if states else PAGE)
    most, after = limit_of(given), cursor_of(given)
    state = state or state_of(given, states)
    owner = visit.principal.id if owned and not visit.wide else None
    found: list[Row] = []
    looked = 0
    more = True
    while more and len(found) <= most and looked < LOOKED_AT:
        rows = await visit.house.store.rows(table, state=state, owner=owner, after=after, limit=STEP)
        looked += len(rows)
        more = len(rows) == STEP
        after = rows[-1].id if rows else after
        found += [row for row in rows if wanted is None or wanted(row)]
    if len(found) > most:
        found, more = found[:most], True
        after = found[-1].id
    items = [await said if isawaitable(said := view(row)) else said for row in found]
    return reply({"items": items, "next_cursor": cursor_for(after) if more and after else None})
