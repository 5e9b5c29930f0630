# METADATA
# title: Constraints
# description: |
#   The vocabulary of limits. Each kind declares its type, how several merge, in which phase it is judged, and where the
#   evidence for it stands (data.json beside this file). An unknown kind, or a value of another type, is a fault: whoever
#   stated it is refused.
package magistrate.constraints

import data.magistrate.constraints.kinds

# METADATA
# title: Whether the value is one this kind may have
typed(kind, value) if _typed(kinds[kind].type, value)

_typed("integer", value) if _whole(value)

_typed("count", value) if {
	_whole(value)
	value >= 1
}

_typed("boolean", value) if is_boolean(value)

_typed("strings", value) if {
	_listed(value)
	count(value) > 0 # nothing left is no permission at all
	every text in value {
		is_string(text)
	}
}

_whole(value) if {
	is_number(value)
	value >= 0
	floor(value) == value
}

_listed(value) if is_array(value)

_listed(value) if is_set(value)

# METADATA
# title: Whether a kind is judged in this phase
judged(kind, phase) if phase in kinds[kind].phases

# METADATA
# title: The one value that several stated ones of a kind come to
merged(kind, values) := _merged(kinds[kind].merge, values)

_merged("min", values) := min(values)

_merged("or", values) := true in values

_merged("intersection", values) := sort(intersection({texts |
	some value in values
	texts := {text | some text in value}
}))

# METADATA
# title: Whether a value is no looser than another of the same kind
within(kind, value, bound) if {
	typed(kind, value)
	merged(kind, {value, bound}) == merged(kind, {value})
}

# METADATA
# title: What stated constraints come to, kind by kind
# description: Faulty ones are left out; ask `faults` whether there are any.
combined(stated) := {kind: value |
	some kind in {said.kind | some said in stated}
	every said in stated {
		_sound_for(kind, said)
	}
	value := merged(kind, {said.value | some said in stated; said.kind == kind})
	typed(kind, value)
}

_sound_for(kind, said) if said.kind != kind

_sound_for(kind, said) if typed(kind, said.value)

# METADATA
# title: The stated constraints that cannot be kept, each named by its kind
faults(stated) := {kind |
	some said in stated
	kind := _kind(said)
	not kind in object.keys(combined(stated))
}

_kind(said) := said.kind if is_string(said.kind)

_kind(said) := "" if not is_string(said.kind)
