# METADATA
# title: Terms
# description: |
#   What was decided of an intent, the same bytes at every asking of a round: nothing here reads the time, the facts or
#   the approvals. Most cautious wins: the highest floor, every approval asked for, the tightest constraints, the
#   shortest ttl.
package magistrate.terms

import data.catalogue.installation
import data.magistrate.constraints
import data.magistrate.policies
import data.magistrate.question
import data.magistrate.reason
import data.magistrate.scope

# METADATA
# title: Why there are no terms
# description: Any of these denies, whatever else is said.
deny contains said if some said in question.deny

deny contains said if some said in scope.deny

deny contains said if some said in policies.deny

# METADATA
# title: No policy states a tier
# custom: {code: decision.no_tier, remedy: "the policy that governs the action states its lowest tier"}
deny contains reason.of(rego.metadata.rule()) if count(policies.floors) == 0

# METADATA
# title: A policy states a tier that does not exist
# custom: {code: decision.unknown_tier, remedy: "a policy author names a tier of the bundle"}
deny contains reason.of(rego.metadata.rule()) if {
	some said in policies.floors
	not _ranked(said)
}

_ranked(said) if is_number(data.tiers[said.floor].rank)

# METADATA
# title: The tier's row, or the action's, leaves a term open
# custom: {code: decision.open_term, remedy: "the bundle's author fills the row"}
deny contains reason.of(rego.metadata.rule()) if not _terms

# METADATA
# title: A row of the requirement names no role, no count or no proof that can be met
# custom: {code: decision.row, remedy: "a policy author writes {roles, count, proof}"}
deny contains reason.of(rego.metadata.rule()) if {
	some row in _rows
	not _sound(row)
}

# METADATA
# title: A constraint is unknown, of the wrong type, or leaves nothing
# custom: {code: decision.constraint, remedy: "a policy author corrects the kinds"}
deny contains reason.telling(rego.metadata.rule(), faults) if {
	faults := object.keys(_stated) - object.keys(_combined)
	count(faults) > 0
}

# METADATA
# title: The terms, or none where anything stands against them
drawn := none if count(deny) > 0

drawn := _terms if count(deny) == 0

_terms := {
	"tier": _tier,
	"requirement": {
		"all_of": _all_of,
		"exclude": _exclude,
		"wait_seconds": _row.requirement.wait_seconds,
		"approval_seconds": _row.requirement.approval_seconds,
	},
	"warrant": {
		"ttl": _combined.ttl,
		"uses": _combined.uses,
		"audience": _audience,
		"issuer": _issuer,
		"constraints": object.remove(_combined, {"ttl", "uses"}),
		"evidence": scope.action.evidence,
		"heartbeat_seconds": _row.warrant.heartbeat_seconds,
		"report_by_seconds": _row.warrant.report_by_seconds,
		"rollback_seconds": _row.warrant.rollback_seconds,
	},
} if {
	_row.warrant.ttl # what other floors and policies state only tightens it
	_row.warrant.uses
}

# METADATA
# title: No terms
none := {
	"tier": "",
	"requirement": {"all_of": [], "exclude": [], "wait_seconds": 0, "approval_seconds": 0},
	"warrant": {
		"ttl": 0,
		"uses": 0,
		"audience": "router",
		"issuer": "",
		"constraints": {},
		"evidence": [],
		"heartbeat_seconds": 0,
		"report_by_seconds": 0,
		"rollback_seconds": 0,
	},
}

# 1. the tier: the highest of the floors stated, by rank

_highest := max({[data.tiers[said.floor].rank, said.floor, said.policy] | some said in policies.floors})

_tier := _highest[1]

_issuer := _highest[2]

_row := data.tiers[_tier]

# 2. the requirement: rows with the same roles are one demand, the larger count and the stronger proof holding

_rows contains row if some row in _row.requirement.all_of

_rows contains said.row if some said in policies.approvals

_sound(row) if {
	is_array(row.roles)
	count(row.roles) > 0
	constraints.typed("uses", row.count) # a whole number of at least 1
	installation.proofs[row.proof]
}

_all_of := sort({row |
	some roles in {sort(row.roles) | some row in _rows}
	alike := {row | some row in _rows; sort(row.roles) == roles}
	row := {
		"roles": roles,
		"count": max({row.count | some row in alike}),
		"proof": max([[installation.proofs[row.proof], row.proof] | some row in alike])[1],
	}
})

_exclude := sort({relation | some relation in _row.requirement.exclude} | {relation |
	some said in policies.approvals
	some relation in said.row.exclude
})

# 3. the warrant: the tier's defaults, tightened by every policy that states a constraint

_stated[kind] contains value if some kind, value in _row.warrant.constraints

_stated[kind] contains value if {
	some kind, values in policies.constraints
	some value in values
}

_stated.ttl contains data.tiers[said.floor].warrant.ttl if some said in policies.floors

_stated.uses contains data.tiers[said.floor].warrant.uses if some said in policies.floors

_stated.uses contains object.get(scope.action, "uses", 1)

_combined := constraints.combined(_stated)

default _audience := "router"

_audience := "holder" if scope.action.executor.kind == "none"
