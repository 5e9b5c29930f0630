"""A second OPA, which somebody else runs: it activates what we signed, and nothing else, and answers as ours does."""

import pytest

from magistrate.cli import say
from magistrate.core import canonical
from tests.pulling import house as houses
from tests.pulling.house import AGENT, AUDITOR, OBSERVER
from tests.support.second_opa import LOADED, relay, second_opa, until

ASKED = {"contract": 1}  # no whole question: every document answers it all the same


def test_it_activates_the_bundle_with_the_configuration_the_program_prints(house):
    code, printed = houses.printed(house, "policy", "pull-config")
    assert code == 0

    with second_opa(printed, house.keys[OBSERVER]) as opa:
        opa.says(LOADED)

        assert opa.rego.ask("access", ASKED)["allowed"] is False
        assert opa.rego.value("system/bundles/magistrate/etag") == house.pull()[1]["etag"]


def test_the_printed_configuration_is_yaml_and_json_of_one_thing(house):
    _, printed = houses.printed(house, "policy", "pull-config", "--address", "https://gate.acme.example/", "--json")
    said = canonical.load_object(printed.encode())

    assert said["services"]["magistrate"]["url"] == "https://gate.acme.example/opa/v1"
    assert said["services"]["magistrate"]["credentials"]["bearer"]["token"] == "${OPA_PULL_TOKEN}"
    assert said["bundles"]["magistrate"]["signing"] == {"scope": house.origin}
    assert said["keys"] == {
        house.key(state)["key_id"]: {"algorithm": "ES256", "key": house.key(state)["pem"]}
        for state in ("current", "next")
    }
    assert house.keys[OBSERVER] not in printed


def test_what_it_has_is_not_sent_again(house):
    with relay(house.url) as between, second_opa(house.configuration(between.url), house.keys[OBSERVER]) as opa:
        until(lambda: len(between.answers) >= 3)

        statuses = [status for status, _ in between.answers]
        assert statuses == [200] + [304] * (len(statuses) - 1)
        assert all(size == 0 for status, size in between.answers if status == 304)
        assert "modes=snapshot,delta" in between.asked[0]["Prefer"]
        assert opa.active() == 1


def test_a_pull_is_no_entry(house):
    before = houses.entries(house)
    for _ in range(3):
        assert house.pull()[0] == 200

    assert houses.entries(house) == before


def test_after_a_bad_update_it_keeps_the_bundle_it_had(house):
    with relay(house.url) as between, second_opa(house.configuration(between.url), house.keys[OBSERVER]) as opa:
        opa.says(LOADED)
        answer = opa.rego.ask("access", ASKED)
        between.afresh, between.change = True, lambda _: b"not a bundle"
        opa.says("Bundle load failed")

        assert opa.rego.ask("access", ASKED) == answer
        between.change = lambda raw: raw
        opa.says(LOADED, times=2)
        assert opa.rego.ask("access", ASKED) == answer


# -- who may pull


def test_without_a_credential_it_gets_nothing(house):
    with second_opa(house.configuration(), "") as opa:
        opa.says("server replied with Unauthorized")
        assert opa.empty()


@pytest.mark.parametrize(("who", "status"), [(OBSERVER, 200), (AUDITOR, 200), (AGENT, 403)])
def test_observers_and_auditors_pull_and_agents_do_not(house, who, status):
    assert house.pull(who)[0] == status


def test_an_agents_key_gets_no_bundle(house):
    with second_opa(house.configuration(), house.keys[AGENT]) as opa:
        opa.says("server replied with Forbidden")
        assert opa.empty()


# -- rotation


def test_who_lists_the_announced_key_goes_through_a_rotation_and_who_does_not_keeps_the_old_bundle(house):
    old, announced = house.key("current"), house.key("next")
    both = house.configuration()
    only_old = house.configuration(keys=("current",))
    with second_opa(both, house.keys[OBSERVER]) as ready, second_opa(only_old, house.keys[OBSERVER]) as late:
        ready.says(LOADED)
        late.says(LOADED)
        answer = late.rego.ask("access", ASKED)

        house.rotate()

        ready.says(LOADED, times=2)
        late.says(f"verification key corresponding to ID {announced['key_id']} not found")
        assert late.active() == 1
        assert ready.rego.ask("access", ASKED) == late.rego.ask("access", ASKED) == answer
    assert house.key("current")["key_id"] == announced["key_id"]
    assert [row["key_id"] for row in house.listed() if row["state"] == "retired"] == [old["key_id"]]
    for configuration, loads in ((house.configuration(), True), (only_old, False)):
        with second_opa(configuration, house.keys[OBSERVER]) as fresh:
            fresh.says(LOADED if loads else "not found")
            assert fresh.empty() is not loads


def test_operators_rotate_it_from_the_command_line(house):
    announced = house.key("next")
    first, second = house.operators[:2]
    code, said = houses.printed(house, "keys", "rotate", "--role", "bundle", "--json", who=first)
    assert code == say.WAITING
    intent = canonical.load_object(said.encode(), limit=1 << 20)["intent"]["intent_id"]

    assert houses.printed(house, "approvals", "approve", intent, "--yes", who=second)[0] == say.DONE
    assert house.key("next") == announced  # approved is not done
    assert houses.printed(house, "operators", "finish", intent, who=first)[0] == say.DONE

    assert house.key("current")["key_id"] == announced["key_id"]


def test_the_public_key_is_printed_as_opa_takes_it(house):
    key = house.key("current")
    for words in (("--role", "bundle"), ("--role", "bundle", "--format", "pem")):
        assert houses.printed(house, "keys", "export", *words) == (say.DONE, key["pem"])
    assert houses.printed(house, "keys", "export", "--role", "warrant")[1].startswith('{"algorithm":"Ed25519","key_id"')
    for words in (("--role", "bundle", "--format", "pin"), ("--role", "warrant", "--format", "pem"), ("--role", "x")):
        assert houses.printed(house, "keys", "export", *words) == (say.USAGE, "")


def test_the_private_key_that_was_retired_is_gone(house):
    house.rotate()
    assert house.pull()[0] == 200
    kept = {path.stem for path in (house.data / "keys").glob("bundle-*.key")}
    named = [row["key_id"].removeprefix("sha256:")[:16] for row in house.listed() if row["state"] != "retired"]
    assert kept == {f"bundle-{name}" for name in named}


def test_a_restart_serves_the_same_bytes_under_the_same_tag(house):
    _, before, raw = house.pull()
    assert house.stop() == 0
    house.start()
    status, after, again = house.pull()
    assert (status, after["etag"], again) == (200, before["etag"], raw)
    assert house.pull(if_none_match=before["etag"])[0] == 304
