"""A real OPA that answers only us, only these five questions, only from its bundle, and ends when we do."""

import asyncio
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from magistrate.core.errors import Broken, NoAnswer, Unavailable
from magistrate.core.values import Count, Document
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from tests.policy.trees import FILES, numbered, packed

STRICT = "strict-builtin-errors=true&provenance=true"
ASKED = b'{"x":1}'


@pytest.fixture
async def sidecar(binary, bundle):
    sidecar = Sidecar(binary, bundle)
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


async def code_of(asking):
    with pytest.raises(NoAnswer) as refused:
        await asking
    return refused.value.code


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


# -- answers ---------------------------------------------------------------------------------------------------------


class Seen(Document):
    outcome: str
    seen: Count


async def test_it_answers_from_its_bundle(sidecar, bundle):
    answer = await sidecar.ask("decision", ASKED, Seen)

    assert answer.raw == b'{"outcome":"allow","seen":1}'
    assert answer.value == {"outcome": "allow", "seen": 1}
    assert answer.parsed == Seen(outcome="allow", seen=1)
    assert (answer.bundle, answer.opa_version) == (bundle.digest, "1.22.2")


async def test_a_builtin_error_is_no_answer_even_where_a_rule_would_just_vanish(sidecar):
    assert await code_of(sidecar.ask("decision", b'{"number":"zz","x":1}')) == "opa.eval_error"


async def test_a_conflict_is_no_answer(binary):
    text = b'package magistrate.access\n\nallowed := "yes" if input.a\n\nallowed := "no" if input.b\n'
    sidecar = Sidecar(binary, Bundle.read(packed({**FILES, "/magistrate/access.rego": text})))
    await sidecar.start()
    try:
        with pytest.raises(NoAnswer, match=r"(?s)opa\.eval_error.*eval_conflict_error.*access\.rego:\d"):
            await sidecar.ask("access", b'{"a":true,"b":true}')
    finally:
        await sidecar.stop()


async def test_an_undefined_document_is_no_answer(sidecar):
    assert await code_of(sidecar.ask("approval", ASKED)) == "opa.undefined"


@pytest.mark.parametrize(
    ("text", "code"), [("null", "opa.null"), ("[1]", "opa.not_an_object"), ("true", "opa.not_an_object")]
)
async def test_a_document_that_is_no_object_is_no_answer(binary, text, code):
    rego = f"package magistrate\n\nverification := {text}\n".encode()
    sidecar = Sidecar(binary, Bundle.read(packed({**FILES, "/magistrate/v.rego": rego})))
    await sidecar.start()
    try:
        assert await code_of(sidecar.ask("verification", ASKED)) == code
    finally:
        await sidecar.stop()


async def test_a_question_of_a_megabyte_is_answered_and_more_is_not_asked(sidecar):
    room = (1 << 20) - len(b'{"pad":"","x":1}')

    whole = await sidecar.ask("decision", b'{"pad":"' + b"a" * room + b'","x":1}')

    assert whole.value["outcome"] == "allow"
    too_large = b'{"pad":"' + b"a" * (room + 1) + b'","x":1}'
    assert await code_of(sidecar.ask("decision", too_large)) == "opa.question_too_large"


async def test_a_question_that_takes_too_long_ends_at_the_deadline(binary):
    rego = b"package magistrate.access\n\nn := count([1 | numbers.range(1, 3000)[_]; numbers.range(1, 3000)[_]]) if input.long\n"
    sidecar = Sidecar(binary, Bundle.read(packed({**FILES, "/magistrate/access.rego": rego})), deadline=0.2)
    await sidecar.start()
    try:
        began = time.monotonic()
        assert await code_of(sidecar.ask("access", b'{"long":true}')) == "opa.timeout"
        assert time.monotonic() - began < 1.0
        assert (await sidecar.ask("decision", ASKED)).value["outcome"] == "allow"
    finally:
        await sidecar.stop()


async def test_before_the_start_and_after_the_stop_there_is_no_answer(binary, bundle):
    sidecar = Sidecar(binary, bundle)
    assert await code_of(sidecar.ask("decision", ASKED)) == "opa.refused"
    await sidecar.start()
    await sidecar.stop()

    assert await code_of(sidecar.ask("decision", ASKED)) == "opa.refused"
    assert await code_of(sidecar.ask("decision", ASKED, apart=True)) == "opa.refused"


