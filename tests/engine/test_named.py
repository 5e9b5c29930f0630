"""Entries and their questions are found by every name they have, and only where their entries stand."""

from __future__ import annotations

import sqlite3

import pytest

from magistrate.core.errors import Absent, Broken
from magistrate.core.recorded import pick
from magistrate.engine import named
from tests.support import world as worlds
from tests.support.world import DEPLOY, RESTART


async def test_a_decision_is_found_by_every_name_it_has(world):
    shown = await world.propose(DEPLOY)
    id_ = shown.intent["intent_id"]
    (entry,) = world.entries("decision", id_)
    data = world.root / "data"
    for name in (id_, str(entry.index), entry.leaf_digest, entry.content()["decision_digest"]):
        found = pick(named.entries(data, name))
        assert (found.index, found.entry.subject, found.document) == (entry.index, id_, "decision")
    assert found.answer == entry.content()["asked"][0]["answer"]


async def test_a_decision_digest_names_every_asking_under_it(world):
    shown = await world.approve(await world.propose(DEPLOY))
    digest = shown.decision["decision_digest"]
    found = [e.index for e in named.entries(world.root / "data", digest)]
    assert found == [e.index for e in world.entries("decision", shown.intent["intent_id"])]
    assert len(found) > 1


async def test_admissions_and_verifications_are_found_in_the_chain(world):
    row = await world.done(RESTART)
    chain = world.row("warrants", row.data["warrant_id"]).data["intent_id"]
    for document in ("decision", "admission", "verification"):
        assert pick(named.entries(world.root / "data", chain), document=document).document == document


async def test_an_entry_that_was_changed_is_not_shown(world, tmp_path):
    shown = await world.propose(DEPLOY)
    (entry,) = world.entries("decision", shown.intent["intent_id"])
    worlds.image(world.root, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy/data/ledger.db") as conn:
        for name, sql in conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall():
            assert sql
            conn.execute(f"DROP TRIGGER {name}")
        other = entry.body.replace(b'"outcome":"ask"', b'"outcome":"any"')
        assert other != entry.body
        conn.execute("UPDATE bodies SET body = ? WHERE seq = ?", (other, entry.index))
    conn.close()
    with pytest.raises(Broken, match=r"ledger\.body"):
        named.entries(tmp_path / "copy/data", str(entry.index))


@pytest.mark.parametrize("name", ["int-none", "999999", "sha256:" + "0" * 64, "sha256:zz"])
async def test_what_is_not_on_record_is_not_found(shared, name):
    with pytest.raises(Absent):
        named.entries(shared.root / "data", name)


def test_where_no_ledger_lies_none_is_made(tmp_path):
    with pytest.raises(Absent, match=r"ledger\.absent"):
        named.entries(tmp_path, "0")
    assert not list(tmp_path.iterdir())
