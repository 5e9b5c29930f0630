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
combined(stated) := {kind: value |
	some kind, values in stated
	value := _merged(kinds[kind].merge, kind, values)
}

# Rego orders null < boolean < number < string: what is at least a number and at most one is one, and so are all between.
_merged("min", kind, values) := least if {
	least := min(values)
	least >= kinds[kind].least
	is_number(max(values))
	floor(least) == least
}

_merged("or", _, values) := true in values if {
	every value in values {
		is_boolean(value)
	}
}

_merged("intersection", _, values) := sort(left) if {
	every value in values {
		_texts(value)
	}
	left := intersection({texts | some value in values; texts := {text | some text in value}})
	count(left) > 0 # nothing left is no permission at all
}

# METADATA
# title: Whether this is a whole number of at least 0, as JSON writes it
# description: Total for every type, where arithmetic would err.
whole(value) if regex.match("^(0|[1-9][0-9]*)$", json.marshal(value))

_texts(value) if {
	type_name(value) in {"array", "set"}
	every text in value {
		is_string(text)
	}
}
