"""The porch over a real installation and a real OPA."""

import asyncio

from tests.api.house import LEAD, proposal, redemption, word
from tests.api.real import digest, opened


async def test_a_day(tmp_path):
    async with opened(tmp_path) as home:
        # 1. armed by its canaries, and ready
        ready = await home.http.get("/readyz")
        assert ready.json() == {
            "ready": True,
            "checks": dict.fromkeys(("setup", "gate", "opa", "store", "clock"), "ok"),
        }

        # 2. a denial, a warrant at once, and one after an approval
        assert (await home.intent(action="note.burn"))["decision"]["standing"]["outcome"] == "deny"
        live = await home.intent()
        assert live["decision"]["bundle"] == digest()
        waiting = await home.intent(action="note.ask")
        given = word(waiting, LEAD, "lead-1", home.house.now())
        said = await home.call(LEAD, "POST", waiting["links"]["approvals"], given)
        assert said.json()["warrant"] is not None, said.text

        # 3. used by its holder, not by another, and for nothing else
        stolen = await home.call(
            "other", "POST", "/v1/executions", {**redemption(live["warrant"]), "warrant": live["warrant"]}
        )
        assert (stolen.status_code, stolen.json()["code"]) == (403, "test.reason")
        changed = {**live["warrant"]["scope"], "parameters": {"text": "bye"}}
        bent = await home.call("bot", "POST", "/v1/executions", {**redemption(live["warrant"]), "call": changed})
        assert bent.status_code == 403
        used = await home.call("bot", "POST", "/v1/executions", redemption(live["warrant"]))
        assert used.status_code == 201
        here = f"/v1/executions/{used.json()['execution_id']}"
        said = await home.call("bot", "POST", here + "/report", {"outcome": "succeeded"})
        assert said.json()["verification"]["verdict"] == "conforming"

        # 4. own and foreign
        assert (await home.call("other", "GET", here)).status_code == 404
        assert (await home.call("ada", "GET", here)).status_code == 200
        assert (await home.call("ada", "POST", live["links"]["warrant"] + "/revoke")).status_code == 403
        revoked = await home.call(LEAD, "POST", live["links"]["warrant"] + "/revoke")
        assert revoked.json()["state"] == "revoked"

        # 5. the bundle that decided is there to be read
        answer = await home.call("ada", "GET", f"/v1/bundles/{digest()}")
        assert answer.content == (tmp_path / "bundle.tar.gz").read_bytes()


async def test_races_under_one_key_and_for_the_last_use(tmp_path):
    async with opened(tmp_path) as home:
        key = "race-12345678"
        made = await asyncio.gather(
            *(home.call("bot", "POST", "/v1/intents", proposal(), idempotency_key=key) for _ in range(8))
        )
        assert len({a.content for a in made}) == 1
        warrant = made[0].json()["warrant"]
        uses = await asyncio.gather(
            *(home.call("bot", "POST", "/v1/executions", redemption(warrant)) for _ in range(8))
        )
        assert sorted(a.status_code for a in uses) == [201, 201] + [403] * 6


async def test_without_opa_nothing_is_permitted(tmp_path):
    async with opened(tmp_path) as home:
        live = await home.intent()
        sidecar = home.house.sidecars.live()[digest()]
        await sidecar.stop()
        size = home.size
        assert (await home.call("bot", "POST", "/v1/intents", proposal())).status_code == 503
        assert home.size > size  # the refusal is on record
        assert (await home.call("ada", "GET", "/v1/intents")).status_code == 503
        used = await home.call("bot", "POST", "/v1/executions", redemption(live["warrant"]))
        assert used.status_code == 503
        assert home.house.store.row("warrants", live["warrant"]["warrant_id"]).data["uses_left"] == 2
        revoked = await home.call(LEAD, "POST", live["links"]["warrant"] + "/revoke")
        assert revoked.json()["state"] == "revoked"
