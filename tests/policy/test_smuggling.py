"""Every way to smuggle a bundle into an archive, each refused with its own code; the old one still answers after each.

Some come through the front door (`take`), some past it: by whoever can write the archive's folder. What a bundle must
not say is in `test_gate`; who may hand one in, and put one in force, in the engine's tests.
"""

import json
import multiprocessing
import os
import threading

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Absent, Broken, Conflict, MagistrateError, Malformed, Unavailable
from magistrate.policy.archive import Archive
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from tests.policy.trees import FILES, POLICY, archive, manifest, member, numbered, packed, unpacked

ROOTS = ["magistrate", "policies", "catalogue", "tiers", "counters", "canaries"]
METADATA = {"contract": 1, "sequence": 2}
QUESTION = b'{"x":101}'


class Place:
    """An archive with one bundle, its running OPA, and the folder as somebody who may write there sees it."""

    def __init__(self, folder, binary):
        self.folder = folder
        self.archive = Archive(folder, binary)
        self.old = self.archive.take(numbered(1))

    def path(self, raw):
        return self.folder / (canonical.digest(raw).removeprefix("sha256:") + ".tar.gz")

    def put(self, raw, name=None):
        """Lay a file beside the others."""
        path = name or self.path(raw)
        path.write_bytes(raw)
        return canonical.digest(raw)

    def overwrite(self, raw):
        self.old.path.chmod(0o600)
        self.old.path.write_bytes(raw)

    def index(self, *rows, raw=None):
        """Write the index by hand."""
        text = canonical.canonical({"bundles": list(rows)}) + b"\n" if raw is None else raw
        (self.folder / "index.json").write_bytes(text)

    def row(self, raw=None, **change):
        bundle = self.old if raw is None else Bundle.read(raw)
        return {"contract": 1, "digest": bundle.digest, "sequence": bundle.sequence, **change}


@pytest.fixture
def place(tmp_path, binary):
    return Place(tmp_path / "bundles", binary)


@pytest.fixture
async def answering(place, binary):
    """The old bundle's OPA, and what it answers."""
    sidecar = Sidecar(binary, place.old, deadline=10.0)
    await sidecar.start()
    answer = (await sidecar.ask("decision", QUESTION)).raw
    yield sidecar, answer
    await sidecar.stop()


def with_rule(text):
    return numbered(2, {"/policies/refunds/refunds.rego": (POLICY + "\n" + text + "\n").encode()})


def with_manifest(**change):
    said = manifest(**{"revision": "2", "metadata": METADATA, **change})
    return packed({**FILES, "/.manifest": said})


def edited(raw, name, change):
    files = unpacked(raw)
    return packed({**files, name: change(files[name])})


GOOD = numbered(2)

