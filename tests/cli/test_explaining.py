"""`policy explain` on a real service's record: over HTTP as an auditor, and from its data folder."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3

import pytest

from magistrate.cli import explaining, say
from magistrate.core.errors import Absent
from magistrate.keys import private
from magistrate.keys.operator import Profile, save
from tests.campaigns.load import RESTART
from tests.support.rego_tools import IGNORED, REGO, run
from tests.support.service import AUDITOR, service

REFUND = {
    "action": "refund.create",
    "target": "refunds-ledger",
    "parameters": {"order": "A-1", "amount": 7501, "currency": "EUR"},
}
MAIL = {
    "action": "mail.send",
    "target": "outbound-mail",
    "parameters": {"to": "a@else.example", "subject": "\u202eevil", "body": "x"},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A service with a few intents on record, an auditor's and an agent's profile, and one execution that was judged."""
    with service(tmp_path_factory.mktemp("explained") / "s") as at:
        folder = private.folder(at.root / "people", what="configuration")
        for type_, id_ in (("auditor", AUDITOR), ("agent", "refund-bot")):
            said = {"url": at.url, "origin": at.genesis["origin"], "type": type_, "id": id_, "key_file": ""}
            save(folder, id_, Profile.model_validate({**said, "api_key": at.keys[id_], "genesis": ""}))
        at.made = {}
        with at.client("refund-bot") as bot:
            for name, said in (("refund", REFUND), ("mail", MAIL)):
                at.made[name] = bot.post("/v1/intents", said)["intent"]["intent_id"]
        with at.client("deploy-bot") as bot:
            warrant = bot.post("/v1/intents", RESTART)["warrant"]
            bot.post("/v1/executions", {"warrant": warrant["warrant_id"], "call": warrant["scope"]})
            at.made["restart"] = bot.get("/v1/intents")["items"][0]["intent_id"]
        yield at


def explain(at, *words, who=AUDITOR):
    code, told = at.run("--profile", who, "policy", "explain", *words)
    return code, told


def explained(at, *words, who=AUDITOR):
    code, told = explain(at, *words, "--json", who=who)
    assert code == say.DONE, told
    return json.loads(told[told.index("{") : told.rindex("}") + 1])


def test_a_decision_is_explained_in_words(house):
    code, told = explain(house, house.made["refund"])
    assert code == say.DONE, told
    assert "decision: ask, tier T1" in told
    assert "byte for byte" in told
    assert re.search(r"tier refunds\.large  policies/refunds/refunds\.rego:\d+  Above", told)
    assert "data/policies/refunds/limits/small = 7500" in told
    assert "/intent/parameters/amount 7501 -> 7500: allow, tier T0 (refunds.any)" in told
    assert re.search(r"with approval by 1 of .*: allow, tier T1", told)


def test_the_service_and_the_data_folder_tell_the_same(house):
    id_ = house.made["refund"]
    online = explained(house, id_)
    assert explained(house, id_, "--data", str(house.data)) == online
    entry = online["entry"]
    for name in (str(entry["index"]), entry["leaf"]):
        assert explained(house, name, "--no-search")["entry"]["index"] == entry["index"]
    with house.client(AUDITOR) as client:
        digest = client.get(f"/v1/intents/{id_}")["decision"]["decision_digest"]
    for more in ((), ("--data", str(house.data))):
        assert explained(house, digest, "--no-search", *more)["entry"]["index"] == entry["index"]


def test_a_decision_digest_takes_two_requests_however_many_intents_there_are(house):
    with house.client(AUDITOR) as client:
        digest = client.get(f"/v1/intents/{house.made['refund']}")["decision"]["decision_digest"]
        asked, get = [], client.get
        client.get = lambda path, **query: (asked.append(path), get(path, **query))[1]
        entries = explaining._entries(client, digest)
    assert [entry.content()["decision_digest"] for entry in entries] == [digest]
    assert asked == [f"/v1/decisions/{digest}", f"/v1/intents/{house.made['refund']}/chain"]


