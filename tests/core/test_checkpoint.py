"""Checkpoints: notes that any C2SP client reads, and that say one thing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.checkpoint import (
    MAX_NOTE,
    MAX_SIZE,
    Checkpoint,
    note_key_id,
    opened,
    read,
    read_vkey,
    signed,
    verify,
    vkey,
)
from magistrate.core.errors import Forged, Malformed
from magistrate.core.signature import admit, pae, payload_type, signer_from_seed
from tests.support.conformance import vectors

VECTORS = vectors("notes.json")
OURS = VECTORS["checkpoint"]
NOTE = OURS["note"]
TEXT = "acme/prod\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
SIGNATURE = NOTE.removeprefix(TEXT + "\n")
SIGNER = signer_from_seed(bytes.fromhex(OURS["seed"]))
KEY = admit(SIGNER.public)
WITNESS = signer_from_seed(bytes(31) + b"\x09")
ORIGINS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,40}", fullmatch=True)


def malformed(code: str):
    return pytest.raises(Malformed, match=rf"^checkpoint[.]{code}: ")


def line(name: str, mark: bytes) -> str:
    return f"\u2014 {name} {base64.b64encode(mark).decode()}\n"


# -- as published, and for ever ---------------------------------------------------------------------------------------


def test_the_example_of_c2sp_signed_note():
    """A key and a note that others made are read, and the key is written back as it was."""
    published = VECTORS["c2sp"]

    name, key = read_vkey(published["vkey"])

    assert name == "example.com/foo"
    assert opened(published["note"], name, key) == "This is an example message.\n"
    assert vkey(name, key.raw) == published["vkey"]


def test_a_checkpoint_is_for_ever():
    """Seed, origin, size and root give the published note and key."""
    checkpoint = Checkpoint(OURS["origin"], OURS["size"], bytes.fromhex(OURS["root_hex"]))

    assert checkpoint.text() == TEXT
    assert signed(checkpoint, SIGNER) == NOTE
    assert verify(NOTE, "acme/prod", KEY) == checkpoint
    assert vkey("acme/prod", SIGNER.public) == OURS["vkey"]
    assert read_vkey(OURS["vkey"]) == ("acme/prod", KEY)


@given(ORIGINS, st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_round_trips(origin, size, root):
    """What is written is read back, as text, as note and as key."""
    checkpoint = Checkpoint(origin, size, root)

    assert read(checkpoint.text()) == checkpoint
    assert read(checkpoint.text()).text() == checkpoint.text()
    assert verify(signed(checkpoint, SIGNER), origin, KEY) == checkpoint
    assert read_vkey(vkey(origin, KEY.raw)) == (origin, KEY)


def test_a_note_is_not_what_documents_sign():
    """The same key in both places would still never sign the same bytes: no name holds a space."""
    assert pae(payload_type("genesis"), b"").startswith(b"DSSEv1 ")
    with malformed("name"):
        Checkpoint("DSSEv1 45", 0, bytes(32))


# -- signatures -------------------------------------------------------------------------------------------------------


def test_signatures_of_others_are_neither_needed_nor_judged():
    """Witnesses add lines; an unknown or broken one of theirs changes nothing."""
    witness = line("witness.example", note_key_id("witness.example", WITNESS.public) + WITNESS.sign(TEXT.encode()))
    broken = line("witness.example", b"\x00\x00\x00\x00" + bytes(64))
    namesake = line("acme/prod", b"\x00\x00\x00\x00" + b"another key of the same name")

    for more in (witness, broken, namesake):
        assert verify(NOTE + more, "acme/prod", KEY).size == 8
        assert verify(f"{TEXT}\n{more}{SIGNATURE}", "acme/prod", KEY).size == 8


def test_without_our_signature_nothing_is_signed():
    """A stranger's signature, or ours under another name, is none."""
    strange = signed(read(TEXT), WITNESS)
    other_name = line("acme/test", note_key_id("acme/test", SIGNER.public) + SIGNER.sign(TEXT.encode()))

    our_mark = line("acme/prov", note_key_id("acme/prod", SIGNER.public) + SIGNER.sign(TEXT.encode()))

    for note in (strange, f"{TEXT}\n{other_name}", f"{TEXT}\n{our_mark}"):
        with pytest.raises(Forged, match=r"^checkpoint\.unsigned"):
            verify(note, "acme/prod", KEY)
    with pytest.raises(Forged, match=r"^checkpoint\.unsigned"):
        verify(NOTE, "acme/test", KEY)
    with pytest.raises(Forged, match=r"^checkpoint\.unsigned"):
        verify(NOTE, "acme/prod", admit(WITNESS.public))


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("8", "9"),
        TEXT.replace("acme/prod", "acme/prov"),
        TEXT.replace("Xcna", "Xcnb"),
        TEXT + "more\n",
        "\n" + TEXT,
    ],
)
def test_a_changed_text_is_not_signed(text):
    """Judged before it is read."""
    with pytest.raises(Forged, match=r"^signature\.wrong"):
        verify(f"{text}\n{SIGNATURE}", "acme/prod", KEY)


@pytest.mark.parametrize("mark", [b"\x00", bytes(64), bytes(65)])
def test_a_wrong_signature_by_our_name_and_key_is_forged(mark):
    """Even beside a right one: somebody claims to be us."""
    wrong = line("acme/prod", note_key_id("acme/prod", SIGNER.public) + mark)

    for note in (f"{TEXT}\n{wrong}", NOTE + wrong):
        with pytest.raises(Forged, match=r"^signature\.wrong"):
            verify(note, "acme/prod", KEY)


