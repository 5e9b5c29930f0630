"""The official release: the plain binary, checked against the SHA-256 published beside it."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from magistrate.core.errors import Broken, Unavailable

BASE: Final = "https://openpolicyagent.org/downloads"
MAX_BINARY: Final = 200 * 1024 * 1024  # three times today's
_TIMEOUT: Final = 30.0  # seconds of silence
_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def address(base: str, version: str) -> str:
    """Where the release for this machine lies. The files ending in `_static` are deprecated.

    Raises:
        Unavailable: `opa.platform`, there is none.
    """
    machine = _MACHINES.get(platform.machine().lower())
    if machine is None or sys.platform not in ("linux", "darwin"):
        raise Unavailable("opa.platform", f"there is no release for {sys.platform} on {platform.machine()}")
    return f"{base.rstrip('/')}/v{version}/opa_{sys.platform}_{machine}"


def published_digest(binary: str) -> str:
    """The SHA-256 (hex) that is published beside a binary.

    Raises:
        Unavailable: `opa.download`, it cannot be read.
    """
    with _opened(f"{binary}.sha256") as answer:
        text = answer.read(4096)
    found = re.match(rb"([0-9a-fA-F]{64})\b", text)
    if not found:
        raise Unavailable("opa.download", f"{binary}.sha256 holds no digest")
    return found[1].decode().lower()


def download(binary: str, sha256: str, folder: Path) -> Path:
    """Return a new file in `folder` that holds the binary, whole and with this digest.

    Raises:
        Unavailable: `opa.download`, it cannot be had or is cut off.
        Broken: `opa.checksum`, it is something else.
    """
    with tempfile.NamedTemporaryFile(prefix=".opa-", dir=folder, delete=False) as part:
        path = Path(part.name)
        try:
            _copy(binary, sha256, part)
        except BaseException:
            path.unlink()
            raise
    return path


def _copy(binary: str, sha256: str, part: IO[bytes]) -> None:
    digest, size = hashlib.sha256(), 0
    with _opened(binary) as answer:
        while piece := answer.read(1 << 20):
            size += len(piece)
            if size > MAX_BINARY:
                raise Unavailable("opa.download", f"{binary} is larger than {MAX_BINARY} bytes")
            digest.update(piece)
            part.write(piece)
        if answer.length:  # what its headers promised and did not come
            raise Unavailable("opa.download", f"{binary} was cut off: {answer.length} bytes are missing")
    if digest.hexdigest() != sha256:
        raise Broken("opa.checksum", f"{binary} has SHA-256 {digest.hexdigest()}, not the published {sha256}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never out of TLS and never to anything but a web server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Unavailable("opa.download", f"{url} is not an https address")


@contextmanager
def _opened(url: str) -> Iterator[HTTPResponse]:
    _check(url)
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(url, timeout=_TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        raise Unavailable("opa.download", f"{url}: HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        because = getattr(error, "reason", error)
        raise Unavailable("opa.download", f"{url}: {because}") from None
