package tests.magistrate.decision

import data.magistrate
import data.tests.world

_decided(question, policies) := _answer(question, policies, world.tiers)

_answer(question, policies, tiers) := answer if {
	answer := magistrate.decision with input as question
		with data.policies as policies
		with data.catalogue as world.catalogue
		with data.tiers as tiers
		with data.counters as {}
}

_of(changes) := _decided(world.asked(world.question, changes), {"shop": world.policy})

_said(policy) := _decided(world.question, {"shop": object.union(world.policy, policy)})

_refused(answer, code) if {
	answer.standing.outcome == "deny"
	answer.standing.wanted == []
	answer.terms == data.magistrate.terms.none
	answer.standing.issue == data.magistrate.terms.none.warrant
	code in world.codes(answer.standing.reasons)
}

_low_warrant := {
	"ttl": 100,
	"uses": 3,
	"audience": "router",
	"issuer": "policies.shop",
	"constraints": {"max_retries": 2, "rollback_on_failure": false, "affected_services": ["door", "lamp", "till"]},
	"evidence": ["probe/eye", "observer/olga"],
	"heartbeat_seconds": 7,
	"report_by_seconds": 8,
	"rollback_seconds": 9,
}

test_an_action_that_needs_nobody_is_allowed_at_once if {
	_of({}) == {
		"terms": {
			"tier": "low",
			"requirement": {"all_of": [], "exclude": [], "wait_seconds": 60, "approval_seconds": 30},
			"warrant": _low_warrant,
		},
		"standing": {
			"outcome": "allow",
			"reasons": [{"code": "shop.low", "title": "Low", "remedy": "", "policy": "policies.shop"}],
			"wanted": [],
			"issue": _low_warrant,
		},
	}
}

# question

_fields := [
	"/contract", "/now", "/now/unix", "/now/minute_of_day", "/now/weekday", "/now/at", "/intent", "/intent/intent_id",
	"/intent/action", "/intent/target", "/intent/parameters", "/intent/claims", "/intent/claims/reason",
	"/intent/claims/context", "/intent/proposer", "/intent/proposer/type", "/intent/proposer/id", "/proposer",
	"/proposer/type", "/proposer/id", "/proposer/state", "/proposer/roles", "/proposer/owner", "/proposer/credential",
	"/proposer/open_intents", "/round", "/round_began", "/approvals", "/facts", "/counters_blind", "/subject",
	"/subject/type", "/subject/id", "/author", "/installation", "/installation/operators", "/installation/demo",
]

_unasked(question) if {
	world.codes(data.magistrate.question.deny) == {"decision.question"} with input as question
}

test_a_missing_field_is_a_no[field] if {
	some field in _fields
	_unasked(json.remove(world.question, [field]))
}

test_a_question_that_is_none_is_a_no if _refused(_of({"/now/unix": null}), "decision.question")

test_a_field_of_another_type_is_a_no[field] if {
	some field in _fields
	every wrong in [null, {true}] {
		_unasked(world.asked(world.question, {field: wrong}))
	}
}

test_approvals_are_a_list if _unasked(world.asked(world.question, {"/approvals": {}}))

test_another_contract_is_a_no if _refused(_of({"/contract": 2}), "decision.question")

test_facts_about_another_proposer_are_a_no[field] if {
	some field in ["/intent/proposer/id", "/intent/proposer/type"]
	_refused(_of({field: "other"}), "decision.question")
}

_approval_fields := ["operator", "roles", "verdict", "narrowing", "at", "expires_at", "proof"]

test_half_an_approval_is_a_no[field] if {
	some field in _approval_fields
	half := object.remove(world.yes("ann", ["smith"]), [field])
	_unasked(world.asked(world.question, {"/approvals": [half]}))
}

test_an_approval_field_of_another_type_is_a_no[field] if {
	some field in _approval_fields
	_unasked(world.asked(world.question, {"/approvals": [object.union(world.yes("ann", ["smith"]), {field: false})]}))
}

test_a_verdict_nobody_knows_is_a_no if {
	odd := object.union(world.yes("ann", ["smith"]), {"verdict": "maybe"})
	_refused(_of({"/approvals": [odd]}), "decision.question")
}

test_one_half_approval_among_whole_ones_is_a_no if {
	_refused(_of({"/approvals": [world.yes("ann", ["smith"]), {}]}), "decision.question")
}

# scope

test_an_unknown_action_is_a_no if _refused(_of({"/intent/action": "thing.break"}), "decision.unknown_action")

