"""One real service for all who pull from it."""

import pytest

from tests.pulling.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    made = House(tmp_path_factory.mktemp("pulling") / "house")
    try:
        made.start()
        made.set_up()
        yield made
    finally:
        made.close()
