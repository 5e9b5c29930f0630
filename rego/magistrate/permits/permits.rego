# METADATA
# title: Permits
# description: |
#   Who may see or do what: a table (data.json beside this file) by the caller's type and state, and by whose the object
#   is. What the table does not list is refused.
package magistrate.permits

import data.magistrate.permits.verbs
import data.magistrate.reason
import data.magistrate.shape

# METADATA
# title: Whether the caller may
default granted := false

granted if {
	_whole
	some whose in _reach[input.relation]
	input.verb in _row[whose]
}

# METADATA
# title: Why not, or nothing where the caller may
default why := {"code": "", "title": "", "remedy": "", "policy": ""}

why := reason.shown(said, "magistrate.access") if some said in refuse

# METADATA
# title: The question is not a whole access question
# custom: {code: access.question, remedy: "send every field of contract 1, each of its own type, and no other"}
refuse contains reason.of(rego.metadata.rule()) if not _whole

# METADATA
# title: The caller is not enrolled, or is suspended
# custom: {code: access.caller, remedy: "an operator enrols or reinstates the caller"}
refuse contains reason.of(rego.metadata.rule()) if {
	_whole
	not _row
}

# METADATA
# title: A caller of this kind, in this state, may not do this
# custom: {code: access.verb, remedy: "ask an operator to do it"}
refuse contains reason.of(rego.metadata.rule()) if {
	_whole
	_row
	not _somewhere
}

# METADATA
# title: The caller may do this to what is their own, not to this
# custom: {code: access.foreign, remedy: "ask an operator to do it"}
refuse contains reason.of(rego.metadata.rule()) if {
	_whole
	_somewhere
	not granted
}

_row := verbs[input.principal.type][input.principal.state]

_somewhere if {
	some listed in _row
	input.verb in listed
}

# A list is nobody's object; one's own is also anybody's.
_reach := {"none": {"none"}, "own": {"own", "any"}, "foreign": {"any"}}

_whole if {
	shape.asked({"principal": "object", "verb": "string", "relation": "string", "object": "object"})
	shape.actor(input.principal)
	shape.of(input.object) == {"type": "string", "id": "string"}
	input.relation in object.keys(_reach)
}