test_an_unknown_target_is_a_no if _refused(_of({"/intent/target": "cellar"}), "decision.unknown_target")

test_only_what_is_wrong_is_named if {
	world.codes(_of({"/intent/target": "cellar"}).standing.reasons) == {"decision.unknown_target"}
	world.codes(_of({"/intent/target": "attic"}).standing.reasons) == {"decision.target_kind"}
	world.codes(_of({"/intent/action": "thing.break"}).standing.reasons) == {
		"decision.unknown_action", "decision.no_policy", "decision.no_tier", "decision.open_term",
	}
}

test_a_target_of_another_kind_is_a_no if _refused(_of({"/intent/target": "attic"}), "decision.target_kind")

test_parameters_the_row_does_not_describe_are_a_no[sprintf("%v", [parameters])] if {
	some parameters in [
		{"name": "hat"},
		{"name": "hat", "amount": "5"},
		{"name": "hat", "amount": null},
		{"name": "hat", "amount": 5, "more": 1},
		{},
	]
	_refused(_of({"/intent/parameters": parameters}), "decision.parameters")
}

test_parameters_are_told_apart_in_the_remedy if {
	some reason in _of({"/intent/parameters": {"name": 7}}).standing.reasons
	reason.remedy == concat("", [
		"give the parameters of the action's row: (Root): amount is required; ",
		"name: Invalid type. Expected: string, given: integer",
	])
}

test_parameters_are_an_object_and_no_text_that_holds_one if {
	reasons := _of({"/intent/parameters": `{"name": "hat", "amount": 5}`}).standing.reasons
	world.codes(reasons) == {"decision.question", "decision.parameters"}
	some reason in reasons
	reason.remedy == "give the parameters of the action's row: "
}

test_a_secret_by_its_name_is_taken if {
	_of({"/intent/parameters/key": "secret:door"}).standing.outcome == "allow"
}

test_a_secret_by_anything_else_is_a_no[value] if {
	some value in ["door", "hunter2", "secret:", "secret:window", "secret:door ", "Secret:door"]
	_refused(_of({"/intent/parameters/key": value}), "decision.secret")
}

test_a_secret_that_is_no_text_is_a_no if {
	answer := _of({"/intent/parameters/key": ["secret:door"]})
	_refused(answer, "decision.secret")
}

_admitting := {
	"/intent/action": "house.admit",
	"/intent/parameters": {"who": "zoe"},
	"/intent/proposer": {"type": "operator", "id": "ann"},
	"/proposer/type": "operator",
	"/proposer/id": "ann",
	"/subject": {"type": "operator", "id": "zoe"},
}

test_an_act_of_administration_is_an_operators if {
	_of(_admitting).standing.outcome == "allow"
	agents := object.union(_admitting, {"/intent/proposer/type": "agent", "/proposer/type": "agent"})
	world.codes(_of(agents).standing.reasons) == {"decision.administration"}
}

test_the_subject_is_the_one_the_parameters_name if {
	other := object.union(_admitting, {"/subject": {"type": "operator", "id": "yan"}})
	world.codes(_of(other).standing.reasons) == {"decision.subject"}
	agent := object.union(_admitting, {"/subject": {"type": "agent", "id": "zoe"}})
	world.codes(_of(agent).standing.reasons) == {"decision.subject"}
	nobody := object.union(object.remove(_admitting, ["/intent/parameters"]), {"/intent/parameters": {}})
	world.codes(_of(nobody).standing.reasons) == {"decision.subject"}
}

# policies

test_no_policy_is_a_no if {
	answer := _decided(world.question, {"shop": object.union(world.policy, {"governs": {"thing.break"}})})
	_refused(answer, "decision.no_policy")
	_refused(_decided(world.question, {}), "decision.no_policy")
}

test_a_policy_for_other_actions_is_not_heard if {
	loud := object.union(world.policy, {"governs": {"x"}, "deny": {world.low}, "tier": {world.high}, "approval": {{}}, "constraint": {7}})
	_decided(world.question, {"shop": world.policy, "loud": loud}) == _of({})
}

test_any_denial_denies_and_keeps_the_terms if {
	no := {"code": "shop.no", "title": "No", "remedy": "go home", "floor": "", "severity": ""}
	answer := _said({"deny": {no}})
	answer.standing == {
		"outcome": "deny",
		"reasons": [{"code": "shop.no", "title": "No", "remedy": "go home", "policy": "policies.shop"}],
		"wanted": [],
		"issue": _low_warrant,
	}
	answer.terms == _of({}).terms
}

