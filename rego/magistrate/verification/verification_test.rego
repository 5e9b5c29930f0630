package tests.magistrate.verification

import data.magistrate
import data.tests.world

_scope := {"action": "thing.make", "target": "corner", "parameters": {"name": "hat", "amount": 5}}

_question := {
	"contract": 1,
	"origin": "acme/test",
	"now": world.clock,
	"intent": world.intent,
	"warrant": {
		"scope": _scope,
		"issued_at": "2026-03-25T13:59:00Z",
		"expires_at": "2026-03-25T14:00:40Z",
		"constraints": {"max_retries": 1, "rollback_on_failure": true},
		"evidence": ["probe/eye", "observer/olga"],
	},
	"issue": {"audience": "router"},
	"execution": {
		"execution_id": "exe-1",
		"warrant_id": "wrt-1",
		"use": 1,
		"state": "succeeded",
		"started": 1774447150,
		"ended": 1774447160,
		"attempts": [_attempt(1, "2026-03-25T13:59:10Z", "succeeded")],
		"missed_heartbeats": 0,
		"halted_because": "",
		"rollback": "none",
	},
	"call": _scope,
	"reports": [_report("executor", "succeeded", {"done": true})],
	"observations": [_before, _after],
	"final": false,
	"previous": "pending",
}

_attempt(n, started_at, outcome) := {"n": n, "started_at": started_at, "ended_at": "", "outcome": outcome}

_report(source, outcome, facts) := {"source": source, "at": "2026-03-25T13:59:20Z", "outcome": outcome, "facts": facts}

_saw(source, phase, facts) := {"source": source, "at": "2026-03-25T13:59:20Z", "phase": phase, "facts": facts}

_before := _saw("probe/eye", "before", {"made": {}})

_after := _saw("probe/eye", "after", {"made": {"corner-shop": "hat"}})

_judged(question, policies) := answer if {
	answer := magistrate.verification with input as question
		with data.policies as policies
		with data.catalogue as world.catalogue
}

_of(changes) := _judged(world.asked(_question, changes), {"shop": world.policy})

_conforming := {"verdict": "conforming", "deviations": [], "containment": [], "reasons": []}

_inconclusive(answer, codes) if {
	answer.verdict == "inconclusive"
	answer.deviations == []
	answer.containment == []
	world.codes(answer.reasons) == codes
}

_deviating(answer, codes) if {
	answer.verdict == "deviating"
	world.codes(answer.deviations) == codes
	world.codes(answer.reasons) == codes
}

test_what_was_done_as_warranted_conforms if _of({}) == _conforming

# doubts

_fields := [
	"/contract", "/origin", "/now", "/intent", "/warrant", "/issue", "/execution", "/call", "/reports", "/observations",
	"/final", "/previous", "/now/unix", "/execution/execution_id", "/execution/warrant_id", "/execution/use",
	"/execution/started", "/execution/ended", "/execution/attempts", "/execution/missed_heartbeats",
	"/execution/halted_because", "/execution/rollback", "/warrant/scope", "/warrant/constraints", "/warrant/evidence",
	"/warrant/issued_at", "/warrant/expires_at", "/issue/audience",
]

_doubted(question) if {
	doubt := data.magistrate.judgement.doubt with input as question with data.catalogue as world.catalogue
	"verification.question" in world.codes(doubt)
}

test_a_missing_field_is_a_doubt[field] if {
	some field in _fields
	question := json.remove(_question, [field])
	_doubted(question)
	_judged(question, {}).verdict != "conforming"
}

test_a_field_of_another_type_is_a_doubt[field] if {
	some field in _fields
	question := world.asked(_question, {field: null})
	_doubted(question)
	_judged(question, {}).verdict != "conforming"
}

test_what_runs_is_not_judged_yet if {
	every state in ["started", "halting"] {
		_inconclusive(_of({"/execution/state": state}), {"verification.running"})
	}
}

test_what_ended_nobody_knows_how_is_not_judged if {
	every state in ["unknown", "reconciled", "lost"] {
		_inconclusive(_of({"/execution/state": state}), {"verification.unknown"})
	}
	_doubted(json.remove(_question, ["/execution/state"]))
}

test_a_reason_names_the_document if {
	_of({"/execution/state": "started"}).reasons == [{
		"code": "verification.running",
		"title": "It has not ended",
		"remedy": "",
		"policy": "magistrate.verification",
	}]
}

