# METADATA
# title: Limits
# description: |
#   A constraint held against what is asked for, and against what was seen. Where the vocabulary says a value stands, there
#   it must stand, or it is not within.
package magistrate.limits

import data.magistrate.constraints
import data.magistrate.constraints.kinds
import data.magistrate.pointer

# METADATA
# title: Where a constraint stands in the question
stands(kind) := concat("/", ["", "warrant", "constraints", kind])

# METADATA
# title: Whether what is asked for is within the constraint
asked_within(kind, bound, scope) if {
	where := kinds[kind].scope
	constraints.within(kind, _asked(where.read, pointer.read(scope, where.at)), bound)
}

_asked("value", value) := value

_asked("domain", address) := [domain] if [_, domain] := split(lower(address), "@")

# METADATA
# title: What sources have seen of a kind
# description: Each with its source and the pointer into its facts. Only what was seen since the start counts.
seen(kind, scope, observations) := {one |
	some where in kinds[kind].evidence
	path := pointer.path(where.at, scope)
	some since in observations
	since.phase != "before"
	some value in _seen(where.read, path, since, observations)
	one := {"value": value, "source": since.source, "pointer": concat("/", array.concat([""], path))}
}

_seen("value", path, since, _) := {value |
	value := object.get(since.facts, path, null)
	value != null
}

# What differs between the source's own facts before and since: a name that came or went has changed too.
_seen("changed", path, since, observations) := {changed |
	some before in observations
	before.phase == "before"
	before.source == since.source
	was := object.get(before.facts, path, null)
	is := object.get(since.facts, path, null)
	is_object(was)
	is_object(is)
	changed := sort({name |
		some name in (object.keys(was) | object.keys(is))
		object.get(was, name, null) != object.get(is, name, null)
	})
}

# METADATA
# title: Whether what was seen is within the constraint
# description: Where nothing changed, nothing is beyond it.
seen_within(_, [], _) := true

seen_within(kind, value, bound) if constraints.within(kind, value, bound)
