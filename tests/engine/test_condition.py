"""One commit, one condition: what moved between OPA's answer and the commit is asked again, never acted on."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from magistrate.core.errors import Conflict, MagistrateError, Refused, Unavailable
from magistrate.core.promotion import NOTHING
from magistrate.engine import arming, gateway, halting, router
from magistrate.engine.installation import Word
from magistrate.executors import Outcome
from tests.support.world import DEPLOY, RESTART, SQL, beneath, refund


async def another_activation(world):
    """The active bundle is put on record anew: another author, the same rules."""
    active = world.row("installation", "active")
    digest, sequence = active.data["bundle"], active.data["sequence"]
    promotion = {"digest": digest, "sequence": sequence, "live_warrants": "keep", "intent_id": ""}
    body = {"event": "activated", "promotion": promotion}
    taken = {"event": "taken", "sequence": sequence, "contract": 1, "built": NOTHING.plain(), "by": "somebody"}

    def write(txn):
        if active.data["author"] == "":
            txn.append("bundle", digest, "archived", (), taken, "magistrate/bundle/v1")
            row = txn.row("bundles", digest)
            txn.layer.put("bundles", digest, state="active", data=row.data)
        txn.append("bundle", digest, "active", (), body, "magistrate/bundle/v1")

    await world.house.commit(write)


async def shut_and_open(world):
    await arming.put(world.house, armed=False, because="test")
    await arming.put(world.house, armed=True, because="test")


async def a_new_operator(world):
    n = world.row("installation", "people").data["operators"]
    body = {"event": "enrolled", "operator": {"id": f"new-{n}", "roles": [], "key_id": "", "public_key": ""}}
    await world.house.commit(
        lambda txn: txn.append("operator", f"new-{n}", "active", (), body, "magistrate/operator/v1")
    )


async def the_agent_moves(world):
    row = world.row("agents", "bot")
    body = {"event": "key", "agent": {"id": "bot"}, "credential": {}, "because": row.data["because"]}
    await world.house.commit(lambda txn: txn.append("agent", "bot", "active", (), body, "magistrate/agent/v1"))


def counter_moves(world):
    """Another refund of the same agent is recorded, past every queue."""

    async def change(_):
        head = f"refunded_today|{world.agent().id}"

        def write(txn):
            txn.append("alert", f"alr-{txn.size}", "open", (), {"code": "x", "about": "", "detail": "", "by": ""})
            row = txn.row("counters", head)
            txn.layer.put("counters", head, state="head", owner="", data=row.data if row else {})

        world.expected = "INVALID"  # a row was moved without an entry: only here, to be sure that it counts
        await world.house.commit(write)

    return change


MOVES = {
    "gate": shut_and_open,
    "bundle": another_activation,
    "people": a_new_operator,
    "agent": the_agent_moves,
}


def unsound(world, what):
    """What the test appends past the acts is nothing an examination accepts."""
    if what in ("people", "agent", "bundle"):
        world.expected = "INVALID"


@pytest.mark.parametrize("what", MOVES)
async def test_an_intent_is_asked_again_when_something_moved(world, what):
    unsound(world, what)
    asked = world.between("decision", lambda: MOVES[what](world))
    shown = await world.propose(RESTART)
    assert len(asked) == 2
    assert asked[0].question != asked[1].question or what in ("gate", "agent")
    assert shown.warrant is not None
    decided = world.entries("decision", shown.intent["intent_id"])
    assert [e.content()["asked"][0]["question"] for e in decided] == [asked[1].question]
    assert len(world.entries("intent", shown.intent["intent_id"])) == 1
    assert world.house.store.row("intents", asked[0].question["intent"]["intent_id"]) is None


@pytest.mark.parametrize("what", MOVES)
async def test_an_approval_is_asked_again_when_something_moved(world, what):
    unsound(world, what)
    shown = await world.propose(SQL)
    if what == "bundle":
        world.between("decision", lambda: MOVES[what](world))
        # another activation makes the owner of it its author; the same digest keeps the round
    asked = world.between("approval" if what == "agent" else "decision", lambda: MOVES[what](world))
    said = await world.say(shown, world.able(shown)[0])
    assert len(asked) == 2
    assert said.decision["standing"]["outcome"] == "ask"
    assert len(world.entries("approval", shown.intent["intent_id"])) == 1


@pytest.mark.parametrize("what", ["gate", "agent", "revoked", "quarantined"])
async def test_a_use_is_asked_again_when_something_moved(world, what):
    unsound(world, what)
    warrant = await world.warrant(RESTART)
    change = {
        **MOVES,
        "revoked": lambda w: halting.revoke(w.house, warrant["warrant_id"], Word("ann", "x")),
        "quarantined": lambda w: halting.quarantine(w.house, "bot", Word("ann", "x")),
    }[what]
    asked = world.between("admission", lambda: change(world))
    if what in ("gate", "agent"):
        await world.finished(await world.redeem(warrant))
    else:
        with pytest.raises(Refused):
            await world.redeem(warrant)
        assert world.fleet.services["api-gateway"]["restarts"] == 0
        assert world.entries("admission")[-1].content()["warrant_id"] != warrant["warrant_id"]
    assert len(asked) == 2
    assert asked[0].answer["admit"] is True


async def test_an_agent_quarantined_while_opa_answers_gets_no_warrant(world):
    asked = world.between("decision", lambda: halting.quarantine(world.house, "bot", Word("ann", "x")))
    shown = await world.propose(RESTART)
    assert [one.answer["standing"]["outcome"] for one in asked] == ["allow", "deny"]
    assert shown.warrant is None


async def test_an_agent_quarantined_while_the_last_approval_is_weighed_gets_no_warrant(world):
    shown = await world.propose(DEPLOY)
    people = world.able(shown)[: beneath(shown.decision)]
    for who in people[:-1]:
        shown = await world.say(shown, who)
    asked = world.between("decision", lambda: halting.quarantine(world.house, "bot", Word("ann", "x")))
    said = await world.say(shown, people[-1])
    assert [one.answer["standing"]["outcome"] for one in asked] == ["allow", "deny"]
    assert said.warrant is None


async def test_an_operator_suspended_while_their_word_is_weighed_is_not_heard(world):
    shown = await world.propose(DEPLOY)
    who = world.able(shown)[0]
    suspending = await world.administer("operator.suspend", {"operator": who}, by="emma")
    asked = world.between("decision", lambda: world.redeem(suspending.warrant))
    with pytest.raises(Refused, match=r"approval\.not_yours"):
        await world.say(shown, who)
    assert len(asked) == 1
    row = world.row("intents", shown.intent["intent_id"])
    assert (row.state, row.data["approvals"]) == ("waiting", [])


async def test_a_roles_change_while_a_word_is_weighed_is_asked_again(world):
    shown = await world.propose(DEPLOY)
    who = world.able(shown)[0]
    stripping = await world.administer("operator.roles", {"operator": who, "roles": []}, by="emma")
    world.between("decision", lambda: world.redeem(stripping.warrant))
    with pytest.raises(Refused) as no:
        await world.say(shown, who)
    assert no.value.reasons
    assert world.row("intents", shown.intent["intent_id"]).data["approvals"] == []


async def test_an_intent_cancelled_while_the_last_word_is_weighed_stays_so(world):
    """The queue of the intent is stood in; this is for a writer beside it."""
    shown = await world.propose(DEPLOY)
    people = world.able(shown)[: beneath(shown.decision)]
    for who in people[:-1]:
        shown = await world.say(shown, who)
    id_ = shown.intent["intent_id"]
    world.between("decision", lambda: gateway._end(world.house, id_, "cancelled", "beside"))
    with pytest.raises(Conflict, match=r"intent\.state"):
        await world.say(shown, people[-1])
    assert world.state("intents", id_) == "cancelled"
    assert world.house.store.row("warrants", id_.replace("int-", "wrt-")) is None


async def test_a_counter_that_moved_is_asked_again(world):
    change = counter_moves(world)
    asked = world.between("decision", lambda: change(world))
    shown = await world.propose(refund(1))
    assert len(asked) == 2
    assert shown.warrant is not None


@pytest.mark.parametrize("document", ["decision", "admission"])
async def test_after_five_times_nothing_is_written(world, document):
    warrant = await world.warrant(RESTART)
    asked = world.between(document, lambda: shut_and_open(world), times=99)
    with pytest.raises(Unavailable, match=r"facts\.contended"):
        await (world.propose(RESTART) if document == "decision" else world.redeem(warrant))
    assert len(asked) == 5
    assert world.row("warrants", warrant["warrant_id"]).data["uses_left"] == warrant["uses"]
    for one in asked:
        if document == "decision":
            assert world.house.store.row("intents", one.question["intent"]["intent_id"]) is None


async def test_after_five_times_an_approval_may_be_sent_again(world):
    shown = await world.propose(DEPLOY)
    who = world.able(shown)[0]
    word = world.word(shown, who)
    asked = world.between("decision", lambda: shut_and_open(world), times=5)
    with pytest.raises(Unavailable, match=r"facts\.contended"):
        await world.send(shown.intent["intent_id"], word, who)
    assert len(asked) == 5
    assert world.row("intents", shown.intent["intent_id"]).data["approvals"] == []
    assert await world.send(shown.intent["intent_id"], word, who)


# -- races


async def race(world, warrants, clients):
    """Every client uses every warrant at the same time as all others."""
    tried = [world.redeem(warrant) for warrant in warrants for _ in range(clients)]
    came = await asyncio.gather(*tried, return_exceptions=True)
    won = [one for one in came if isinstance(one, dict)]
    lost = [one for one in came if not isinstance(one, dict)]
    assert all(isinstance(one, MagistrateError) for one in lost), [
        o for o in lost if not isinstance(o, MagistrateError)
    ]
    return won, lost


def light(world):
    """Executors and probes that only count: the race is for the warrants."""
    ran = []

    class Light:
        def __init__(self, _, warrant, execution_id):
            self.kind, self.row, self.unseen = "http", {}, ()
            self._warrant, self._id = warrant, execution_id

        async def probe(self, _):
            return ()

        async def attempt(self, *_):
            ran.append(self._warrant["warrant_id"])
            return Outcome("succeeded")

    return ran, Light


async def test_sixteen_clients_race_for_each_of_fifty_warrants(world, monkeypatch):
    warrants = [await world.warrant(RESTART) for _ in range(50)]
    ran, deed = light(world)
    monkeypatch.setattr(router, "Deed", deed)
    world.instead("admission", {"admit": True, "violations": []})  # no bundle sees the race: the condition must

    won, lost = await race(world, warrants, 16)
    for execution in won:
        await world.finished(execution)

    uses = {w["warrant_id"]: w["uses"] for w in warrants}
    assert len(won) == sum(uses.values())
    assert len(lost) == 16 * 50 - len(won)
    assert {id_: ran.count(id_) for id_ in uses} == uses
    admitted = [e.content() for e in world.entries("admission") if e.content()["warrant_id"] in uses]
    assert len({(a["warrant_id"], a["use"]) for a in admitted}) == len(admitted) == len(won)


async def test_without_the_queue_the_condition_alone_holds_the_uses(world, monkeypatch):
    warrants = [await world.warrant(RESTART) for _ in range(5)]
    ran, deed = light(world)
    monkeypatch.setattr(router, "Deed", deed)
    world.instead("admission", {"admit": True, "violations": []})

    @asynccontextmanager
    async def no_queue(*_):
        yield

    world.house.turn = no_queue
    won, lost = await race(world, warrants, 16)
    assert len(won) + len(lost) == 16 * len(warrants)
    for execution in won:
        await world.finished(execution)
    for warrant in warrants:
        row = world.row("warrants", warrant["warrant_id"])
        assert ran.count(warrant["warrant_id"]) == warrant["uses"] - row.data["uses_left"] <= warrant["uses"]
    assert len(won) == len(ran)


async def test_many_approvals_at_once_make_one_warrant(world):
    for _ in range(3):
        shown = await world.propose(SQL)
        id_ = shown.intent["intent_id"]
        words = [(who, world.word(shown, who)) for who in world.able(shown)]
        came = await asyncio.gather(*(world.send(id_, word, who) for who, word in words), return_exceptions=True)
        assert [one.warrant is not None for one in came if not isinstance(one, Exception)].count(True) == 1
        assert len(world.entries("warrant", id_.replace("int-", "wrt-"))) == 1


async def test_yes_and_no_at_once_come_to_one_end(world):
    for _ in range(3):
        shown = await world.propose(DEPLOY)
        id_ = shown.intent["intent_id"]
        yes = world.able(shown)[: beneath(shown.decision)]
        await asyncio.gather(
            *(world.say(shown, who) for who in yes),
            world.say(shown, "rolf", "deny"),
            gateway.cancel(world.house, id_, Word("bot", "x")),
            return_exceptions=True,
        )
        state = world.state("intents", id_)
        assert state in ("warranted", "denied", "cancelled")
        warrant = world.house.store.row("warrants", id_.replace("int-", "wrt-"))
        assert (warrant is not None) == (state == "warranted")
