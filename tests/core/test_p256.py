"""ES256 for what OPA verifies: RFC 6979's own vector, and every key and signature that must be refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from magistrate.core import p256
from magistrate.core.errors import Forged

# RFC 6979, A.2.5: P-256 with SHA-256, message "sample"
SCALAR = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
X = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
Y = "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
SIGNATURE = bytes.fromhex(
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNER = p256.signer_from_scalar(SCALAR)


def test_a_signature_is_that_of_rfc_6979():
    assert SIGNER.public.hex().upper() == ("03" if int(Y, 16) % 2 else "02") + X
    assert SIGNER.sign(b"sample") == SIGNATURE
    p256.verify(SIGNER.public, b"sample", SIGNATURE)


def test_the_pem_is_the_same_key():
    numbers = load_pem_public_key(p256.pem(SIGNER.public).encode()).public_numbers()
    assert (numbers.x, numbers.y, numbers.curve.name) == (int(X, 16), int(Y, 16), "secp256r1")


@pytest.mark.parametrize("scalar", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_what_is_no_private_scalar_is_refused(scalar):
    with pytest.raises(Forged, match=r"key\.scalar"):
        p256.signer_from_scalar(scalar)


POINTS = {
    "of another length": (b"\x02" + bytes(31), "key.length"),
    "an Ed25519 key": (bytes(32), "key.length"),
    "uncompressed": (b"\x04" + bytes.fromhex(X + Y), "key.length"),
    "infinity": (bytes(33), "key.no_point"),
    "of no form": (b"\x05" + bytes.fromhex(X), "key.no_point"),
    "x beyond the field": (b"\x02" + b"\xff" * 32, "key.no_point"),
    "x of no point": (b"\x02" + (5).to_bytes(32, "big"), ""),
}


@pytest.mark.parametrize("name", POINTS)
def test_what_is_no_public_key_is_refused(name):
    raw, code = POINTS[name]
    if not code:  # find an x that has no y: about every second one
        raw, code = next(
            (one, "key.no_point")
            for one in (b"\x02" + n.to_bytes(32, "big") for n in range(1, 99))
            if not _is_point(one)
        )
    for use in (p256.pem, lambda key: p256.verify(key, b"sample", SIGNATURE)):
        with pytest.raises(Forged) as no:
            use(raw)
        assert no.value.code == code


def _is_point(raw):
    try:
        p256.pem(raw)
    except Forged:
        return False
    return True


OTHERS = {
    "of another message": SIGNER.sign(b"other"),
    "of another key": p256.signer_from_scalar(b"\x01" * 32).sign(b"sample"),
    "as DER": encode_dss_signature(int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")),
    "zeros": bytes(64),
    "cut": SIGNATURE[:-1],
    "empty": b"",
    "r and s exchanged": SIGNATURE[32:] + SIGNATURE[:32],
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_signature_is_refused(name):
    with pytest.raises(Forged, match=r"signature\.wrong"):
        p256.verify(SIGNER.public, b"sample", OTHERS[name])


def test_an_openssl_without_deterministic_nonces_signs_too(monkeypatch):
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec

    real = ec.ECDSA

    def old(algorithm, deterministic_signing=False):
        if deterministic_signing:
            raise UnsupportedAlgorithm("ECDSA with deterministic signature (RFC 6979) is not supported")
        return real(algorithm)

    monkeypatch.setattr(p256.ec, "ECDSA", old)
    signature = SIGNER.sign(b"sample")
    assert signature != SIGNATURE
    p256.verify(SIGNER.public, b"sample", signature)