async def test_canaries_have_a_connection_of_their_own(sidecar):
    await sidecar.ask("decision", ASKED)
    fast = [asyncio.create_task(sidecar.ask("decision", ASKED)) for _ in range(200)]

    answer = await sidecar.ask("decision", ASKED, apart=True)

    assert answer.value["outcome"] == "allow"
    await asyncio.gather(*fast)


# -- what else OPA would do ------------------------------------------------------------------------------------------


async def raw(sidecar, method, target, *, token=None, body=None):
    """Ask OPA anything, as the holder of the token (or of another)."""
    held = sidecar._token if token is None else token
    headers = {"Authorization": f"Bearer {held}"} if held else {}
    connector = aiohttp.UnixConnector(str(sidecar._folder / "s"))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        url = URL(f"http://opa{target}", encoded=True)
        async with session.request(method, url, data=body, allow_redirects=False) as response:
            return response.status, await response.read()


REFUSED = [
    ("POST", "/v1/data/magistrate/decision"),
    ("POST", "/v1/data/magistrate/decision?provenance=true"),
    ("POST", "/v1/data/magistrate/decision?strict-builtin-errors=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&explain=full"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&explain=notes"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&metrics=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&instrument=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&pretty=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&rule_labels=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&strict-builtin-errors=false"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&provenance=false"),
    ("POST", "/v1/data/magistrate/decision?strict-builtin-errors=false&provenance=true"),
    ("POST", "/v1/data/magistrate/decision?strict-builtin-errors&provenance"),
    ("POST", "/v1/data/magistrate/decision?strict-builtin-errors=TRUE&provenance=true"),
    ("POST", f"/v1/data/magistrate/decision?{STRICT}&x"),
    ("POST", f"/v1/data/magistrate?{STRICT}"),
    ("POST", f"/v1/data?{STRICT}"),
    ("POST", f"/v1/data/?{STRICT}"),
    ("POST", f"/v1/data/magistrate/decision/outcome?{STRICT}"),
    ("POST", f"/v1/data/magistrate/decision/?{STRICT}"),
    ("POST", f"/v1/data/magistrate/reason?{STRICT}"),
    ("POST", f"/v1/data/policies/refunds?{STRICT}"),
    ("POST", f"/v1/data/policies/refunds/deny?{STRICT}"),
    ("POST", f"/v1/data/magistrate_authz?{STRICT}"),
    ("POST", f"/v1/data/system/authz/allow?{STRICT}"),
    ("POST", f"/v1/data/magistrate//decision?{STRICT}"),
    ("POST", f"//v1/data/magistrate/decision?{STRICT}"),
    ("POST", f"/v1//data/magistrate/decision?{STRICT}"),
    ("POST", f"/v1/data//magistrate/decision?{STRICT}"),
    ("POST", f"/v1/data/magistrate%2Fdecision?{STRICT}"),
    ("POST", f"/v1/data/magistrate%2fdecision?{STRICT}"),
    ("POST", f"/v1%2Fdata/magistrate/decision?{STRICT}"),
    ("POST", f"/v1/data/magistrate/decision%2F?{STRICT}"),
    ("POST", f"/v1/data/magistrate/decision%00?{STRICT}"),
    ("POST", f"/v1/data/./magistrate/decision?{STRICT}"),
    ("POST", f"/v1/data/policies/../magistrate/decision?{STRICT}"),
    ("POST", f"/v1/data/magistrate/Decision?{STRICT}"),
    ("POST", f"/V1/data/magistrate/decision?{STRICT}"),
    ("GET", f"/v1/data/magistrate/decision?{STRICT}"),
    ("HEAD", f"/v1/data/magistrate/decision?{STRICT}"),
    ("PUT", f"/v1/data/magistrate/decision?{STRICT}"),
    ("PATCH", f"/v1/data/magistrate/decision?{STRICT}"),
    ("DELETE", f"/v1/data/magistrate/decision?{STRICT}"),
    ("OPTIONS", f"/v1/data/magistrate/decision?{STRICT}"),
    ("GET", "/v1/data"),
    ("GET", "/v1/data/policies"),
    ("GET", "/v1/data/catalogue"),
    ("GET", "/v1/data/magistrate_authz"),
    ("GET", "/v1/data/system"),
    ("PUT", "/v1/data/policies/refunds/limits"),
    ("PATCH", "/v1/data/policies"),
    ("DELETE", "/v1/data/policies"),
    ("POST", "/v0/data/magistrate/decision"),
    ("POST", f"/v0/data/magistrate/decision?{STRICT}"),
    ("GET", "/v1/policies"),
    ("GET", "/v1/policies/x"),
    ("PUT", "/v1/policies/x"),
    ("DELETE", "/v1/policies/x"),
    ("GET", "/v1/query?q=data"),
    ("POST", "/v1/query"),
    ("POST", f"/v1/query?{STRICT}"),
    ("POST", "/v1/compile"),
    ("POST", "/v1/compile/magistrate/decision"),
    ("POST", "/v1/batch/data/magistrate/decision"),
    ("GET", "/v1/config"),
    ("GET", "/v1/status"),
    ("GET", "/metrics"),
    ("GET", "/"),
    ("POST", "/"),
    ("POST", f"/?{STRICT}"),
    ("GET", "/debug/pprof/"),
    ("GET", "/debug/pprof/heap"),
    ("POST", "/health"),
    ("PUT", "/health"),
    ("GET", "/health?bundles"),
    ("GET", "/health?plugins&exclude-plugin=x"),
    ("GET", "/health/live"),
    ("GET", "/health/"),
    ("CONNECT", "/v1/data"),
]


async def test_with_the_right_token_only_the_five_documents_and_health_are_open(sidecar):
    """The way in is exact: one table, one OPA."""
    opened = []
    for method, target in REFUSED:
        status, body = await raw(sidecar, method, target, body=b'{"input":{"x":1}}' if method != "GET" else None)
        if status < 300 or b"result" in body or b"outcome" in body:
            opened.append((method, target, status, body[:80]))

    assert opened == []
    for document in ("decision", "approval", "admission", "verification", "access"):
        status, body = await raw(sidecar, "POST", f"/v1/data/magistrate/{document}?{STRICT}", body=b'{"input":{"x":1}}')
        assert (status, b"provenance" in body) == (200, True)
    assert await raw(sidecar, "GET", "/health") == (200, b"{}\n")


@pytest.mark.parametrize("token", ["", "wrong", " ", "a" * 5000])
async def test_without_the_token_nothing_is_open(sidecar, token):
    for method, target in (("POST", f"/v1/data/magistrate/decision?{STRICT}"), ("GET", "/health"), ("GET", "/metrics")):
        status, body = await raw(sidecar, method, target, token=token, body=b"{}" if method == "POST" else None)

        assert status == 401
        assert b"result" not in body


async def test_the_hash_of_the_token_is_no_token(sidecar):
    data = json.loads((sidecar._folder / "authz" / "data.json").read_text())

    status, _ = await raw(sidecar, "GET", "/health", token=data["magistrate_authz"]["token"])

    assert status == 401


async def test_a_policy_that_was_put_would_change_the_answer_and_is_not_put(sidecar):
    await raw(sidecar, "PUT", "/v1/policies/x", body=b"package magistrate.decision\n\nopened := true\n")

    assert (await sidecar.ask("decision", ASKED)).value == {"outcome": "allow", "seen": 1}


async def test_a_body_beyond_the_cap_is_refused_by_opa_itself(sidecar):
    large = io.BytesIO(b'{"input":"' + b"a" * 1_200_000 + b'"}')
    status, body = await raw(sidecar, "POST", f"/v1/data/magistrate/decision?{STRICT}", body=large)

    assert status == 400
    assert b"too large" in body


# -- the process -----------------------------------------------------------------------------------------------------


async def test_the_token_stands_in_no_argument_list_and_no_environment(sidecar):
    processes = [Path(f"/proc/{pid}") for pid in (sidecar.pid, sidecar._opa.guardian_pid)]

    for process in processes:
        assert sidecar._token.encode() not in (process / "cmdline").read_bytes()
        assert sidecar._token.encode() not in (process / "environ").read_bytes()
    for path in sidecar._folder.rglob("*"):
        assert path.is_dir() or path.is_socket() or sidecar._token.encode() not in path.read_bytes()


async def test_the_environment_is_empty_but_for_the_zone_and_the_memory_limit(sidecar, monkeypatch):
    environment = dict(
        pair.split("=", 1) for pair in Path(f"/proc/{sidecar.pid}/environ").read_text().split("\0") if pair
    )

    assert environment == {"TZ": "UTC", "GOMEMLIMIT": "512MiB"}


async def test_folder_and_socket_are_ours_alone(sidecar):
    folder = sidecar._folder

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    assert (folder / "bundle.tar.gz").read_bytes() == sidecar.bundle.raw


async def test_it_listens_nowhere_else(sidecar):
    inodes = {
        str(link.readlink()).removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{sidecar.pid}/fd").iterdir()
        if str(link.readlink()).startswith("socket:")
    }
    tcp = [
        line.split()[9]
        for kind in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]

    assert inodes
    assert inodes.isdisjoint(tcp)


@pytest.mark.parametrize("places", [("x" * 150, "y" * 150), ("x" * 150, "")])
async def test_long_paths_do_not_matter(binary, bundle, tmp_path, monkeypatch, places):
    import tempfile

    runtime, temporary = (tmp_path / place if place else None for place in places)
    for place in (runtime, temporary):
        if place:
            place.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary) if temporary else None)
    sidecar = Sidecar(binary, bundle)
    await sidecar.start()
    try:
        assert (await sidecar.ask("decision", ASKED)).value["outcome"] == "allow"
        assert len(str(sidecar._folder / "s")) <= 107
    finally:
        await sidecar.stop()


