"""The official release is taken only whole, and only with the digest published beside it."""

import hashlib
import http.server
import platform
import socket
import sys
import threading

import pytest

from magistrate.core.errors import Broken, Unavailable
from magistrate.policy import release

PROGRAM = b"\x7fELF" + bytes(range(256)) * 4096
DIGEST = hashlib.sha256(PROGRAM).hexdigest()


class Site(http.server.ThreadingHTTPServer):
    """Serves what `pages` says: path -> (status, headers, body), or a callable that takes the handler."""

    daemon_threads = True

    def __init__(self):
        self.pages = {}
        self.seen = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        page = self.server.pages.get(self.path, (404, {}, b"nothing here"))
        if callable(page):
            page(self)
            return
        status, headers, body = page
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def binary_url(site):
    address = release.address(site.base, "1.22.2")
    path = address.removeprefix(site.base)
    site.pages[path] = (200, {}, PROGRAM)
    site.pages[path + ".sha256"] = (200, {}, f"{DIGEST}  opa_linux_amd64\n".encode())
    return address


def left(folder):
    return list(folder.iterdir())


def test_the_plain_binary_of_this_machine_is_asked_for():
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]

    assert release.address(release.BASE + "/", "1.22.2") == (
        f"https://openpolicyagent.org/downloads/v1.22.2/opa_{sys.platform}_{machine}"
    )


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("win32", "AMD64"), ("plan9", "x86_64")])
def test_a_machine_without_a_release_is_told_so(monkeypatch, system, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)

    with pytest.raises(Unavailable, match=r"opa\.platform"):
        release.address(release.BASE, "1.22.2")


def test_the_right_file_arrives_whole(site, binary_url, tmp_path):
    assert release.published_digest(binary_url) == DIGEST

    path = release.download(binary_url, DIGEST, tmp_path)

    assert path.read_bytes() == PROGRAM
    assert left(tmp_path) == [path]


@pytest.mark.parametrize("text", [b"", b"<html>", DIGEST[:63].encode(), DIGEST.encode() + b"0", b"x" + DIGEST.encode()])
def test_a_digest_that_is_none_is_refused(site, binary_url, text):
    site.pages[binary_url.removeprefix(site.base) + ".sha256"] = (200, {}, text)

    with pytest.raises(Unavailable, match=r"opa\.download"):
        release.published_digest(binary_url)


def test_an_upper_case_digest_is_the_same(site, binary_url):
    site.pages[binary_url.removeprefix(site.base) + ".sha256"] = (200, {}, DIGEST.upper().encode())

    assert release.published_digest(binary_url) == DIGEST


def test_another_file_is_refused(site, binary_url, tmp_path):
    site.pages[binary_url.removeprefix(site.base)] = (200, {}, PROGRAM[:-1] + b"\0")

    with pytest.raises(Broken) as broken:
        release.download(binary_url, DIGEST, tmp_path)

    assert broken.value.code == "opa.checksum"
    assert left(tmp_path) == []


def test_a_file_cut_off_half_way_is_refused(site, binary_url, tmp_path):
    half = (200, {"Content-Length": str(len(PROGRAM))}, PROGRAM[: len(PROGRAM) // 2])

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", half[1]["Content-Length"])
        handler.end_headers()
        handler.wfile.write(half[2])
        handler.connection.shutdown(socket.SHUT_RDWR)

    site.pages[binary_url.removeprefix(site.base)] = cut

    with pytest.raises(Unavailable) as refused:
        release.download(binary_url, DIGEST, tmp_path)

    assert refused.value.code == "opa.download"
    assert "cut off" in refused.value.detail
    assert left(tmp_path) == []


def test_a_cut_file_without_a_length_is_refused_by_its_digest(site, binary_url, tmp_path):
    def cut(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(PROGRAM[:1000])
        handler.connection.shutdown(socket.SHUT_RDWR)

    site.pages[binary_url.removeprefix(site.base)] = cut

    with pytest.raises(Broken, match=r"opa\.checksum"):
        release.download(binary_url, DIGEST, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_an_error_is_no_file(site, binary_url, tmp_path, status):
    site.pages[binary_url.removeprefix(site.base)] = (status, {}, PROGRAM)

    with pytest.raises(Unavailable, match=rf"HTTP {status}"):
        release.download(binary_url, DIGEST, tmp_path)
    assert left(tmp_path) == []


def test_no_server_is_no_file(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(Unavailable, match=r"opa\.download.*refused"):
            release.published_digest(release.address(base, "1.22.2"))


def test_a_server_that_speaks_no_http_is_no_file(site, binary_url, tmp_path):
    site.pages[binary_url.removeprefix(site.base)] = lambda handler: handler.wfile.write(b"\x16\x03\x01\r\n\r\n")

    with pytest.raises(Unavailable, match=r"opa\.download"):
        release.download(binary_url, DIGEST, tmp_path)
    assert left(tmp_path) == []


def test_a_redirect_is_followed(site, binary_url, tmp_path):
    site.pages["/mirror"] = (200, {}, PROGRAM)
    site.pages[binary_url.removeprefix(site.base)] = (302, {"Location": "/mirror"}, b"")

    assert release.download(binary_url, DIGEST, tmp_path).read_bytes() == PROGRAM


@pytest.mark.parametrize(
    "to", ["http://example.invalid/opa", "file:///etc/passwd", "ftp://127.0.0.1/opa", "//evil.invalid/opa"]
)
def test_a_redirect_away_from_https_is_not_followed(site, binary_url, tmp_path, to):
    site.pages[binary_url.removeprefix(site.base)] = (302, {"Location": to}, b"")

    with pytest.raises(Unavailable, match=r"opa\.download"):
        release.download(binary_url, DIGEST, tmp_path)
    assert left(tmp_path) == []


def test_a_circle_of_redirects_ends(site, binary_url, tmp_path):
    path = binary_url.removeprefix(site.base)
    site.pages[path] = (302, {"Location": path}, b"")

    with pytest.raises(Unavailable, match=r"opa\.download"):
        release.download(binary_url, DIGEST, tmp_path)
    assert len(site.seen) < 20


@pytest.mark.parametrize("base", ["http://example.invalid", "file:///tmp", "ftp://127.0.0.1", "opa", ""])
def test_an_address_without_tls_is_not_asked(base):
    with pytest.raises(Unavailable, match=r"opa\.download.*not an https address"):
        release.published_digest(release.address(base, "1.22.2"))


def test_a_file_larger_than_any_opa_is_refused(site, binary_url, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "MAX_BINARY", 1000)

    with pytest.raises(Unavailable, match=r"larger than"):
        release.download(binary_url, DIGEST, tmp_path)
    assert left(tmp_path) == []