test_the_word_of_who_ran_it_is_never_enough if {
	_inconclusive(_of({"/observations": [_before]}), {"verification.unheard", "verification.unseen"})
	_inconclusive(
		_of({"/observations": [_before], "/warrant/evidence": ["probe/eye", "executor"]}),
		{"verification.unheard", "verification.unseen"},
	)
}

test_the_word_of_who_ran_it_is_enough_where_nobody_elses_is_wanted if {
	own := {
		"/intent/action": "house.admit",
		"/warrant/scope/action": "house.admit",
		"/call/action": "house.admit",
		"/warrant/evidence": ["executor"],
		"/observations": [],
	}
	_of(own) == _conforming
	_inconclusive(_of(object.union(own, {"/reports": []})), {"verification.unheard"})
	_inconclusive(_of(object.union(own, {"/reports": [_report("holder", "succeeded", {})]})), {"verification.unheard"})
}

test_a_source_the_warrant_does_not_name_is_not_heard if {
	_inconclusive(
		_of({"/observations": [_before, _saw("observer/eve", "after", {"made": {"corner-shop": "hat"}})]}),
		{"verification.unheard", "verification.unseen"},
	)
	_of({"/observations": [_before, _after, _saw("observer/eve", "after", {"made": {"corner-shop": "cat"}})]}) == _conforming
}

test_what_was_seen_before_or_meanwhile_does_not_show_the_end if {
	every phase in ["before", "during"] {
		_inconclusive(
			_of({"/observations": [_before, _saw("probe/eye", phase, _after.facts)]}),
			{"verification.unheard", "verification.unseen"},
		)
	}
}

test_what_the_catalogue_expects_must_be_seen_by_the_source_it_names if {
	_inconclusive(
		_of({"/observations": [_before, _saw("observer/olga", "after", _after.facts)]}),
		{"verification.unseen"},
	)
}

_expecting(expect) := answer if {
	catalogue := json.patch(world.catalogue, [{"op": "add", "path": "/actions/thing.make/expect", "value": expect}])
	answer := magistrate.verification with input as _question
		with data.policies as {"shop": world.policy}
		with data.catalogue as catalogue
}

test_an_expectation_that_cannot_be_drawn_up_is_a_doubt if {
	every row in [
		{"source": "probe/eye", "pointer": ["made", {"from": "/target/none"}], "equals": "hat"},
		{"source": "probe/eye", "pointer": ["made"], "equals": {"from": "/parameters/none"}},
		{"source": "probe/eye", "pointer": ["made"]},
	] {
		_inconclusive(_expecting([row]), {"verification.unseen"})
	}
	_inconclusive(_expecting(null), {"verification.unseen"})
	_inconclusive(_expecting({}), {"verification.unseen"})
	_expecting([]) == _conforming
}

_limited(constraints, observations) := _of({"/warrant/constraints": constraints, "/observations": observations})

test_what_nobody_measured_is_a_doubt if {
	answer := _limited({"max_amount": 5, "affected_services": ["till"], "max_retries": 1}, [_before, _after])
	_inconclusive(answer, {"verification.unmeasured"})
	answer.reasons[0].remedy == "mend the probe, or let an observer say what it saw: affected_services; max_amount"
}

test_a_constraint_nobody_knows_is_a_doubt if {
	answer := _limited({"max_temper": 1, "rollback_on_failure": "yes", "max_retries": 1}, [_before, _after])
	_inconclusive(answer, {"verification.constraint_unknown"})
	answer.reasons[0].remedy == ": max_temper; rollback_on_failure"
}

# what was before stays

test_deviating_is_final if {
	_of({"/previous": "deviating"}) == {"verdict": "deviating", "deviations": [], "containment": [], "reasons": []}
}

test_a_doubt_takes_no_conforming_back if {
	_of({"/previous": "conforming", "/observations": []}).verdict == "conforming"
	_of({"/previous": "inconclusive", "/observations": []}).verdict == "inconclusive"
	_of({"/previous": "inconclusive"}) == _conforming
}

test_a_deviation_does if {
	_deviating(_of({"/previous": "conforming", "/execution/missed_heartbeats": 1}), {"verification.heartbeats"})
}

# our own record

