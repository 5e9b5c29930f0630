# METADATA
# title: Narrowing
# description: |
#   What an approver takes away: a shorter ttl, fewer uses, tighter constraints. Nothing else, and never more than the
#   terms give.
package magistrate.narrowing

import data.magistrate.constraints

# METADATA
# title: Whether this only narrows
only(narrowing, warrant) if {
	every field, value in narrowing {
		_only(field, value, warrant)
	}
}

_only(field, value, warrant) if {
	field in {"ttl", "uses"}
	constraints.within(field, value, warrant[field])
}

_only("constraints", stated, warrant) if {
	is_object(stated)
	every kind, value in stated {
		constraints.typed(kind, value)
		not constraints.judged(kind, "terms")
		_tighter(kind, value, warrant.constraints)
	}
}

_tighter(kind, value, bounds) if constraints.within(kind, value, bounds[kind])

_tighter(kind, _, bounds) if not kind in object.keys(bounds)

# METADATA
# title: The warrant's terms after all these narrowings
# description: Only where `faults` finds none.
applied(narrowings, warrant) := object.union(warrant, {
	"ttl": combined.ttl,
	"uses": combined.uses,
	"constraints": object.remove(combined, {"ttl", "uses"}),
}) if {
	combined := constraints.combined(_together(narrowings, warrant))
}

# METADATA
# title: The kinds of which these narrowings, taken together, leave nothing
faults(narrowings, warrant) := constraints.faults(_together(narrowings, warrant))

_together(narrowings, warrant) := {stated |
	some said in (narrowings | {warrant})
	some stated in _stated(said)
}

_stated(said) := {{"kind": kind, "value": said[kind]} | some kind in {"ttl", "uses"}} | {stated |
	some kind, value in said.constraints
	stated := {"kind": kind, "value": value}
}
