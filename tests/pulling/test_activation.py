"""When another bundle comes into force, those who pull have it a poll later, and answer by it."""

from magistrate.cli import say
from magistrate.core import canonical
from tests.engine.test_activation import raised
from tests.pulling import house as houses
from tests.pulling.house import OBSERVER, House
from tests.rego import questions
from tests.support import world as worlds
from tests.support.second_opa import LOADED, second_opa
from tests.support.world import refund


def put_in_force(house, file):
    """By the command line: one operator hands it in and proposes, the others approve."""
    first, *others = house.operators
    code, said = houses.printed(house, "policy", "activate", str(file), "--yes", "--json", who=first)
    assert code == say.WAITING
    intent = canonical.load_object(said.encode(), limit=1 << 20)["intent"]["intent_id"]
    for who in others:
        houses.printed(house, "approvals", "approve", intent, "--yes", who=who)
    assert houses.printed(house, "operators", "finish", intent, who=first)[0] == say.DONE


def test_a_new_bundle_is_pulled_and_answers_as_ours(tmp_path):
    raw = worlds.variant(tmp_path / "rego", raised)
    (tmp_path / "raised.tar.gz").write_bytes(raw)
    house = House(tmp_path / "house")
    try:
        house.start()
        house.set_up()
        _, before, _ = house.pull()
        with second_opa(house.configuration(), house.keys[OBSERVER]) as opa:
            opa.says(LOADED)
            question = _refund(opa)
            tier = opa.rego.ask("decision", question)["terms"]["tier"]

            put_in_force(house, tmp_path / "raised.tar.gz")

            opa.says(LOADED, times=2)
            assert opa.rego.value("system/bundles/magistrate/manifest/revision") == "1000"
            assert opa.rego.ask("decision", question)["terms"]["tier"] != tier  # what was large is small now
            _, after, _ = house.pull()
            assert after["etag"] != before["etag"]
            assert opa.rego.value("system/bundles/magistrate/etag") == after["etag"]
    finally:
        house.close()


def _refund(opa):
    """A refund just above the old limit, and below the new one."""
    limits, rows = opa.rego.value("policies/refunds/limits"), opa.rego.value("catalogue/actions")
    said = refund(limits["small"] + 1)
    made = questions.decision(said["action"], said["target"], said["parameters"], rows[said["action"]], [])
    return {**made, "facts": {"refunded_today": 0, "refunds_today": 0}}
