package tests.magistrate.approval

import data.magistrate

_question := {
	"contract": 1,
	"origin": "acme/test",
	"now": {"unix": 1774440000, "at": "2026-03-25T12:00:00Z", "weekday": "Wednesday", "minute_of_day": 720},
	"intent": {
		"type": "magistrate/intent/v1",
		"intent_id": "int-1",
		"origin": "acme/test",
		"proposer": {"type": "agent", "id": "deploy-bot"},
		"received_at": "2026-03-25T11:59:00Z",
		"nonce": "n-1",
		"action": "service.deploy",
		"target": "checkout-prod",
		"parameters": {"version": "2.4.1"},
		"claims": {"reason": "", "context": {}},
	},
	"proposer": _actor("agent", "deploy-bot", [], {"owner": "olga", "credential": "api-key"}),
	"operator": _actor("operator", "ann", ["lead"], {}),
	"statement": {
		"type": "magistrate/approval/v1",
		"origin": "acme/test",
		"intent_id": "int-1",
		"intent_digest": "sha256:1",
		"decision_digest": "sha256:2",
		"round": 2,
		"verdict": "approve",
		"reason": "",
		"narrowing": {},
		"operator": "ann",
		"key_id": "sha256:3",
		"at": "2026-03-25T11:59:58Z",
		"expires_at": "2026-03-25T12:14:58Z",
	},
	"terms": {
		"tier": "T2",
		"requirement": {
			"all_of": [
				{"roles": ["dba", "lead"], "count": 1, "proof": "ed25519"},
				{"roles": ["keeper"], "count": 1, "proof": "webauthn"},
			],
			"exclude": ["proposer", "owner", "author", "subject"],
			"wait_seconds": 3600,
			"approval_seconds": 900,
		},
		"warrant": {
			"ttl": 300,
			"uses": 3,
			"audience": "router",
			"issuer": "policies.deploys",
			"constraints": {"max_retries": 2, "affected_services": ["checkout", "payments"]},
			"evidence": [],
			"heartbeat_seconds": 10,
			"report_by_seconds": 60,
			"rollback_seconds": 60,
		},
	},
	"round": 2,
	"approvals": [_approval("bob", "approve", 1774440600)],
	"subject": {"type": "", "id": ""},
	"author": "arne",
	"installation": {"operators": 4, "demo": false},
}

_actor(type, id, roles, more) := object.union(
	{
		"type": type,
		"id": id,
		"state": "active",
		"roles": roles,
		"owner": "",
		"credential": "ed25519",
		"open_intents": 0,
	},
	more,
)

_approval(operator, verdict, expires_at) := {
	"operator": operator,
	"roles": ["lead"],
	"verdict": verdict,
	"reason": "",
	"narrowing": {},
	"at": 1774439000,
	"expires_at": expires_at,
	"proof": "ed25519",
	"digest": "sha256:4",
}

_yes(changes) := object.union(_question, changes)

_no(changes) := object.union(_yes({"statement": {"verdict": "deny", "reason": "not on a Wednesday"}}), changes)

# A yes where everything that could be held against one is: kept out four times, no role, spoken, too long, too wide.
_everything_against_it := {
	"operator": {"roles": [], "credential": "none"},
	"intent": {"proposer": {"type": "operator", "id": "ann"}},
	"proposer": {"type": "operator", "id": "ann", "owner": "ann"},
	"author": "ann",
	"subject": {"type": "operator", "id": "ann"},
	"approvals": [_approval("ann", "approve", 1774440600)],
	"statement": {"expires_at": "2026-03-25T13:00:00Z", "narrowing": {"uses": 9}},
}

_may(question) if {
	answer := magistrate.approval with input as question
	answer == {"may": true, "reasons": []}
}

_refused(question, codes) if {
	answer := magistrate.approval with input as question
	answer.may == false
	[reason.code | some reason in answer.reasons] == codes
}

test_an_active_operator_with_a_wanted_role_may_approve if {
	_may(_question)
}

test_a_refusal_says_why_and_what_to_do if {
	answer := magistrate.approval with input as _yes({"operator": {"roles": ["cook"]}})
	answer == {"may": false, "reasons": [{
		"code": "approval.role",
		"title": "No role of the person is wanted",
		"remedy": "somebody with a role of the requirement approves",
		"policy": "magistrate.approval",
	}]}
}

test_everything_against_a_yes_is_said_in_order if {
	_refused(_yes(_everything_against_it), [
		"approval.author",
		"approval.narrowing",
		"approval.owner",
		"approval.proposer",
		"approval.role",
		"approval.spoken",
		"approval.subject",
		"approval.too_long",
	])
}

# who speaks

test_only_operators_speak if {
	every type in ["agent", "observer", "auditor", "", "operators"] {
		_refused(_yes({"operator": {"type": type}}), ["approval.operator"])
		_refused(_no({"operator": {"type": type}}), ["approval.operator"])
	}
}

