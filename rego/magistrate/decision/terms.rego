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
	not is_number(data.tiers[said.floor].rank)
}

# METADATA
# title: The row of the tier, or of the action, leaves a term of the warrant open
# custom: {code: decision.open_term, remedy: "the bundle's author fills the row"}
deny contains reason.of(rego.metadata.rule()) if not _closed

_closed if {
	every seconds in ["wait_seconds", "approval_seconds"] {
		is_number(_tier.row.requirement[seconds])
	}
	every seconds in ["heartbeat_seconds", "report_by_seconds", "rollback_seconds"] {
		is_number(_tier.row.warrant[seconds])
	}
	_tier.row.warrant.ttl
	_tier.row.warrant.uses
	is_array(scope.action.evidence)
}

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
deny contains _naming(rego.metadata.rule(), faults) if {
	faults := constraints.faults(_stated)
	count(faults) > 0
}

_naming(metadata, kinds) := object.union(
	reason.of(metadata),
	{"remedy": concat(": ", [metadata.custom.remedy, concat(", ", sort(kinds))])},
)

# METADATA
# title: The terms, or none where anything stands against them
drawn := none if count(deny) > 0

drawn := terms if {
	count(deny) == 0
	terms := {
		"tier": _tier.name,
		"requirement": {
			"all_of": _all_of,
			"exclude": _exclude,
			"wait_seconds": _tier.row.requirement.wait_seconds,
			"approval_seconds": _tier.row.requirement.approval_seconds,
		},
		"warrant": {
			"ttl": _combined.ttl,
			"uses": _combined.uses,
			"audience": _audience,
			"issuer": _issuer,
			"constraints": object.remove(_combined, {"ttl", "uses"}),
			"evidence": scope.action.evidence,
			"heartbeat_seconds": _tier.row.warrant.heartbeat_seconds,
			"report_by_seconds": _tier.row.warrant.report_by_seconds,
			"rollback_seconds": _tier.row.warrant.rollback_seconds,
		},
	}
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

_ranked := [[data.tiers[said.floor].rank, said.floor] | some said in policies.floors]

_tier := {"name": name, "row": data.tiers[name]} if name := max(_ranked)[1]

_issuer := min({said.policy | some said in policies.floors; said.floor == _tier.name})

# 2. the requirement: rows with the same roles are one demand, the larger count and the stronger proof holding

_rows contains row if some row in _tier.row.requirement.all_of

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

_exclude := sort({relation | some relation in _tier.row.requirement.exclude} | {relation |
	some said in policies.approvals
	some relation in said.row.exclude
})

# 3. the warrant: the tier's defaults, tightened by every policy that states a constraint

_stated := (policies.constraints | _by_tiers) | _by_catalogue

_by_tiers := {{"kind": kind, "value": value} | some kind, value in _tier.row.warrant.constraints} | {stated |
	some said in policies.floors
	some kind in {"ttl", "uses"}
	stated := {"kind": kind, "value": data.tiers[said.floor].warrant[kind]}
}

_by_catalogue := {{"kind": "uses", "value": object.get(scope.action, "uses", 1)}}

_combined := constraints.combined(_stated)

default _audience := "router"

_audience := "holder" if scope.action.executor.kind == "none"
