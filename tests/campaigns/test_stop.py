"""An orderly end under load, and every way of starting: again, twice, after a crash, beside a stranger, far down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from magistrate.core.merkle import verify_consistency
from magistrate.core.state import fold
from magistrate.store.reads import Reader
from magistrate.store.rebuild import rebuild
from magistrate.store.rows import Row
from magistrate.store.verify import verify_ledger
from tests.campaigns.load import Load, Told
from tests.support import processes
from tests.support.service import AGENTS, AUDITOR, Service, service

END_SECONDS = 10.0
SECOND_START = 3.0  # promised on a machine that does nothing else
PATIENCE = 5  # how much slower a busy machine may be
LOCKER = "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600); fcntl.flock(h, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("number", "seconds", "far"),
    [(signal.SIGTERM, 90, 0), (signal.SIGINT, 0, 150)],
    ids=["SIGTERM, long programs", "Ctrl-C, a path of 150 characters"],
)
def test_told_to_end_under_load_it_finishes_and_leaves_nothing(tmp_path, number, seconds, far):
    told = Told()
    data = tmp_path / "far" / ("d" * max(1, far - len(os.fsencode(tmp_path / "far")) - 1))
    assert len(os.fsencode(data)) >= far
    with service(tmp_path / "s", data=data) as at:
        watch = processes.Watch(at.pid)
        load = Load(at, told).agents(6).batches(seconds, 0.2).auditor()
        load.wait_for(20)
        began = time.monotonic()
        at.signal(number)
        code = at.wait(30)
        took = time.monotonic() - began
        load.end()
        left = processes.left_after(watch.end(), 0.5)
        print(
            f"{signal.Signals(number).name}: exit {code} after {took:.2f} s; {told.acknowledged} acknowledged, ", end=""
        )
        print(f"{len(told.in_flight)} unanswered, refused {dict(told.refusals())}")
        assert code == 0
        assert took < END_SECONDS
        assert not left
        assert not (at.data / "service.json").exists()
        hold_all_ended(at, told)
        again = at.start()
        print(f"  started again in {again:.2f} s")
        assert again < SECOND_START * PATIENCE
        with at.client(AUDITOR) as client:
            states = {e["execution_id"]: e["state"] for e in client.all("/v1/executions")}
        assert {states[e["execution_id"]] for e in told.executions()} <= {"succeeded", "halted", "failed"}


def hold_all_ended(at: Service, told: Told) -> None:
    """Nothing was left undone: all that was promised is there, and everything that started has its end on record."""
    found = verify_ledger(at.ledger, known=told.checkpoints[-20:])
    assert rebuild(at.ledger, fold).differences == ()
    with closing(Reader(at.ledger)) as reader:
        for seen in told.checkpoints:
            path = reader.consistency(seen.size, found.size)
            verify_consistency(seen.size, seen.root, found.size, found.root, path)
        for intent in told.intents():
            assert reader.row("intents", intent["intent"]["intent_id"]) is not None
        for execution in told.executions():
            assert reader.row("executions", execution["execution_id"]) is not None
        asked = {intent["intent"]["intent_id"] for intent in told.intents()}
        asked |= {execution["execution_id"] for execution in told.executions()}
        unanswered = {row.id for table in ("intents", "executions") for row in rows_of_agents(reader, table)} - asked
        assert not unanswered, "what was in flight was done, and nobody was told"
        assert [row.id for state in ("started", "halting") for row in reader.rows("executions", state=state)] == []


def rows_of_agents(reader: Reader, table: str) -> Iterator[Row]:
    """All rows that agents own, page by page."""
    for agent in AGENTS:
        after = None
        while page := reader.rows(table, owner=agent, after=after, limit=1000):
            yield from page
            after = page[-1].id


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """One for all ways of starting: nobody needs to be enrolled for them."""
    with service(tmp_path_factory.mktemp("starts") / "s", people=False) as at:
        yield at


@pytest.fixture
def at(installation):
    """It runs."""
    if installation.now is None:
        installation.start()
    return installation


def test_a_second_up_names_the_running_one(at):
    code, said = at.run("up", "--demo", "--no-people", "--port", "0")
    assert (code, at.url in said) == (0, True), said


def test_a_folder_somebody_else_holds_is_refused(at):
    at.stop()
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(at.data / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as locker:
        assert locker.stdout.readline() == "held\n"
        code, said = at.run("up", "--demo", "--no-people", "--port", "0")
        locker.stdin.close()
    assert code == 6, said
    assert "error: " in said
    assert "in use by another process" in said
    assert "hint: " in said


class Stranger(BaseHTTPRequestHandler):
    """Some other program, at the port where the service once was."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_address_a_killed_service_left_is_nobodys_or_a_strangers(at):
    at.kill()
    left = json.loads((at.data / "service.json").read_bytes())
    code, said = at.run("status")
    assert code == 6, said
    with HTTPServer(("127.0.0.1", 0), Stranger) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            left["url"] = f"http://127.0.0.1:{other.server_address[1]}"
            (at.data / "service.json").write_text(json.dumps(left))
            assert at.start() < SECOND_START * PATIENCE
            assert at.url != left["url"]
        finally:
            other.shutdown()
            thread.join()


def test_killed_with_its_demo_it_leaves_no_target(at):
    at.stop()
    at.now = at.launched([sys.executable, "-m", "magistrate", "up", "--demo", "--ephemeral", "--port", "0"])
    at.said(" is open ")
    started = at.descendants()
    assert any("magistrate.demo.target" in one.line for one in started)
    at.kill()
    assert not processes.left_after(started, 2.0)