test_only_active_operators_speak if {
	every state in ["suspended", "quarantined", "unknown", "", "Active"] {
		_refused(_yes({"operator": {"state": state}}), ["approval.operator"])
		_refused(_no({"operator": {"state": state}}), ["approval.operator"])
	}
}

test_nobody_speaks_for_another if {
	_refused(_yes({"statement": {"operator": "bob"}}), ["approval.signer"])
	_refused(_no({"operator": {"id": "carl"}}), ["approval.signer"])
}

# what of

test_the_statement_is_about_this_decision if {
	every change in [
		{"statement": {"origin": "acme/other"}},
		{"intent": {"origin": "acme/other"}},
		{"statement": {"origin": "acme/other"}, "intent": {"origin": "acme/other"}},
		{"origin": "acme/other"},
		{"statement": {"intent_id": "int-2"}},
		{"intent": {"intent_id": "int-2"}},
		{"statement": {"round": 1}},
		{"round": 3},
	] {
		_refused(_yes(change), ["approval.decision"])
		_refused(_no(change), ["approval.decision"])
	}
}

# how long

test_what_has_ended_is_not_said if {
	every change in [
		{"statement": {"at": "2026-03-25T11:56:00Z", "expires_at": "2026-03-25T12:00:00Z"}},
		{"statement": {"at": "2026-03-25T11:50:00Z", "expires_at": "2026-03-25T11:55:00Z"}},
	] {
		_refused(_yes(change), ["approval.expired"])
		_refused(_no(change), ["approval.expired"])
	}
	_may(_yes({"statement": {"expires_at": "2026-03-25T12:00:01Z"}}))
}

test_what_ends_before_it_begins_is_not_said if {
	every at in ["2026-03-25T12:10:00Z", "2026-03-25T12:11:00Z"] {
		change := {"statement": {"at": at, "expires_at": "2026-03-25T12:10:00Z"}}
		_refused(_yes(change), ["approval.expired"])
		_refused(_no(change), ["approval.expired"])
	}
}

test_a_yes_lasts_as_long_as_the_terms_give_and_no_longer if {
	_refused(_yes({"statement": {"expires_at": "2026-03-25T12:14:59Z"}}), ["approval.too_long"])
	_refused(_yes({"terms": {"requirement": {"approval_seconds": 899}}}), ["approval.too_long"])
	_may(_yes({"terms": {"requirement": {"approval_seconds": 901}}}))
}

test_times_that_are_none_are_no_times if {
	every time in ["", "soon", "2026-03-25", "2026-02-30T12:05:00Z", "9999-03-25T12:05:00Z"] {
		_refused(_yes({"statement": {"expires_at": time}}), ["approval.expired", "approval.too_long"])
		_refused(_yes({"statement": {"at": time}}), ["approval.expired", "approval.too_long"])
		_refused(_no({"statement": {"at": time}}), ["approval.expired"])
	}
}

# a no

test_a_no_says_why if {
	every reason in ["", " ", "\n\t "] {
		_refused(_no({"statement": {"verdict": "deny", "reason": reason}}), ["approval.reason"])
	}
}

test_every_active_operator_may_say_no_whatever_stands_against_a_yes if {
	_may(_no({}))
	_may(_no({"operator": {"roles": ["keeper"]}}))
	_may(_no(object.union(_everything_against_it, {"statement": {
		"verdict": "deny",
		"reason": "not on a Wednesday",
		"expires_at": "2026-03-25T13:00:00Z",
		"narrowing": {"uses": 9},
	}})))
}

# whose yes counts

test_a_relation_keeps_out_where_the_terms_say_so if {
	every relation, change in {
		"proposer": {
			"intent": {"proposer": {"type": "operator", "id": "ann"}},
			"proposer": {"type": "operator", "id": "ann"},
		},
		"owner": {"proposer": {"owner": "ann"}},
		"author": {"author": "ann"},
		"subject": {"subject": {"type": "operator", "id": "ann"}},
	} {
		_refused(_yes(change), [concat(".", ["approval", relation])])
		_may(object.union(_yes(change), {"terms": {"requirement": {"exclude": [other |
			some other in _question.terms.requirement.exclude
			other != relation
		]}}}))
	}
}

test_an_agent_of_the_same_name_keeps_nobody_out if {
	_may(_yes({"intent": {"proposer": {"type": "agent", "id": "ann"}}, "proposer": {"id": "ann"}}))
	_may(_yes({"subject": {"type": "agent", "id": "ann"}}))
}

test_a_yes_that_could_never_count_is_not_taken if {
	every roles in [[], ["cook"], ["Lead"], ["lead "]] {
		_refused(_yes({"operator": {"roles": roles}}), ["approval.role"])
	}
	_refused(_yes({"terms": {"requirement": {"all_of": []}}}), ["approval.role"])
}

