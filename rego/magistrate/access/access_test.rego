package tests.magistrate.access

import data.magistrate
import data.magistrate.permits.verbs

_question := {
	"contract": 1,
	"origin": "acme/test",
	"now": {"unix": 1774440000, "at": "2026-03-25T12:00:00Z", "weekday": "Wednesday", "minute_of_day": 720},
	"principal": {
		"type": "agent",
		"id": "deploy-bot",
		"state": "active",
		"roles": [],
		"owner": "olga",
		"credential": "api-key",
		"open_intents": 0,
	},
	"verb": "intent.show",
	"relation": "own",
	"object": {"type": "intent", "id": "int-1"},
}

_asked(type, state, verb, relation) := object.union(_question, {
	"principal": {"type": type, "state": state},
	"verb": verb,
	"relation": relation,
})

_may(question) if {
	answer := magistrate.access with input as question
	answer == {"allowed": true, "reason": {"code": "", "title": "", "remedy": "", "policy": ""}}
}

_refused(question, code) if {
	answer := magistrate.access with input as question
	answer.allowed == false
	answer.reason.code == code
	answer.reason.policy == "magistrate.access"
}

_lists := {"approval.list", "execution.list", "intent.list", "warrant.list", "event.stream", "alert.list", "agent.list"}

_open := {"checkpoint.show", "key.list", "status.show"}

_chain := {
	"approval.show",
	"chain.show",
	"decision.show",
	"entry.proof",
	"execution.show",
	"intent.show",
	"warrant.show",
}

_acts := {
	"agent.quarantine",
	"alert.ack",
	"bundle.accept",
	"execution.halt",
	"execution.reconcile",
	"intent.cancel",
	"warrant.revoke",
}

# What concerns the installation, and no chain.
_house := {"auditor.list", "bundle.list", "bundle.pull", "metrics.show", "observer.list", "operator.list", "replay.run"}

# What an operator alone says of the installation.
_words := {"bundle.take", "recovery.clock"}

_known := {verb |
	some type
	some state
	some whose
	some verb in verbs[type][state][whose]
}

test_the_table_knows_these_verbs_and_no_other if {
	_known == (((_lists | _open) | (_chain | _acts)) | (_house | _words)) | {"bundle.show"}
}

test_a_refusal_says_why_and_what_to_do if {
	answer := magistrate.access with input as _asked("agent", "active", "intent.show", "foreign")
	answer == {"allowed": false, "reason": {
		"code": "access.foreign",
		"title": "The caller may do this to what is their own, not to this",
		"remedy": "ask an operator to do it",
		"policy": "magistrate.access",
	}}
}

# agents

test_an_agent_reads_its_own_chain_and_no_other if {
	every state in ["active", "quarantined"] {
		every verb in _chain {
			_may(_asked("agent", state, verb, "own"))
			_refused(_asked("agent", state, verb, "foreign"), "access.foreign")
			_refused(_asked("agent", state, verb, "none"), "access.foreign")
		}
	}
}

test_an_agent_lists_what_is_its_own if {
	every state in ["active", "quarantined"] {
		every verb in _lists | _open {
			_may(_asked("agent", state, verb, "none"))
		}
	}
}

test_an_agent_takes_back_what_it_asked_for if {
	_may(_asked("agent", "active", "intent.cancel", "own"))
	_refused(_asked("agent", "active", "intent.cancel", "foreign"), "access.foreign")
}

test_an_agent_does_nothing_else if {
	every verb in (_acts - {"intent.cancel"}) | ((_house | _words) | {"bundle.show"}) {
		every relation in ["none", "own", "foreign"] {
			_refused(_asked("agent", "active", verb, relation), "access.verb")
		}
	}
}

test_a_quarantined_agent_does_nothing if {
	every verb in _acts | ((_house | _words) | {"bundle.show"}) {
		every relation in ["none", "own", "foreign"] {
			_refused(_asked("agent", "quarantined", verb, relation), "access.verb")
		}
	}
}

# observers

test_an_observer_sees_where_the_installation_stands if {
	every verb in _open | {"bundle.pull"} {
		_may(_asked("observer", "active", verb, "none"))
	}
}

test_an_observer_sees_nothing_else if {
	every verb in (_known - _open) - {"bundle.pull"} {
		every relation in ["none", "own", "foreign"] {
			_refused(_asked("observer", "active", verb, relation), "access.verb")
		}
	}
}

# auditors

test_an_auditor_reads_everything if {
	every verb in _lists | (_open | _house) {
		_may(_asked("auditor", "active", verb, "none"))
	}
	every verb in _chain | {"bundle.show"} {
		_may(_asked("auditor", "active", verb, "foreign"))
		_may(_asked("auditor", "active", verb, "own"))
	}
}

test_an_auditor_does_nothing if {
	every verb in _acts | _words {
		every relation in ["none", "own", "foreign"] {
			_refused(_asked("auditor", "active", verb, relation), "access.verb")
		}
	}
}

# operators

test_an_operator_reads_everything_and_takes_away if {
	every verb in (_lists | _open) | (_house | _words) {
		_may(_asked("operator", "active", verb, "none"))
	}
	every verb in (_chain | _acts) | {"bundle.show"} {
		_may(_asked("operator", "active", verb, "foreign"))
		_may(_asked("operator", "active", verb, "own"))
	}
}

test_no_access_widens if {
	every verb in ["intent.submit", "warrant.issue", "agent.release", "operator.enrol", "bundle.activate", ""] {
		every relation in ["none", "own", "foreign"] {
			_refused(_asked("operator", "active", verb, relation), "access.verb")
		}
	}
}

# nobody

test_who_is_not_active_here_may_nothing if {
	every type in ["agent", "auditor", "observer", "operator", "anybody", ""] {
		every state in ["suspended", "unknown", "Active", ""] {
			_refused(_asked(type, state, "status.show", "none"), "access.caller")
		}
	}
	every type in ["auditor", "observer", "operator"] {
		_refused(_asked(type, "quarantined", "status.show", "none"), "access.caller")
	}
	_refused(_asked("anybody", "active", "status.show", "none"), "access.caller")
}

test_a_word_of_the_table_is_no_verb_or_relation if {
	every word in ["any", "own", "none", "active", "agent"] {
		_refused(_asked("operator", "active", word, "none"), "access.verb")
	}
	every relation in ["any", "mine", ""] {
		_refused(_asked("operator", "active", "intent.show", relation), "access.question")
	}
}

# the question

_places[path] := value if {
	walk(_question, [path, value])
	count(path) > 0
}

test_a_missing_field_is_no_question if {
	every path, _ in _places {
		_refused(json.patch(_question, [{"op": "remove", "path": path}]), "access.question")
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
	_refused(json.patch(_question, [{"op": "replace", "path": path, "value": value}]), "access.question")
}

test_a_field_too_many_is_no_question if {
	every path in [[], ["now"], ["principal"], ["object"]] {
		_refused(
			json.patch(_question, [{"op": "add", "path": array.concat(path, ["surprise"]), "value": "yes"}]),
			"access.question",
		)
	}
}

test_another_contract_is_no_question if {
	_refused(object.union(_question, {"contract": 2}), "access.question")
}

test_roles_that_are_no_words_are_no_question if {
	_refused(object.union(_question, {"principal": {"roles": ["lead", null]}}), "access.question")
}

test_no_question_at_all_is_answered_no if {
	every question in [null, true, 1, "intent.show", [], {}, [_question]] {
		_refused(question, "access.question")
	}
	not magistrate.access.allowed
	magistrate.access.reason.code == "access.question"
}