def test_a_checkpoint_of_another_log_is_not_ours():
    """One key may sign under one name only what begins with that name."""
    text = Checkpoint("acme/test", 8, bytes(32)).text()
    note = f"{text}\n" + line("acme/prod", note_key_id("acme/prod", SIGNER.public) + SIGNER.sign(text.encode()))

    with pytest.raises(Forged, match=r"^checkpoint\.origin"):
        verify(note, "acme/prod", KEY)


# -- spellings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        TEXT + "\n",
        SIGNATURE,
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 ", "\u2014"),
        NOTE + "and more\n",
        NOTE + "\u2014 acme/prod\n",
        NOTE + "\u2014 acme/prod AAAA\n",
        NOTE + "\u2014 acme+prod AAAAAAA=\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("8", "8\t"),
        NOTE.replace("8", "\x00"),
        "\ud800" + NOTE,
    ],
)
def test_a_note_has_one_shape(note):
    """Text, empty line, signature lines, final newline; Unicode without control characters."""
    with malformed("note"):
        verify(note, "acme/prod", KEY)


@pytest.mark.parametrize("mark", ["AAAAAAA", "AAAAAAAA=", "AAAAAAB=", "A==="])
def test_signature_lines_are_canonical_base64(mark):
    """No stray bits, no missing padding."""
    with pytest.raises(Malformed, match=r"^checkpoint\.(base64|note)"):
        verify(f"{NOTE}\u2014 witness {mark}\n", "acme/prod", KEY)


def test_a_note_is_not_endless():
    """As long as allowed is read, a character more is not."""
    rest = MAX_NOTE - len(NOTE) - len(line("", bytes(66)))
    longest = NOTE + line("w" * rest, bytes(66))

    assert len(longest) == MAX_NOTE
    assert verify(longest, "acme/prod", KEY).size == 8
    with malformed("too_large"):
        verify(NOTE + line("w" * (rest + 1), bytes(66)), "acme/prod", KEY)
    with malformed("too_large"):
        verify(NOTE + line("w", bytes(48)) * (MAX_NOTE // 64), "acme/prod", KEY)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "lines"),
        ("acme/prod\n8\n", "lines"),
        (TEXT[:-1], "lines"),
        (TEXT + "extension\n", "lines"),
        (TEXT + "x", "lines"),
        (TEXT + "\n", "lines"),
        (TEXT.replace("8", "08"), "size"),
        (TEXT.replace("8", "+8"), "size"),
        (TEXT.replace("8", "-8"), "size"),
        (TEXT.replace("8", "8.0"), "size"),
        (TEXT.replace("8", " 8"), "size"),
        (TEXT.replace("8", "\u0668"), "size"),
        (TEXT.replace("8", ""), "size"),
        (TEXT.replace("8", str(MAX_SIZE + 1)), "size"),
        (TEXT.replace("8", "9" * 30), "size"),
        (TEXT.replace("acme/prod", ""), "name"),
        (TEXT.replace("acme/prod", "acme prod"), "name"),
        (TEXT.replace("acme/prod", "acme+prod"), "name"),
        (TEXT.replace("acme/prod", "acme\u00a0prod"), "name"),
        (TEXT.replace("acme/prod", "acme\x7fprod"), "name"),
        (TEXT.replace("acme/prod", "acme\ud800prod"), "name"),
        (TEXT.replace("Qyg=", "Qyg"), "base64"),
        (TEXT.replace("Qyg=", "Qyh="), "base64"),
        (TEXT.replace("Xcna", "Xc a"), "base64"),
        (TEXT.replace("Xcna", "Xc\u00e9a"), "base64"),
        (TEXT.replace("Xcna", ""), "root"),
        (TEXT.replace("Qyg=", "Qyg+"), "root"),
    ],
)
def test_a_checkpoint_has_one_spelling(text, code):
    """Origin, size and root, a line each; nothing else, and nothing spelt otherwise."""
    with malformed(code):
        read(text)


@pytest.mark.parametrize(
    ("origin", "size", "root", "code"),
    [
        ("", 0, bytes(32), "name"),
        ("a\nb", 0, bytes(32), "name"),
        ("a", -1, bytes(32), "size"),
        ("a", MAX_SIZE + 1, bytes(32), "size"),
        ("a", 0, b"", "root"),
        ("a", 0, bytes(33), "root"),
    ],
)
def test_what_could_not_be_read_back_is_never_made(origin, size, root, code):
    """A checkpoint that exists can be written and read."""
    with malformed(code):
        Checkpoint(origin, size, root)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "vkey"),
        ("acme/prod", "vkey"),
        (OURS["vkey"] + "\n", "vkey"),
        (OURS["vkey"].upper(), "vkey"),
        (OURS["vkey"].replace("acme/prod", "acme prod"), "vkey"),
        (OURS["vkey"].replace("acme/prod", "acme/test"), "key_id"),
        (OURS["vkey"].replace("+ae", "+af", 1), "key_id"),
        (OURS["vkey"].replace("+AQ", "+Ag", 1), "algorithm"),
        (OURS["vkey"] + "=", "base64"),
    ],
)
def test_a_verifier_key_has_one_spelling(text, code):
    """Name, key id and key belong together."""
    with malformed(code):
        read_vkey(text)


def test_a_verifier_key_must_be_one_that_may_be_trusted():
    """A key of small order, or of another length, is no key here either."""
    for raw in (bytes(32), bytes(31)):
        with pytest.raises(Forged, match=r"^key\."):
            read_vkey(vkey("acme/prod", raw))
    with malformed("name"):
        vkey("acme prod", KEY.raw)