async def test_a_runtime_folder_that_fits_is_used(binary, bundle, monkeypatch):
    import tempfile

    with tempfile.TemporaryDirectory(prefix="r-") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        sidecar = Sidecar(binary, bundle)
        await sidecar.start()
        try:
            assert sidecar._folder.parent == Path(place)
        finally:
            await sidecar.stop()
        assert list(Path(place).iterdir()) == []


async def test_no_place_for_the_socket_is_told(binary, bundle, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: (_ for _ in ()).throw(OSError("full")))

    with pytest.raises(Unavailable, match=r"opa\.folder"):
        await Sidecar(binary, bundle).start()


async def test_a_folder_that_fills_up_is_told_and_removed(binary, bundle, monkeypatch):
    from magistrate.policy import authz

    made = []

    def full(folder, *_):
        made.append(folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(authz, "write", full)

    with pytest.raises(Unavailable, match=r"opa\.folder.*No space left"):
        await Sidecar(binary, bundle).start()

    assert [folder.exists() for folder in made] == [False]


async def test_it_can_be_asked_past_us_only_while_it_runs(binary, bundle, sidecar):
    socket, headers = sidecar.access()

    assert Path(socket).is_socket()
    assert headers == {"Authorization": f"Bearer {sidecar._token}"}
    with pytest.raises(NoAnswer, match=r"opa\.refused"):
        Sidecar(binary, bundle).access()


async def test_a_restart_before_the_start_does_nothing(binary, bundle):
    await Sidecar(binary, bundle).restart()


async def test_a_stop_leaves_nothing_behind(binary, bundle):
    sidecar = Sidecar(binary, bundle)
    await sidecar.start()
    pid, guardian, folder = sidecar.pid, sidecar._opa.guardian_pid, sidecar._folder

    await asyncio.wait_for(sidecar.stop(), 5)
    await sidecar.stop()

    assert not folder.exists()
    assert not alive(pid)
    assert not alive(guardian)
    assert sidecar.pid == 0


async def test_a_start_that_is_given_up_leaves_nothing_behind(binary, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path)[:60] if len(str(tmp_path)) < 60 else "/tmp")
    sidecar = Sidecar(binary, bundle)
    starting = asyncio.create_task(sidecar.start())
    while sidecar._opa is None:
        await asyncio.sleep(0.001)
    pid, folder = sidecar.pid, sidecar._folder

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not alive(pid)
    assert not folder.exists()


