package tests.magistrate.standing

import data.magistrate
import data.tests.world

_high := object.union(world.policy, {"tier": {world.high}})

_decided(question, policies, counters) := answer if {
	answer := magistrate.decision with input as question
		with data.policies as policies
		with data.catalogue as world.catalogue
		with data.tiers as world.tiers
		with data.counters as counters
}

_of(changes) := _decided(world.asked(world.question, changes), {"shop": _high}, {}).standing

_after(approvals) := _of({"/approvals": approvals})

# A policy at the high tier that asks for these rows beside the tier's own.
_wanting(rows, approvals) := _decided(
	world.asked(world.question, {"/approvals": approvals}),
	{"shop": object.union(_high, {"approval": {{"code": "shop.asks", "title": "", "remedy": "", "row": row} | some row in rows}})},
	{},
).standing

_row(roles, count_) := {"roles": roles, "count": count_, "proof": "wax"}

_warrant := {
	"ttl": 200,
	"uses": 4,
	"audience": "router",
	"issuer": "policies.shop",
	"constraints": {"max_retries": 1, "rollback_on_failure": true},
	"evidence": ["probe/eye", "observer/olga"],
	"heartbeat_seconds": 17,
	"report_by_seconds": 18,
	"rollback_seconds": 19,
}

# approvals

test_what_needs_somebody_waits_for_them if {
	_of({}) == {
		"outcome": "ask",
		"reasons": [{"code": "shop.high", "title": "High", "remedy": "", "policy": "policies.shop"}],
		"wanted": [{"roles": ["clerk", "smith"], "count": 1, "by": "wax"}],
		"issue": _warrant,
	}
}

test_any_wanted_role_will_do if {
	every roles in [["smith"], ["clerk"], ["baker", "smith"]] {
		_after([world.yes("ann", roles)]) == object.union(_of({}), {"outcome": "allow", "wanted": []})
	}
}

test_the_stronger_proof_will_do if {
	_after([object.union(world.yes("ann", ["smith"]), {"proof": "ink"})]).outcome == "allow"
}

test_a_weaker_or_unknown_proof_will_not if {
	strong := {"roles": ["smith"], "count": 1, "proof": "ink"}
	_wanting({strong}, [world.yes("ann", ["clerk"]), world.yes("ben", ["smith"])]).outcome == "ask"
	_after([object.union(world.yes("ann", ["smith"]), {"proof": "spit"})]).outcome == "ask"
}

test_nobody_else_counts if {
	_after([world.yes("ann", ["baker"])]).outcome == "ask"
	_after([world.yes("ann", [])]).outcome == "ask"
}

test_the_proposer_does_not_count if {
	own := {
		"/proposer/type": "operator",
		"/intent/proposer/type": "operator",
		"/approvals": [world.yes("maker", ["smith"])],
	}
	_of(own).outcome == "ask"
	_after([world.yes("maker", ["smith"])]).outcome == "allow" # an operator who bears the agent's name
}

test_the_proposers_owner_does_not_count if _after([world.yes("otto", ["smith"])]).outcome == "ask"

test_the_policys_author_does_not_count if {
	_of({"/author": "ann", "/approvals": [world.yes("ann", ["smith"])]}).outcome == "ask"
	_of({"/author": "ann", "/approvals": [world.yes("ben", ["smith"])]}).outcome == "allow"
}

test_the_subject_does_not_count if {
	given := [world.yes("ann", ["smith"])]
	_of({"/subject": {"type": "operator", "id": "ann"}, "/approvals": given}).outcome == "ask"
	_of({"/subject": {"type": "agent", "id": "ann"}, "/approvals": given}).outcome == "allow"
}

test_only_relations_the_terms_name_keep_out if {
	free := {"code": "shop.free", "title": "", "remedy": "", "row": {"roles": ["smith"], "count": 1, "proof": "wax"}}
	answer := _decided(
		world.asked(world.question, {"/approvals": [world.yes("otto", ["smith"])]}),
		{"shop": object.union(world.policy, {"approval": {free}})},
		{},
	)
	answer.standing.outcome == "allow"
}

test_an_expired_yes_does_not_count if {
	every at in [1774447200, 1774447199] {
		_after([object.union(world.yes("ann", ["smith"]), {"expires_at": at})]).outcome == "ask"
	}
}

test_one_person_is_counted_once if {
	twice := [world.yes("ann", ["smith"]), object.union(world.yes("ann", ["clerk"]), {"at": 1})]
	_wanting({_row(["clerk", "smith"], 2)}, twice).outcome == "ask"
	_wanting({_row(["clerk", "smith"], 2)}, [world.yes("ann", ["smith"]), world.yes("ben", ["smith"])]).outcome == "allow"
}

