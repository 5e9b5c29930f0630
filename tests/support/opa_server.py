"""A plain OPA on a Unix socket with one bundle built from a Rego tree, for tests of the Rego itself."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.rego_tools import IGNORED, REGO, opa, run

PATIENCE = 10.0  # seconds a loaded machine may take to start OPA


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("opa", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Rego:
    """Asks the documents of one running bundle, strictly."""

    def __init__(self, path: str) -> None:
        self._link = _OverSocket(path)

    def ask(self, document: str, question: dict[str, Any]) -> Any:
        """The answer of `data.magistrate.<document>`.

        Raises:
            AssertionError: OPA erred, warned, or gave nothing.
        """
        return self.strictly(f"magistrate/{document}", question)

    def strictly(self, path: str, question: dict[str, Any]) -> Any:
        """What stands at a path of data for this input, builtin errors being errors.

        Raises:
            AssertionError: OPA erred, warned, or gave nothing.
        """
        body = json.dumps({"input": question})
        self._link.request(
            "POST",
            f"/v1/data/{path}?strict-builtin-errors=true",
            body,
            {"Content-Type": "application/json"},
        )
        answer = self._link.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200 or "result" not in said or "warning" in said:
            raise AssertionError(f"{answer.status} {said}")
        return said["result"]

    def value(self, path: str) -> Any:
        """What the bundle holds at a path of data."""
        self._link.request("GET", f"/v1/data/{path}")
        return json.loads(self._link.getresponse().read())["result"]

    def close(self) -> None:
        self._link.close()


def built(folder: Path, rego: Path = REGO) -> Path:
    """The bundle of a tree, as it ships: without tests, schemas and capabilities.

    Raises:
        AssertionError: it does not build.
    """
    target = folder / "bundle.tar.gz"
    ran = run("build", "-b", ".", "--ignore", "*_test.rego", *IGNORED, "-o", str(target), cwd=rego)
    if ran.returncode != 0:
        raise AssertionError(ran.stdout + ran.stderr)
    return target


@contextmanager
def served(rego: Path = REGO) -> Iterator[Rego]:
    """Serve the tree's bundle for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="opa-") as folder:  # short: a socket's path ends at 108 bytes
        address = str(Path(folder) / "s")
        arguments = [opa(), "run", "-s", "-b", str(built(Path(folder), rego)), "-a", f"unix://{address}"]
        quiet = ["--skip-version-check", "--log-level", "error"]
        with subprocess.Popen(
            [*arguments, *quiet], env={"TZ": "UTC"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            link = Rego(address)
            try:
                _await(link, process)
                yield link
            finally:
                link.close()
                process.terminate()


def _await(link: Rego, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        try:
            link.value("catalogue")
        except (OSError, http.client.HTTPException, KeyError):
            link.close()
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"OPA did not start: {process.poll()}")