async def test_two_sidecars_of_one_bundle_do_not_know_each_other(binary, bundle):
    one, two = Sidecar(binary, bundle), Sidecar(binary, bundle)
    await asyncio.gather(one.start(), two.start())
    try:
        status, _ = await raw(one, "GET", "/health", token=two._token)
        assert status == 401
    finally:
        await asyncio.gather(one.stop(), two.stop())


async def test_an_answer_of_another_start_is_not_ours(binary, bundle):
    """The same bundle, the same revision, the right token: still not the OPA that this sidecar started."""
    one, two = Sidecar(binary, bundle), Sidecar(binary, bundle)
    two._token = one._token
    await asyncio.gather(one.start(), two.start())
    try:
        (one._folder / "s").unlink()
        (one._folder / "s").symlink_to(two._folder / "s")
        await one._line.close()

        assert await code_of(one.ask("decision", ASKED)) == "opa.bundle"
    finally:
        await asyncio.gather(one.stop(), two.stop())


async def test_a_newer_bundle_has_another_revision(binary):
    old, new = Sidecar(binary, Bundle.read(numbered(1))), Sidecar(binary, Bundle.read(numbered(2)))
    new._token, new._revisions["authz"] = old._token, old._revisions["authz"]
    await asyncio.gather(old.start(), new.start())
    try:
        (old._folder / "s").unlink()
        (old._folder / "s").symlink_to(new._folder / "s")
        await old._line.close()

        assert await code_of(old.ask("decision", ASKED)) == "opa.bundle"
    finally:
        await asyncio.gather(old.stop(), new.stop())


