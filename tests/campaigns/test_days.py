"""Two days on a real service, at the command line: a policy author's, and an auditor's a year later.

The service begins with the oldest shipped bundle. `./test` plants few decisions among some hundreds; the full form
plants them among 5,000.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.campaigns.forms import rounds
from tests.support.days import House, refund

PAYABLE = (5_001, 5_500, 6_000, 7_000, 7_500)  # refunds that the oldest bundle asks about, and the newest allows
BULK = {"action": "service.restart", "target": "api-gateway-staging", "parameters": {}}
BLUE_GREEN = {
    "action": "service.deploy",
    "target": "api-gateway-prod",
    "parameters": {"version": "2.4.1", "strategy": "blue-green"},
}
LONG = {
    "action": "mail.send",
    "target": "outbound-mail",
    "parameters": {"to": "ann@acme.example", "subject": "Hello", "body": "a" * 4001},
}
CALLERS = 8


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path}: {old}"
    path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    made = House(tmp_path_factory.mktemp("days"))
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def history(house):
    """What the oldest bundle decided: planted decisions among many that no later bundle touches."""
    many = rounds(5_000, 240)

    def ask(n: int) -> None:
        with house.client("deploy-bot") as client:
            for _ in range(n):
                client.post("/v1/intents", BULK)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, [many // CALLERS] * CALLERS))
    planted = {
        "loosened": [house.propose("refund-bot", refund(amount, n)) for n, amount in enumerate(PAYABLE)],
        "tightened": [house.propose("deploy-bot", BLUE_GREEN), house.propose("deploy-bot", LONG)],
        "untouched": [house.propose("refund-bot", refund(5_000, 99)), house.propose("refund-bot", refund(7_501, 98))],
    }
    return {way: [said["intent"]["intent_id"] for said in shown] for way, shown in planted.items()}


@pytest.fixture(scope="module")
def candidate(house):
    """The author's own policy beside the newest generation, built through the gate; on the way a test breaks."""
    rego = house.root / "rego"
    house.run(
        *("policy", "new", "payouts", "--rego", "rego", "--action", "payout.create", "--new-action"),
        *("--target-kind", "ledger", "--tier", "T1", "--limit", "amount=5000"),
    )
    assert "passed" in house.run("policy", "test", "rego", "-r", "payouts")

    edited(rego / "policies/payouts/data.json", "5000", "4000")
    failed = house.run("policy", "test", "rego", "-r", "payouts", code=5)
    assert "expected" in failed
    assert "actual" in failed
    assert "payouts" in failed
    edited(rego / "policies/payouts/data.json", "4000", "5000")

    manifest = json.loads((rego / ".manifest").read_text())
    manifest |= {"revision": "1000", "metadata": {**manifest["metadata"], "sequence": 1000}}
    (rego / ".manifest").write_text(json.dumps(manifest))
    return json.loads(house.run("policy", "build", "rego", "--out", "bundles", "--json"))["bundle"]["digest"]


@pytest.mark.campaign
def test_an_author_sees_exactly_what_a_change_loosens_and_two_people_put_it_in_force(house, history, candidate):
    oldest = house.bundles[0]
    # 1. the difference names exactly the planted decisions, and the limit that was raised
    said = json.loads(house.run("policy", "diff", oldest, str(house.file(candidate)), "--format", "json", code=5))
    loosened = {row["intent_id"]: row for row in said["loosened_answers"]}
    assert [row for id_, row in loosened.items() if id_ not in history["loosened"]] == []
    assert sorted(loosened) == sorted(history["loosened"])
    assert said["loosened"] == len(history["loosened"])
    decisions = [row for row in said["transitions"] if row["document"] == "decision" and row["tightened"]]
    assert sum(row["tightened"] for row in decisions) == len(history["tightened"])
    assert said["reproduced"] == said["questions"]
    rules = {row["code"]: row for row in said["rules"]}
    assert rules["refunds.large"]["loosened"] == len(history["loosened"])
    assert re.fullmatch(r"policies/refunds/refunds\.rego:\d+", rules["refunds.large"]["now_at"])
    assert {rules["mail.long"]["tightened"], rules["deploys.ticket"]["tightened"]} == {1}
    assert any(row["name"].endswith("small") and (row["was"], row["now"]) == ("5000", "7500") for row in said["data"])
    accepted = ("policy", "diff", oldest, str(house.file(candidate)), "--accept", "refunds.large")
    assert "LOOSENED" in house.run(*accepted)
    page = house.run("policy", "diff", oldest, str(house.file(candidate)), "--format", "html", code=5)
    assert "<script" not in page
    assert "http://" not in page

    # 2. something waits for approval, and somebody signs a yes too early
    waiting = house.propose("deploy-bot", BLUE_GREEN)["intent"]["intent_id"]

    # 3. put in force by two people; before either signs, both see what it changes
    house.run(
        "policy", "activate", str(house.file(candidate)), "--yes", "--accept", "refunds.large", who="olivia", code=4
    )
    assert "IT CHANGES WHAT IS RUN for: payout.create" in house.words
    assert "LOOSENED" in house.words
    assert "refunds.large" in house.words
    assert "5000 → 7500" in house.words
    assert "NOT ACCEPTED BY NAME BY ANYBODY BUT ITS AUTHOR: 5" in house.words
    act = re.search(r"(int-[0-9a-f-]+) waits for ", house.words)[1]
    shown = json.loads(house.run("approvals", "show", act, "--json", who="sven"))
    assert shown["activation"]["author"] == "olivia"
    assert shown["activation"]["accepted"][0]["codes"] == ["refunds.large"]
    house.run("approvals", "approve", act, "--yes", who="sven")
    house.run("operators", "finish", act, who="olivia")
    states = {row["digest"]: row["state"] for row in json.loads(house.run("policy", "ls", "--json", who="olivia"))}
    assert states == {oldest: "retired", candidate: "active"}

    # 4. what waited is asked again: its approvers are told that the terms are others now
    again = json.loads(house.run("approvals", "show", waiting, "--json", who="omar"))
    assert again["renewed"] == {"after": oldest, "same_terms": False}
    assert again["decision"]["round"] == 2
    house.run("approvals", "approve", waiting, "--yes", who="omar", code=4)

    # 5. the raised limit holds
    assert house.propose("refund-bot", refund(7_500, 50))["decision"]["standing"]["outcome"] == "allow"


