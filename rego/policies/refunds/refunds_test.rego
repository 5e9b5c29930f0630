package tests.policies.refunds

import data.policies.refunds
import data.tests.world

_limits := {
	"small": 10,
	"large": 100,
	"daily": 200,
	"books": {"roles": ["clerk"], "count": 1, "proof": "wax"},
}

_asked(amount, facts) := {
	"intent": {"action": "refund.create", "parameters": {"order": "A-1", "amount": amount}},
	"facts": facts,
}

_of(amount) := _asked(amount, {"refunded_today": 0})

_floors(question) := {one.code: one.floor |
	some one in refunds.tier with input as question with data.policies.refunds.limits as _limits
}

_denials(question) := codes if {
	said := refunds.deny with input as question with data.policies.refunds.limits as _limits
	codes := world.codes(said)
}

_asks(question) := {one.code: one.row |
	some one in refunds.approval with input as question with data.policies.refunds.limits as _limits
}

test_it_judges_refunds if refunds.governs == {"refund.create"}

test_every_refund_has_a_tier if {
	_floors(_of(1)) == {"refunds.any": "T0"}
	_floors(_of(10)) == {"refunds.any": "T0"}
}

test_a_large_refund_is_a_tier_higher if {
	_floors(_of(11)) == {"refunds.any": "T0", "refunds.large": "T1"}
	_asks(_of(100)) == {}
}

test_a_very_large_refund_needs_whoever_answers_for_the_books if {
	_asks(_of(101)) == {"refunds.very_large": _limits.books}
}

test_an_amount_that_is_none_has_no_tier_and_is_refused[sprintf("%v", [amount])] if {
	some amount in ["50", null, 0, -5, [], true]
	_floors(_of(amount)) == {}
	_asks(_of(amount)) == {}
	_denials(_of(amount)) == {"refunds.budget"}
	said := refunds.constraint with input as _of(amount)
	said == set()
}

test_a_budget_may_be_used_up_and_not_exceeded if {
	_denials(_asked(50, {"refunded_today": 150})) == set()
	_denials(_asked(51, {"refunded_today": 150})) == {"refunds.budget"}
}

test_a_budget_nobody_knows_is_exceeded if {
	every facts in [{}, {"refunded_today": null}, {"refunded_today": "0"}, {"refunded_today": []}] {
		_denials(_asked(1, facts)) == {"refunds.budget"}
	}
}

test_no_more_is_paid_than_was_asked_for if {
	said := refunds.constraint with input as _of(7)
	said == {{"kind": "max_amount", "value": 7}}
}

_booked(source, phase, last) := said if {
	said := refunds.deviation with input as object.union(_of(7), {
		"warrant": {"evidence": ["probe/refunds"]},
		"observations": [{"source": source, "phase": phase, "facts": {"last": last}}],
	})
}

test_another_amount_in_the_books_deviates if {
	some said in _booked("probe/refunds", "after", {"order": "A-1", "amount": 8})
	said.code == "refunds.booked"
	said.severity == "critical"
	said.seen == {"pointer": "/last/amount", "expected": 7, "observed": 8, "source": "probe/refunds"}
}

test_nothing_else_deviates if {
	_booked("probe/refunds", "after", {"order": "A-1", "amount": 7}) == set()
	_booked("probe/refunds", "after", {"order": "A-2", "amount": 8}) == set()
	_booked("probe/refunds", "before", {"order": "A-1", "amount": 8}) == set()
	_booked("observer/eve", "after", {"order": "A-1", "amount": 8}) == set()
}