# -- what does not start ---------------------------------------------------------------------------------------------


async def test_a_bundle_opa_refuses_is_told_in_opas_words(binary):
    text = b"package magistrate.access\n\nx := y\n"

    with pytest.raises(Unavailable, match=r"opa\.start.*rego_unsafe_var_error") as refused:
        await Sidecar(binary, Bundle.read(packed({**FILES, "/magistrate/access.rego": text}))).start()

    assert refused.value.code == "opa.start"


async def test_a_program_that_ends_at_once_is_told(bundle):
    path = Path("/bin/false")
    from magistrate.policy.binary import sha256_of

    with pytest.raises(Unavailable, match=r"opa\.start: OPA ended at once"):
        await Sidecar(Binary(path, "1.22.2", sha256_of(path), "setting"), bundle).start()


async def test_a_program_that_never_answers_is_ended(bundle, tmp_path, monkeypatch):
    from magistrate.policy import sidecar as door
    from magistrate.policy.binary import sha256_of

    monkeypatch.setattr(door, "START_SECONDS", 0.3)
    path = tmp_path / "opa"
    path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    path.chmod(0o755)

    with pytest.raises(Unavailable, match=r"does not answer within"):
        await Sidecar(Binary(path, "1.22.2", sha256_of(path), "setting"), bundle).start()

    assert not alive(int((tmp_path / "pid").read_text()))


async def test_another_binary_than_the_accepted_is_not_started(binary, bundle):
    changed = Binary(binary.path, binary.version, "0" * 64, binary.origin)

    with pytest.raises(Broken, match=r"opa\.changed"):
        await Sidecar(changed, bundle).start()


async def test_another_version_than_the_accepted_does_not_count(binary, bundle):
    with pytest.raises(NoAnswer, match=r"opa\.version"):
        await Sidecar(Binary(binary.path, "1.22.3", binary.sha256, binary.origin), bundle).start()


async def test_other_bytes_than_the_digest_says_are_not_started(binary, bundle):
    forged = Bundle(
        digest="sha256:" + "0" * 64,
        sequence=1,
        contract=1,
        data={},
        path=None,
        raw=bundle.raw,
        files=bundle.files,
    )

    with pytest.raises(Broken, match=r"bundle\.changed"):
        await Sidecar(binary, forged).start()


# -- death -----------------------------------------------------------------------------------------------------------


async def test_killed_under_load_there_is_no_answer_and_soon_there_is_again(sidecar):
    """Under sixteen askers every outcome is a right answer or NoAnswer; two seconds later all are answers."""
    outcomes, stopping = [], asyncio.Event()

    async def asker():
        while not stopping.is_set():
            try:
                outcomes.append((await sidecar.ask("decision", ASKED)).raw)
            except NoAnswer as error:
                outcomes.append(error.code)
                await asyncio.sleep(0.002)

    askers = [asyncio.create_task(asker()) for _ in range(16)]
    took = []
    for _ in range(3):
        await asyncio.sleep(0.2)
        before = sidecar.pid
        began = time.monotonic()
        os.kill(before, signal.SIGKILL)
        while sidecar.pid in (0, before) or await _silent(sidecar):
            await asyncio.sleep(0.005)
        took.append(time.monotonic() - began)
    stopping.set()
    await asyncio.gather(*askers)

    answers = {outcome for outcome in outcomes if isinstance(outcome, bytes)}
    codes = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert answers == {b'{"outcome":"allow","seen":1}'}
    assert codes <= {"opa.refused", "opa.stale_socket", "opa.cut_short"}
    assert codes
    assert max(took) < 2.0, took
    assert sidecar.restarts == 3


