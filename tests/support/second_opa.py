"""An OPA that somebody else runs, which pulls its bundle; and a relay between it and the service, which can lie."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.opa_server import Rego
from tests.support.rego_tools import opa

PATIENCE = 30.0  # seconds a loaded machine may take
TOKEN = "OPA_PULL_TOKEN"
LOADED = "Bundle loaded and activated successfully"

Change = Callable[[bytes], bytes]


class SecondOpa:
    """One OPA with a configuration file, asked over a socket of its own."""

    def __init__(self, folder: Path, configuration: str, token: str) -> None:
        self._words = folder / "words"
        (folder / "opa.yaml").write_text(configuration)
        self._process = subprocess.Popen(
            [
                *(opa(), "run", "--server", "--config-file", "opa.yaml", "--addr", "unix://s"),
                *("--skip-version-check", "--log-format", "json", "--log-level", "info"),
            ],
            cwd=folder,
            env={"TZ": "UTC", TOKEN: token},
            stdout=subprocess.DEVNULL,
            stderr=self._words.open("wb"),
        )
        self.rego = Rego(str(folder / "s"))
        until((folder / "s").exists)

    def heard(self) -> list[dict[str, Any]]:
        """What it has said so far, line by line."""
        whole = self._words.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]

    def says(self, words: str, *, times: int = 1) -> None:
        """Return once it has said this so often.

        Raises:
            AssertionError: it ended instead, or never did.
        """
        until = time.monotonic() + PATIENCE
        while sum(words in json.dumps(line, ensure_ascii=False) for line in self.heard()) < times:
            gone = self._process.poll() is not None or time.monotonic() > until
            assert not gone, f"not {words!r}, but {self._words.read_text()}"
            time.sleep(0.02)

    def active(self) -> int:
        """How often it has activated a bundle."""
        return sum(LOADED in line.get("msg", "") for line in self.heard())

    def empty(self) -> bool:
        """Whether it has no bundle: nothing is defined, and it does not call itself healthy."""
        link = self.rego._link
        link.request("POST", "/v1/data/magistrate/access", "{}", {"Content-Type": "application/json"})
        undefined = "result" not in json.loads(link.getresponse().read())
        link.request("GET", "/health?bundles")
        answer = link.getresponse()
        answer.read()
        return undefined and answer.status == 500

    def close(self) -> None:
        self.rego.close()
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def second_opa(configuration: str, token: str) -> Iterator[SecondOpa]:
    """It runs for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="second-") as folder:
        made = SecondOpa(Path(folder), configuration, token)
        try:
            yield made
        finally:
            made.close()


class Relay:
    """Passes requests on to a service, and its answers back through `change`."""

    def __init__(self, url: str) -> None:
        self.change: Change = lambda raw: raw
        self.afresh = False  # ask the service for the whole answer, whatever the client has
        self.answers: list[tuple[int, int]] = []  # status, and bytes of the body
        self.asked: list[dict[str, str]] = []
        relay = self

        class Between(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay.pass_on(self, url)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def pass_on(self, to: BaseHTTPRequestHandler, url: str) -> None:
        kept = ("authorization", "if-none-match", "prefer")
        sent = {name: value for name, value in to.headers.items() if name.lower() in kept}
        self.asked.append(sent)
        wanted = {name: value for name, value in sent.items() if not (self.afresh and name.lower() == "if-none-match")}
        status, headers, raw = fetched(url + to.path, wanted)
        changed = self.change(raw) if status == 200 else raw
        if changed != raw:  # else a client that was told the truth once would never see the lie
            headers["etag"] = f'"{len(self.answers)}"'
        self.answers.append((status, len(changed)))
        to.send_response(status)
        for name in ("etag", "content-type"):
            if name in headers:
                to.send_header(name, headers[name])
        if status != 304:
            to.send_header("content-length", str(len(changed)))
        to.end_headers()
        to.wfile.write(changed)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    """It listens for as long as the block lasts."""
    made = Relay(url)
    try:
        yield made
    finally:
        made.close()


def until(true: Callable[[], Any]) -> None:
    """Return once it is so.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def fetched(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """One GET: status, header fields by lower-case name, body; whatever the status says."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as no:
        with no:
            return no.code, {k.lower(): v for k, v in no.headers.items()}, no.read()