test_one_person_fills_one_row if {
	rows := {_row(["smith"], 1)}
	_wanting(rows, [world.yes("ann", ["smith"])]).wanted == [{"roles": ["smith"], "count": 1, "by": "wax"}]
	_wanting(rows, [world.yes("ann", ["smith"]), world.yes("ben", ["smith"])]).outcome == "allow"
	_wanting(rows, [world.yes("ann", ["clerk"]), world.yes("ben", ["smith"])]).outcome == "allow"
}

test_people_are_placed_where_they_are_needed if {
	# ann could fill either row, ben only the tier's
	rows := {_row(["smith"], 1)}
	every given in [
		[world.yes("ann", ["smith", "clerk"]), world.yes("ben", ["clerk"])],
		[world.yes("ben", ["clerk"]), world.yes("ann", ["smith", "clerk"])],
	] {
		_wanting(rows, given).outcome == "allow"
	}
}

test_rows_that_compete_for_the_same_people_are_told if {
	# three rows, and between them only two people who could fill them
	rows := {_row(["smith"], 1), _row(["smith", "baker"], 1)}
	_wanting(rows, [world.yes("ann", ["smith"]), world.yes("ben", ["smith"])]).wanted == [{
		"roles": ["smith"],
		"count": 1,
		"by": "wax",
	}]
}

test_what_is_missing_is_told_row_by_row if {
	rows := {_row(["mayor"], 3)}
	_wanting(rows, []).wanted == [
		{"roles": ["clerk", "smith"], "count": 1, "by": "wax"},
		{"roles": ["mayor"], "count": 3, "by": "wax"},
	]
	_wanting(rows, [world.yes("ann", ["mayor"])]).wanted == [
		{"roles": ["clerk", "smith"], "count": 1, "by": "wax"},
		{"roles": ["mayor"], "count": 2, "by": "wax"},
	]
	_wanting(rows, [world.yes("ann", ["smith"])]).wanted == [{"roles": ["mayor"], "count": 3, "by": "wax"}]
}

test_whoever_asked_is_among_the_reasons if {
	world.codes(_wanting({_row(["mayor"], 1)}, []).reasons) == {"shop.high", "shop.asks"}
}

test_any_no_denies if {
	no := object.union(world.yes("zed", []), {"verdict": "deny"})
	said := _after([world.yes("ann", ["smith"]), no])
	said.outcome == "deny"
	said.wanted == []
	said.issue == _warrant
	said.reasons == [{
		"code": "decision.denied",
		"title": "An operator said no",
		"remedy": "speak with the operator, then propose anew",
		"policy": "magistrate.decision",
	}]
}

test_a_no_that_has_expired_is_forgotten if {
	no := object.union(world.yes("zed", []), {"verdict": "deny", "expires_at": 1774447200})
	_after([world.yes("ann", ["smith"]), no]).outcome == "allow"
}

test_a_no_fills_no_row if {
	requirement := {"all_of": [{"roles": ["smith"], "count": 1, "proof": "wax"}], "exclude": []}
	no := object.union(world.yes("ann", ["smith"]), {"verdict": "deny"})
	counted := data.magistrate.people.counted(requirement) with input as world.asked(world.question, {"/approvals": [no]})
		with data.catalogue as world.catalogue
	counted == set()
}

# narrowing

_narrowed(narrowing) := _after([object.union(world.yes("ann", ["smith"]), {"narrowing": narrowing})])

test_a_narrowing_tightens_the_issue_and_not_the_terms if {
	narrowing := {"ttl": 50, "uses": 1, "constraints": {"max_retries": 0, "max_amount": 4, "affected_services": ["till"]}}
	question := world.asked(world.question, {"/approvals": [object.union(world.yes("ann", ["smith"]), {"narrowing": narrowing})]})
	answer := _decided(question, {"shop": _high}, {})
	answer.standing.outcome == "allow"
	answer.terms.warrant == _warrant
	answer.standing.issue == {
		"ttl": 50,
		"uses": 1,
		"audience": "router",
		"issuer": "policies.shop",
		"constraints": {
			"max_retries": 0,
			"max_amount": 4,
			"affected_services": ["till"],
			"rollback_on_failure": true,
		},
		"evidence": ["probe/eye", "observer/olga"],
		"heartbeat_seconds": 17,
		"report_by_seconds": 18,
		"rollback_seconds": 19,
	}
}

test_the_narrowings_of_all_who_count_are_taken_together if {
	given := [
		object.union(world.yes("ann", ["smith"]), {"narrowing": {"ttl": 60, "constraints": {"affected_services": ["till", "door"]}}}),
		object.union(world.yes("ben", ["clerk"]), {"narrowing": {"ttl": 50, "constraints": {"affected_services": ["door", "lamp"]}}}),
		object.union(world.yes("cat", ["baker"]), {"narrowing": {"ttl": 1}}),
	]
	said := _after(given)
	said.issue.ttl == 50
	said.issue.uses == 4
	said.issue.constraints.affected_services == ["door"]
}

