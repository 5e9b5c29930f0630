"""Who said it: what stands, and what does not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core import signature
from magistrate.core.canonical import canonical, digest
from magistrate.core.errors import Forged, Malformed, NotCanonical
from magistrate.core.signature import (
    DOCUMENTS,
    admit,
    decode_public,
    encode_public,
    key_id,
    kind_of,
    pae,
    payload_type,
    sign_body,
    sign_document,
    signer_from_seed,
    verify_body,
    verify_document,
)
from tests.support.conformance import vectors

VECTORS = vectors("signatures.json")
SEED = bytes.fromhex(VECTORS["document"]["seed"])
SIGNED = VECTORS["document"]["signed"]
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture
def signer():
    return signer_from_seed(SEED)


@pytest.fixture
def key(signer):
    return admit(signer.public)


@pytest.fixture
def stranger():
    return signer_from_seed(bytes(31) + b"\x07")


def refused(code: str):
    return pytest.raises(Forged, match=rf"^{code.replace('.', '[.]')}: ")


# -- Ed25519 and DSSE as published ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["rfc8032"], ids=["1", "2", "3", "sha-abc"])
def test_rfc_8032_section_7_1(case):
    """The published seeds give the published keys and signatures, and those verify."""
    one = signer_from_seed(bytes.fromhex(case["seed"]))
    message, expected = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])

    assert one.public.hex() == case["public"]
    assert one.sign(message) == expected
    decode_public(case["public"]).verify(message, expected)


@pytest.mark.parametrize("case", VECTORS["pae"])
def test_pre_authentication_encoding_as_dsse_publishes_it(case):
    """The one published example, byte for byte."""
    assert pae(case["type"], bytes.fromhex(case["body_hex"])) == bytes.fromhex(case["pae_hex"])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(TEXTS, st.binary(max_size=12), TEXTS, st.binary(max_size=12))
def test_no_two_documents_share_what_is_signed(type_one, body_one, type_two, body_two):
    """Lengths come first, so nothing can be moved from the type into the body."""
    assert (pae(type_one, body_one) == pae(type_two, body_two)) == ((type_one, body_one) == (type_two, body_two))


def test_lengths_are_of_bytes():
    """A type that is not ASCII counts its UTF-8."""
    assert pae("é", b"x") == b"DSSEv1 2 \xc3\xa9 1 x"


def test_payload_types():
    """One media type for each kind of document that is ever signed; no other kind is."""
    assert payload_type("warrant") == "application/vnd.magistrate.warrant.v1+json"
    assert {
        "intent", "decision", "approval", "warrant", "report", "observation", "verification", "genesis", "recovery",
        "promotion", "certificate",
    } == DOCUMENTS  # fmt: skip
    for kind in ("entry", "checkpoint", "Warrant", "warrant.v1+json", ""):
        with refused("signature.type"):
            payload_type(kind)


# -- documents --------------------------------------------------------------------------------------------------------


def test_a_signed_document_is_for_ever(signer, key):
    """Seed and document give the published bytes, encoding and signature."""
    known = VECTORS["document"]
    unsigned = {name: value for name, value in SIGNED.items() if name != "signature"}

    assert canonical(unsigned).hex() == known["canonical_hex"]
    assert pae(payload_type("warrant"), canonical(unsigned)).hex() == known["pae_hex"]
    assert sign_document(unsigned, signer) == SIGNED
    verify_document(SIGNED, key)


def test_signing_leaves_the_document_as_it_was(signer):
    """The signed document is another one; the signature is its last field."""
    unsigned = {"type": "magistrate/report/v1", "key_id": signer.key_id}

    signed = sign_document(unsigned, signer)

    assert list(unsigned) == ["type", "key_id"]
    assert list(signed) == ["type", "key_id", "signature"]
    assert signed["signature"].startswith("0x")


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
def test_every_kind_signs_and_verifies_and_passes_for_no_other(kind, signer, key):
    """The same fields under another type are another document."""
    signed = sign_document({"type": f"magistrate/{kind}/v1", "key_id": signer.key_id}, signer)

    verify_document(signed, key)
    for other in DOCUMENTS - {kind}:
        with refused("signature.wrong"):
            verify_document(signed | {"type": f"magistrate/{other}/v1"}, key)
        body = canonical({name: value for name, value in signed.items() if name != "signature"})
        with refused("signature.wrong"):
            verify_body(other, body, signed["signature"], key)


@pytest.mark.parametrize(
    "change",
    [
        {"ttl": 301},
        {"ttl": "300"},
        {"ttl": True},
        {"warrant_id": "wrt-2"},
        {"warrant_id": "wrt-1 "},
        {"scope": SIGNED["scope"] | {"target": "api-gateway-staging"}},
        {"scope": SIGNED["scope"] | {"parameters": {"version": "2.4.1", "share": 0.5, "name": "Zu\u0308rich"}}},
        {"scope": SIGNED["scope"] | {"parameters": {}}},
        {"uses": 2},
        {"": 0},
    ],
    ids=str,
)
def test_any_changed_or_added_field_breaks_the_signature(change, key):
    """All of the document is signed, and nothing outside it counts."""
    with refused("signature.wrong"):
        verify_document(SIGNED | change, key)


@pytest.mark.parametrize("field", ["ttl", "scope", "warrant_id"])
def test_any_missing_field_breaks_the_signature(field, key):
    """Leaving out is changing."""
    with refused("signature.wrong"):
        verify_document({name: value for name, value in SIGNED.items() if name != field}, key)


@given(st.integers(0, 511))
def test_any_flipped_bit_of_a_signature_breaks_it(bit):
    """There is one signature, not one and its neighbours."""
    raw = bytearray.fromhex(SIGNED["signature"][2:])
    raw[bit // 8] ^= 1 << bit % 8

    with refused("signature.wrong"):
        verify_document(SIGNED | {"signature": "0x" + raw.hex()}, admit(signer_from_seed(SEED).public))


def test_a_signature_has_no_second_form(key):
    """S + L proves the same equation; it is refused, so a signature names its document once."""
    raw = bytes.fromhex(SIGNED["signature"][2:])
    again = raw[:32] + (int.from_bytes(raw[32:], "little") + ORDER).to_bytes(32, "little")

    with refused("signature.wrong"):
        verify_document(SIGNED | {"signature": "0x" + again.hex()}, key)


@pytest.mark.parametrize(
    "spelling",
    [
        SIGNED["signature"].upper(),
        "0x" + SIGNED["signature"][2:].upper(),
        SIGNED["signature"][2:],
        SIGNED["signature"] + "00",
        SIGNED["signature"][:-2],
        SIGNED["signature"] + "\n",
        " " + SIGNED["signature"],
        "0X" + SIGNED["signature"][2:],
        "",
    ],
)
def test_a_signature_has_one_spelling(spelling, key):
    """0x and 128 lower-case hex digits."""
    with refused("signature.spelling"):
        verify_document(SIGNED | {"signature": spelling}, key)


@pytest.mark.parametrize("value", [None, 0, [], {}, True, b"0x"])
def test_without_a_signature_nothing_is_signed(value, key):
    """Missing or of another type is no signature."""
    with refused("signature.missing"):
        verify_document({name: field for name, field in SIGNED.items() if name != "signature"}, key)
    with refused("signature.missing"):
        verify_document(SIGNED | {"signature": value}, key)


def test_another_key_proves_nothing(stranger):
    """The verifier's key decides, and the named one must agree with it."""
    theirs = admit(stranger.public)

    with refused("signature.key_id"):
        verify_document(SIGNED, theirs)
    with refused("signature.wrong"):
        verify_document(SIGNED | {"key_id": theirs.key_id}, theirs)