test_any_role_of_any_row_is_enough if {
	_may(_yes({"operator": {"roles": ["dba"]}}))
	_may(_yes({"operator": {"roles": ["cook", "lead"]}}))
	_may(_yes({"operator": {"roles": ["lead", "keeper"]}}))
	_may(_yes({"operator": {"roles": ["keeper"], "credential": "webauthn"}}))
}

test_the_proof_is_as_strong_as_a_place_asks_for if {
	_refused(_yes({"operator": {"roles": ["keeper"]}}), ["approval.proof"])
	every credential in ["none", "api-key", "", "passkey"] {
		_refused(_yes({"operator": {"credential": credential}}), ["approval.proof"])
	}
	_may(_yes({"operator": {"credential": "webauthn"}}))
}

test_one_person_says_yes_once_in_a_round if {
	_refused(_yes({"approvals": [_approval("ann", "approve", 1774440001)]}), ["approval.spoken"])
	_refused(_yes({"approvals": [_approval("bob", "approve", 0), _approval("ann", "deny", 1774440001)]}), ["approval.spoken"])
	_may(_yes({"approvals": [_approval("ann", "approve", 1774440000)]}))
}

# how wide

test_a_yes_may_take_away if {
	every narrowing in [
		{"ttl": 300},
		{"ttl": 1, "uses": 1},
		{"constraints": {"max_retries": 0}},
		{"constraints": {"affected_services": ["checkout"]}},
		{"constraints": {"max_duration_seconds": 60}},
	] {
		_may(_yes({"statement": {"narrowing": narrowing}}))
	}
}

test_a_yes_gives_nothing if {
	every narrowing in [
		{"ttl": 301},
		{"ttl": 0},
		{"ttl": "60"},
		{"uses": 4},
		{"uses": 1.5},
		{"uses": null},
		{"audience": "holder"},
		{"constraints": []},
		{"constraints": {"max_retries": 3}},
		{"constraints": {"max_retries": "1"}},
		{"constraints": {"affected_services": ["checkout", "ledger"]}},
		{"constraints": {"affected_services": []}},
		{"constraints": {"ttl": 60}},
		{"constraints": {"max_surprise": 1}},
	] {
		_refused(_yes({"statement": {"narrowing": narrowing}}), ["approval.narrowing"])
	}
}

# the question

# Every place in the question with its value; not the words of the intent, which are the decision's to judge, and not
# what is inside the warrant's terms and the narrowing, which are held against each other.
_places[path] := value if {
	walk(_question, [path, value])
	count(path) > 0
	not _free(path)
}

_free(path) if array.slice(path, 0, 2) in {["intent", name] | some name, _ in _question.intent; name != "proposer"}

_free(path) if array.slice(path, 0, 2) == ["terms", "warrant"]

_asks_no_question(question) if {
	answer := magistrate.approval with input as question
	answer.may == false
	"approval.question" in {reason.code | some reason in answer.reasons}
}

test_a_missing_field_is_no_question if {
	fields := {path | some path, _ in _places; not is_number(array.reverse(path)[0])}
	count(fields) > 60
	every path in fields {
		_asks_no_question(json.patch(_question, [{"op": "remove", "path": path}]))
	}
}

test_a_value_of_another_type_is_no_question if {
	every path, was in _places {
		every value in [null, true, 7, "x", [], {}] {
			_same_type_or_no_question(path, was, value)
		}
	}
}

_same_type_or_no_question(_, was, value) if type_name(was) == type_name(value)

_same_type_or_no_question(path, was, value) if {
	type_name(was) != type_name(value)
	_asks_no_question(json.patch(_question, [{"op": "replace", "path": path, "value": value}]))
}

test_a_field_too_many_is_no_question if {
	every path in [
		[], ["now"], ["proposer"], ["operator"], ["statement"], ["terms"], ["terms", "requirement"], ["subject"],
		["terms", "requirement", "all_of", "0"], ["approvals", "0"], ["installation"], ["intent", "proposer"],
	] {
		_asks_no_question(json.patch(
			_question,
			[{"op": "add", "path": array.concat(path, ["surprise"]), "value": "yes"}],
		))
	}
}

test_words_that_are_not_of_the_contract_are_no_question if {
	every change in [
		{"contract": 2},
		{"statement": {"verdict": "abstain"}},
		{"statement": {"verdict": ""}},
		{"statement": {"type": "magistrate/approval/v2"}},
		{"intent": {"proposer": {"id": "other-bot"}}},
		{"intent": {"proposer": {"type": "operator"}}},
		{"terms": {"requirement": {"exclude": ["proposer", "friend"]}}},
	] {
		_asks_no_question(_yes(change))
	}
}

test_no_question_at_all_is_answered_no if {
	every question in [null, true, 1, "approve", [], {}, [_question]] {
		_asks_no_question(question)
	}
	not magistrate.approval.may
}
