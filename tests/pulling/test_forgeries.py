"""What lies between the service and a second OPA cannot give it another policy: each way, with OPA's own words."""

import base64
import dataclasses
import hashlib
import hmac
import json

import pytest

from magistrate.core import canonical, p256
from magistrate.policy import signing, tarball
from magistrate.policy.bundle import Bundle
from tests.policy.trees import archive, member, numbered, unpacked
from tests.pulling.house import OBSERVER
from tests.support.second_opa import relay, second_opa, until

STRANGER = p256.signer_from_scalar(b"\x07" * 32)
POLICY = "/policies/refunds/refunds.rego"


class Forger:
    """Somebody between the two who has the signed bundle, the public key, and what else a test gives them."""

    def __init__(self, house, raw):
        self.house = house
        self.files = unpacked(raw)
        self.signatures = self.files[signing.SIGNATURES]

    @property
    def bundle(self):
        return Bundle.read(tarball.pack({k: v for k, v in self.files.items() if k != signing.SIGNATURES}))

    def packed(self, **changed):
        """The tarball with files changed or added, by path; one that is None is taken out."""
        files = {**self.files, **changed.pop("files", {}), **changed}
        return tarball.pack({name: raw for name, raw in files.items() if raw is not None})

    def edited(self, name, change):
        return self.packed(files={name: change(self.files[name])})

    def signed_by(self, signer, *, scope="", bundle=None):
        return signing.sign(bundle or self.bundle, signer, scope=scope or self.house.origin).raw

    def tokens(self, *tokens):
        return self.packed(files={signing.SIGNATURES: canonical.canonical({"signatures": list(tokens)})})

    @property
    def token(self):
        return json.loads(self.signatures)["signatures"][0]

    def alg(self, name, seal):
        """The same claims under another algorithm's header."""
        header = b64(canonical.canonical({"alg": name, "kid": self.house.key("current")["key_id"]}))
        signed = f"{header}.{self.token.split('.')[1]}"
        return self.tokens(f"{signed}.{b64(seal(signed.encode()))}")


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def named(signer, house):
    """Somebody's key under the name of the one that is trusted."""
    return dataclasses.replace(signer, key_id=house.key("current")["key_id"])


def looser(data):
    said = json.loads(data)
    said["policies"]["refunds"]["limits"] = dict.fromkeys(said["policies"]["refunds"]["limits"], 10**9)
    return json.dumps(said).encode()


def delta(_):
    return archive(
        member("/patch.json", b'{"data": [{"op": "upsert", "path": "/policies/refunds/limits", "value": 1}]}')
    )


FORGERIES = {
    "an edited rule": (
        lambda f: f.edited(POLICY, lambda raw: raw.replace(b"deny contains", b"dent contains")),
        "digest mismatch",
    ),
    "an edited number": (lambda f: f.edited("/data.json", looser), "digest mismatch"),
    "an edited manifest": (
        lambda f: f.edited("/.manifest", lambda raw: raw.replace(b'"sequence":', b'"sequence":1')),
        "digest mismatch",
    ),
    "no signature": (lambda f: f.packed(files={signing.SIGNATURES: None}), "bundle missing .signatures.json file"),
    "a stranger's key under our name": (lambda f: f.signed_by(named(STRANGER, f.house)), "invalid ECDSA signature"),
    "a stranger's key under its own name": (lambda f: f.signed_by(STRANGER), f"{STRANGER.key_id} not found"),
    "a key by its name alone": (
        lambda f: f.signed_by(dataclasses.replace(STRANGER, key_id="")),
        "verification key ID is empty",
    ),
    "our key, another scope": (lambda f: f.signed_by(f.house.signer(), scope="acme/other"), "scope mismatch"),
    "our key, no scope": (lambda f: f.tokens(unscoped(f)), "scope mismatch"),
    "HS256 keyed with our public key": (
        lambda f: f.alg(
            "HS256", lambda said: hmac.digest(f.house.key("current")["pem"].encode(), said, hashlib.sha256)
        ),
        "failed to verify JWT signature",
    ),
    "alg none": (lambda f: f.alg("none", lambda _: b""), "failed to verify JWT signature"),
    "alg none with our signature": (
        lambda f: f.alg("none", lambda _: base64.urlsafe_b64decode(f.token.split(".")[2] + "==")),
        "failed to verify JWT signature",
    ),
    "one file more": (
        lambda f: f.packed(files={"/policies/more/more.rego": b"package policies.more\n"}),
        "not included in bundle signature",
    ),
    "one harmless file more": (
        lambda f: f.packed(files={"/README.md": b"read me"}),
        "not included in bundle signature",
    ),
    "one file less": (lambda f: f.packed(files={POLICY: None}), "specified in bundle signatures but not found"),
    "the signature of another bundle": (
        lambda f: f.packed(
            files={
                signing.SIGNATURES: unpacked(f.signed_by(f.house.signer(), bundle=Bundle.read(numbered(9))))[
                    signing.SIGNATURES
                ]
            }
        ),
        "digest mismatch",
    ),
    "two signatures": (lambda f: f.tokens(f.token, f.token), "multiple JWTs not supported"),
    "two files of signatures": (
        lambda f: f.packed(files={"/a/.signatures.json": f.signatures}),
        "multiple signatures files",
    ),
    "an empty signature file": (lambda f: f.tokens(), "missing JWT"),
    "a signature cut short": (lambda f: f.tokens(f.token[:-8]), "failed to verify JWT signature"),
    "a tarball cut short": (lambda f: f.packed()[:-400], "EOF"),
    "an unsigned delta": (delta, "delta bundles do not support signature verification"),
    "an unsigned bundle of somebody's": (lambda _: numbered(9), "bundle missing .signatures.json file"),
}


def unscoped(forger):
    """A token of our key whose claims lost their scope."""
    claims = forger.token.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    del said["scope"]
    return signing._token(canonical.canonical(said), forger.house.signer())


@pytest.mark.parametrize("name", FORGERIES)
def test_a_second_opa_refuses(house, name):
    forge, words = FORGERIES[name]
    with relay(house.url) as between:
        between.change = lambda raw: forge(Forger(house, raw))
        with second_opa(house.configuration(between.url), house.keys[OBSERVER]) as opa:
            opa.says(words)

            assert opa.empty()
            assert opa.active() == 0


def test_a_second_opa_of_another_installation_refuses_ours(house):
    with second_opa(house.configuration(scope="acme/other"), house.keys[OBSERVER]) as opa:
        opa.says("scope mismatch")
        assert opa.empty()


def test_a_stranger_who_says_304_to_everything_changes_nothing(house):
    """An answer without a body is no bundle."""
    polls = []

    def nothing_new(to, _):
        polls.append(to.path)
        to.send_response(304)
        to.end_headers()

    with relay(house.url) as between:
        between.pass_on = nothing_new
        with second_opa(house.configuration(between.url), house.keys[OBSERVER]) as opa:
            until(lambda: len(polls) >= 2)
            assert opa.empty()
