package tests.policies.deploys

import data.policies.deploys

_limits := {
	"calm": ["staging"],
	"risky": ["high"],
	"services": 2,
	"restarts": 5,
	"fewest_replicas": 1,
	"most_replicas": 10,
	"retries": 1,
	"freezes": [{"title": "a freeze", "weekdays": ["Friday", "Sunday"], "from": 600, "until": 700}],
	"wide": {"roles": ["release-manager"], "count": 1, "proof": "ed25519"},
}

_catalogue := {
	"actions": {
		"service.deploy": {"executor": {"kind": "http"}, "rollback": {"kind": "http"}},
		"service.handover_deploy": {"executor": {"kind": "none"}},
		"service.rolling_restart": {"executor": {"kind": "http"}},
		"service.scale": {"executor": {"kind": "http"}},
	},
	"targets": {
		"prod": {"environment": "production", "services": ["api", "web"], "name": "api"},
		"staging": {"environment": "staging", "services": ["api"], "name": "api"},
		"mesh": {"environment": "production", "services": ["api", "web", "shop"], "name": "mesh"},
		"mesh-staging": {"environment": "staging", "services": ["api", "web", "shop"], "name": "mesh"},
		"elsewhere": {"environment": "attic", "services": ["api"], "name": "api"},
		"empty": {"environment": "staging", "services": [], "name": "empty"},
	},
}

_at(weekday, minute) := {"weekday": weekday, "minute_of_day": minute}

_asked(action, target, parameters) := {
	"intent": {"action": action, "target": target, "parameters": parameters, "claims": {"context": {}}},
	"now": _at("Wednesday", 650),
}

_deploy(target) := _asked("service.deploy", target, {"version": "2.0.0"})

_codes(said) := {one.code | some one in said}

_tiers(question) := {one.code: one.floor |
	some one in deploys.tier with input as question
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as _limits
}

_denials(question) := said if {
	said := _codes(deploys.deny) with input as question
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as _limits
}

_approvals(question) := said if {
	said := deploys.approval with input as question
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as _limits
}

_constraints(question) := {one.kind: one.value |
	some one in deploys.constraint with input as question
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as _limits
}

test_it_judges_what_is_done_to_services if {
	deploys.governs == {
		"service.deploy",
		"service.handover_deploy",
		"service.restart",
		"service.rolling_restart",
		"service.scale",
	}
}

test_staging_is_the_lowest_tier if _tiers(_deploy("staging")) == {"deploys.any": "T0"}

test_production_is_one_higher if _tiers(_deploy("prod")) == {"deploys.any": "T0", "deploys.production": "T1"}

test_an_environment_nobody_calls_calm_is_production if {
	_tiers(_deploy("elsewhere")) == {"deploys.any": "T0", "deploys.production": "T1"}
}

test_a_target_that_does_not_exist_has_no_lowest_tier if not _tiers(_deploy("nowhere"))["deploys.any"]

test_what_the_agent_runs_itself_is_higher_even_in_staging if {
	_tiers(_asked("service.handover_deploy", "staging", {})) == {"deploys.any": "T0", "deploys.handover": "T1"}
}

test_many_services_are_a_higher_tier_and_ask_for_another_approval if {
	question := _deploy("mesh")
	_tiers(question)["deploys.wide"] == "T2"
	_approvals(question) == {{
		"code": "deploys.lead",
		"title": "Whoever answers for releases looks at a wide change",
		"remedy": "",
		"floor": "",
		"severity": "",
		"row": {"roles": ["release-manager"], "count": 1, "proof": "ed25519"},
	}}
}

test_as_many_services_as_the_limit_are_not_many if {
	not _tiers(_deploy("prod"))["deploys.wide"]
	count(_approvals(_deploy("prod"))) == 0
}

test_many_services_of_staging_are_not_many if not _tiers(_deploy("mesh-staging"))["deploys.wide"]

_restart(target, parameters) := _asked("service.rolling_restart", target, parameters)