test_the_call_was_the_scope if {
	_deviating(_of({"/call/parameters/amount": 6}), {"verification.call"})
	_of({"/call/parameters/amount": 6}).deviations[0].source == "magistrate"
}

test_every_attempt_begins_inside_the_window if {
	every at in ["2026-03-25T13:58:59Z", "2026-03-25T14:00:40Z"] {
		answer := _of({"/execution/attempts": [_attempt(1, at, "succeeded")]})
		_deviating(answer, {"verification.window"})
		answer.deviations[0].pointer == "/execution/attempts/0"
	}
	every at in ["2026-03-25T13:59:00Z", "2026-03-25T14:00:39Z"] {
		_of({"/execution/attempts": [_attempt(1, at, "succeeded")]}) == _conforming
	}
	_deviating(_of({"/execution/attempts": [{"n": 1, "outcome": "succeeded"}]}), {"verification.window"})
}

_tried(outcomes) := [_attempt(n, "2026-03-25T13:59:10Z", outcome) | some n, outcome in outcomes]

test_no_more_attempts_than_allowed if {
	_of({"/execution/attempts": _tried(["failed", "succeeded"])}) == _conforming
	answer := _of({"/execution/attempts": _tried(["failed", "failed", "succeeded"])})
	_deviating(answer, {"verification.attempts"})
	answer.deviations == [{
		"code": "verification.attempts",
		"pointer": "/execution/attempts",
		"expected": "2",
		"observed": "3",
		"severity": "critical",
		"source": "magistrate",
	}]
	once := {"/warrant/constraints": {}, "/execution/attempts": _tried(["failed", "succeeded"])}
	_deviating(_of(once), {"verification.attempts"})
}

test_only_what_failed_is_tried_again if {
	every outcome in ["succeeded", "unknown", "halted", ""] {
		_deviating(_of({"/execution/attempts": _tried([outcome, "succeeded"])}), {"verification.repeated"})
	}
}

test_it_lasts_no_longer_than_allowed if {
	_of({"/warrant/constraints": {"max_duration_seconds": 10}}) == _conforming
	answer := _of({"/warrant/constraints": {"max_duration_seconds": 9}})
	_deviating(answer, {"verification.duration"})
	answer.deviations[0].expected == "9"
	answer.deviations[0].observed == "10"
	running := {"/execution/state": "started", "/execution/ended": 0, "/execution/started": -100}
	_of(object.union(running, {"/warrant/constraints": {"max_duration_seconds": 9}})).verdict == "inconclusive"
}

test_missed_heartbeats_deviate if _deviating(_of({"/execution/missed_heartbeats": 1}), {"verification.heartbeats"})

test_a_holder_who_never_reports_deviates_at_the_end if {
	silent := {"/issue/audience": "holder", "/reports": [], "/final": true, "/execution/state": "unknown"}
	_deviating(_of(silent), {"verification.silent"})
	_inconclusive(_of(object.union(silent, {"/final": false})), {"verification.unknown"})
	_inconclusive(_of(object.union(silent, {"/issue/audience": "router"})), {"verification.unknown"})
	spoken := object.union(silent, {"/reports": [_report("holder", "unknown", {})]})
	_inconclusive(_of(spoken), {"verification.unknown"})
}

test_what_failed_or_was_halted_deviates_as_a_notice if {
	every state in ["failed", "halted"] {
		answer := _of({"/execution/state": state, "/reports": []})
		_deviating(answer, {concat(".", ["verification", state])})
		answer.deviations[0].severity == "notice"
		answer.containment == ["rollback"]
	}
}

test_a_rollback_that_did_not_happen_deviates if {
	every rollback in ["failed", "unknown"] {
		_deviating(_of({"/execution/rollback": rollback}), {"verification.rollback"})
	}
	every rollback in ["none", "running", "done"] {
		_of({"/execution/rollback": rollback}) == _conforming
	}
}

# what was seen

_served(phase, services) := _saw("probe/eye", phase, {"services": services, "made": {"corner-shop": "hat"}})

