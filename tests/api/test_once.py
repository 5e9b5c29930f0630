"""One effect for one key."""

import asyncio

import pytest

from magistrate.engine import recovery
from tests.api.house import LEAD, proposal, redemption, word

KEY = "key-12345678"


async def test_the_same_request_is_answered_again_not_done_again(home):
    first = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    before = home.size
    second = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert home.size == before


async def test_another_request_under_the_key_is_refused(home):
    await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    before = home.size
    other = await home.call("bot", "POST", "/v1/intents", proposal(reason="else"), idempotency_key=KEY)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency.mismatch")
    assert home.size == before


async def test_a_key_is_its_owners(home):
    first = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    second = await home.call("other", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    assert second.status_code == 201
    assert second.json()["intent"]["intent_id"] != first.json()["intent"]["intent_id"]


async def test_identical_requests_racing_have_one_effect(home):
    before = home.size
    answers = await asyncio.gather(
        *(home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY) for _ in range(10))
    )
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert home.size == before + 3
    assert sum("idempotency-replayed" in a.headers for a in answers) == 9


async def test_a_repeated_redemption_is_never_a_second_use(home):
    warrant = (await home.intent())["warrant"]
    answers = await asyncio.gather(
        *(home.call("bot", "POST", "/v1/executions", redemption(warrant), idempotency_key=KEY) for _ in range(5))
    )
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert home.house.store.row("warrants", warrant["warrant_id"]).data["uses_left"] == 1
    answer = await home.call("bot", "POST", "/v1/executions", redemption(warrant), idempotency_key="another-key")
    assert answer.json()["execution_id"] != answers[0].json()["execution_id"]


async def test_one_key_does_not_reach_from_one_object_to_the_next(home):
    made = [await home.execution(), await home.execution()]
    paths = [f"/v1/executions/{e['execution_id']}/report" for e in made]
    said = {"outcome": "succeeded", "facts": {}}
    assert (await home.call("bot", "POST", paths[0], said, idempotency_key=KEY)).status_code == 201
    again = await home.call("bot", "POST", paths[0], said, idempotency_key=KEY)
    assert again.headers["idempotency-replayed"] == "true"
    other = await home.call("bot", "POST", paths[1], said, idempotency_key=KEY)
    assert other.json()["code"] == "idempotency.mismatch"
    assert home.house.store.row("executions", made[1]["execution_id"]).state == "started"


async def test_an_approval_sent_again_is_the_same_approval(home):
    made = await home.intent(action="note.ask")
    given = word(made, LEAD, "lead-1", home.house.now())
    first = await home.call(LEAD, "POST", made["links"]["approvals"], given, idempotency_key=KEY)
    again = await home.call(LEAD, "POST", made["links"]["approvals"], given, idempotency_key=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content


async def test_an_observation_sent_again_is_not_seen_twice(home):
    made = await home.execution()
    path = f"/v1/executions/{made['execution_id']}/observations"
    said = {"phase": "after", "facts": {"n": 1}}
    for _ in range(3):
        assert (await home.call("mesh-watch", "POST", path, said, idempotency_key=KEY)).status_code == 201
    assert len(home.house.store.row("executions", made["execution_id"]).data["observations"]) == 1


async def test_no_failure_is_kept(home):
    home.table.silent = True
    failed = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    assert failed.status_code == 503
    home.table.silent = False
    made = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    assert made.status_code == 201
    assert "idempotency-replayed" not in made.headers


async def test_a_denial_by_policy_is_an_answer_and_kept(home):
    first = await home.call("bot", "POST", "/v1/intents", proposal("note.burn"), idempotency_key=KEY)
    assert first.json()["decision"]["standing"]["outcome"] == "deny"
    again = await home.call("bot", "POST", "/v1/intents", proposal("note.burn"), idempotency_key=KEY)
    assert again.content == first.content


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "caf\u00e9-12345678"])
async def test_a_key_has_its_form(home, key):
    headers = [
        ("authorization", f"Bearer {home.keys['bot']}"),
        ("content-type", "application/json"),
        ("idempotency-key", key.encode("latin-1")),
    ]
    answer = await home.http.post("/v1/intents", json=proposal(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency.key")


async def test_an_answer_kept_by_another_process_meanwhile_is_given(home):
    first = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    store, kept = home.house.store, home.house.store.answer
    looks = 0

    def late(scope, key):
        nonlocal looks
        looks += 1
        return None if looks == 1 else kept(scope, key)

    store.answer = late
    second = await home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=KEY)
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"


async def test_a_request_that_gives_up_in_the_queue_frees_nobody_elses_turn(home):
    turn = home.house.turn
    order = []

    async def work(name, seconds):
        async with turn("x"):
            order.append(f"{name} in")
            await asyncio.sleep(seconds)
            order.append(f"{name} out")

    first = asyncio.create_task(work("first", 0.1))
    await asyncio.sleep(0)
    second = asyncio.create_task(work("second", 0))
    third = asyncio.create_task(work("third", 0))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert order == ["first in", "first out", "third in", "third out"]
    assert not home.house._turns


async def test_a_recovery_sent_again_is_answered_again_not_refused(home):
    home.house.clock._offset -= 3600  # the wall clock ran an hour ahead
    given = {"what": "clock", "to": "", "reason": "it was set", "operator": "lead-1", "signer": LEAD}
    said = recovery.statement(home.house.store, home.house.origin, **given, at=home.house.now())
    first = await home.call(LEAD, "POST", "/v1/recoveries", said, idempotency_key=KEY)
    size = home.size
    again = await home.call(LEAD, "POST", "/v1/recoveries", said, idempotency_key=KEY)
    other = await home.call(LEAD, "POST", "/v1/recoveries", {**said, "reason": "else"}, idempotency_key=KEY)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency.mismatch")
    assert home.size == size
