"""The engine on a real OPA: one event loop and one OPA for the session, one copy of a furnished folder for each test."""

from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import world as worlds

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """All of these tests share one loop: an OPA that was started belongs to the loop that started it."""
    shared = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(shared, append=False)


@pytest.fixture(scope="session")
def handler():
    with worlds.fleet_server() as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool():
    made = worlds.Pool()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground(tmp_path_factory, pool, handler):
    """Where every test starts: set up, everybody enrolled."""
    return await worlds.ground_of(tmp_path_factory.mktemp("ground"), worlds.built(worlds.rego()), pool, handler)


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path, ground):
    async with worlds.live(tmp_path / "world", ground) as made:
        yield made
