# METADATA
# title: Standing
# description: |
#   Where an intent stands now, under its terms: who has approved and how far that narrows, what facts and time say
#   against it, and what is still wanted.
package magistrate.standing

import data.catalogue.installation
import data.magistrate.constraints
import data.magistrate.narrowing
import data.magistrate.people
import data.magistrate.pointer
import data.magistrate.policies
import data.magistrate.reason
import data.magistrate.terms

# METADATA
# title: The standing
now := {
	"outcome": _outcome,
	"reasons": _reasons,
	"wanted": _wanted,
	"issue": _issue,
}

default _outcome := "deny"

_outcome := "allow" if {
	count(_denials) == 0
	count(_missing) == 0
}

_outcome := "ask" if {
	count(_denials) == 0
	count(_missing) > 0
}

# the reasons: of a denial every rule that denies; else every rule that gave a tier or asked for an approval

_reasons := sort(_denials) if count(_denials) > 0

_reasons := sort({said.reason | some said in (policies.floors | policies.approvals)}) if count(_denials) == 0

_denials contains reason.shown(said, "magistrate.decision") if some said in terms.deny

_denials contains reason.shown(said, "magistrate.decision") if some said in deny

_denials contains said if some said in policies.denials

default _wanted := []

_wanted := _missing if count(_denials) == 0

_missing := [{"roles": row.roles, "count": gap, "by": row.proof} |
	some i, row in _requirement.all_of
	gap := people.missing(_requirement.all_of, _counted)[i]
	gap > 0
]

_requirement := terms.drawn.requirement

_counted := people.counted(_requirement)

_narrowings := {approval.narrowing | some approval in _counted}

_narrowed := terms.drawn.warrant if {
	count(_narrowings) == 0 # the usual case, and the quick one
} else := narrowing.applied(_narrowings, terms.drawn.warrant)

_issue := terms.drawn.warrant if count(_denials) > 0

_issue := _narrowed if count(_denials) == 0

# METADATA
# title: The proposer is not active
# custom: {code: decision.proposer, remedy: "an operator looks into why, and releases or enrols the proposer"}
deny contains reason.of(rego.metadata.rule()) if input.proposer.state != "active"

# METADATA
# title: The proposer has too many intents waiting
# custom: {code: decision.open_intents, remedy: "wait until some are decided, or cancel them"}
deny contains reason.of(rego.metadata.rule()) if not _few_open

_few_open if input.proposer.open_intents < installation.limits.open_intents

# METADATA
# title: An operator said no
# custom: {code: decision.denied, remedy: "speak with the operator, then propose anew"}
deny contains reason.of(rego.metadata.rule()) if {
	some approval in input.approvals
	approval.verdict == "deny"
	approval.expires_at > input.now.unix
}

# METADATA
# title: An approval takes away something other than what the terms give
# custom: {code: decision.narrowing, remedy: "approve with a shorter ttl, fewer uses or tighter constraints"}
deny contains reason.of(rego.metadata.rule()) if {
	some said in _narrowings
	not _only_narrows(said)
}

_only_narrows(said) if narrowing.only(said, terms.drawn.warrant)

# METADATA
# title: The approvals together leave nothing of a constraint
# custom: {code: decision.narrowed_away, remedy: "propose anew what all approvers would allow"}
deny contains reason.of(rego.metadata.rule()) if not _narrowed

# METADATA
# title: A counter cannot know its window, which holds erased bodies
# custom: {code: decision.counter_blind, remedy: "wait until the window has passed"}
deny contains reason.of(rego.metadata.rule()) if {
	some name in _counters
	name in input.counters_blind
}

# METADATA
# title: A counter of this action has no figure
# custom: {code: decision.counter_unknown, remedy: "ask with every counter of the action among the facts"}
deny contains reason.of(rego.metadata.rule()) if {
	some name in _counters
	not _figured(name)
}

_figured(name) if is_number(input.facts[name])

# METADATA
# title: The amount a counter sums is not a whole number of at least 0
# custom: {code: decision.counter_amount, remedy: "give the amount in minor units"}
deny contains reason.of(rego.metadata.rule()) if {
	some name in _counters
	at := data.counters[name].amount
	not _countable(at)
}

_countable(at) if constraints.whole(pointer.read(input.intent, at))

_counters := {name | some name, row in data.counters; row.action == input.intent.action}