@pytest.mark.parametrize("document", ["admission", "verification"])
def test_admissions_and_verifications_are_explained_too(house, document):
    told = explained(house, house.made["restart"], "--document", document, "--no-search")
    assert told["entry"]["document"] == document
    assert told["outcome"] in ("admit", "conforming")
    assert told["engine_silent"] > 0


def test_who_stood_before_the_gate_is_said(house):
    code, told = explain(house, house.made["restart"], "--document", "admission", "--no-search")
    assert code == say.DONE, told
    assert "presented by agent deploy-bot" in told


def test_an_act_of_administration_is_said_to_have_a_floor_beside_opa(house):
    with house.client(AUDITOR) as client:
        acts = [row["intent_id"] for row in client.all("/v1/intents") if row["action"] == "agent.enrol"]
    code, told = explain(house, acts[0], "--no-search")
    assert code == say.DONE, told
    assert "the program counts signatures of its own floor" in told


def test_who_may_not_see_a_bundle_gets_no_explanation(house):
    code, told = explain(house, house.made["refund"], who="refund-bot")
    assert (code, "error: " in told) == (say.DENIED, True), told


def test_an_intent_that_is_not_there_is_absent(house):
    code, told = explain(house, "int-none")
    assert (code, "[intent.unknown]" in told) == (say.UNEXPECTED, True)
    code, told = explain(house, house.made["refund"], "--document", "verification")
    assert (code, "[explain.none]" in told) == (say.UNEXPECTED, True)


def test_where_nothing_can_be_written_the_hint_looks_there(tmp_path):
    with pytest.raises(Absent, match=r"input\.file") as no:
        explaining._put(str(tmp_path / "no such folder" / "input.json"), "{}")
    assert no.value.hint == f"ls -ld '{tmp_path}/no such folder'"


def test_the_question_opens_in_an_editor(house, tmp_path):
    file = tmp_path / "input.json"
    code, told = explain(house, house.made["refund"], "--as-input", str(file))
    assert code == say.DONE, told
    answer = explained(house, house.made["refund"], "--no-search")["answer"]
    ran = run("eval", "-d", ".", *IGNORED, "-i", str(file), "--format", "raw", "data.magistrate.decision", cwd=REGO)
    assert json.loads(ran.stdout) == answer


def test_the_decision_becomes_a_test_that_holds(house, tmp_path):
    shutil.copytree(REGO, tmp_path / "rego")
    file = tmp_path / "rego/policies/refunds/recorded_test.rego"
    code, told = explain(house, house.made["refund"], "--as-test", str(file))
    assert code == say.DONE, told
    assert file.read_text().startswith("# Recorded: decision entry")
    ran = run("test", ".", *IGNORED, "--run", "test_recorded", "--fail-on-empty", cwd=tmp_path / "rego")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_trace_is_told_on_request_and_nothing_hides_in_it(house):
    code, told = explain(house, house.made["mail"], "--trace", "--no-search")
    assert code == say.DONE, told
    assert "How it was evaluated" in told
    assert "policies/mail/mail.rego:" in told
    assert "\u202e" not in told
    assert "\\u202e" in told


def test_a_question_changed_on_disk_is_not_explained(house, tmp_path):
    copy = tmp_path / "data"
    copy.mkdir()
    for path in house.data.iterdir():
        if path.name.startswith("ledger.db"):
            shutil.copy(path, copy)
    shutil.copytree(house.data / "bundles", copy / "bundles")
    with sqlite3.connect(copy / "ledger.db") as conn:
        for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            conn.execute(f"DROP TRIGGER {name}")
        changed = "CAST(replace(CAST(body AS TEXT), '7501', '4001') AS BLOB)"
        conn.execute(f"UPDATE bodies SET body = {changed}")
    conn.close()
    code, told = explain(house, house.made["refund"], "--data", str(copy))
    assert (code, "[ledger.body]" in told) == (say.FAILED, True), told
