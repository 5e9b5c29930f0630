package tests.policies.batch

import data.policies.batch

_limits := {"short": 10, "longest": 100, "slack": 5, "rounding": 1}

_batch(seconds) := {"intent": {"action": "batch.run", "parameters": {"seconds": seconds}}}

_tiers(question) := {one.code: one.floor |
	some one in batch.tier with input as question with data.policies.batch.limits as _limits
}

_denials(question) := {one.code |
	some one in batch.deny with input as question with data.policies.batch.limits as _limits
}

test_it_judges_batches if batch.governs == {"batch.run"}

test_a_short_batch_is_the_lowest_tier if {
	_tiers(_batch(10)) == {"batch.any": "T0"}
	_tiers(_batch(0)) == {"batch.any": "T0"}
}

test_a_long_batch_is_one_higher if _tiers(_batch(11)) == {"batch.any": "T0", "batch.long": "T1"}

test_an_endless_batch_is_refused if {
	_denials(_batch(101)) == {"batch.endless"}
	_denials(_batch(100)) == set()
}

test_a_length_that_is_no_number_is_refused if {
	_denials(_batch("10")) == {"batch.endless"}
	_denials({"intent": {"parameters": {}}}) == {"batch.endless"}
	_tiers(_batch(null)) == {"batch.long": "T1"}
}

test_a_batch_is_stopped_when_it_takes_much_longer_than_it_said if {
	said := batch.constraint with input as _batch(10) with data.policies.batch.limits as _limits
	said == {{"kind": "max_duration_seconds", "value": 15}}
}

_took(state, seconds) := said if {
	done := object.union(_batch(10), {"execution": {"state": state, "started": 1000, "ended": 1000 + seconds}})
	said := batch.deviation with input as done with data.policies.batch.limits as _limits
}

test_a_batch_that_ended_too_early_deviates if {
	_took("succeeded", 8) == {{
		"code": "batch.early",
		"title": "The batch ended too early to have done its work",
		"remedy": "",
		"floor": "",
		"severity": "serious",
		"seen": {"pointer": "/execution/ended", "expected": 10, "observed": 8, "source": "executor"},
	}}
}

test_whole_seconds_may_hide_one if _took("succeeded", 9) == set()

test_a_batch_that_was_halted_may_end_early if _took("halted", 2) == set()