def test_a_document_that_names_another_key_is_refused(key, signer, stranger):
    """Signed by the right key, naming a wrong one: the hint must agree, even when the signature covers it."""
    body = {"type": "magistrate/report/v1", "key_id": stranger.key_id}
    signed = body | {"signature": sign_body("report", canonical(body), signer)}

    with refused("signature.key_id"):
        verify_document(signed, key)
    for named in (None, 0, "", [key.key_id]):
        with refused("signature.key_id"):
            verify_document(signed | {"key_id": named}, key)


@pytest.mark.parametrize(
    "name",
    [
        "magistrate/warrant/v2",
        "magistrate/warrant/v1/",
        "magistrate/entry/v1",
        "magistrate/WARRANT/v1",
        "magistrate/warrant/v1\n",
        "warrant",
        "",
        None,
        1,
        ["magistrate/warrant/v1"],
    ],
)
def test_an_unknown_type_is_never_signed_nor_verified(name, signer, key):
    """There is no default type."""
    document = SIGNED | {"type": name}

    with refused("signature.type"):
        verify_document(document, key)
    with refused("signature.type"):
        sign_document({field: value for field, value in document.items() if field != "signature"}, signer)
    for odd in ({}, document):
        with refused("signature.type"):
            kind_of(odd)


def test_nothing_is_signed_twice_or_under_another_name(signer, stranger):
    """A signer signs what names it, once."""
    with refused("signature.present"):
        sign_document(SIGNED, signer)
    with refused("signature.key_id"):
        sign_document({"type": "magistrate/report/v1", "key_id": stranger.key_id}, signer)
    with refused("signature.key_id"):
        sign_document({"type": "magistrate/report/v1"}, signer)


