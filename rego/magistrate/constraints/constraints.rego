# METADATA
# title: Constraints
# description: |
#   The vocabulary of limits. Each kind declares its type, how several merge, in which phase it is judged, and where the
#   evidence for it stands (data.json beside this file). An unknown kind, or a value of another type, is a fault: whoever
#   stated it is refused.
package magistrate.constraints

import data.magistrate.constraints.kinds

# METADATA
# title: Whether a kind is judged in this phase
judged(kind, phase) if phase in kinds[kind].phases

# METADATA
# title: Whether the value is one this kind may have
typed(kind, value) if kind in object.keys(combined({kind: {value}}))

# METADATA
# title: Whether a value is no looser than another of the same kind
within(kind, value, bound) if {
	typed(kind, value)
	combined({kind: {value, bound}}) == combined({kind: {value}})
}

# METADATA
# title: What stated values come to, kind by kind
# description: A kind that is unknown, has a value of another type, or of which nothing is left, is left out as a fault.
combined(stated) := object.union_n([_numbers(stated), _flags(stated), _lists(stated)])

# METADATA
# title: Whether this is a whole number of at least 0, as JSON writes it
# description: Total for every type, where arithmetic would err.
whole(value) if regex.match("^(0|[1-9][0-9]*)$", json.marshal(value))

# Rego orders null < boolean < number < string: if the least and the greatest are numbers, so are all between.
_numbers(stated) := {kind: least |
	some kind, values in stated
	lowest := kinds[kind].least
	least := min(values)
	whole(least)
	whole(max(values))
	least >= lowest
}

_flags(stated) := {kind: asked |
	some kind, values in stated
	kinds[kind].merge == "or"
	every value in values {
		is_boolean(value)
	}
	asked := true in values
}

_lists(stated) := {kind: sort(left) |
	some kind, values in stated
	kinds[kind].merge == "intersection"
	every value in values {
		_texts(value)
	}
	left := intersection({texts | some value in values; texts := {text | some text in value}})
	count(left) > 0 # nothing left is no permission at all
}

_texts(value) if {
	type_name(value) in {"array", "set"}
	every text in value {
		is_string(text)
	}
}