test_more_restarts_than_the_limit_are_a_higher_tier if {
	_tiers(_restart("prod", {"count": 6}))["deploys.restarts"] == "T2"
}

test_as_many_restarts_as_the_limit_are_not if not _tiers(_restart("prod", {"count": 5}))["deploys.restarts"]

test_a_number_of_restarts_left_out_is_a_higher_tier if {
	_tiers(_restart("prod", {}))["deploys.restarts"] == "T2"
}

test_restarts_in_staging_are_not if not _tiers(_restart("staging", {"count": 6}))["deploys.restarts"]

test_only_restarts_are_counted if {
	not _tiers(_asked("service.deploy", "prod", {"count": 6}))["deploys.restarts"]
}

_scale(target, replicas) := _asked("service.scale", target, {"replicas": replicas})

test_a_service_switched_off_is_a_higher_tier if _tiers(_scale("prod", 0))["deploys.scale"] == "T2"

test_a_service_grown_beyond_its_means_is_a_higher_tier if _tiers(_scale("prod", 11))["deploys.scale"] == "T2"

test_modest_scaling_is_not if {
	not _tiers(_scale("prod", 1))["deploys.scale"]
	not _tiers(_scale("prod", 10))["deploys.scale"]
}

test_scaling_in_staging_is_not if not _tiers(_scale("staging", 0))["deploys.scale"]

test_only_scaling_is_looked_at_for_size if not _tiers(_deploy("prod"))["deploys.scale"]

test_two_fleets_at_once_want_a_ticket_or_a_higher_tier if {
	said := {"version": "2.0.0", "strategy": "blue-green"}
	_tiers(_asked("service.deploy", "prod", said))["deploys.ticket"] == "T2"
	not _tiers(_asked("service.deploy", "prod", object.union(said, {"ticket": "OPS-7"})))["deploys.ticket"]
	not _tiers(_asked("service.deploy", "staging", said))["deploys.ticket"]
	not _tiers(_asked("service.deploy", "prod", object.union(said, {"strategy": "rolling"})))["deploys.ticket"]
}

test_what_the_proposer_calls_risky_is_a_higher_tier if {
	claimed := {"op": "add", "path": "/intent/claims/context/risk", "value": "high"}
	_tiers(json.patch(_deploy("staging"), [claimed]))["deploys.risky"] == "T2"
}

test_what_the_proposer_calls_safe_changes_nothing if {
	claimed := {"op": "add", "path": "/intent/claims/context/risk", "value": "low"}
	_tiers(json.patch(_deploy("prod"), [claimed])) == _tiers(_deploy("prod"))
}

_frozen(target, now) if "deploys.freeze" in _denials(object.union(_deploy(target), {"now": now}))

test_production_is_frozen_from_the_first_minute_of_the_window if _frozen("prod", _at("Friday", 600))

test_production_is_frozen_to_the_last_minute_of_the_window if _frozen("prod", _at("Sunday", 699))

test_production_is_open_before_the_window if not _frozen("prod", _at("Friday", 599))

test_production_is_open_after_the_window if not _frozen("prod", _at("Friday", 700))

test_production_is_open_on_another_day if not _frozen("prod", _at("Wednesday", 650))

test_staging_is_never_frozen if not _frozen("staging", _at("Friday", 650))

test_one_freeze_among_several_is_enough if {
	more := json.patch(_limits, [{"op": "add", "path": "/freezes/0", "value": {"weekdays": [], "from": 0, "until": 0}}])
	said := deploys.deny with input as object.union(_deploy("prod"), {"now": _at("Friday", 650)})
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as more
	_codes(said) == {"deploys.freeze"}
}

test_a_clock_that_does_not_say_the_day_opens_nothing if {
	question := object.union(_deploy("prod"), {"now": {"minute_of_day": 650}})
	"deploys.freeze" in _denials(json.remove(question, ["/now/weekday"]))
	_frozen("prod", _at(3, 650))
}

test_a_clock_that_says_the_minute_as_text_opens_nothing if _frozen("prod", _at("Friday", "700"))

