"""The archive keeps history: nothing gets in unchecked, nothing that is in changes unnoticed."""

import json

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Absent, Broken, Conflict, Malformed, Unavailable
from magistrate.policy import archive as archives
from magistrate.policy.archive import Archive
from magistrate.policy.bundle import Bundle
from tests.policy.trees import FILES, numbered, packed, policy


@pytest.fixture
def archive(tmp_path, binary):
    return Archive(tmp_path / "bundles", binary)


def path_of(archive, digest):
    return archive.load(digest).path


def test_what_is_taken_in_is_loaded_again_under_its_digest(archive):
    raw = numbered(3)

    taken = archive.take(raw)

    assert taken == archive.load(taken.digest)
    assert taken.path.name == taken.digest.removeprefix("sha256:") + ".tar.gz"
    assert taken.path.read_bytes() == raw
    assert archive.digests() == [taken.digest]


def test_the_bundles_are_listed_by_sequence(archive):
    later, first, middle = (archive.take(numbered(n)).digest for n in (12, 2, 10))

    assert archive.digests() == [first, middle, later]


def test_the_index_is_canonical_and_says_what_was_taken_in(archive):
    digest = archive.take(numbered(3)).digest

    raw = (path_of(archive, digest).parent / "index.json").read_bytes()

    assert canonical.load_canonical(raw) == {"bundles": [{"contract": 1, "digest": digest, "sequence": 3}]}


def test_the_same_file_is_taken_in_once(archive):
    first = archive.take(numbered(3))
    written = first.path.stat().st_mtime_ns

    again = archive.take(numbered(3))

    assert again == first
    assert again.path.stat().st_mtime_ns == written


def test_another_bundle_at_a_known_sequence_is_refused(archive):
    archive.take(numbered(3))
    other = numbered(3, {"/magistrate/x.rego": b"package magistrate.x\n\nx := 1\n"})

    with pytest.raises(Conflict) as refused:
        archive.take(other)

    assert refused.value.code == "bundle.sequence_taken"
    assert len(archive.digests()) == 1


def test_a_sequence_stays_taken_when_its_file_is_gone(archive):
    path_of(archive, archive.take(numbered(3)).digest).unlink()

    with pytest.raises(Conflict, match=r"bundle\.sequence_taken"):
        archive.take(numbered(3, {"/magistrate/x.rego": b"package magistrate.x\n\nx := 1\n"}))


def test_the_gate_stands_before_the_archive(archive, tmp_path):
    text = FILES["/policies/refunds/refunds.rego"].decode() + "\n_x := time.now_ns()\n"

    with pytest.raises(Malformed, match=r"gate\.builtin"):
        archive.take(policy(text))

    assert archive.digests() == []
    assert not (tmp_path / "bundles").exists()


def test_what_is_no_bundle_is_refused(archive):
    with pytest.raises(Malformed, match=r"bundle\.archive"):
        archive.take(b"x")


@pytest.mark.parametrize(
    "digest", ["sha256:" + "0" * 64, "", "sha256:", "../../etc/passwd", "sha256:../x", "0" * 64, "SHA256:" + "0" * 64]
)
def test_an_unknown_digest_is_absent(archive, digest):
    archive.take(numbered(1))

    with pytest.raises(Absent, match=r"bundle\.unknown"):
        archive.load(digest)


def test_a_file_put_beside_the_others_was_not_taken_in(archive, tmp_path):
    archive.take(numbered(1))
    raw = numbered(2)
    digest = Bundle.read(raw).digest
    (tmp_path / "bundles" / (digest.removeprefix("sha256:") + ".tar.gz")).write_bytes(raw)

    with pytest.raises(Absent, match=r"bundle\.unknown"):
        archive.load(digest)
    assert archive.take(raw).digest == digest  # through the gate it is welcome