@pytest.mark.campaign
def test_an_auditor_explains_the_oldest_decision_and_replays_everything(house, history, candidate):
    for role in ("warrant", "checkpoint", "policy"):
        exported = house.run("keys", "export", "--role", role, who="audrey")
        (house.root / f"{role}.json").write_text(exported)
        fingerprint = re.search(r"fingerprint (sha256:[0-9a-f]+)", house.words)[1]
        house.run("keys", "pin", f"{role}.json", "--fingerprint", fingerprint)

    # 1. why, a year later: which rule, where, what it saw, what would have changed it
    first = (history["loosened"][0], "--round", "1")  # since then it was asked again, and allowed
    told = house.run("policy", "explain", *first, who="audrey")
    assert re.search(r"refunds\.large +policies/refunds/refunds\.rego:\d+", told)
    assert "5001 -> 5000: allow" in told
    house.run("policy", "explain", *first, "--as-test", "decision_test.rego", who="audrey")
    assert "package tests" in (house.root / "decision_test.rego").read_text()

    # 2. everything asked again, of three bundles' worth of history
    told = house.run("replay", "--out", "certificate.json")
    assert told.rstrip().endswith("IDENTICAL")
    assert "authentic" in (house.run("replay", "--verify", "certificate.json"), house.words)[1]
    assert "identical" in house.run("replay", "--limit", "200", "--tz", "Pacific/Kiritimati")

    # 3. the certificate does not survive a changed figure
    said = json.loads((house.root / "certificate.json").read_bytes())
    said["counts"]["questions"] += 1
    (house.root / "forged.json").write_text(json.dumps(said, sort_keys=True, separators=(",", ":")))
    house.run("replay", "--verify", "forged.json", code=5)
    told = house.run("ledger", "verify")
    assert told.rstrip().endswith("VERIFIED")


@pytest.mark.campaign
def test_a_policy_that_locked_everybody_out_is_taken_back_by_two_on_the_stopped_service(house, history, candidate):
    oldest = house.bundles[0]
    why = ("--reason", "nobody can work")
    house.run("policy", "recover", oldest, *why, who="olivia", code=6)  # it runs: its folder is held
    house.stop()
    house.run("policy", "recover", oldest, *why, who="olivia", code=3)
    assert "2 operators must sign" in house.words
    house.run("policy", "recover", oldest, *why, "--sign", "omar.json", who="omar")
    house.run("policy", "recover", oldest, *why, "--signatures", "omar.json", who="olivia")
    house.start()

    states = {row["digest"]: row["state"] for row in json.loads(house.run("policy", "ls", "--json", who="olivia"))}
    assert states[oldest] == "active"
    assert house.propose("refund-bot", refund(7_500, 60))["decision"]["standing"]["outcome"] == "ask"
    told = house.run("ledger", "verify")
    assert "recovered after bundle: nobody can work" in told
    assert told.rstrip().endswith("VERIFIED")
    assert house.run("replay").rstrip().endswith("IDENTICAL")
    house.stop()
