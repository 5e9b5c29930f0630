package tests.magistrate.admission

import data.magistrate
import data.tests.world

_issue := {
	"ttl": 100,
	"uses": 2,
	"audience": "router",
	"issuer": "policies.shop",
	"constraints": {"max_amount": 5, "max_retries": 1, "recipient_domains": ["inn.example"]},
	"evidence": ["probe/eye", "observer/olga"],
	"heartbeat_seconds": 7,
	"report_by_seconds": 8,
	"rollback_seconds": 9,
}

_scope := {
	"action": "thing.make",
	"target": "corner",
	"parameters": {"name": "hat", "amount": 5, "to": "ann@inn.example"},
}

_question := {
	"contract": 1,
	"origin": "acme/test",
	"now": world.clock,
	"intent": object.union(world.intent, _scope),
	"warrant": {
		"type": "magistrate/warrant/v1",
		"warrant_id": "wrt-1",
		"origin": "acme/test",
		"scope": _scope,
		"ttl": 100,
		"issued_at": "2026-03-25T13:59:00Z",
		"expires_at": "2026-03-25T14:00:40Z",
		"issuer": {"type": "policy", "id": "policies.shop"},
		"tier": "low",
		"holder": {"type": "agent", "id": "maker", "proof": "api-key"},
		"audience": "acme/test/router",
		"uses": 2,
		"constraints": _issue.constraints,
		"evidence": _issue.evidence,
		"heartbeat_seconds": 7,
	},
	"terms": {"tier": "low", "requirement": {}, "warrant": _issue},
	"issue": _issue,
	"presenter": world.actor,
	"holder": world.actor,
	"uses_left": 1,
	"state": "live",
	"armed": true,
	"audience": "router",
	"call": _scope,
	"before": [_saw("probe/eye", "before")],
}

_saw(source, phase) := {"source": source, "phase": phase, "facts": {}}

_asked(question) := answer if {
	answer := magistrate.admission with input as question with data.catalogue as world.catalogue
}

_of(changes) := _asked(world.asked(_question, changes))

# Exactly these violations, each code with what it is about.
_refused(answer, violations) if {
	answer.admit == false
	{violation.code: violation.pointer | some violation in answer.violations} == violations
	count(answer.violations) == count(violations)
}

test_a_warrant_used_as_it_says_is_admitted if _of({}) == {"admit": true, "violations": []}

test_a_violation_is_told_whole if {
	_of({"/armed": false}).violations == [{
		"code": "admission.disarmed",
		"title": "The gate is disarmed",
		"remedy": "see what the service is waiting for",
		"policy": "magistrate.admission",
		"pointer": "/armed",
	}]
}

_fields := [
	"/contract", "/origin", "/now", "/intent", "/warrant", "/terms", "/issue", "/presenter", "/holder", "/uses_left",
	"/state", "/armed", "/audience", "/call", "/before", "/now/unix", "/presenter/roles", "/holder/roles",
	"/warrant/constraints", "/warrant/evidence", "/warrant/scope",
]

test_a_missing_field_is_no_question[field] if {
	some field in _fields
	answer := _asked(json.remove(_question, [field]))
	answer.admit == false
	"admission.question" in world.codes(answer.violations)
}

test_a_field_of_another_type_is_no_question[field] if {
	some field in _fields
	answer := _of({field: null})
	answer.admit == false
	"admission.question" in world.codes(answer.violations)
}

test_a_state_nobody_knows_is_no_question if _refused(_of({"/state": "well"}), {"admission.question": ""})

test_only_the_holder_presents_it if {
	every changes in [
		{"/presenter/id": "other"},
		{"/presenter/type": "operator"},
		{"/holder/id": "other"},
		{"/holder/type": "operator"},
	] {
		_refused(_of(changes), {"admission.not_holder": "/presenter"})
	}
	_refused(_asked(json.remove(_question, ["/warrant/holder"])), {"admission.not_holder": "/presenter"})
}

test_a_key_is_presented_by_a_signature if {
	key := {"/warrant/holder/proof": "key"}
	_refused(_of(key), {"admission.credential": "/presenter/credential"})
	_of(object.union(key, {"/presenter/credential": "wax"})).admit
}

test_a_quarantined_holder_is_refused if {
	_refused(_of({"/holder/state": "quarantined"}), {"admission.quarantined": "/holder/state"})
}

test_a_holder_who_is_not_active_is_refused if {
	every state in ["suspended", "unknown", ""] {
		_refused(_of({"/holder/state": state}), {"admission.holder": "/holder/state"})
	}
}

test_a_warrant_that_has_ended_is_refused if {
	_refused(_of({"/state": "revoked"}), {"admission.revoked": "/state"})
	_refused(_of({"/state": "expired"}), {"admission.expired": "/warrant/expires_at"})
	_refused(_of({"/state": "spent"}), {"admission.spent": "/uses_left"})
}