test_a_target_without_services_is_refused if {
	_denials(_deploy("empty")) == {"deploys.empty"}
	"deploys.empty" in _denials(_deploy("nowhere"))
}

test_nothing_else_is_refused if {
	_denials(_deploy("prod")) == set()
	_denials(_deploy("staging")) == set()
}

test_a_deploy_is_limited_to_its_services_and_taken_back_when_it_fails if {
	_constraints(_deploy("prod")) == {"affected_services": ["api", "web"], "max_retries": 1, "rollback_on_failure": true}
}

test_what_cannot_be_taken_back_promises_nothing if {
	_constraints(_restart("prod", {"count": 1})) == {"affected_services": ["api", "web"], "max_retries": 1}
}

test_scaling_is_limited_to_the_copies_asked_for if _constraints(_scale("prod", 4)).max_replicas == 4

_observed(phase, source, state) := {"phase": phase, "source": source, "facts": {"services": {"api": state}}}

_done(question, state, observations) := object.union(question, {
	"warrant": {"evidence": ["probe/fleet"]},
	"execution": {"state": state},
	"observations": observations,
})

_deviations(question) := said if {
	said := deploys.deviation with input as question
		with data.catalogue as _catalogue
		with data.policies.deploys.limits as _limits
}

test_another_version_than_the_one_allowed_deviates if {
	seen := [_observed("after", "probe/fleet", {"version": "1.9.0"})]
	_deviations(_done(_deploy("prod"), "succeeded", seen)) == {{
		"code": "deploys.version",
		"title": "Another version runs than the one allowed",
		"remedy": "",
		"floor": "",
		"severity": "serious",
		"seen": {
			"pointer": "/services/api/version",
			"expected": "2.0.0",
			"observed": "1.9.0",
			"source": "probe/fleet",
		},
	}}
}

test_the_version_allowed_conforms if {
	seen := [_observed("after", "probe/fleet", {"version": "2.0.0"})]
	_deviations(_done(_deploy("prod"), "succeeded", seen)) == set()
}

test_the_version_before_is_no_deviation if {
	seen := [_observed("before", "probe/fleet", {"version": "1.9.0"})]
	_deviations(_done(_deploy("prod"), "succeeded", seen)) == set()
}

test_a_failed_deploy_may_leave_the_old_version if {
	seen := [_observed("after", "probe/fleet", {"version": "1.9.0"})]
	_deviations(_done(_deploy("prod"), "failed", seen)) == set()
}

test_a_source_that_does_not_count_says_nothing if {
	seen := [_observed("after", "holder", {"version": "1.9.0"})]
	_deviations(_done(_deploy("prod"), "succeeded", seen)) == set()
}

_restarted(before, after) := _deviations(_done(_restart("prod", {"count": 3}), "halted", [
	_observed("before", "probe/fleet", {"restarts": before}),
	_observed("after", "probe/fleet", {"restarts": after}),
]))

test_more_restarts_than_allowed_deviate if {
	some said in _restarted(10, 14)
	said.code == "deploys.restarted"
	said.severity == "serious"
	said.seen == {"pointer": "/services/api/restarts", "expected": 13, "observed": 14, "source": "probe/fleet"}
}

test_as_many_restarts_as_allowed_or_fewer_conform if {
	_restarted(10, 13) == set()
	_restarted(10, 10) == set()
}

test_restarts_that_are_no_number_count_as_none if {
	some said in _restarted("many", 14)
	said.seen.expected == 3
	_restarted("many", 3) == set()
}

test_two_sources_are_not_mixed if {
	seen := [
		_observed("before", "probe/fleet", {"restarts": 0}),
		_observed("after", "observer/mesh", {"restarts": 99}),
	]
	done := object.union(_done(_restart("prod", {"count": 3}), "succeeded", seen), {"warrant": {"evidence": [
		"observer/mesh",
		"probe/fleet",
	]}})
	_deviations(done) == set()
}
