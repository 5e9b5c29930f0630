"""The engine on a real OPA: one event loop and one OPA for the session, one copy of a furnished folder for each test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import world as worlds
from tests.support.rename import renamed

HERE = Path(__file__).parent
QUIETLY = ("-q", "--tb=short", "--no-header", "-p", "no:cacheprovider")


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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _one_for_all(tmp_path_factory, ground):
    async with worlds.live(tmp_path_factory.mktemp("shared") / "world", ground) as made:
        yield made


@pytest.fixture
def shared(_one_for_all, handler):
    """One world for all tests of a module that change nothing another of them could meet: refusals, above all."""
    handler.fleet = _one_for_all.fleet
    return _one_for_all


class UnderOtherNames:
    """The suite on a renamed copy of the Rego, in a process of its own beside this one."""

    def __init__(self, folder):
        self._folder = folder
        self._process = None

    def begin(self):
        if self._process is not None:
            return
        mapping = renamed(self._folder / "rego", worlds.rego())
        bootable(self._folder / "rego", mapping)
        said = {"tiers": mapping.tiers, "roles": mapping.roles, "codes": mapping.codes}
        assert all(said.values())
        (self._folder / "names.json").write_text(json.dumps(said))
        settings = {
            "MAGISTRATE_TEST_REGO": str(self._folder / "rego"),
            worlds.NAMES: str(self._folder / "names.json"),
        }
        with (self._folder / "told").open("wb") as told:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", str(HERE), "--ignore", str(HERE / "test_renamed.py"), *QUIETLY],
                cwd=HERE.parents[1],
                # not measured: each line it reaches is reached by the same test under the first names
                env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV"))} | settings,
                stdout=told,
                stderr=subprocess.STDOUT,
            )

    def ended(self):
        """Its exit code and what it said."""
        self.begin()
        code = self._process.wait()
        return code, (self._folder / "told").read_text(errors="replace")

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def bootable(folder, mapping):
    """Let the tier of administration ask for one operator, as before: at first there is no second one to enrol another."""
    path = folder / "tiers" / "data.json"
    tiers = json.loads(path.read_text())
    for old, row in json.loads((worlds.rego() / "tiers" / "data.json").read_text()).items():
        requirement = row["requirement"]
        if requirement["all_of"] and "proposer" not in requirement["exclude"]:
            tiers[mapping[old]]["requirement"]["all_of"] = [
                {**made, "count": asked["count"]}
                for asked, made in zip(requirement["all_of"], tiers[mapping[old]]["requirement"]["all_of"], strict=True)
            ]
    path.write_text(json.dumps(tiers))


@pytest.fixture(scope="session", autouse=True)
def under_other_names(request, tmp_path_factory):
    """Begun with the first test where it is wanted at all: a machine has more than one core. Workers begin it late."""
    run = UnderOtherNames(tmp_path_factory.mktemp("renamed"))
    wanted = any(item.path.name == "test_renamed.py" for item in request.session.items)
    if wanted and "PYTEST_XDIST_WORKER" not in os.environ:
        run.begin()
    yield run
    run.stop()