test_a_use_must_be_left if {
	_refused(_of({"/uses_left": 0}), {"admission.spent": "/uses_left"})
	_refused(_of({"/uses_left": -1}), {"admission.spent": "/uses_left"})
	_of({"/uses_left": 2}).admit
	"admission.spent" in world.codes(_of({"/uses_left": "2"}).violations)
}

test_the_window_is_from_its_first_second_to_before_its_last if {
	_of({"/now/unix": 1774447140}).admit
	_refused(_of({"/now/unix": 1774447139}), {"admission.early": "/warrant/issued_at"})
	_of({"/now/unix": 1774447239}).admit
	_refused(_of({"/now/unix": 1774447240}), {"admission.expired": "/warrant/expires_at"})
}

test_a_window_without_ends_is_no_window if {
	_refused(_asked(json.remove(_question, ["/warrant/issued_at"])), {"admission.early": "/warrant/issued_at"})
	_refused(_asked(json.remove(_question, ["/warrant/expires_at"])), {"admission.expired": "/warrant/expires_at"})
}

test_the_call_is_the_scope_to_the_letter if {
	every changes in [
		{"/call/action": "thing.hand"},
		{"/call/target": "attic"},
		{"/call/parameters/amount": 4},
		{"/call/more": 1},
		{"/call": {}},
	] {
		_refused(_of(changes), {"admission.call_differs": "/call"})
	}
}

test_the_scope_is_what_was_decided if {
	every changes in [{"/intent/action": "thing.hand"}, {"/intent/target": "attic"}, {"/intent/parameters/amount": 4}] {
		_refused(_of(changes), {"admission.scope": "/warrant/scope"})
	}
}

test_the_warrant_is_what_its_decision_gave if {
	every changes in [
		{"/terms/tier": "high"},
		{"/issue/ttl": 99},
		{"/issue/uses": 1},
		{"/issue/constraints/max_retries": 0},
		{"/issue/evidence": ["probe/eye"]},
		{"/warrant/origin": "acme/other"},
	] {
		_refused(_of(changes), {"admission.wider": "/warrant"})
	}
}

test_a_warrant_is_used_where_it_says if {
	_refused(_of({"/audience": "holder"}), {"admission.audience": "/warrant/audience"})
	_refused(_of({"/issue/audience": "holder"}), {"admission.audience": "/warrant/audience"})
	_refused(_of({"/warrant/audience": "acme/other/router"}), {"admission.audience": "/warrant/audience"})
	_refused(
		_of({"/origin": "acme/other"}),
		{"admission.audience": "/warrant/audience", "admission.wider": "/warrant"},
	)
}

_elsewhere(action, target) := _of({
	"/intent/action": action,
	"/call/action": action,
	"/warrant/scope/action": action,
	"/intent/target": target,
	"/call/target": target,
	"/warrant/scope/target": target,
})

test_what_the_catalogue_no_longer_holds_is_refused if {
	every pair in [["thing.break", "corner"], ["thing.make", "cellar"], ["thing.make", "attic"]] {
		_refused(_elsewhere(pair[0], pair[1]), {"admission.catalogue": "/warrant/scope"})
	}
}

test_a_probe_whose_word_counts_has_looked_before if {
	_refused(_of({"/before": []}), {"admission.unobserved": "/before"})
	_refused(_of({"/before": [_saw("probe/eye", "after")]}), {"admission.unobserved": "/before"})
	_refused(_of({"/before": [_saw("probe/ear", "before")]}), {"admission.unobserved": "/before"})
	both := ["probe/eye", "probe/ear"]
	_refused(_of({"/warrant/evidence": both, "/issue/evidence": both}), {"admission.unobserved": "/before"})
	_of({"/warrant/evidence": ["observer/olga"], "/issue/evidence": ["observer/olga"], "/before": []}).admit
}

_constrained(constraints) := _of({"/warrant/constraints": constraints, "/issue/constraints": constraints})

test_a_constraint_nobody_knows_is_refused if {
	every constraints in [{"max_temper": 1}, {"max_retries": "1"}, {"rollback_on_failure": null}] {
		_refused(
			_constrained(constraints),
			{"admission.constraint_unknown": concat("", ["/warrant/constraints/", object.keys(constraints)[_]])},
		)
	}
}

test_what_is_asked_for_is_within_the_constraints if {
	_refused(_constrained({"max_amount": 4}), {"admission.constraint": "/warrant/constraints/max_amount"})
	_refused(
		_constrained({"recipient_domains": ["other.example"]}),
		{"admission.constraint": "/warrant/constraints/recipient_domains"},
	)
	_constrained({"max_amount": 6, "affected_services": ["till"]}).admit
}

test_violations_are_told_together if {
	_refused(
		_of({"/armed": false, "/state": "revoked", "/holder/state": "quarantined"}),
		{"admission.disarmed": "/armed", "admission.revoked": "/state", "admission.quarantined": "/holder/state"},
	)
}
