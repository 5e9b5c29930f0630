"""The core against test data of other projects, file by file."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from magistrate.core import canonical
from magistrate.core.errors import Forged, Malformed, ProofFailed
from magistrate.core.merkle import verify_consistency, verify_inclusion
from magistrate.core.signature import decode_public
from tests.support.conformance import FOLDER, PARTS


def merkle_cases(kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((FOLDER / "merkle" / kind).rglob("*.json")):
        yield path, json.loads(path.read_text())


def b64(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_the_data_is_whole():
    """Nobody named a folder that is missing or half there."""
    ed25519 = json.loads((FOLDER / "wycheproof" / "ed25519_test.json").read_text())

    found = {
        "jcs": len(list((FOLDER / "jcs" / "input").iterdir())),
        "wycheproof": sum(len(group["tests"]) for group in ed25519["testGroups"]),
        "merkle": sum(1 for kind in ("inclusion", "consistency") for _ in merkle_cases(kind)),
    }

    assert found == PARTS


def test_rfc_8785_documents():
    """All six documents come out byte for byte; the one with 1E30 is beyond our profile, and only for that."""
    written, refused = [], {}
    for path in sorted((FOLDER / "jcs" / "input").iterdir()):
        raw = path.read_bytes()
        expected = (FOLDER / "jcs" / "output" / path.name).read_bytes()
        octets = (FOLDER / "jcs" / "outhex" / f"{path.stem}.txt").read_text()
        assert expected == bytes.fromhex(octets)
        try:
            assert canonical.canonical(canonical.load(raw)) == expected, path.name
        except Malformed as error:
            refused[path.name] = (error.code, error.pointer)
        assert canonical._write_carefully(json.loads(raw)) == expected, path.name
        written.append(path.name)

    assert len(written) == PARTS["jcs"]
    assert refused == {"values.json": ("input.number", "/numbers/1")}


def test_wycheproof_ed25519():
    """Every valid signature stands, and no invalid one does."""
    data = json.loads((FOLDER / "wycheproof" / "ed25519_test.json").read_text())
    wrong, ran = [], 0
    for group in data["testGroups"]:
        key = decode_public(group["publicKey"]["pk"])
        for case in group["tests"]:
            try:
                key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
                stands = True
            except Forged:
                stands = False
            ran += 1
            if stands != (case["result"] == "valid"):
                wrong.append((case["tcId"], case["comment"]))

    assert (ran, wrong) == (PARTS["wycheproof"], [])


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_merkle_proofs(kind):
    """Every good proof proves, and no bad one does."""
    wrong, ran = [], 0
    for path, case in merkle_cases(kind):
        proof = [b64(step) for step in case["proof"] or []]
        try:
            if kind == "inclusion":
                verify_inclusion(b64(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, b64(case["root"]))
            else:
                verify_consistency(case["size1"], b64(case["root1"]), case["size2"], b64(case["root2"]), proof)
            failed = False
        except ProofFailed:
            failed = True
        ran += 1
        if failed != case["wantErr"]:
            wrong.append((path.name, case["desc"]))

    assert (ran, wrong) == (PARTS["merkle"] // 2, [])
