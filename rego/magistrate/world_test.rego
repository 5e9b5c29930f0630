# A world of its own for the engine's tests: no name, number or role in it is one that ships.
package tests.world

catalogue := {
	"actions": {
		"thing.make": {
			"title": "Make a thing",
			"parameters": {
				"type": "object",
				"additionalProperties": false,
				"required": ["name", "amount"],
				"properties": {
					"name": {"type": "string"},
					"amount": {"type": "integer"},
					"key": {"type": "string"},
					"to": {"type": "string"},
				},
			},
			"secrets": ["door"],
			"secret_parameters": ["key"],
			"targets": {"kinds": ["shop"]},
			"executor": {"kind": "http"},
			"rollback": {"kind": "http"},
			"probes": {"eye": {"kind": "http"}, "ear": {"kind": "http"}},
			"expect": [{"source": "probe/eye", "pointer": ["made", {"from": "/target/name"}], "equals": {"from": "/parameters/name"}}],
			"evidence": ["probe/eye", "observer/olga"],
			"administration": false,
			"uses": 4,
		},
		"thing.hand": {
			"title": "Make a thing by hand",
			"parameters": {"type": "object"},
			"secrets": [],
			"secret_parameters": [],
			"targets": {"kinds": ["shop"]},
			"executor": {"kind": "none"},
			"probes": {},
			"expect": [],
			"evidence": ["holder"],
			"administration": false,
		},
		"house.admit": {
			"title": "Admit somebody",
			"parameters": {"type": "object"},
			"secrets": [],
			"secret_parameters": [],
			"targets": {"kinds": ["shop"]},
			"executor": {"kind": "builtin"},
			"probes": {},
			"expect": [],
			"evidence": ["executor"],
			"administration": true,
			"subject": "/parameters/who",
			"subject_type": "operator",
		},
	},
	"targets": {
		"corner": {"kind": "shop", "environment": "live", "owner": "us", "services": ["till", "door"], "name": "corner-shop"},
		"attic": {"kind": "room", "environment": "live", "owner": "us", "services": [], "name": "attic"},
	},
	"installation": {
		"limits": {"open_intents": 3},
		"proofs": {"wax": 1, "ink": 2},
		"containment": {"notice": [], "serious": ["halt", "rollback"], "critical": ["halt", "revoke", "quarantine"]},
	},
}

tiers := {
	"low": {
		"rank": 1,
		"requirement": {"all_of": [], "exclude": [], "wait_seconds": 60, "approval_seconds": 30},
		"warrant": {
			"ttl": 100,
			"uses": 3,
			"constraints": {"max_retries": 2, "rollback_on_failure": false, "affected_services": ["till", "door", "lamp"]},
			"heartbeat_seconds": 7,
			"report_by_seconds": 8,
			"rollback_seconds": 9,
		},
	},
	"high": {
		"rank": 2,
		"requirement": {
			"all_of": [{"roles": ["smith", "clerk"], "count": 1, "proof": "wax"}],
			"exclude": ["proposer", "owner", "author", "subject"],
			"wait_seconds": 600,
			"approval_seconds": 300,
		},
		"warrant": {
			"ttl": 200,
			"uses": 5,
			"constraints": {"max_retries": 1, "rollback_on_failure": true},
			"heartbeat_seconds": 17,
			"report_by_seconds": 18,
			"rollback_seconds": 19,
		},
	},
}

low := {"code": "shop.low", "title": "Low", "remedy": "", "floor": "low", "severity": ""}

high := {"code": "shop.high", "title": "High", "remedy": "", "floor": "high", "severity": ""}

policy := {
	"governs": {"thing.make", "thing.hand", "house.admit"},
	"tier": {low},
	"deny": set(),
	"approval": set(),
	"constraint": set(),
	"deviation": set(),
}

actor := {
	"type": "agent",
	"id": "maker",
	"state": "active",
	"roles": [],
	"owner": "otto",
	"credential": "api-key",
	"open_intents": 0,
}

clock := {"unix": 1774447200, "at": "2026-03-25T14:00:00Z", "weekday": "Wednesday", "minute_of_day": 840}

intent := {
	"type": "magistrate/intent/v1",
	"intent_id": "int-1",
	"origin": "acme/test",
	"proposer": {"type": "agent", "id": "maker"},
	"received_at": "2026-03-25T14:00:00Z",
	"nonce": "n",
	"action": "thing.make",
	"target": "corner",
	"parameters": {"name": "hat", "amount": 5},
	"claims": {"reason": "", "context": {}},
}

question := {
	"contract": 1,
	"origin": "acme/test",
	"now": clock,
	"intent": intent,
	"proposer": actor,
	"round": 1,
	"round_began": 1774447200,
	"approvals": [],
	"facts": {},
	"counters_blind": [],
	"subject": {"type": "", "id": ""},
	"author": "",
	"installation": {"operators": 3, "demo": false},
}

# An approval of this round, by this person.
yes(operator, roles) := {
	"operator": operator,
	"roles": roles,
	"verdict": "approve",
	"reason": "",
	"narrowing": {},
	"at": 1774447190,
	"expires_at": 1774447201,
	"proof": "wax",
	"digest": "sha256:00",
}

# The question with some of its values replaced: an object from pointer to value.
asked(base, changes) := json.patch(base, [{"op": "add", "path": path, "value": value} | some path, value in changes])

codes(reasons) := {reason.code | some reason in reasons}
