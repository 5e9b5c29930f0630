package tests.policies.sql

import data.policies.sql

_limits := {
	"reads": ["orders"],
	"rows": 100,
	"forbidden": ["drop"],
	"keeper": {"roles": ["dba"], "count": 1, "proof": "ed25519"},
}

_asked(action, parameters) := {"intent": {"action": action, "parameters": parameters}}

_statement(name, limit) := _asked("sql.statement", {"statement": name, "limit": limit})

_free(text) := _asked("sql.free", {"sql": text})

_codes(said) := {one.code | some one in said}

_tiers(question) := {one.code: one.floor |
	some one in sql.tier with input as question with data.policies.sql.limits as _limits
}

_denials(question) := codes if {
	codes := _codes(sql.deny) with input as question with data.policies.sql.limits as _limits
}

_approvals(question) := said if {
	said := sql.approval with input as question with data.policies.sql.limits as _limits
}

_deviations(question) := said if {
	said := sql.deviation with input as question with data.policies.sql.limits as _limits
}

test_it_judges_statements if sql.governs == {"sql.free", "sql.statement"}

test_few_rows_read_are_the_lowest_tier if _tiers(_statement("orders", 100)) == {"sql.catalogued": "T0"}

test_many_rows_are_one_higher if {
	_tiers(_statement("orders", 101)) == {"sql.catalogued": "T0", "sql.many_rows": "T1"}
}

test_rows_that_are_no_number_are_many if {
	_tiers(_statement("orders", null))["sql.many_rows"] == "T1"
	_tiers(_asked("sql.statement", {"statement": "orders"}))["sql.many_rows"] == "T1"
}

test_what_writes_is_one_higher_and_asks_whoever_keeps_the_database if {
	question := _statement("purge", 1)
	_tiers(question) == {"sql.catalogued": "T0", "sql.writes": "T1"}
	_approvals(question) == {{
		"code": "sql.keeper",
		"title": "Whoever keeps the database looks at what writes",
		"remedy": "",
		"floor": "",
		"severity": "",
		"row": {"roles": ["dba"], "count": 1, "proof": "ed25519"},
	}}
}

test_what_reads_asks_nobody_more if _approvals(_statement("orders", 100)) == set()

test_a_statement_left_out_writes if {
	_tiers(_asked("sql.statement", {"limit": 1}))["sql.writes"] == "T1"
	count(_approvals(_asked("sql.statement", {"limit": 1}))) == 1
}

test_free_text_is_the_highest_tier_whatever_it_says if {
	_tiers(_free("select 1")) == {"sql.free_text": "T3", "sql.many_rows": "T1", "sql.writes": "T1"}
	count(_approvals(_free("select 1"))) == 1
}

test_plain_text_is_not_refused if _denials(_free("select id,\n\ttotal from orders where open = 'yes'")) == set()

test_a_catalogued_statement_is_not_refused if _denials(_statement("orders", 1)) == set()

test_what_is_no_text_is_left_to_the_engine if _denials(_free(7)) == set()

test_a_second_statement_is_refused if _denials(_free("select 1; select 2")) == {"sql.stacked"}

test_comments_are_refused if {
	_denials(_free("select 1 -- all of it")) == {"sql.comment"}
	_denials(_free("select /* all */ 1")) == {"sql.comment"}
	_denials(_free("select 1 # all")) == {"sql.comment"}
}

test_characters_people_may_not_see_are_refused if {
	_denials(_free("select \u202e 1")) == {"sql.unseen"}
	_denials(_free("select \u0000 1")) == {"sql.unseen"}
	_denials(_free("select 'é'")) == {"sql.unseen"}
}

test_changes_of_tables_and_rights_are_refused_however_spelt if {
	_denials(_free("drop table orders")) == {"sql.forbidden"}
	_denials(_free("select 1 union(DROP\ttable orders)")) == {"sql.forbidden"}
}

test_a_word_inside_another_is_not_refused if _denials(_free("select dropped from orders")) == set()

test_no_more_rows_than_asked_for if {
	said := sql.constraint with input as _statement("orders", 7) with data.policies.sql.limits as _limits
	said == {{"kind": "max_rows", "value": 7}}
}

test_free_text_promises_no_number_of_rows if {
	said := sql.constraint with input as _free("select 1") with data.policies.sql.limits as _limits
	said == set()
}

_observed(phase, source, runs) := {"phase": phase, "source": source, "facts": {"runs": runs}}

_done(question, state, observations) := object.union(question, {
	"warrant": {"evidence": ["probe/statements", "observer/dba"]},
	"execution": {"state": state},
	"observations": observations,
})

_ran(question, state, name, before, after) := _deviations(_done(question, state, [
	_observed("before", "probe/statements", {name: {"count": before}}),
	_observed("after", "probe/statements", {name: {"count": after}}),
]))

test_what_writes_twice_deviates if {
	_ran(_statement("purge", 1), "succeeded", "purge", 4, 6) == {{
		"code": "sql.runs",
		"title": "A statement that writes did not run exactly once",
		"remedy": "",
		"floor": "",
		"severity": "serious",
		"seen": {"pointer": "/runs/purge/count", "expected": 5, "observed": 6, "source": "probe/statements"},
	}}
}

test_what_writes_never_deviates_when_said_to_be_done if {
	count(_ran(_statement("purge", 1), "succeeded", "purge", 4, 4)) == 1
}

test_what_writes_once_conforms if _ran(_statement("purge", 1), "succeeded", "purge", 4, 5) == set()

test_a_failed_statement_need_not_have_run if _ran(_statement("purge", 1), "failed", "purge", 4, 4) == set()

test_what_only_reads_may_run_often if _ran(_statement("orders", 1), "succeeded", "orders", 4, 9) == set()

test_free_text_is_counted_too if {
	some said in _ran(_free("select 1"), "succeeded", "free", 1, 3)
	said.seen.pointer == "/runs/free/count"
}

test_a_first_run_is_counted_from_none if {
	done := _done(_statement("purge", 1), "succeeded", [
		_observed("before", "probe/statements", {}),
		_observed("after", "probe/statements", {"purge": {"count": 1}}),
	])
	_deviations(done) == set()
}

test_a_count_that_is_no_number_is_none if {
	some said in _ran(_statement("purge", 1), "succeeded", "purge", "many", 6)
	said.seen.expected == 1
}

test_a_source_that_does_not_count_says_nothing if {
	done := _done(_statement("purge", 1), "succeeded", [
		_observed("before", "holder", {"purge": {"count": 1}}),
		_observed("after", "holder", {"purge": {"count": 9}}),
	])
	_deviations(done) == set()
}

test_two_sources_are_not_mixed if {
	done := _done(_statement("purge", 1), "succeeded", [
		_observed("before", "probe/statements", {"purge": {"count": 1}}),
		_observed("after", "observer/dba", {"purge": {"count": 9}}),
	])
	_deviations(done) == set()
}