test_what_changed_was_allowed_to if {
	same := {"till": 1, "door": 1}
	_limited({"affected_services": ["till"]}, [_served("before", same), _served("after", same)]) == _conforming
	_limited({"affected_services": ["till"]}, [_served("before", same), _served("after", {"till": 2, "door": 1})]) == _conforming
	answer := _limited({"affected_services": ["till"]}, [_served("before", same), _served("after", {"till": 2, "door": 2})])
	_deviating(answer, {"verification.affected_services"})
	answer.deviations == [{
		"code": "verification.affected_services",
		"pointer": "/services",
		"expected": `["till"]`,
		"observed": `["door","till"]`,
		"severity": "critical",
		"source": "probe/eye",
	}]
}

test_what_an_observer_names_counts_too if {
	named := _saw("observer/olga", "during", {"affected_services": ["lamp"]})
	_deviating(_limited({"affected_services": ["till"]}, [_before, _after, named]), {"verification.affected_services"})
}

_paid(amount) := _saw("probe/eye", "after", {"last": {"amount": amount}, "made": {"corner-shop": "hat"}})

test_what_was_measured_is_within if {
	_limited({"max_amount": 5}, [_before, _paid(5)]) == _conforming
	answer := _limited({"max_amount": 5}, [_before, _paid(6)])
	_deviating(answer, {"verification.measured"})
	answer.deviations[0].pointer == "/last/amount"
	_deviating(_limited({"max_amount": 5}, [_before, _paid("5")]), {"verification.measured"})
}

test_a_measure_counts_from_a_source_the_warrant_names if {
	eve := _saw("observer/eve", "after", {"last": {"amount": 9}, "affected_services": ["lamp"]})
	bounds := {"max_amount": 5, "affected_services": ["till"]}
	_inconclusive(_limited(bounds, [_before, _after, eve]), {"verification.unmeasured"})
}

test_a_limit_of_another_phase_is_not_measured if {
	lying := _saw("observer/olga", "after", {"max_retries": 9, "to": "x@y"})
	_limited({"max_retries": 1, "recipient_domains": ["inn.example"]}, [_before, _after, lying]) == _conforming
}

test_success_shows_in_the_world if {
	answer := _of({"/observations": [_before, _saw("probe/eye", "after", {"made": {"corner-shop": "cat"}})]})
	_deviating(answer, {"verification.expect"})
	answer.deviations == [{
		"code": "verification.expect",
		"pointer": "/made/corner-shop",
		"expected": `"hat"`,
		"observed": `"cat"`,
		"severity": "serious",
		"source": "probe/eye",
	}]
	gone := _of({"/observations": [_before, _saw("probe/eye", "after", {})]})
	_deviating(gone, {"verification.expect"})
	gone.deviations[0].observed == "null"
}

test_only_success_is_expected_to_show if {
	unmade := {"/observations": [_before, _saw("probe/eye", "after", {"made": {}})], "/reports": []}
	_deviating(_of(object.union(unmade, {"/execution/state": "failed"})), {"verification.failed"})
	_inconclusive(_of(object.union(unmade, {"/execution/state": "unknown"})), {"verification.unknown"})
}

# contradictions

test_a_report_that_the_world_contradicts_deviates if {
	answer := _of({"/reports": [_report("executor", "succeeded", {"made": {"corner-shop": "cat"}})]})
	_deviating(answer, {"verification.contradiction"})
	answer.deviations == [{
		"code": "verification.contradiction",
		"pointer": "/made/corner-shop",
		"expected": `"cat"`,
		"observed": `"hat"`,
		"severity": "serious",
		"source": "probe/eye",
	}]
	_of({"/reports": [_report("executor", "succeeded", {"made": {"corner-shop": "hat"}})]}) == _conforming
	_of({"/reports": [_report("executor", "succeeded", {"made": {"attic": "cat"}})]}) == _conforming
}

test_a_report_that_an_observer_contradicts_deviates if {
	dark := _saw("observer/olga", "after", {"made": {"corner-shop": "cat"}})
	answer := _of({
		"/reports": [_report("executor", "succeeded", _after.facts)],
		"/observations": [_before, _after, dark],
	})
	_deviating(answer, {"verification.contradiction"})
	{one.source | some one in answer.deviations} == {"observer/olga"}
}

test_a_report_does_not_contradict_itself if {
	said := _report("executor", "succeeded", {"made": {"corner-shop": "cat"}})
	again := _report("executor", "succeeded", {"made": {"corner-shop": "hat"}})
	question := world.asked(_question, {
		"/reports": [said, again],
		"/warrant/evidence": ["executor"],
		"/observations": [],
	})
	_judged(question, {"shop": world.policy}).deviations == []
}

