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

_only(field, value, warrant) if constraints.within(field, value, warrant[field]) # ttl or uses

_only("constraints", stated, warrant) if {
	is_object(stated)
	every kind, value in stated {
		constraints.typed(kind, value)
		not constraints.judged(kind, "terms")
		_tighter(kind, value, warrant.constraints)
	}
}

_tighter(kind, value, bounds) if constraints.within(kind, value, bounds[kind])

_tighter(kind, _, bounds) if not _bounded(kind, bounds)

_bounded(kind, bounds) if kind in object.keys(bounds)

# METADATA
# title: The warrant's terms after all these narrowings
# description: Undefined where, taken together, they leave nothing of a kind.
applied(narrowings, warrant) := object.union(object.remove(warrant, {"constraints"}), {
	"ttl": combined.ttl,
	"uses": combined.uses,
	"constraints": object.remove(combined, {"ttl", "uses"}),
}) if {
	said := [stated | some narrowing in (narrowings | {warrant}); stated := _stated(narrowing)]
	stated := {kind: values |
		some kind in {kind | some one in said; some kind, _ in one}
		values := {one[kind] | some one in said}
	}
	combined := constraints.combined(stated)
	count(combined) == count(stated)
}

_stated(said) := object.union(
	object.filter(said, {"ttl", "uses"}),
	object.get(said, "constraints", {}),
)
