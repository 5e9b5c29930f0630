# METADATA
# title: Refunds
# description: Money goes back to customers, within a daily budget for each agent.
package policies.refunds

import data.magistrate.reason
import data.policies.refunds.limits

# METADATA
# title: The actions this policy judges
governs := {"refund.create"}

# METADATA
# title: Every refund changes the books
# custom: {code: refunds.any, floor: T0}
tier contains reason.of(rego.metadata.rule()) if _amount

# METADATA
# title: Above the small-refund limit
# custom: {code: refunds.large, floor: T1}
tier contains reason.of(rego.metadata.rule()) if _amount > limits.small

# METADATA
# title: A refund this large also needs someone who answers for the books
# custom: {code: refunds.very_large}
approval contains reason.asks(rego.metadata.rule(), limits.books) if _amount > limits.large

# METADATA
# title: The daily refund budget would be exceeded
# custom: {code: refunds.budget, remedy: "wait until tomorrow, or ask finance to raise the limit"}
deny contains reason.of(rego.metadata.rule()) if not _within_budget

# METADATA
# title: No more than was asked for is paid
constraint contains {"kind": "max_amount", "value": _amount}

# METADATA
# title: The ledger booked another amount than was asked for
# custom: {code: refunds.booked, severity: critical}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	some observation in input.observations
	observation.phase == "after"
	observation.source in input.warrant.evidence
	booked := observation.facts.last
	booked.order == input.intent.parameters.order
	booked.amount != _amount
	seen := {
		"pointer": "/last/amount",
		"expected": _amount,
		"observed": booked.amount,
		"source": observation.source,
	}
}

_within_budget if input.facts.refunded_today + _amount <= limits.daily

_amount := amount if {
	amount := input.intent.parameters.amount
	is_number(amount) # "50" >= 1 is true in Rego
	amount >= 1
}