TAKEN = {
    "no archive": (b"not a bundle", Malformed, "bundle.archive"),
    "truncated": (GOOD[:-1], Malformed, "bundle.archive"),
    "truncated to nothing": (b"", Malformed, "bundle.archive"),
    "a byte flipped": (GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:], Malformed, "bundle.archive"),
    "something after its end": (GOOD + b"\0", Malformed, "bundle.archive"),
    "two archives in one": (GOOD + numbered(3), Malformed, "bundle.archive"),
    "the old one, edited": (
        edited(numbered(1), "/policies/refunds/refunds.rego", lambda raw: raw.replace(b"limits.small", b"10")),
        Conflict,
        "bundle.sequence_taken",
    ),
    "a second digest at a known sequence": (
        numbered(1, {"/magistrate/x.rego": b"package magistrate.x\n\nx := 1\n"}),
        Conflict,
        "bundle.sequence_taken",
    ),
    "the old one with its sequence as another revision": (with_manifest(revision="1"), Malformed, "bundle.revision"),
    "no sequence": (with_manifest(metadata={"contract": 1, "sequence": 0}, revision="0"), Malformed, "bundle.sequence"),
    "a contract nobody speaks": (with_manifest(metadata={"contract": 9, "sequence": 2}), Malformed, "bundle.contract"),
    "roots that take the authz policy": (with_manifest(roots=[*ROOTS, "system/authz"]), Malformed, "bundle.roots"),
    "roots that take the authz data": (with_manifest(roots=[*ROOTS, "magistrate_authz"]), Malformed, "bundle.roots"),
    "roots that take everything": (with_manifest(roots=[""]), Malformed, "bundle.roots"),
    "no roots, which are everything": (with_manifest(roots=...), Malformed, "bundle.manifest"),
    "data outside its roots": (
        numbered(2, {"/data.json": json.dumps({"system": {"authz": {"allow": True}}}).encode()}),
        Malformed,
        "bundle.roots",
    ),
    "the authz policy as a file": (
        numbered(2, {"/system/authz.rego": b"package system.authz\n\nallow := true\n"}),
        Malformed,
        "gate.compile",
    ),
    "a builtin that reads the clock": (with_rule("_x := time.now_ns()"), Malformed, "gate.builtin"),
    "a builtin that throws dice": (with_rule('_x := rand.intn("x", 2)'), Malformed, "gate.builtin"),
    "a builtin that asks the network": (
        with_rule('_x := http.send({"method": "GET", "url": "http://x"})'),
        Malformed,
        "gate.builtin",
    ),
    "a builtin of the host's time zone": (with_rule("_x := time.weekday(0)"), Malformed, "gate.builtin"),
    "a rule outside the vocabulary": (with_rule("denies contains 1 if input.x"), Malformed, "gate.public_rule"),
    "a denial that never denies": (
        packed(
            {
                **FILES,
                "/.manifest": manifest(revision="2", metadata=METADATA),
                "/policies/refunds/refunds.rego": b'package policies.refunds\n\ngoverns := {"refund.create"}\n\ndeny := false if input.x\n',
            }
        ),
        Malformed,
        "gate.partial_set",
    ),
    "a denial without a reason": (with_rule("deny contains 1 if input.y"), Malformed, "gate.metadata"),
    "a policy that looks at OPA's own data": (with_rule("_x := data.system.bundles"), Malformed, "gate.data"),
    "another Rego": (with_rule("import rego.v2"), Malformed, "gate.rego_version"),
    "a signature file of somebody's": (numbered(2, {"/.signatures.json": b"{}"}), Malformed, "bundle.name"),
    "a way out of the folder": (
        archive(member("/../x.rego", b"package x\n"), member("/.manifest", manifest())),
        Malformed,
        "bundle.name",
    ),
    "one file twice": (
        archive(*(member(name, raw) for name, raw in [*FILES.items(), *FILES.items()])),
        Malformed,
        "bundle.name",
    ),
    "a link": (
        archive(member("/x.rego", type=b"2", linkname="/etc/passwd"), member("/.manifest", manifest())),
        Malformed,
        "bundle.archive",
    ),
    "a test": (numbered(2, {"/magistrate/x_test.rego": b"package x\n"}), Malformed, "bundle.file"),
    "a program": (numbered(2, {"/x.sh": b"#!/bin/sh\n"}), Malformed, "bundle.file"),
}


@pytest.mark.parametrize("how", TAKEN)
async def test_through_the_front_door(place, answering, how):
    raw, kind, code = TAKEN[how]
    before = sorted((path.name, path.read_bytes()) for path in place.folder.iterdir())

    with pytest.raises(kind) as no:
        place.archive.take(raw)

    assert no.value.code == code
    assert sorted((path.name, path.read_bytes()) for path in place.folder.iterdir()) == before
    await still_answers(place, answering)


async def still_answers(place, answering):
    sidecar, answer = answering
    assert place.archive.load(place.old.digest) == place.old
    assert place.archive.judged(place.old.digest) == place.old
    assert (await sidecar.ask("decision", QUESTION)).raw == answer


# -- past the door: the folder was written to


def renamed(place):
    """The old file under the name of another bundle that is in the index."""
    place.index(place.row(), place.row(GOOD))
    place.path(GOOD).write_bytes(numbered(1))
    return canonical.digest(GOOD)


def unknown(place):
    return place.put(GOOD)


def lost(place):
    place.index(place.row(), place.row(GOOD))
    return canonical.digest(GOOD)


def another_number(place):
    """The index says of it what its manifest does not."""
    place.index(place.row(), place.row(GOOD, sequence=7))
    return place.put(GOOD)


def another_contract(place):
    place.index(place.row(), place.row(GOOD, contract=7))
    return place.put(GOOD)