test_narrowings_that_leave_nothing_deny if {
	given := [
		object.union(world.yes("ann", ["smith"]), {"narrowing": {"constraints": {"affected_services": ["till"]}}}),
		object.union(world.yes("ben", ["clerk"]), {"narrowing": {"constraints": {"affected_services": ["lamp"]}}}),
	]
	said := _after(given)
	said.outcome == "deny"
	world.codes(said.reasons) == {"decision.narrowed_away"}
	said.issue == _warrant
}

test_a_narrowing_while_waiting_shows_in_the_issue if {
	row := _row(["mayor"], 1)
	said := _wanting({row}, [object.union(world.yes("ann", ["smith"]), {"narrowing": {"ttl": 9}})])
	said.outcome == "ask"
	said.issue.ttl == 9
}

test_a_narrowing_that_does_not_narrow_denies[sprintf("%v", [narrowing])] if {
	some narrowing in [
		{"ttl": 201},
		{"ttl": 0},
		{"ttl": "9"},
		{"ttl": null},
		{"uses": 5},
		{"uses": 0},
		{"heartbeat_seconds": 1},
		{"constraints": {"max_retries": 2}},
		{"constraints": {"max_retries": "0"}},
		{"constraints": {"rollback_on_failure": false}},
		{"constraints": {"max_temper": 1}},
		{"constraints": {"ttl": 9}},
		{"constraints": {"max_amount": -1}},
		{"constraints": {"affected_services": []}},
		{"constraints": []},
	]
	said := _narrowed(narrowing)
	said.outcome == "deny"
	"decision.narrowing" in world.codes(said.reasons)
	said.issue == _warrant
}

test_a_narrowing_to_the_same_is_one if _narrowed({"ttl": 200, "uses": 4, "constraints": {"max_retries": 1}}).outcome == "allow"

# facts

test_an_inactive_proposer_is_denied if {
	every state in ["quarantined", "suspended", "unknown", ""] {
		said := _of({"/proposer/state": state})
		world.codes(said.reasons) == {"decision.proposer"}
		said.outcome == "deny"
		said.wanted == []
	}
}

test_a_proposer_with_too_many_waiting_is_denied if {
	_of({"/proposer/open_intents": 2}).outcome == "ask"
	world.codes(_of({"/proposer/open_intents": 3}).reasons) == {"decision.open_intents"}
}

test_without_a_limit_nobody_may_wait if {
	answer := magistrate.decision with input as world.question
		with data.policies as {"shop": world.policy}
		with data.catalogue as json.remove(world.catalogue, ["/installation/limits"])
		with data.tiers as world.tiers
		with data.counters as {}
	world.codes(answer.standing.reasons) == {"decision.open_intents"}
}

_counters := {
	"made": {"action": "thing.make", "amount": "/parameters/amount", "by": "agent", "window": {"utc_day": true}},
	"times": {"action": "thing.make", "count": true, "by": "all", "window": {"utc_day": true}},
	"handed": {"action": "thing.hand", "amount": "/parameters/none", "by": "all", "window": {"utc_day": true}},
}

_counted(changes) := _decided(world.asked(world.question, changes), {"shop": world.policy}, _counters)

test_the_counters_of_the_action_must_have_figures if {
	_counted({"/facts": {"made": 0, "times": 0}}).standing.outcome == "allow"
	every facts in [{"made": 0}, {"times": 0}, {"made": "0", "times": 0}, {"made": null, "times": 0}] {
		world.codes(_counted({"/facts": facts}).standing.reasons) == {"decision.counter_unknown"}
	}
}

test_a_counter_that_cannot_know_denies if {
	facts := {"made": 0, "times": 0}
	blind := _counted({"/facts": facts, "/counters_blind": ["times"]})
	world.codes(blind.standing.reasons) == {"decision.counter_blind"}
	_counted({"/facts": facts, "/counters_blind": ["handed"]}).standing.outcome == "allow"
}

test_what_is_summed_is_a_whole_number_of_at_least_0 if {
	every amount in [-1, 0.5, "5", null, []] {
		said := _counted({"/facts": {"made": 0, "times": 0}, "/intent/parameters/amount": amount}).standing.reasons
		"decision.counter_amount" in world.codes(said)
	}
	gone := _decided(
		json.remove(world.asked(world.question, {"/facts": {"made": 0, "times": 0}}), ["/intent/parameters/amount"]),
		{"shop": world.policy},
		_counters,
	)
	"decision.counter_amount" in world.codes(gone.standing.reasons)
	_counted({"/facts": {"made": 0, "times": 0}, "/intent/parameters/amount": 0}).standing.outcome == "allow"
}

test_denials_are_told_together_and_in_order if {
	no := {"code": "shop.no", "title": "", "remedy": "", "floor": "", "severity": ""}
	question := world.asked(world.question, {"/proposer/state": "quarantined", "/intent/target": "attic"})
	answer := _decided(question, {"shop": object.union(world.policy, {"deny": {no}})}, {})
	[reason.code | some reason in answer.standing.reasons] == ["decision.proposer", "decision.target_kind", "shop.no"]
}