async def _silent(sidecar):
    try:
        await sidecar.ask("decision", ASKED)
    except NoAnswer:
        return True
    return False


async def test_a_stopped_opa_times_out_and_can_be_restarted(binary, bundle):
    sidecar = Sidecar(binary, bundle, deadline=0.2)
    await sidecar.start()
    try:
        os.kill(sidecar.pid, signal.SIGSTOP)
        assert await code_of(sidecar.ask("decision", ASKED)) == "opa.timeout"
        await sidecar.restart()
        began = time.monotonic()
        while await _silent(sidecar):
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 2.0
    finally:
        await sidecar.stop()


async def test_restarts_are_immediate_once_and_then_slow_down(sidecar, monkeypatch):
    pauses, sleep = [], asyncio.sleep

    async def noted(seconds, *rest):
        if seconds not in (0.005, 0.01):
            pauses.append(seconds)
        await sleep(min(seconds, 0.01), *rest)

    monkeypatch.setattr("magistrate.policy.sidecar.asyncio.sleep", noted)
    for count in range(1, 5):
        pid = sidecar.pid
        os.kill(pid, signal.SIGKILL)
        while sidecar.restarts < count or sidecar.pid in (0, pid) or await _silent(sidecar):
            await sleep(0.01)

    assert pauses == [0.0, 0.1, 0.2, 0.4]


async def test_a_changed_copy_is_never_started_again(sidecar, monkeypatch):
    (sidecar._folder / "bundle.tar.gz").chmod(0o600)
    (sidecar._folder / "bundle.tar.gz").write_bytes(numbered(2))
    os.kill(sidecar.pid, signal.SIGKILL)
    await asyncio.sleep(0.6)

    assert sidecar.pid == 0
    assert sidecar.trouble.startswith("bundle.changed")
    assert await code_of(sidecar.ask("decision", ASKED)) in ("opa.refused", "opa.stale_socket")


async def test_an_exchanged_binary_is_never_started_again(binary, bundle, tmp_path):
    ours, other = tmp_path / "opa", tmp_path / "other"
    shutil.copy(binary.path, ours)
    sidecar = Sidecar(Binary(ours, binary.version, binary.sha256, binary.origin), bundle)
    await sidecar.start()
    try:
        shutil.copy(ours, other)
        with other.open("ab") as file:
            file.write(b"\0")
        other.replace(ours)
        os.kill(sidecar.pid, signal.SIGKILL)
        await asyncio.sleep(0.6)

        assert sidecar.pid == 0
        assert sidecar.trouble.startswith("opa.changed")
    finally:
        await sidecar.stop()


SERVICE = """
import asyncio, sys
from pathlib import Path
from magistrate.policy.binary import Binary, sha256_of
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar

async def main():
    path = Path(sys.argv[1])
    sidecar = Sidecar(Binary(path, "1.22.2", sha256_of(path), "setting"), Bundle.read(Path(sys.argv[2]).read_bytes()))
    await sidecar.start()
    print(sidecar.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_no_opa_outlives_a_killed_service(binary, bundle, tmp_path):
    (tmp_path / "b").write_bytes(bundle.raw)
    arguments = [sys.executable, "-c", SERVICE, str(binary.path), str(tmp_path / "b")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as service:
        pid = int(service.stdout.readline())
        assert alive(pid)
        service.kill()
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)

    assert not alive(pid)


async def test_what_a_killed_service_left_behind_is_removed_and_what_lives_is_not(
    binary, bundle, tmp_path, monkeypatch
):
    (tmp_path / "b").write_bytes(bundle.raw)
    arguments = [sys.executable, "-c", SERVICE, str(binary.path), str(tmp_path / "b")]
    with tempfile.TemporaryDirectory(prefix="x-", dir="/tmp") as folder:  # nobody else's sidecars lie there
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        lives = Sidecar(binary, bundle)
        await lives.start()
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as service:
            service.stdout.readline()
            (left,) = set(Path(folder).glob("magistrate-opa-*")) - {lives._folder}
            service.kill()
        assert left.exists()

        other = Sidecar(binary, bundle)
        await other.start()
        await other.stop()

        assert not left.exists()
        assert (await lives.ask("decision", ASKED)).value["outcome"] == "allow"
        await lives.stop()
