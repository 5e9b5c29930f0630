"""The porch under the shipped bundle: who may see and do what, by its own access rules."""

import json
import re
import shutil

import pytest

from magistrate.api.app import ENDPOINTS
from magistrate.policy.build import build
from tests.api.house import LEAD
from tests.api.real import binary, opened
from tests.support.rego_tools import REGO

ASK = {"action": "service.restart", "target": "api-gateway-prod", "parameters": {}, "reason": "memory"}
READS = [e for e in ENDPOINTS if e.method == "GET" and not e.open]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped Rego, armed by one canary of ours."""
    tree = tmp_path_factory.mktemp("rego") / "rego"
    shutil.copytree(REGO, tree, ignore=shutil.ignore_patterns("*_test.rego"))
    canary = {"document": "decision", "question": {"contract": 1}, "expect": {"outcome": "deny"}}
    (tree / "canaries" / "data.json").write_text(json.dumps({"nothing-asked": canary}))
    return build(binary(), tree)


def ids(home, made):
    entry = home.house.store.entries(chain=made["intent"]["intent_id"], kind="decision")[0].index
    return {
        "intents": made["intent"]["intent_id"],
        "entries": str(entry),
        "decisions": str(entry),
        "bundles": home.house.active(),
    }


async def test_who_may_read_what(tmp_path, shipped):
    async with opened(tmp_path, shipped) as home:
        assert (await home.http.get("/readyz")).status_code == 200
        asked = await home.call("bot", "POST", "/v1/intents", ASK)
        assert asked.status_code == 201, asked.text
        named = ids(home, asked.json())
        for endpoint in READS:
            kind = endpoint.path.split("/")[2] if endpoint.path.count("/") > 1 else ""
            if endpoint.path == "/v1/events" or ("{" in endpoint.path and kind not in named):
                continue
            path = re.sub(r"{[^}]*}", named.get(kind, ""), endpoint.path)
            statuses = {
                who if isinstance(who, str) else "lead-1": (await home.call(who, "GET", path)).status_code
                for who in (LEAD, "ada", "bot", "other", "mesh-watch")
            }
            assert statuses["lead-1"] == statuses["ada"] == 200, (path, statuses)
            assert statuses["bot"] in (200, 403), (path, statuses)
            if "{" in endpoint.path and kind != "bundles":
                assert (statuses["bot"], statuses["other"], statuses["mesh-watch"]) == (200, 404, 404), path
            for who in ("mesh-watch", "other", "bot"):
                assert statuses[who] != 503


async def test_who_may_do_what(tmp_path, shipped):
    async with opened(tmp_path, shipped) as home:
        made = (await home.call("bot", "POST", "/v1/intents", ASK)).json()
        here = f"/v1/intents/{made['intent']['intent_id']}"
        assert made["decision"]["standing"]["outcome"] in ("ask", "deny", "allow")
        for who, status in (("ada", 403), ("mesh-watch", 404), ("other", 404)):
            assert (await home.call(who, "POST", here + "/cancel", {})).status_code == status, who
        for who in ("ada", "mesh-watch", "bot"):
            answer = await home.call(who, "POST", "/v1/agents/bot/quarantine", {"reason": "x"})
            assert answer.status_code in (403, 404), who
            assert home.house.store.row("agents", "bot").state == "active"
        taken = await home.call(LEAD, "POST", "/v1/agents/bot/quarantine", {"reason": "odd"})
        assert (taken.status_code, taken.json()["state"]) == (200, "quarantined")
        late = await home.call("bot", "POST", "/v1/intents", ASK)
        assert late.json()["decision"]["standing"]["outcome"] == "deny"
        assert (await home.call("bot", "GET", here)).status_code == 200