test_an_observer_that_contradicts_the_probe_deviates if {
	dark := _saw("observer/olga", "after", {"made": {"corner-shop": "cat"}})
	answer := _of({"/observations": [_before, _after, dark]})
	_deviating(answer, {"verification.contradiction"})
	answer.deviations[0].source == "observer/olga"
	answer.deviations[0].expected == `"hat"`
	_of({"/observations": [_before, _after, _saw("observer/olga", "after", {"made": {}})]}) == _conforming
	_of({"/observations": [_before, _after, _saw("observer/olga", "after", _after.facts)]}) == _conforming
	_of({"/observations": [_before, _after, _saw("observer/olga", "during", {"made": {"corner-shop": "cat"}})]}) == _conforming
}

test_the_probe_may_look_twice if {
	twice := _of({"/observations": [_before, _after, _saw("probe/eye", "after", {"made": {"corner-shop": "cat"}})]})
	_deviating(twice, {"verification.expect"})
}

_failed := {"/execution/state": "failed", "/reports": [_report("executor", "failed", {})]}

test_a_failure_that_took_effect_is_a_contradiction if {
	answer := _of(_failed)
	_deviating(answer, {"verification.failed", "verification.contradiction"})
	some one in answer.deviations
	one.code == "verification.contradiction"
	one == {
		"code": "verification.contradiction",
		"pointer": "/reports/outcome",
		"expected": `"failed"`,
		"observed": `"succeeded"`,
		"severity": "serious",
		"source": "probe/eye",
	}
}

test_a_failure_that_changed_nothing_is_none if {
	same := _saw("probe/eye", "before", _after.facts)
	every observations in [
		[same, _after],
		[_before, _saw("probe/eye", "after", {"made": {"corner-shop": "cat"}})],
		[_after],
		[_saw("probe/eye", "after", {"made": {}}), _after],
		[_saw("observer/olga", "before", {}), _after],
		[_before, _saw("observer/olga", "after", _after.facts)],
		[_before, _saw("probe/eye", "after", {"made": {}}), _saw("observer/olga", "after", _after.facts)],
	] {
		_deviating(_of(object.union(_failed, {"/observations": observations})), {"verification.failed"})
	}
}

test_a_failure_that_took_effect_in_part_is_none if {
	catalogue := json.patch(world.catalogue, [{
		"op": "add",
		"path": "/actions/thing.make/expect/-",
		"value": {"source": "probe/eye", "pointer": ["paid"], "equals": {"from": "/parameters/amount"}},
	}])
	answer := magistrate.verification with input as world.asked(_question, _failed)
		with data.policies as {"shop": world.policy}
		with data.catalogue as catalogue
	_deviating(answer, {"verification.failed"})
	other := json.patch(catalogue, [{"op": "add", "path": "/actions/thing.make/expect/1/source", "value": "observer/olga"}])
	whole := magistrate.verification with input as world.asked(_question, _failed)
		with data.policies as {"shop": world.policy}
		with data.catalogue as other
	_deviating(whole, {"verification.failed", "verification.contradiction"})
}

test_reports_of_one_source_agree if {
	answer := _of({"/reports": [_report("holder", "halted", {}), _report("holder", "succeeded", {})]})
	_deviating(answer, {"verification.contradiction"})
	answer.deviations == [{
		"code": "verification.contradiction",
		"pointer": "/reports/outcome",
		"expected": `"halted"`,
		"observed": `"succeeded"`,
		"severity": "serious",
		"source": "holder",
	}]
	_of({"/reports": [_report("holder", "unknown", {}), _report("executor", "succeeded", {})]}) == _conforming
	_of({"/reports": [_report("holder", "succeeded", {}), _report("holder", "succeeded", {})]}) == _conforming
}

# policies, and what follows

_finding(severity, source) := {
	"code": "shop.found",
	"title": "Found",
	"remedy": "",
	"floor": "",
	"severity": severity,
	"seen": {"pointer": "/a", "expected": {"b": [1]}, "observed": "c", "source": source},
}

_found(said, changes) := _judged(
	world.asked(_question, changes),
	{"shop": object.union(world.policy, {"deviation": {said}}), "yard": {"governs": {"x"}, "deviation": {"never"}}},
)

