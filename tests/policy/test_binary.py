"""The OPA we run is one we know: in the order of the design, accepted once, and required from then on."""

import hashlib
import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from magistrate.core.errors import Broken, Unavailable
from magistrate.policy import binary as door
from magistrate.policy import golang
from magistrate.policy.binary import MODULE_SUM, PINNED, accept_digests, find, find_or_install, install
from magistrate.policy.release import address
from tests.policy.test_release import Site, site  # noqa: F401 - a fixture

GOOD_SUM = f"mod\t{golang.MODULE}\tv{PINNED}\t{MODULE_SUM}"


def program(path, text):
    """A program: a shell script that is executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def opa(path, version=PINNED, more=""):
    """What says that it is OPA."""
    return program(path, f'echo "Version: {version}"{more}')


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Asked:
    """A person who says yes or no, and remembers what to."""

    def __init__(self, answer):
        self.answer = answer
        self.candidates = []

    def __call__(self, candidate):
        self.candidates.append(candidate)
        return self.answer


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def on_path(tmp_path):
    opa(tmp_path / "bin" / "opa")
    return str(tmp_path / "bin")


def go(tmp_path, *, installs=PINNED, info=GOOD_SUM, path=golang.MODULE, status=0, said=""):
    """A Go that installs a program and says of every file what it is told to; returns the PATH that holds it."""
    (tmp_path / "info").write_text(f"{tmp_path}/opa: go1.26.8\n\tpath\t{path}\n\t{info}\n")
    text = f"""
