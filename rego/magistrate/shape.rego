# METADATA
# title: Shapes
# description: |
#   The fields a value must have, each with its type. One comparison tells a whole value from one with a field missing,
#   too many, or of another type; only then may a rule compare what is in it.
package magistrate.shape

# METADATA
# title: The fields a value has, each with its type
of(value) := {field: type_name(inner) | some field, inner in value}

# METADATA
# title: Whether these are the fields of a question of contract 1, beside those every question has
asked(fields) if {
	of(input) == object.union(_always, fields)
	of(input.now) == _clock
	input.contract == 1
}

# METADATA
# title: Whether these are the whole facts about one person or program
actor(facts) if {
	of(facts) == _actor
	_texts(facts.roles)
}

# METADATA
# title: Whether these are whole approvals
approvals(given) if {
	every approval in given {
		of(approval) == _approval
		_texts(approval.roles)
	}
}

# METADATA
# title: Whether these are whole terms
terms(given) if {
	of(given) == {"tier": "string", "requirement": "object", "warrant": "object"}
	of(given.requirement) == _requirement
	every row in given.requirement.all_of {
		of(row) == {"roles": "array", "count": "number", "proof": "string"}
		_texts(row.roles)
	}
	every relation in given.requirement.exclude {
		relation in {"proposer", "owner", "author", "subject"}
	}
}

_texts(values) if {
	every value in values {
		is_string(value)
	}
}

_always := {"contract": "number", "origin": "string", "now": "object"}

_clock := {"unix": "number", "at": "string", "weekday": "string", "minute_of_day": "number"}

_actor := {
	"type": "string",
	"id": "string",
	"state": "string",
	"roles": "array",
	"owner": "string",
	"credential": "string",
	"open_intents": "number",
}

_approval := {
	"operator": "string",
	"roles": "array",
	"verdict": "string",
	"reason": "string",
	"narrowing": "object",
	"at": "number",
	"expires_at": "number",
	"proof": "string",
	"digest": "string",
}

_requirement := {"all_of": "array", "exclude": "array", "wait_seconds": "number", "approval_seconds": "number"}