def test_what_json_cannot_carry_is_not_signed_and_was_not_signed(signer, key):
    """Signing says so; verifying calls it forged, since nobody can have signed it."""
    document = {"type": "magistrate/report/v1", "key_id": signer.key_id, "facts": {"at": 2**53}}

    with pytest.raises(NotCanonical):
        sign_document(document, signer)
    with refused("signature.document") as forged:
        verify_document(document | {"signature": SIGNED["signature"]}, key)
    assert forged.value.pointer == "/facts/at"


def test_statements_are_signed_as_exact_bytes(signer, key):
    """An approval's bytes are kept as they came: a byte more is another statement."""
    body = b'{"verdict":"approve"}'
    proof = sign_body("approval", body, signer)

    verify_body("approval", body, proof, key)
    for other in (body + b"\n", body[:-1], b""):
        with refused("signature.wrong"):
            verify_body("approval", other, proof, key)
    with refused("signature.type"):
        verify_body("checkpoint", body, proof, key)
    with refused("signature.spelling"):
        verify_body("approval", body, proof[2:], key)


# -- keys -------------------------------------------------------------------------------------------------------------


def little(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


SMALL = sorted(signature._SMALL_ORDER)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", SMALL, ids=["0", "1", "8th", "8th'", "-1"])
def test_keys_of_small_order_are_refused(y, sign):
    """With such a key, signatures that nobody made are valid."""
    with refused("key.small_order"):
        admit(little(y, sign))


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [P, P + 1, P + 2, 2**255 - 1])
def test_second_spellings_of_a_key_are_refused(y, sign):
    """Two spellings would give one key two key ids."""
    with refused("key.not_canonical"):
        admit(little(y, sign))


def test_why_small_order_matters():
    """The library beneath takes the identity as a key, and one made-up signature for every message."""
    identity = Ed25519PublicKey.from_public_bytes(little(1))

    for message in (b"pay 1", b"pay 1000000"):
        identity.verify(little(1) + bytes(32), message)


def test_the_refused_ys_are_all_of_them():
    """Every point whose eightfold is the identity: exactly eight, on the five ys that are refused."""
    small = {point for y in SMALL for point in points(y)}

    assert len(small) == 8
    assert all(times8(point) == (0, 1) for point in small)
    base = points(4 * pow(5, -1, P) % P)[0]
    assert times8(base) != (0, 1)


def points(y: int) -> list[tuple[int, int]]:
    square = (y * y - 1) * pow(signature._D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return [(root, y) for root in {x, -x % P}]


def times8(point: tuple[int, int]) -> tuple[int, int]:
    for _ in range(3):
        x, y = point
        bend = signature._D * x * x * y * y
        point = (2 * x * y * pow(1 + bend, -1, P) % P, (y * y + x * x) * pow(1 - bend, -1, P) % P)
    return point


def test_what_is_no_point_is_no_key():
    """About half of all byte strings are not on the curve; they fail when admitted, not when first used."""
    verdicts = [signature._on_curve(y) for y in range(2, 200)]

    assert 60 < sum(verdicts) < 140
    for y, verdict in zip(range(2, 200), verdicts, strict=True):
        if verdict:
            assert admit(little(y)).raw == little(y)
        else:
            with refused("key.no_point"):
                admit(little(y))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_and_seeds_have_32_bytes(length):
    """Nothing is padded or cut."""
    with refused("key.length"):
        admit(b"\x02" * length)
    with refused("key.length"):
        signer_from_seed(b"\x02" * length)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_signs_is_admitted_and_round_trips(seed):
    """Admission refuses no honest key, and its spelling is exact."""
    signer = signer_from_seed(seed)
    key = decode_public(encode_public(signer.public))

    assert (key.raw, key.key_id) == (signer.public, signer.key_id)
    assert key.key_id == key_id(signer.public) == digest(signer.public)
    assert key == admit(signer.public)
    key.verify(b"x", signer.sign(b"x"))
    with refused("signature.wrong"):
        key.verify(b"y", signer.sign(b"x"))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_wrong(length, key):
    """No other error leaves the check."""
    with refused("signature.wrong"):
        key.verify(b"", bytes(length))


@pytest.mark.parametrize(
    "spell",
    [str.upper, lambda t: "0x" + t, lambda t: t + "\n", lambda t: " " + t, lambda t: t[:-2], lambda t: "ed25519:" + t],
)
def test_a_public_key_has_one_spelling(spell, signer):
    """64 lower-case hex digits."""
    text = encode_public(signer.public)

    with pytest.raises(Malformed, match=r"^key\.spelling"):
        decode_public(spell(text))


def test_a_zeroed_trust_anchor_is_no_key():
    """An unset key must not verify anything."""
    with refused("key.small_order"):
        decode_public("0" * 64)


def test_a_signer_shows_no_secret(signer):
    """Printing one, in a log or an error, says whose it is and no more."""
    assert SEED.hex() not in repr(signer)
    assert "sign=" not in repr(signer)
