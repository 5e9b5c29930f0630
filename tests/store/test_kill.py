"""`kill -9` of a writer in the middle of its load: whatever it had acknowledged is there, and the rest is whole."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from magistrate.core.errors import Absent
from magistrate.store.mark import read as read_mark
from magistrate.store.rebuild import rebuild
from magistrate.store.verify import verify_ledger

ROUNDS = 6
ACKNOWLEDGED = 50  # a round counts only with so many acknowledged before the kill

WRITER = """
import asyncio, sys, time
from pathlib import Path
from tests.store.conftest import House, intent

async def load(store):
    async def one(k):
        n = 0
        while True:
            n += 1
            entry = await store.commit(intent(f"{store.size}-{k}-{n}", owner=f"o{k}", words="x" * 1000))
            sys.stdout.write(f"{entry.index} {entry.leaf.hex()}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(one(k) for k in range(8)))

house = House(Path(sys.argv[1]))
house.clock = time.time
asyncio.run(load(house.open()))
"""


def killed_in_its_load(folder: Path, draw: random.Random) -> list[tuple[int, str]]:
    """Run the writer, kill it at a random moment, and return what it had acknowledged."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, cwd=root, text=True)
    try:
        lines = [child.stdout.readline() for _ in range(ACKNOWLEDGED)]
        time.sleep(draw.uniform(0, 0.4))
    finally:
        child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(int(index), leaf) for index, leaf in whole]


def test_what_was_acknowledged_outlives_the_process(house):
    seed = random.randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    size = 0
    for _ in range(ROUNDS):
        acknowledged = killed_in_its_load(house.folder, draw)
        assert len(acknowledged) >= ACKNOWLEDGED

        found = verify_ledger(house.path, origin=house.origin, key=house.key)
        assert found.size >= size + len(acknowledged)
        assert rebuild(house.path, house.fold).differences == ()
        assert read_mark(house.mark).size <= found.size
        store = house.open()
        assert store.stopped is None
        for index, leaf in acknowledged:
            try:
                assert store.entry(index).leaf.hex() == leaf
            except Absent as error:
                raise AssertionError(f"entry {index} was acknowledged and is gone") from error
        size = store.size
        store.close_now()