CHANGES = {
    "one bit": lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
    "cut short": lambda raw: raw[:-1],
    "emptied": lambda raw: b"",
    "one byte more": lambda raw: raw + b"\0",
    "another bundle": lambda raw: numbered(9),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_found_at_the_next_load(archive, name):
    taken = archive.take(numbered(1))
    taken.path.chmod(0o600)
    taken.path.write_bytes(CHANGES[name](taken.raw))

    with pytest.raises(Broken) as broken:
        archive.load(taken.digest)

    assert broken.value.code == "bundle.changed"


def test_a_renamed_file_is_found(archive):
    one, two = archive.take(numbered(1)), archive.take(numbered(2))
    one.path.rename(two.path)

    with pytest.raises(Broken, match=r"bundle\.changed"):
        archive.load(two.digest)
    with pytest.raises(Broken, match=r"bundle\.lost"):
        archive.load(one.digest)


def test_a_changed_file_is_not_repaired_in_silence(archive):
    taken = archive.take(numbered(1))
    taken.path.chmod(0o600)
    taken.path.write_bytes(b"x")

    with pytest.raises(Broken, match=r"bundle\.changed"):
        archive.take(numbered(1))


def test_a_file_in_the_way_is_never_written_over(archive, tmp_path):
    raw = numbered(1)
    (tmp_path / "bundles").mkdir()
    path = tmp_path / "bundles" / (Bundle.read(raw).digest.removeprefix("sha256:") + ".tar.gz")
    path.write_bytes(b"mine")

    with pytest.raises(Broken, match=r"bundle\.changed"):
        archive.take(raw)

    assert path.read_bytes() == b"mine"
    assert archive.digests() == []


def test_a_crash_between_file_and_index_costs_nothing(archive, tmp_path, monkeypatch):
    raw = numbered(1)
    with monkeypatch.context() as crash:
        crash.setattr(Archive, "_write_index", lambda *_: (_ for _ in ()).throw(OSError("crash")))
        with pytest.raises(Unavailable, match="crash"):
            archive.take(raw)
    assert archive.digests() == []

    assert archive.take(raw).digest in archive.digests()


def test_what_the_index_has_no_room_for_is_refused_and_the_others_stay_readable(archive, tmp_path, monkeypatch):
    kept = archive.take(numbered(1))
    monkeypatch.setattr(archives, "MAX_INDEX", (tmp_path / "bundles" / "index.json").stat().st_size)
    before = sorted(path.name for path in (tmp_path / "bundles").iterdir())

    with pytest.raises(Conflict, match=r"bundle\.full"):
        archive.take(numbered(2))

    assert archive.load(kept.digest) == kept
    assert archive.take(numbered(1)) == kept
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == before


def test_no_unfinished_file_is_left(archive, tmp_path):
    archive.take(numbered(1))

    names = sorted(path.name for path in (tmp_path / "bundles").iterdir())

    assert [name for name in names if name.startswith(".")] == []
    assert len(names) == 2


def test_an_archived_file_is_read_only(archive):
    assert path_of(archive, archive.take(numbered(1)).digest).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"bundles": {}}',
        b'{"bundles": [{"digest": "sha256:x", "sequence": 1, "contract": 1}]}',
        json.dumps({"bundles": [{"digest": "sha256:" + "0" * 64, "sequence": "1", "contract": 1}]}).encode(),
        json.dumps({"bundles": [], "more": 1}).encode(),
    ],
)
def test_a_damaged_index_stops_everything(archive, tmp_path, raw):
    archive.take(numbered(1))
    (tmp_path / "bundles" / "index.json").write_bytes(raw)

    for act in (archive.digests, lambda: archive.take(numbered(2)), lambda: archive.load("sha256:" + "0" * 64)):
        with pytest.raises(Broken, match=r"bundle\.index"):
            act()


def test_an_archive_that_cannot_be_written_takes_nothing_in(archive, tmp_path):
    (tmp_path / "bundles").write_text("a file where the folder should be")

    with pytest.raises(Unavailable, match=r"bundle\.unwritten"):
        archive.take(packed())

    assert [path.name for path in tmp_path.iterdir()] == ["bundles"]


def test_a_bundle_or_an_index_that_cannot_be_read_is_not_taken_for_absent(archive, tmp_path):
    taken = archive.take(numbered(1))
    taken.path.unlink()
    taken.path.mkdir()
    with pytest.raises(Unavailable, match=r"bundle\.unread"):
        archive.load(taken.digest)

    (tmp_path / "bundles" / "index.json").unlink()
    (tmp_path / "bundles" / "index.json").mkdir()
    with pytest.raises(Unavailable, match=r"bundle\.unread"):
        archive.digests()