def link_to_it(place):
    elsewhere = place.folder.parent / "elsewhere"
    place.put(GOOD, elsewhere)
    place.path(GOOD).symlink_to(elsewhere)
    place.index(place.row(), place.row(GOOD))
    return canonical.digest(GOOD)


def pipe(place):
    """Reading it would wait for ever."""
    os.mkfifo(place.path(GOOD))
    place.index(place.row(), place.row(GOOD))
    return canonical.digest(GOOD)


def endless(place):
    with place.path(GOOD).open("wb") as file:
        file.truncate(1 << 33)
    place.index(place.row(), place.row(GOOD))
    return canonical.digest(GOOD)


def upper_case(place):
    """A name that another file system would take for the same."""
    path = place.path(GOOD)
    place.put(GOOD, path.with_name(path.name.upper().replace(".TAR.GZ", ".tar.gz")))
    place.index(place.row(), place.row(GOOD))
    return canonical.digest(GOOD)


LAID = {
    "renamed": (renamed, Broken, "bundle.changed"),
    "a file put beside the others": (unknown, Absent, "bundle.unknown"),
    "in the index and nowhere else": (lost, Broken, "bundle.lost"),
    "in the index under another sequence": (another_number, Broken, "bundle.index"),
    "in the index under another contract": (another_contract, Broken, "bundle.index"),
    "a link to a file elsewhere": (link_to_it, Broken, "bundle.link"),
    "a pipe": (pipe, Unavailable, "bundle.unread"),
    "a file without end": (endless, Broken, "bundle.changed"),
    "a name in capitals": (upper_case, Broken, "bundle.lost"),
}


@pytest.mark.parametrize("how", LAID)
async def test_past_the_door(place, answering, how):
    lay, kind, code = LAID[how]
    digest = lay(place)

    for load in (place.archive.load, place.archive.judged, Archive(place.folder, place.archive._binary).load):
        with pytest.raises(kind) as no:
            load(digest)
        assert no.value.code == code
    await still_answers(place, answering)


NEVER = {
    "a builtin that reads the clock": ("_x := time.now_ns()", "gate.builtin"),
    "a builtin of the host's time zone": ("_x := time.weekday(0)", "gate.builtin"),
    "a rule outside the vocabulary": ("denies contains 1 if input.x", "gate.public_rule"),
}


@pytest.mark.parametrize("how", NEVER)
async def test_what_an_edited_index_names_does_not_come_into_force(place, answering, how):
    """File and index agree, and no digest is wrong: only the gate, asked once more, can tell."""
    rule, code = NEVER[how]
    raw = with_rule(rule)
    place.index(place.row(), place.row(raw))
    digest = place.put(raw)

    with pytest.raises(Malformed) as no:
        place.archive.judged(digest)

    assert no.value.code == code
    await still_answers(place, answering)


CHANGED = {
    "edited": lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
    "truncated": lambda raw: raw[:-1],
    "emptied": lambda _: b"",
    "exchanged for a good one": lambda _: GOOD,
}


@pytest.mark.parametrize("how", CHANGED)
async def test_the_old_ones_file_is_changed(place, answering, how):
    """What runs goes on; what would be read anew is not believed."""
    place.overwrite(CHANGED[how](place.old.raw))

    for act in (
        lambda: place.archive.load(place.old.digest),
        lambda: place.archive.judged(place.old.digest),
        lambda: place.archive.take(place.old.raw),
    ):
        with pytest.raises(Broken) as no:
            act()
        assert no.value.code == "bundle.changed"
    sidecar, answer = answering
    assert (await sidecar.ask("decision", QUESTION)).raw == answer
    place.overwrite(place.old.raw)
    await still_answers(place, answering)


INDEXES = {
    "truncated": lambda place: (place.folder / "index.json").read_bytes()[:-9],
    "emptied": lambda _: b"",
    "with a blank": lambda place: (place.folder / "index.json").read_bytes().replace(b":", b": ", 1),
    "with a key twice": lambda place: b'{"bundles":[],' + (place.folder / "index.json").read_bytes()[1:],
    "that names a bundle twice": lambda place: rows(place.row(), place.row(sequence=2)),
    "that names a sequence twice": lambda place: rows(place.row(), place.row(GOOD, sequence=1)),
    "with a field nobody knows": lambda place: rows({**place.row(), "trusted": True}),
    "with a digest in capitals": lambda place: rows(place.row(digest=place.old.digest.upper())),
    "with a sequence that is no number": lambda place: rows(place.row(sequence=True)),
    "that has no end": lambda _: b" " * (2 << 20),
}