test_a_denial_without_a_word_still_denies[sprintf("%v", [no])] if {
	some no in ["no", 7, {}, {"code": "shop.no"}, null, false]
	answer := _said({"deny": {no}})
	answer.standing.outcome == "deny"
	answer.standing.reasons == [{"code": "", "title": "", "remedy": "", "policy": "policies.shop"}]
}

test_every_policy_is_heard_and_named if {
	no := {"code": "yard.no", "title": "", "remedy": ""}
	yard := object.union(world.policy, {"deny": {no}, "tier": set()})
	answer := _decided(world.question, {"shop": world.policy, "yard": yard})
	answer.standing.reasons == [{"code": "yard.no", "title": "", "remedy": "", "policy": "policies.yard"}]
}

# terms

test_no_tier_is_a_no if _refused(_said({"tier": set()}), "decision.no_tier")

test_an_unknown_tier_is_a_no[sprintf("%v", [tier])] if {
	some tier in ["low", 7, {}, {"code": "x"}, object.union(world.low, {"floor": "lowest"}), object.union(world.low, {"floor": null})]
	_refused(_said({"tier": {world.low, tier}}), "decision.unknown_tier")
}

_with_tiers(tiers) := _answer(world.question, {"shop": world.policy}, tiers)

test_a_tier_without_a_rank_is_a_no if {
	_refused(_with_tiers(json.patch(world.tiers, [{"op": "add", "path": "/low/rank", "value": "9"}])), "decision.unknown_tier")
}

test_a_tier_that_leaves_a_term_open_is_a_no[field] if {
	some field in [
		"requirement/wait_seconds", "requirement/approval_seconds", "warrant/ttl", "warrant/uses",
		"warrant/heartbeat_seconds", "warrant/report_by_seconds", "warrant/rollback_seconds",
	]
	_refused(_with_tiers(json.remove(world.tiers, [concat("/", ["/low", field])])), "decision.open_term")
}

test_no_other_floor_stands_in_for_the_tiers_own_terms if {
	every field in ["ttl", "uses"] {
		tiers := json.remove(world.tiers, [concat("/", ["/high/warrant", field])])
		policies := {"shop": object.union(world.policy, {"tier": {world.low, world.high}})}
		_refused(_answer(world.question, policies, tiers), "decision.open_term")
	}
}

test_the_highest_floor_counts_whoever_states_it if {
	yard := object.union(world.policy, {"tier": {world.high}})
	every policies in [{"shop": world.policy, "yard": yard}, {"shop": yard, "yard": world.policy}] {
		answer := _decided(world.question, policies)
		answer.terms.tier == "high"
		answer.terms.requirement.wait_seconds == 600
		answer.terms.requirement.approval_seconds == 300
		answer.terms.warrant.heartbeat_seconds == 17
		answer.terms.warrant.report_by_seconds == 18
		answer.terms.warrant.rollback_seconds == 19
		answer.terms.warrant.constraints == {"max_retries": 1, "rollback_on_failure": true}
		world.codes(answer.standing.reasons) == {"shop.low", "shop.high"}
	}
}

test_who_states_the_highest_floor_is_the_issuer if {
	yard := object.union(world.policy, {"tier": {world.high}})
	_decided(world.question, {"shop": yard, "yard": world.policy}).terms.warrant.issuer == "policies.shop"
	_decided(world.question, {"shop": world.policy, "yard": yard}).terms.warrant.issuer == "policies.yard"
}

test_the_shortest_ttl_and_the_fewest_uses_of_all_floors_count if {
	_said({"tier": {world.low, world.high}}).terms.warrant.ttl == 100
	_said({"tier": {world.low, world.high}}).terms.warrant.uses == 3
	_said({"tier": {world.high}}).terms.warrant.ttl == 200
	_said({"tier": {world.high}}).terms.warrant.uses == 4
}

test_an_action_without_uses_is_for_one_use if {
	_of({"/intent/action": "thing.hand"}).terms.warrant.uses == 1
}

test_what_we_do_not_run_is_the_holders if {
	_of({"/intent/action": "thing.hand"}).terms.warrant.audience == "holder"
	_of({}).terms.warrant.audience == "router"
}

_row(roles, count_, proof) := {"roles": roles, "count": count_, "proof": proof}

_asking(row) := {"code": "shop.asks", "title": "Asks", "remedy": "", "row": row}