if [ "$1" = version ]; then cat {tmp_path}/info; exit 0; fi
echo "$@" > {tmp_path}/asked; echo {said} >&2
if [ {status} != 0 ]; then exit {status}; fi
printf '#!/bin/sh\\necho "Version: {installs}"\\n' > "$GOBIN/opa"; chmod 755 "$GOBIN/opa"
"""
    program(tmp_path / "go" / "go", text)
    return f"{tmp_path / 'go'}:/usr/bin:/bin"


def left(cache):
    return sorted(path.name for path in (cache / "opa" / PINNED).iterdir())


# -- the setting -----------------------------------------------------------------------------------------------------


def test_the_setting_comes_first(tmp_path, cache, on_path):
    mine = opa(tmp_path / "mine" / "opa", more=" # mine")

    found = find(cache, setting=str(mine), path=on_path)

    assert (found.path, found.version, found.sha256, found.origin) == (mine, PINNED, sha256(mine), "setting")


def test_a_setting_that_leads_nowhere_is_not_overruled(tmp_path, cache, on_path):
    with pytest.raises(Unavailable) as refused:
        find_or_install(cache, setting=str(tmp_path / "none"), path=on_path, accept=Asked(True))

    assert refused.value.code == "opa.missing"
    assert "magistrate opa install" in refused.value.hint


def test_a_setting_of_another_version_is_refused(tmp_path, cache):
    old = opa(tmp_path / "opa", version="1.21.0")

    with pytest.raises(Unavailable, match=r"opa\.version.*1\.21\.0, not 1\.22\.2"):
        find(cache, setting=str(old))


@pytest.mark.parametrize("text", ["exit 1", "echo hello", 'echo "Version: 1.22.2"; exit 3', "kill -9 $$"])
def test_a_setting_that_is_no_opa_is_refused(tmp_path, cache, text):
    with pytest.raises(Unavailable, match=r"opa\.start"):
        find(cache, setting=str(program(tmp_path / "opa", text)))


def test_a_setting_that_cannot_be_run_is_refused(tmp_path, cache):
    path = tmp_path / "opa"
    path.write_bytes(b"\x7fELF not really")
    path.chmod(0o755)

    with pytest.raises(Unavailable, match=r"opa\.start"):
        find(cache, setting=str(path))


def test_another_file_in_the_place_of_the_setting_is_refused(tmp_path, cache):
    mine = opa(tmp_path / "opa")
    find(cache, setting=str(mine))
    opa(mine, more=" # replaced")

    with pytest.raises(Broken) as broken:
        find(cache, setting=str(mine))

    assert broken.value.code == "opa.changed"
    assert sha256(mine) in broken.value.hint


def test_another_file_in_the_place_of_the_setting_may_be_accepted_by_its_digest(tmp_path, cache):
    mine = opa(tmp_path / "opa")
    find(cache, setting=str(mine))
    opa(mine, more=" # replaced")

    assert find(cache, setting=str(mine), accept=accept_digests([sha256(mine)])).sha256 == sha256(mine)
    assert find(cache, setting=str(mine)).sha256 == sha256(mine)


# -- PATH ------------------------------------------------------------------------------------------------------------


def test_what_lies_on_path_is_accepted_once_and_required_from_then_on(tmp_path, cache, on_path):
    asked = Asked(True)
    first = find(cache, path=on_path, accept=asked)

    again = find(cache, path=on_path)  # nobody is asked

    assert first == again
    assert first.origin == "path"
    (candidate,) = asked.candidates
    assert (candidate.origin, candidate.version, candidate.sha256) == ("path", PINNED, first.sha256)
    opa(tmp_path / "bin" / "opa", more=" # replaced")
    with pytest.raises(Unavailable, match=r"opa\.missing.*was not accepted"):
        find(cache, path=on_path)


def test_what_lies_on_path_is_not_used_unasked(cache, on_path):
    with pytest.raises(Unavailable, match=r"was not accepted"):
        find(cache, path=on_path)

    assert not cache.exists()


def test_a_no_is_not_kept(cache, on_path):
    with pytest.raises(Unavailable):
        find(cache, path=on_path, accept=Asked(False))

    assert find(cache, path=on_path, accept=Asked(True)).origin == "path"


def test_another_version_on_path_is_passed_by_without_asking(tmp_path, cache):
    opa(tmp_path / "bin" / "opa", version="1.22.3")
    asked = Asked(True)

    with pytest.raises(Unavailable, match=r"is OPA 1\.22\.3, not 1\.22\.2"):
        find(cache, path=str(tmp_path / "bin"), accept=asked)

    assert asked.candidates == []


def test_a_digest_in_the_setting_accepts_that_file_and_no_other(tmp_path, cache, on_path):
    right = sha256(tmp_path / "bin" / "opa")

    with pytest.raises(Unavailable):
        find(cache, path=on_path, accept=accept_digests(["0" * 64]))
    assert find(cache, path=on_path, accept=accept_digests(["sha256:" + right.upper()])).sha256 == right


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_no_path_is_no_opa(cache, path):
    with pytest.raises(Unavailable, match=r"none on PATH; there is none in the cache"):
        find(cache, path=path)


# -- the cache -------------------------------------------------------------------------------------------------------


def cached(cache, **how):
    return opa(cache / "opa" / PINNED / "opa", **how)


def test_a_cached_file_that_nobody_vouches_for_is_refused(cache):
    cached(cache)

    with pytest.raises(Unavailable, match=r"was not accepted"):
        find(cache)


def test_a_cached_file_is_accepted_once(cache):
    cached(cache)
    asked = Asked(True)
    find(cache, accept=asked)

    found = find(cache)

    assert (found.origin, len(asked.candidates)) == ("cache", 1)


def test_a_cached_file_that_go_built_from_the_pinned_module_needs_no_asking(tmp_path, cache):
    cached(cache)

    assert find(cache, path=go(tmp_path)).origin == "cache"
    assert find(cache).origin == "cache"


def test_a_file_in_the_place_of_the_accepted_one_is_refused_whatever_sum_it_carries(tmp_path, cache):
    cached(cache)
    search = go(tmp_path)
    find(cache, path=search)
    cached(cache, more=" # replaced")

    with pytest.raises(Unavailable, match=r"was not accepted"):
        find(cache, path=search)


def test_a_cached_file_of_another_version_is_refused(cache):
    cached(cache, version="1.22.1")

    with pytest.raises(Unavailable, match=r"1\.22\.1, not 1\.22\.2"):
        find(cache, accept=Asked(True))


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"accepted": [{"sha256": "x", "origin": "", "source": ""}]}', b'{"accepted": 1}']
)
def test_a_damaged_list_of_what_was_accepted_accepts_nothing(cache, raw):
    cached(cache)
    (cache / "opa" / PINNED / "accepted.json").write_bytes(raw)

    with pytest.raises(Unavailable, match=r"is damaged"):
        find(cache, accept=Asked(True))


def test_a_list_of_what_was_accepted_that_cannot_be_read_accepts_nothing(cache):
    cached(cache)
    (cache / "opa" / PINNED / "accepted.json").mkdir()

    with pytest.raises(Unavailable, match=r"accepted\.json cannot be read"):
        find(cache, accept=Asked(True))


def test_what_was_accepted_is_written_down_for_its_owner_alone(cache):
    path = cached(cache)
    find(cache, accept=Asked(True))
    kept = cache / "opa" / PINNED / "accepted.json"

    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {
        "accepted": [{"sha256": sha256(path), "origin": "cache", "source": str(path)}]
    }


# -- the release -----------------------------------------------------------------------------------------------------


@pytest.fixture
def released(site, tmp_path):  # noqa: F811
    path = opa(tmp_path / "released")
    name = address(site.base, PINNED).removeprefix(site.base)
    site.pages[name] = (200, {}, path.read_bytes())
    site.pages[name + ".sha256"] = (200, {}, sha256(path).encode())
    return name


def test_an_accepted_release_is_kept_in_the_cache(site: Site, released, cache):  # noqa: F811
    asked = Asked(True)
    got = install(cache, accept=asked, base=site.base)

    (candidate,) = asked.candidates
    assert (candidate.origin, candidate.source) == ("release", site.base + released)
    assert (got.origin, got.path) == ("release", cache / "opa" / PINNED / "opa")
    assert left(cache) == ["accepted.json", "opa"]
    assert find(cache).sha256 == got.sha256


def test_a_release_nobody_accepts_is_not_even_downloaded(site: Site, released, cache):  # noqa: F811
    with pytest.raises(Unavailable) as refused:
        install(cache, base=site.base)

    assert "opa.not_accepted" in refused.value.detail
    assert "MAGISTRATE_OPA_SHA256" in refused.value.detail
    assert refused.value.hint == "magistrate opa install"
    assert site.seen == [released + ".sha256"]
    assert left(cache) == []


def test_a_release_that_is_not_what_its_digest_says_leaves_nothing(site: Site, released, cache):  # noqa: F811
    site.pages[released] = (200, {}, b"something else")

    with pytest.raises(Unavailable, match=r"opa\.checksum"):
        install(cache, accept=Asked(True), base=site.base)

    assert left(cache) == []


def test_a_release_of_another_version_leaves_nothing(site: Site, released, cache, tmp_path):  # noqa: F811
    other = opa(tmp_path / "other", version="1.21.0")
    site.pages[released] = (200, {}, other.read_bytes())
    site.pages[released + ".sha256"] = (200, {}, sha256(other).encode())

    with pytest.raises(Unavailable, match=r"opa\.version"):
        install(cache, accept=Asked(True), base=site.base)

    assert left(cache) == []


def test_a_failed_install_leaves_the_one_that_stands(site: Site, released, cache):  # noqa: F811
    before = install(cache, accept=Asked(True), base=site.base)
    site.pages[released] = (200, {}, b"something else")

    with pytest.raises(Unavailable):
        install(cache, accept=Asked(True), base=site.base)

    assert find(cache).sha256 == before.sha256


# -- Go --------------------------------------------------------------------------------------------------------------

NO_RELEASE = "http://127.0.0.1:1"


def test_go_builds_the_pinned_version_and_nobody_is_asked(tmp_path, cache):
    said = []

    got = install(cache, path=go(tmp_path), base=NO_RELEASE, say=said.append)

    assert (tmp_path / "asked").read_text() == f"install github.com/open-policy-agent/opa@v{PINNED}\n"
    assert got.origin == "go"
    assert left(cache) == ["accepted.json", "opa"]
    assert find(cache) == door.Binary(got.path, PINNED, got.sha256, "cache")
    assert any("two minutes" in line for line in said)


def test_go_is_asked_when_the_release_is_not_accepted(site: Site, released, tmp_path, cache):  # noqa: F811
    assert install(cache, path=go(tmp_path), base=site.base).origin == "go"


WRONG = {
    "another sum": {"info": f"mod\t{golang.MODULE}\tv{PINNED}\th1:AAAA="},
    "no sum, as a release": {"info": f"mod\t{golang.MODULE}\t(devel)\t"},
    "another version": {"info": f"mod\t{golang.MODULE}\tv1.22.1\t{MODULE_SUM}"},
    "another module": {"info": f"mod\tgithub.com/evil/opa\tv{PINNED}\t{MODULE_SUM}"},
    "another program": {"path": "github.com/evil/opa"},
    "the sum of a dependency": {"info": f"dep\t{golang.MODULE}\tv{PINNED}\t{MODULE_SUM}"},
    "a replaced module": {"info": f"{GOOD_SUM}\n\tdep\tx\tv1\n\t=>\tevil\tv1\th1:x="},
    "no information": {"info": ""},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_go_built_from_something_else_is_refused_and_leaves_nothing(tmp_path, cache, name):
    with pytest.raises(Unavailable, match=r"opa\.module_sum"):
        install(cache, path=go(tmp_path, **WRONG[name]), base=NO_RELEASE)

    assert left(cache) == []


def test_a_go_that_fails_says_why(tmp_path, cache):
    with pytest.raises(Unavailable, match=r"opa\.go: `go install` failed: no such version"):
        install(cache, path=go(tmp_path, status=1, said="no such version"), base=NO_RELEASE)

    assert left(cache) == []


def test_what_go_built_and_says_another_version_is_refused(tmp_path, cache):
    with pytest.raises(Unavailable, match=r"opa\.version"):
        install(cache, path=go(tmp_path, installs="1.21.0"), base=NO_RELEASE)

    assert left(cache) == []


def test_without_anything_every_reason_is_told(tmp_path, cache):
    with pytest.raises(Unavailable) as refused:
        find_or_install(cache, path="/nonexistent", base=NO_RELEASE)

    assert refused.value.code == "opa.missing"
    assert "opa.download" in refused.value.detail
    assert "there is no Go on PATH" in refused.value.detail


def test_a_go_that_cannot_be_run_is_none(tmp_path, cache):
    broken = tmp_path / "bin" / "go"
    broken.parent.mkdir()
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)

    with pytest.raises(Unavailable, match=r"opa\.go"):
        install(cache, path=str(tmp_path / "bin"), base=NO_RELEASE)


def test_a_cache_that_cannot_be_written_is_told(tmp_path, on_path):
    cache = tmp_path / "cache"
    cache.write_text("a file where the folder should be")

    with pytest.raises(Unavailable, match=r"cannot be (written|read)"):
        find(cache, setting=str(tmp_path / "bin" / "opa"))
    with pytest.raises(Unavailable, match=r"opa\.cache"):
        install(cache, path=go(tmp_path), base=NO_RELEASE)


def test_a_list_of_what_was_accepted_that_cannot_be_written_accepts_nothing(cache, on_path):
    (cache / "opa").mkdir(parents=True)
    (cache / "opa" / PINNED).write_text("a file where the folder should be")

    with pytest.raises(Unavailable):
        find(cache, path=on_path, accept=Asked(True))


# -- the real ones ---------------------------------------------------------------------------------------------------


def test_the_real_opa_says_the_pinned_version(binary):
    assert door.version_of(binary.path) == PINNED


def test_the_real_opa_is_judged_by_its_module_sum(binary, tmp_path):
    """Where the OPA of these tests came from Go and a Go is here, its sum is the pinned one; one digit more is not."""
    real = shutil.which("go")
    if real is None or not golang.built(binary.path, PINNED, MODULE_SUM, os.environ["PATH"]):
        assert real is None or sha256(binary.path) == binary.sha256  # a release carries no sum, and is never "built"
        return

    with pytest.raises(Broken, match=r"opa\.module_sum"):
        golang.check(binary.path, PINNED, MODULE_SUM.replace("W", "X"), real)
    with pytest.raises(Broken, match=r"opa\.module_sum"):
        golang.check(binary.path, "1.22.1", MODULE_SUM, real)


def test_a_program_that_is_no_go_program_has_no_module_sum():
    real = shutil.which("go")
    search = os.environ["PATH"] if real else str(Path("/nonexistent"))

    assert not golang.built(Path(sys.executable), PINNED, MODULE_SUM, search)
