package tests.policies.administration

import data.policies.administration

_limits := {
	"proposers": {"roles": ["admin"]},
	"single": ["agent.enrol"],
	"shared": {"roles": ["admin"], "count": 2, "proof": "ed25519"},
}

_admin := {"type": "operator", "id": "ann", "state": "active", "roles": ["admin"]}

_asked(action, proposer, subject, operators) := {
	"intent": {"action": action},
	"proposer": proposer,
	"subject": subject,
	"installation": {"operators": operators},
}

_newcomer := {"type": "agent", "id": "deploy-bot"}

_denials(question) := {one.code |
	some one in administration.deny with input as question with data.policies.administration.limits as _limits
}

_rows(question) := {one.row |
	some one in administration.approval with input as question with data.policies.administration.limits as _limits
}

test_it_judges_every_act_of_administration if {
	administration.governs == {action | some action, row in data.catalogue.actions; row.administration}
}

test_an_act_of_administration_has_a_tier_of_its_own if {
	said := administration.tier with input as _asked("agent.enrol", _admin, _newcomer, 2)
	{one.code: one.floor | some one in said} == {"administration.any": "A"}
}

test_what_leaves_trust_alone_asks_for_no_second_operator if {
	_rows(_asked("agent.enrol", _admin, _newcomer, 3)) == set()
}

test_what_touches_trust_asks_for_two_operators if {
	_rows(_asked("bundle.activate", _admin, _newcomer, 3)) == {{"roles": ["admin"], "count": 2, "proof": "ed25519"}}
}

test_a_house_of_one_operator_asks_for_one if {
	_rows(_asked("bundle.activate", _admin, _newcomer, 1)) == {{"roles": ["admin"], "count": 1, "proof": "ed25519"}}
	_rows(_asked("bundle.activate", _admin, _newcomer, 0)) == {{"roles": ["admin"], "count": 1, "proof": "ed25519"}}
}

test_an_act_nobody_listed_asks_for_two_operators if {
	some row in _rows({"intent": {}, "installation": {"operators": 9}})
	row.count == 2
}

_activation(proposer, author, operators) := object.union(
	_asked("bundle.activate", proposer, {"type": "bundle", "id": "sha256:00"}, operators),
	{"author": author},
)

test_the_author_of_a_bundle_does_not_approve_that_it_comes_into_force if {
	limited := {"roles": ["admin"], "count": 2, "proof": "ed25519"}
	_rows(_activation(_admin, "ben", 3)) == {limited, object.union(limited, {"exclude": ["author"]})}
}

test_an_author_who_proposes_signs_as_the_proposer if {
	_rows(_activation(_admin, "ann", 3)) == {{"roles": ["admin"], "count": 2, "proof": "ed25519"}}
}

test_no_other_act_has_an_author if {
	asked := object.union(_asked("key.rotate", _admin, {"type": "", "id": ""}, 3), {"author": "ben"})
	_rows(asked) == {{"roles": ["admin"], "count": 2, "proof": "ed25519"}}
}

test_the_approval_says_why if {
	some said in administration.approval with input as _asked("key.rotate", _admin, _newcomer, 2)
	said.code == "administration.shared"
	said.title == "Trust itself is at stake"
}

test_an_operator_who_answers_for_the_installation_may_propose if {
	_denials(_asked("agent.enrol", _admin, _newcomer, 2)) == set()
}

test_nobody_else_may_propose if {
	every change in [{"type": "agent"}, {"state": "suspended"}, {"roles": []}, {"roles": ["dba"]}] {
		proposer := object.union(_admin, change)
		_denials(_asked("agent.enrol", proposer, _newcomer, 2)) == {"administration.proposer"}
	}
}

test_nobody_acts_on_oneself if {
	_denials(_asked("operator.roles", _admin, {"type": "operator", "id": "ann"}, 2)) == {"administration.self"}
}

test_no_newcomer_takes_the_proposers_name if {
	_denials(_asked("agent.enrol", _admin, {"type": "agent", "id": "ann"}, 2)) == {"administration.self"}
}
