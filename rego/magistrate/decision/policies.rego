# METADATA
# title: What the policies say
# description: |
#   Every policy that governs the action is heard, and no other is evaluated: `governs` is asked first. The reason of each
#   rule that spoke carries the policy's name.
package magistrate.policies

import data.magistrate.reason

# METADATA
# title: The policies that govern the action
governing contains name if {
	some name
	data.policies[name].governs[input.intent.action]
}

# METADATA
# title: No policy governs the action
# custom: {code: decision.no_policy, remedy: "a policy author writes a policy that governs it"}
deny contains reason.of(rego.metadata.rule()) if count(governing) == 0

# METADATA
# title: The denials, as the answer shows them
denials contains reason.shown(said, called(name)) if {
	some name in governing
	some said in data.policies[name].deny
}

# METADATA
# title: The floors, each with its reason
# description: A statement without a floor keeps its place with "", which is no tier.
floors contains {"floor": _floor(said), "policy": called(name), "reason": reason.shown(said, called(name))} if {
	some name in governing
	some said in data.policies[name].tier
}

default _floor(_) := ""

_floor(said) := said.floor

# METADATA
# title: The approvals asked for, each with its reason
# description: A statement without a row keeps its place with an empty row, which is no sound one.
approvals contains {"row": _row(said), "reason": reason.shown(said, called(name))} if {
	some name in governing
	some said in data.policies[name].approval
}

default _row(_) := {}

_row(said) := said.row

# METADATA
# title: The constraints stated, by kind
# description: What states no kind or no value keeps its place under "", which is no kind.
constraints[kind] contains value if {
	some name in governing
	some said in data.policies[name].constraint
	[kind, value] := _limit(said)
}

default _limit(_) := ["", ""]

_limit(said) := [said.kind, said.value]

# METADATA
# title: A policy's name as reasons give it
called(name) := concat(".", ["policies", name])
