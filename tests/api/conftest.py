import pytest

from tests.api.house import bare, begin


@pytest.fixture
async def unset(tmp_path):
    """A house that nobody has set up yet."""
    async with bare(tmp_path) as home:
        yield home


@pytest.fixture
async def home(unset):
    """A house that is set up and armed, with its usual people."""
    await begin(unset)
    return unset