_required(rows) := _said({"tier": {world.high}, "approval": {_asking(row) | some row in rows}}).terms.requirement

test_rows_of_other_roles_stand_side_by_side if {
	_required({_row(["mayor"], 2, "ink")}).all_of == [
		{"roles": ["clerk", "smith"], "count": 1, "proof": "wax"},
		{"roles": ["mayor"], "count": 2, "proof": "ink"},
	]
}

test_rows_of_the_same_roles_are_one_demand if {
	_required({_row(["clerk", "smith"], 3, "wax")}).all_of == [{"roles": ["clerk", "smith"], "count": 3, "proof": "wax"}]
	_required({_row(["smith", "clerk"], 1, "ink")}).all_of == [{"roles": ["clerk", "smith"], "count": 1, "proof": "ink"}]
	_required({_row(["smith", "clerk"], 2, "ink"), _row(["clerk", "smith"], 4, "wax")}).all_of == [{
		"roles": ["clerk", "smith"],
		"count": 4,
		"proof": "ink",
	}]
}

test_a_row_may_keep_out_more_people if {
	low := _said({"approval": {_asking(object.union(_row(["mayor"], 1, "wax"), {"exclude": ["author", "proposer"]}))}})
	low.terms.requirement.exclude == ["author", "proposer"]
	_required(set()).exclude == ["author", "owner", "proposer", "subject"]
}

test_a_row_nobody_can_meet_is_a_no[sprintf("%v", [row])] if {
	some row in [
		{},
		{"roles": "mayor", "count": 1, "proof": "wax"},
		_row([], 1, "wax"),
		_row(["mayor"], 0, "wax"),
		_row(["mayor"], "1", "wax"),
		_row(["mayor"], null, "wax"),
		_row(["mayor"], 1.5, "wax"),
		_row(["mayor"], 1, "spit"),
		{"roles": ["mayor"], "proof": "wax"},
	]
	_refused(_said({"approval": {_asking(row)}}), "decision.row")
}

test_an_approval_without_a_row_is_a_no[sprintf("%v", [said])] if {
	some said in ["ask ann", {"code": "shop.asks"}, 7]
	_refused(_said({"approval": {said}}), "decision.row")
}

test_a_row_of_the_tier_that_nobody_can_meet_is_a_no if {
	tiers := json.patch(world.tiers, [{"op": "add", "path": "/low/requirement/all_of", "value": [_row(["mayor"], 0, "wax")]}])
	_refused(_with_tiers(tiers), "decision.row")
}

test_constraints_of_policies_tighten_those_of_the_tier if {
	said := _said({"constraint": {
		{"kind": "max_retries", "value": 1},
		{"kind": "max_amount", "value": 5},
		{"kind": "rollback_on_failure", "value": true},
		{"kind": "affected_services", "value": ["till", "roof"]},
		{"kind": "ttl", "value": 40},
		{"kind": "uses", "value": 2},
	}})
	said.terms.warrant == object.union(_low_warrant, {
		"ttl": 40,
		"uses": 2,
		"constraints": {"max_retries": 1, "max_amount": 5, "rollback_on_failure": true, "affected_services": ["till"]},
	})
	said.standing.outcome == "allow"
}

test_a_constraint_that_cannot_be_kept_is_a_no[sprintf("%v", [said])] if {
	some said in [
		"max_amount",
		{"kind": "max_amount"},
		{"value": 5},
		{"kind": "max_temper", "value": 5},
		{"kind": "max_amount", "value": "5"},
		{"kind": "max_amount", "value": null},
		{"kind": "max_amount", "value": -1},
		{"kind": "max_amount", "value": 0.5},
		{"kind": "ttl", "value": 0},
		{"kind": "rollback_on_failure", "value": "yes"},
		{"kind": "affected_services", "value": ["roof"]},
		{"kind": "affected_services", "value": []},
		{"kind": "affected_services", "value": "till"},
		{"kind": "affected_services", "value": ["till", 7]},
	]
	_refused(_said({"constraint": {said}}), "decision.constraint")
}

test_the_constraint_that_cannot_be_kept_is_named if {
	some reason in _said({"constraint": {{"kind": "max_temper", "value": 5}}}).standing.reasons
	reason.remedy == "a policy author corrects the kinds: max_temper"
}

# the line between terms and standing

test_time_facts_and_approvals_move_no_terms if {
	_of({"/now/unix": 1, "/now/weekday": "Sunday", "/facts": {"x": 1}, "/approvals": [world.yes("ann", [])]}).terms == _of({}).terms
}