def rows(*said):
    return canonical.canonical({"bundles": list(said)}) + b"\n"


@pytest.mark.parametrize("how", INDEXES)
async def test_a_damaged_index_stops_everything_and_what_runs_goes_on(place, answering, how):
    good = (place.folder / "index.json").read_bytes()
    place.index(raw=INDEXES[how](place))

    for act in (place.archive.digests, lambda: place.archive.take(GOOD), lambda: place.archive.load(place.old.digest)):
        with pytest.raises(Broken) as no:
            act()
        assert no.value.code in ("bundle.index", "bundle.changed")
    place.index(raw=good)
    await still_answers(place, answering)


async def test_an_index_that_moves_the_old_one_makes_no_room_at_its_sequence(place, answering):
    place.index(place.row(sequence=7))
    raw = numbered(1, {"/magistrate/x.rego": b"package magistrate.x\n\nx := 1\n"})

    with pytest.raises(Broken) as no:
        place.archive.take(raw)

    assert no.value.code == "bundle.index"
    place.index(place.row())
    await still_answers(place, answering)


def test_a_sequence_stays_taken_when_its_file_cannot_be_read(place):
    place.old.path.unlink()
    os.mkfifo(place.old.path)

    with pytest.raises(Conflict, match=r"bundle\.sequence_taken"):
        place.archive.take(numbered(1, {"/magistrate/x.rego": b"package magistrate.x\n\nx := 1\n"}))


async def test_an_index_that_is_a_link_is_not_followed(place, answering):
    index = place.folder / "index.json"
    index.rename(place.folder / "elsewhere.json")
    index.symlink_to("elsewhere.json")

    with pytest.raises(Broken, match=r"bundle\.link"):
        place.archive.load(place.old.digest)
    index.unlink()
    (place.folder / "elsewhere.json").rename(index)
    await still_answers(place, answering)


async def test_what_passed_the_gate_here_is_not_sent_through_it_again(place, monkeypatch):
    """Its digest names its bytes; the swap of an activation is no time to compile everything."""
    asked = []
    monkeypatch.setattr("magistrate.policy.archive.gate.check", lambda _, bundle: asked.append(bundle.digest))
    fresh = Archive(place.folder, place.archive._binary)

    for judging in (place.archive, fresh, fresh):
        assert judging.judged(place.old.digest) == place.old

    assert asked == [place.old.digest]


def test_a_link_in_the_way_is_not_written_through(place):
    elsewhere = place.folder.parent / "elsewhere"
    elsewhere.write_bytes(GOOD)
    place.path(GOOD).symlink_to(elsewhere)

    with pytest.raises(Broken, match=r"bundle\.link"):
        place.archive.take(GOOD)

    assert place.archive.digests() == [place.old.digest]


# -- two at once


def test_two_that_are_taken_in_at_once_are_both_in(place, binary):
    """Without turns the second index would forget the first bundle."""
    raws = [numbered(n) for n in range(2, 8)]
    archives = [Archive(place.folder, binary) for _ in raws]
    threads = [threading.Thread(target=made.take, args=(raw,)) for made, raw in zip(archives, raws, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert place.archive.digests() == [place.old.digest, *(canonical.digest(raw) for raw in raws)]


def test_of_two_at_one_sequence_one_is_taken_in(place, binary):
    raws = [numbered(2, {"/magistrate/x.rego": b"package magistrate.x\n\nx := %d\n" % n}) for n in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.starmap(_taken, [(place.folder, binary, raw) for raw in raws])

    assert sorted(told) == ["", *["bundle.sequence_taken"] * 3]
    assert len(place.archive.digests()) == 2
    assert place.archive.load(place.archive.digests()[1]).sequence == 2


def _taken(folder, binary, raw):
    try:
        Archive(folder, binary).take(raw)
    except MagistrateError as no:
        return no.code
    return ""
