"""What is not exactly a bundle of ours is refused, byte by byte, before anything else looks at it."""

import gzip
import hashlib
import json
import os
import tarfile

import pytest

from magistrate.core.errors import Malformed
from magistrate.policy import bundle as bundles
from magistrate.policy import tarball
from magistrate.policy.bundle import Bundle
from tests.policy.trees import FILES, MANIFEST, archive, manifest, member, numbered, packed

REST = [member(name, content) for name, content in FILES.items()]


def test_a_bundle_is_named_by_the_digest_of_its_file():
    raw = numbered(42)

    bundle = Bundle.read(raw)

    assert bundle.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert (bundle.sequence, bundle.contract, bundle.path) == (42, 1, None)
    assert bundle.data["policies"]["refunds"]["limits"]["small"] == 100
    assert bundle.raw == raw


def test_nobody_changes_the_data_of_a_bundle_that_was_read():
    bundle = Bundle.read(packed())

    with pytest.raises(TypeError):
        bundle.data["policies"]["refunds"] = {}


def test_a_bundle_without_data_is_one():
    assert Bundle.read(packed({k: v for k, v in FILES.items() if k != "/data.json"})).data == {}


ARCHIVES = {
    "empty": (b"", "bundle.archive"),
    "not gzip": (b"PK\x03\x04 and so on", "bundle.archive"),
    "zlib, not gzip": (__import__("zlib").compress(b"\0" * 1024), "bundle.archive"),
    "cut short": (packed()[:-20], "bundle.archive"),
    "one byte short": (packed()[:-1], "bundle.archive"),
    "bytes behind it": (packed() + b"\0", "bundle.archive"),
    "a second gzip member": (packed() + gzip.compress(b""), "bundle.archive"),
    "a checksum of the gzip file changed": (packed()[:-8] + b"\0\0\0\0" + packed()[-4:], "bundle.archive"),
    "no end": (archive(*REST, end=b""), "bundle.archive"),
    "half an end": (archive(*REST, end=b"\0" * 512), "bundle.archive"),
    "a file behind the first empty block": (
        archive(*REST, end=b"\0" * 512 + member("/policies/x/x.rego", b"package policies.x") + b"\0" * 1024),
        "bundle.archive",
    ),
    "bytes behind the end": (archive(*REST, end=b"\0" * 1024 + b"x"), "bundle.archive"),
    "a header's checksum wrong": (archive(b"x" + REST[0][1:], *REST[1:]), "bundle.archive"),
    "a content longer than the archive": (archive(REST[-1][:512], end=b""), "bundle.archive"),
    "a link": (archive(*REST, member("/a.rego", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "bundle.archive"),
    "a hard link": (archive(*REST, member("/a.rego", type=tarfile.LNKTYPE, linkname="/data.json")), "bundle.archive"),
    "a folder": (archive(*REST, member("/policies", type=tarfile.DIRTYPE)), "bundle.archive"),
    "a device": (archive(*REST, member("/a.rego", type=tarfile.CHRTYPE)), "bundle.archive"),
    "a fifo": (archive(*REST, member("/a.rego", type=tarfile.FIFOTYPE)), "bundle.archive"),
    "a PAX record": (archive(member("/a", b"11 path=/b\n", type=tarfile.XHDTYPE), *REST), "bundle.archive"),
    "a global PAX record": (archive(member("/a", b"11 path=/b\n", type=tarfile.XGLTYPE), *REST), "bundle.archive"),
    "a GNU long name": (archive(member("/a", b"/b\0", type=tarfile.GNUTYPE_LONGNAME), *REST), "bundle.archive"),
    "a GNU sparse file": (archive(*REST, member("/a.rego", type=tarfile.GNUTYPE_SPARSE)), "bundle.archive"),
    "too large": (os.urandom(tarball.MAX_PACKED + 1), "bundle.too_large"),
    "a bomb": (gzip.compress(b"\0" * (tarball.MAX_UNPACKED + 1)), "bundle.too_large"),
    "too much data": (
        archive(member("/data.json", b'{"tiers":"%b"}' % (b"x" * bundles.MAX_JSON)), *REST[1:]),
        "bundle.too_large",
    ),
    "too many files": (archive(*(member(f"/a{n}.rego") for n in range(tarball.MAX_FILES + 1))), "bundle.too_large"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_two_readers_could_read_differently_is_refused(name):
    raw, code = ARCHIVES[name]

    with pytest.raises(Malformed) as refused:
        Bundle.read(raw)

    assert refused.value.code == code


@pytest.mark.parametrize(
    "name",
    [
        "data.json",
        "./data.json",
        "/../data.json",
        "/a/../data.json",
        "/a/./b.rego",
        "//data.json",
        "/a//b.rego",
        "/a b.rego",
        "/a/.hidden.rego",
        "/.hidden/a.rego",
        "/a\\b.rego",
        "/-a.rego",
        "/a\n.rego",
        "/a..b.rego",
        "/",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(Malformed) as refused:
        Bundle.read(archive(*REST, member(name, b"package a")))

    assert refused.value.code == "bundle.name"


def test_a_name_that_is_not_ascii_is_refused():
    header = bytearray(member("/e.rego"))
    header[1:3] = "é".encode()
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * 32)

    with pytest.raises(Malformed, match=r"bundle\.(archive|name)"):
        Bundle.read(archive(*REST, bytes(header)))


def test_a_name_that_stands_twice_is_refused():
    with pytest.raises(Malformed, match=r"bundle\.name"):
        Bundle.read(archive(*REST, REST[0]))


@pytest.mark.parametrize(
    "name",
    [
        "/policies/refunds/refunds_test.rego",
        "/README.md",
        "/policy.wasm",
        "/plan.json",
        "/data.yaml",
        "/data.yml",
        "/policies/refunds/data.json",
        "/capabilities.json",
        "/schemas/input.json",
        "/policies/.manifest",
        "/patch.json",
        "/x.REGO",
    ],
)
def test_a_file_of_another_kind_is_refused(name):
    with pytest.raises(Malformed) as refused:
        Bundle.read(packed({**FILES, name: b"{}"}))

    assert refused.value.code == "bundle.file"


def test_signatures_are_not_ours_and_are_refused():
    with pytest.raises(Malformed, match=r"bundle\.(file|name)"):
        Bundle.read(packed({**FILES, "/.signatures.json": b"{}"}))


MANIFESTS = {
    "no roots": (manifest(roots=...), "bundle.manifest"),
    "everything is its root": (manifest(roots=[""]), "bundle.roots"),
    "no root at all": (manifest(roots=[]), "bundle.roots"),
    "the authorization rule is its root": (manifest(roots=["magistrate", "system/authz"]), "bundle.roots"),
    "system is its root": (manifest(roots=["system"]), "bundle.roots"),
    "our token's root": (manifest(roots=["magistrate_authz"]), "bundle.roots"),
    "a foreign root": (manifest(roots=["tests"]), "bundle.roots"),
    "a root with a slash before": (manifest(roots=["/magistrate"]), "bundle.roots"),
    "roots are a string": (manifest(roots="magistrate"), "bundle.roots"),
    "roots hold a number": (manifest(roots=[1]), "bundle.roots"),
    "rego_version 0": (manifest(rego_version=0), "bundle.manifest"),
    "rego_version 2": (manifest(rego_version=2), "bundle.manifest"),
    "rego_version true": (manifest(rego_version=True), "bundle.manifest"),
    "no rego_version": (manifest(rego_version=...), "bundle.manifest"),
    "another rego_version for a file": (manifest(file_rego_versions={"*": 0}), "bundle.manifest"),
    "wasm": (manifest(wasm=[{"entrypoint": "a", "module": "/p.wasm"}]), "bundle.manifest"),
    "no metadata": (manifest(metadata=...), "bundle.manifest"),
    "metadata is a list": (manifest(metadata=[]), "bundle.manifest"),
    "no contract": (manifest(metadata={"sequence": 1}), "bundle.manifest"),
    "an unknown contract": (manifest(metadata={"contract": 2, "sequence": 1}), "bundle.contract"),
    "contract 1 as text": (manifest(metadata={"contract": "1", "sequence": 1}), "bundle.contract"),
    "contract true": (manifest(metadata={"contract": True, "sequence": 1}), "bundle.contract"),
    "no sequence": (manifest(metadata={"contract": 1}), "bundle.manifest"),
    "sequence 0": (manifest(metadata={"contract": 1, "sequence": 0}, revision="0"), "bundle.sequence"),
    "sequence -1": (manifest(metadata={"contract": 1, "sequence": -1}, revision="-1"), "bundle.sequence"),
    "sequence 1.5": (manifest(metadata={"contract": 1, "sequence": 1.5}, revision="1.5"), "bundle.sequence"),
    "sequence as text": (manifest(metadata={"contract": 1, "sequence": "1"}), "bundle.sequence"),
    "sequence true": (manifest(metadata={"contract": 1, "sequence": True}, revision="True"), "bundle.sequence"),
    "another revision": (manifest(revision="2"), "bundle.revision"),
    "an empty revision": (manifest(revision=""), "bundle.revision"),
    "revision as a number": (manifest(revision=1), "bundle.revision"),
    "no revision": (manifest(revision=...), "bundle.manifest"),
    "a key twice": (manifest().replace(b"{", b'{"revision": "9", ', 1), "bundle.json"),
    "not JSON": (b"{", "bundle.json"),
    "a list": (b"[]", "bundle.json"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_says_anything_else_is_refused(name):
    raw, code = MANIFESTS[name]

    with pytest.raises(Malformed) as refused:
        Bundle.read(packed({**FILES, "/.manifest": raw}))

    assert refused.value.code == code


def test_a_bundle_without_a_manifest_is_refused():
    with pytest.raises(Malformed, match=r"bundle\.manifest"):
        Bundle.read(packed({k: v for k, v in FILES.items() if k != "/.manifest"}))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"system": {}}', "bundle.roots"),
        (b'{"magistrate_authz": {"token": ""}}', "bundle.roots"),
        (b'{"catalogue": {}, "catalogue": {}}', "bundle.json"),
        (b'{"catalogue": 1e999}', "bundle.json"),
        (b"[]", "bundle.json"),
        (b"", "bundle.json"),
    ],
)
def test_data_that_is_not_strict_or_not_its_own_is_refused(data, code):
    with pytest.raises(Malformed) as refused:
        Bundle.read(packed({**FILES, "/data.json": data}))

    assert refused.value.code == code


def test_every_single_byte_of_a_bundle_counts():
    raw = packed()
    good = Bundle.read(raw).digest
    seen = set()
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            seen.add(Bundle.read(changed).digest)
        except Malformed:
            continue

    assert good not in seen


def test_the_manifest_of_the_small_bundle_is_what_these_tests_change():
    assert json.loads(FILES["/.manifest"]) == MANIFEST
