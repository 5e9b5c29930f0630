"""Files only their owner may read: what is refused, and that nothing is ever half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from magistrate.core.errors import Broken, Conflict, Unavailable
from magistrate.keys import private


def refused(error: type[Exception], code: str):
    return pytest.raises(error, match=rf"^{code.replace('.', '[.]')}: ")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    private.make(path, b"the secret", what="key")
    return path


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


def test_what_was_made_is_read_and_is_0600_under_any_umask(file):
    assert private.read(file, what="key") == b"the secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert leftovers(file.parent) == []


def test_a_missing_file_is_unavailable(tmp_path):
    with refused(Unavailable, "key.missing"):
        private.read(tmp_path / "none", what="key")


def test_a_symbolic_link_is_not_followed(file):
    link = file.parent / "link"
    link.symlink_to(file)
    with refused(Broken, "key.symlink"):
        private.read(link, what="key")


def test_a_path_that_leads_through_a_file_is_unreadable(file):
    with refused(Unavailable, "key.unreadable"):
        private.read(file / "below", what="key")


def test_a_folder_and_a_fifo_are_no_files(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("folder", "fifo"):
        with refused(Broken, "key.kind"):
            private.read(tmp_path / name, what="key")


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666])
def test_any_bit_for_others_is_refused(file, mode):
    file.chmod(mode)
    with refused(Broken, "key.open"):
        private.read(file, what="key")


def test_a_file_of_another_user_is_refused(file, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    with refused(Broken, "key.owner"):
        private.read(file, what="key")


def test_a_file_of_root_is_read_only_where_that_is_usual(file, monkeypatch):
    real = os.fstat

    def owned_by(user):
        def fstat(handle):
            found = real(handle)
            return os.stat_result((found.st_mode, *found[1:4], user, *found[5:10]))

        return fstat

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fstat", owned_by(0))
    assert private.read(file, what="key", root=True) == b"the secret"
    with refused(Broken, "key.owner"):
        private.read(file, what="key")
    monkeypatch.setattr(os, "fstat", owned_by(1001))
    with refused(Broken, "key.owner"):
        private.read(file, what="key", root=True)


def test_one_byte_too_many_is_refused(file):
    assert private.read(file, what="key", limit=10) == b"the secret"
    with refused(Broken, "key.size"):
        private.read(file, what="key", limit=9)


def test_what_is_there_is_never_overwritten(file):
    with refused(Conflict, "key.exists"):
        private.make(file, b"another", what="key")
    assert file.read_bytes() == b"the secret"
    assert leftovers(file.parent) == []


def test_a_dangling_link_is_there_too(tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with refused(Conflict, "key.exists"):
        private.make(tmp_path / "key", b"new", what="key")
    assert not (tmp_path / "elsewhere").exists()


def test_replace_swaps_the_name_and_not_what_a_link_points_to(file):
    link = file.parent / "link"
    link.symlink_to(file)
    private.replace(link, b"new", what="pin")
    assert file.read_bytes() == b"the secret"
    assert private.read(link, what="pin") == b"new"


def test_no_folder_no_file(tmp_path):
    for write in (private.make, private.replace):
        with refused(Unavailable, "pin.unwritable"):
            write(tmp_path / "none" / "pin", b"x", what="pin")


@pytest.mark.parametrize("write", [private.make, private.replace])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, write):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused(Unavailable, "key.unwritable"):
        write(tmp_path / "key", b"x", what="key")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_makes_no_key(tmp_path, monkeypatch):
    def none(_from, _to):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with refused(Unavailable, "key.unwritable"):
        private.make(tmp_path / "key", b"x", what="key")
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_folder_fails_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "pin").mkdir()
    with refused(Unavailable, "pin.unwritable"):
        private.replace(tmp_path / "pin", b"x", what="pin")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("write", [private.make, private.replace])
def test_the_write_is_synced_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch, write):
    done = []
    real_sync, real_link, real_rename = os.fsync, os.link, Path.replace

    def sync(handle):
        found = os.fstat(handle)
        done.append("folder" if stat.S_ISDIR(found.st_mode) else f"{found.st_size} bytes")
        real_sync(handle)

    def link(old, new):
        done.append("name")
        real_link(old, new)

    def rename(old, new):
        done.append("name")
        return real_rename(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(Path, "replace", rename)
    write(tmp_path / "key", b"four", what="key")
    assert done == ["4 bytes", "name", "folder"]


def test_no_file_stays_open(file):
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        private.read(file, what="key")
        private.replace(file, b"new", what="key")
        with refused(Broken, "key.kind"):
            private.read(file.parent, what="key")
    assert len(list(Path("/dev/fd").iterdir())) <= before


def test_a_folder_is_made_for_us_alone(tmp_path):
    made = private.folder(tmp_path / "a" / "b", what="key")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert private.folder(made, what="key") == made


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_others_may_write_in_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with refused(Broken, "key.folder"):
        private.folder(tmp_path, what="key")


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with refused(Broken, "key.folder"):
        private.folder(tmp_path, what="key")


def test_a_folder_where_a_file_is_cannot_be_made(file):
    with refused(Unavailable, "key.unwritable"):
        private.folder(file / "below", what="key")
