package tests.policies.secrets

import data.policies.secrets

_limits := {
	"lent": ["demo", "master"],
	"guarded": ["master"],
	"strong": ["ed25519"],
	"ttl": 60,
	"uses": 1,
	"keeper": {"roles": ["security-lead"], "count": 1, "proof": "ed25519"},
}

_asked(name, credential) := {
	"intent": {"action": "secret.use", "parameters": {"credential": name}},
	"proposer": {"credential": credential},
}

_codes(said) := {one.code | some one in said}

_tiers(question) := {one.code: one.floor |
	some one in secrets.tier with input as question with data.policies.secrets.limits as _limits
}

_denials(question) := codes if {
	codes := _codes(secrets.deny) with input as question with data.policies.secrets.limits as _limits
}

_approvals(question) := said if {
	said := secrets.approval with input as question with data.policies.secrets.limits as _limits
}

test_it_judges_the_use_of_secrets if secrets.governs == {"secret.use"}

test_a_secret_that_is_lent_asks_for_an_approval_of_its_tier if {
	question := _asked("secret:demo", "api-key")
	_tiers(question) == {"secrets.any": "T1"}
	_denials(question) == set()
	_approvals(question) == set()
}

test_a_secret_that_opens_much_is_higher_and_asks_security if {
	question := _asked("secret:master", "ed25519")
	_tiers(question) == {"secrets.any": "T1", "secrets.guarded": "T2"}
	_denials(question) == set()
	_approvals(question) == {{
		"code": "secrets.keeper",
		"title": "Whoever answers for security lends what opens much",
		"remedy": "",
		"floor": "",
		"severity": "",
		"row": {"roles": ["security-lead"], "count": 1, "proof": "ed25519"},
	}}
}

test_a_bearer_key_that_asks_for_it_is_higher_still if {
	_tiers(_asked("secret:master", "api-key"))["secrets.bearer"] == "T3"
	_tiers(json.remove(_asked("secret:master", "none"), ["/proposer/credential"]))["secrets.bearer"] == "T3"
}

test_a_secret_that_is_not_lent_is_refused if {
	_denials(_asked("secret:root", "ed25519")) == {"secrets.unlent"}
	_denials(_asked("", "ed25519")) == {"secrets.unlent"}
	_denials(_asked(7, "ed25519")) == {"secrets.unlent"}
	_tiers(_asked("secret:root", "ed25519")) == {}
}

test_a_secret_is_lent_for_a_short_time_and_few_uses if {
	said := secrets.constraint with input as _asked("secret:demo", "api-key") with data.policies.secrets.limits as _limits
	said == {{"kind": "ttl", "value": 60}, {"kind": "uses", "value": 1}}
}
