"""The way through the house, once, as it is meant to go."""

from tests.support.world import DEPLOY, RESTART


async def test_from_intent_to_verified_execution(world):
    row = await world.done(RESTART)

    assert (row.state, row.data["verdict"]) == ("succeeded", "conforming")
    assert world.fleet.services["api-gateway"]["restarts"] == 1


async def test_from_intent_through_approvals_to_verified_execution(world):
    row = await world.done(DEPLOY)

    assert (row.state, row.data["verdict"]) == ("succeeded", "conforming")
    assert world.fleet.services["api-gateway"]["version"] == "2.4.1"
