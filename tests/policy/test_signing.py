"""A signed bundle is what OPA itself would have signed, and the same bytes every time."""

import base64
import json
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from magistrate.core import p256
from magistrate.core.errors import Malformed
from magistrate.policy import signing, tarball
from magistrate.policy.bundle import Bundle
from tests.policy.trees import DATA, FILES, manifest, packed, unpacked
from tests.support.rego_tools import run

SIGNER, OTHER = (p256.signer_from_scalar(bytes([n]) * 32) for n in (1, 2))
SCOPE = "acme/test"
# what JSON can hold and two encoders might write differently
AWKWARD = {
    "é": "ü\U0001f600\ufb33",
    "\u2028": "\u2029 </script> & '",
    "controls": "\b\f\n\r\t\u0000\u001f\u007f\u0080",
    "quotes": '"\\/',
    "numbers": [0, -1, 9007199254740991, 0.5, -2.25, 1.0, 1e2, 1e-7, 123456789.125],
    "nested": {"b": [], "a": {}, "B": [None, True, False, ""], "": {"z": 1}},
    "\U0001f600": 1,
    "\ufb33": 2,
}


def claims(raw):
    """The claims of a signed tarball, as another library verifies them."""
    token = json.loads(unpacked(raw)[signing.SIGNATURES])["signatures"][0]
    found = jws.deserialize_compact(token, ECKey.import_key(p256.pem(SIGNER.public)), algorithms=["ES256"])
    return found.protected, json.loads(found.payload)


def test_the_signature_lists_every_file_and_names_key_scope_and_bundle(bundle):
    header, said = claims(signing.sign(bundle, SIGNER, scope=SCOPE).raw)

    assert header == {"alg": "ES256", "kid": SIGNER.key_id}
    assert {said[name] for name in ("keyid", "scope", "iss", "bundle")} == {SIGNER.key_id, SCOPE, bundle.digest}
    assert {one["name"] for one in said["files"]} == {name.removeprefix("/") for name in FILES}
    assert said.keys() == {"bundle", "files", "iss", "keyid", "scope"}  # no time: a signature does not age


def test_the_files_are_those_of_the_bundle(bundle):
    files = unpacked(signing.sign(bundle, SIGNER, scope=SCOPE).raw)

    assert files.pop(signing.SIGNATURES)
    assert files == bundle.files


def test_what_is_served_is_not_taken_in_again(bundle):
    with pytest.raises(Malformed, match=r"bundle\.name"):
        Bundle.read(signing.sign(bundle, SIGNER, scope=SCOPE).raw)


def test_the_same_bundle_gives_the_same_bytes_and_anything_else_another_tag(bundle):
    first = signing.sign(bundle, SIGNER, scope=SCOPE)
    other = Bundle.read(packed({**FILES, "/data.json": json.dumps({**DATA, "tiers": {}}).encode()}))

    assert signing.sign(Bundle.read(bundle.raw), SIGNER, scope=SCOPE) == first
    tags = {
        first.etag,
        signing.sign(bundle, OTHER, scope=SCOPE).etag,
        signing.sign(bundle, SIGNER, scope="acme/other").etag,
        signing.sign(other, SIGNER, scope=SCOPE).etag,
    }
    assert len(tags) == 4


def opas_hashes(folder, files):
    """The hashes OPA itself puts into a signature of these files."""
    for name, raw in files.items():
        path = folder / name.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    ran = run("sign", "--signing-key", "s3cret", "--signing-alg", "HS256", "--bundle", ".", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    token = json.loads((folder / ".signatures.json").read_bytes())["signatures"][0]
    payload = token.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return {"/" + one["name"]: one["hash"] for one in said["files"]}


def test_every_hash_is_the_one_opa_computes(tmp_path):
    files = {**FILES, "/data.json": json.dumps({**DATA, "tiers": AWKWARD}, ensure_ascii=False).encode()}

    assert opas_hashes(tmp_path, files) == {name: signing.file_hash(name, raw) for name, raw in files.items()}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, min_size=1, max_size=30))
def test_opa_agrees_about_any_data(tmp_path_factory, values):
    files = {"/data.json": json.dumps({"tiers": values}).encode(), "/.manifest": manifest()}

    found = opas_hashes(tmp_path_factory.mktemp("signed"), files)

    assert found == {name: signing.file_hash(name, raw) for name, raw in files.items()}


def test_blanks_do_not_count_and_the_spelling_of_a_number_does():
    def hashed(text):
        return signing.file_hash("/data.json", text)

    assert hashed(b'{"a":[1,2]}') == hashed(b'{ "a" : [ 1 ,\n2 ] }')
    assert len({hashed(b'{"a":1}'), hashed(b'{"a":1.0}'), hashed(b'{"a":"1"}'), hashed(b'{"b":1}')}) == 4
    assert signing.file_hash("/x.rego", b"{}") != signing.file_hash("/x.rego", b"{ }")


def test_opa_verifies_it_on_the_command_line_too(tmp_path, binary, bundle):
    (tmp_path / "signed.tar.gz").write_bytes(signing.sign(bundle, SIGNER, scope=SCOPE).raw)
    (tmp_path / "key.pem").write_text(p256.pem(SIGNER.public))

    def verified(scope):
        return subprocess.run(
            [
                *(binary.path, "build", "-b", "signed.tar.gz", "-o", "scratch.tar.gz", "--scope", scope),
                *("--verification-key", "key.pem", "--verification-key-id", SIGNER.key_id, "--signing-alg", "ES256"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert verified(SCOPE).returncode == 0
    assert "scope mismatch" in verified("acme/other").stdout


@pytest.mark.parametrize("files", [{}, {"/a": b""}, {"/a/b.rego": b"x" * 512, "/c": b"y" * 513}])
def test_what_is_packed_is_unpacked_the_same(files):
    assert tarball.unpack(tarball.pack(files)) == files
    assert tarball.pack(files) == tarball.pack(dict(files))