test_a_policy_finds_what_it_looks_for if {
	_found(_finding("serious", "probe/eye"), {}) == {
		"verdict": "deviating",
		"deviations": [{
			"code": "shop.found",
			"pointer": "/a",
			"expected": `{"b":[1]}`,
			"observed": `"c"`,
			"severity": "serious",
			"source": "probe/eye",
		}],
		"containment": ["rollback"],
		"reasons": [{"code": "shop.found", "title": "Found", "remedy": "", "policy": "policies.shop"}],
	}
}

# what is quoted has an end, or whoever chose the value would keep the verdict from its record
test_a_long_value_is_quoted_in_part if {
	long := concat("", [x | some i in numbers.range(1, 498); x := substring(sprintf("x%d", [i]), 0, 1)])
	quoted := _found(_valued(long), {}).deviations[0].observed
	quoted == sprintf(`"%s"`, [long])
	longer := _found(_valued(sprintf("%sxx", [long])), {}).deviations[0].observed
	longer == sprintf(`"%sxx… (502 characters)`, [substring(long, 0, 497)])
}

_valued(value) := object.union(_finding("serious", "probe/eye"), {"seen": {"observed": value}})

test_a_finding_without_a_word_still_deviates[sprintf("%v", [said])] if {
	some said in ["found", 7, {}, {"seen": 7}, null]
	_found(said, {}).deviations == [{
		"code": "",
		"pointer": "",
		"expected": "null",
		"observed": "null",
		"severity": "",
		"source": "",
	}]
	_found(said, {}).verdict == "deviating"
}

test_a_word_of_another_type_is_left_out if {
	said := object.union(_finding(7, "probe/eye"), {"code": null})
	_found(said, {}).deviations[0] == {
		"code": "",
		"pointer": "/a",
		"expected": `{"b":[1]}`,
		"observed": `"c"`,
		"severity": "",
		"source": "probe/eye",
	}
}

_running := {"/execution/state": "started", "/execution/ended": 0}

test_what_follows_is_by_severity if {
	_found(_finding("notice", "probe/eye"), _running).containment == []
	_found(_finding("serious", "probe/eye"), _running).containment == ["halt"]
	_found(_finding("critical", "probe/eye"), _running).containment == ["halt", "quarantine", "revoke"]
	_found(_finding("critical", "magistrate"), _running).containment == ["halt", "quarantine", "revoke"]
}

test_a_severity_nobody_foresaw_brings_about_everything if {
	every severity in ["odd", ""] {
		_found(_finding(severity, "probe/eye"), _running).containment == ["halt", "quarantine", "revoke"]
		_found(_finding(severity, "probe/eye"), {}).containment == ["quarantine", "revoke", "rollback"]
	}
}

test_nothing_follows_from_a_source_the_warrant_does_not_name if {
	answer := _found(_finding("critical", "observer/eve"), _running)
	answer.verdict == "deviating"
	answer.containment == []
}

test_what_has_ended_is_not_halted if {
	_found(_finding("critical", "probe/eye"), {}).containment == ["quarantine", "revoke"]
	_found(_finding("critical", "probe/eye"), {"/execution/state": "halting"}).containment == ["halt", "quarantine", "revoke"]
}

test_only_what_is_over_once_and_may_be_is_rolled_back if {
	said := _finding("serious", "probe/eye")
	_found(said, {}).containment == ["rollback"]
	_found(said, {"/execution/state": "unknown"}).containment == []
	every rollback in ["running", "done"] {
		_found(said, {"/execution/rollback": rollback}).containment == []
	}
	_found(said, {"/warrant/constraints": {"rollback_on_failure": false}}).containment == []
	_found(said, {"/warrant/constraints": {}}).containment == []
	halted := {"/execution/state": "halted", "/reports": []}
	_of(halted).containment == ["rollback"]
	_of(object.union(halted, {"/execution/rollback": "running"})).containment == []
	by_hand := {"/intent/action": "thing.hand", "/warrant/scope/action": "thing.hand", "/call/action": "thing.hand"}
	_found(said, by_hand).containment == []
}

test_deviations_are_told_together if {
	answer := _of({"/execution/missed_heartbeats": 2, "/call": {}})
	_deviating(answer, {"verification.call", "verification.heartbeats"})
	answer.containment == ["quarantine", "revoke", "rollback"]
}
