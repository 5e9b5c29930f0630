# METADATA
# title: The scope of an intent
# description: Action, target and parameters must be what the catalogue holds; nothing else can be asked for.
package magistrate.scope

import data.catalogue
import data.magistrate.pointer
import data.magistrate.reason

# METADATA
# title: The catalogue's row for the action
action := catalogue.actions[input.intent.action]

# METADATA
# title: The catalogue's row for the target
target := catalogue.targets[input.intent.target]

# METADATA
# title: The catalogue holds no such action
# custom: {code: decision.unknown_action, remedy: "ask for an action of the catalogue"}
deny contains reason.of(rego.metadata.rule()) if not action

# METADATA
# title: The catalogue holds no such target
# custom: {code: decision.unknown_target, remedy: "name a target of the catalogue"}
deny contains reason.of(rego.metadata.rule()) if not target

# METADATA
# title: The action may not be done to this kind of target
# custom: {code: decision.target_kind, remedy: "name a target of a kind the action's row lists"}
deny contains reason.of(rego.metadata.rule()) if {
	action
	target
	not _kindred
}

_kindred if target.kind in action.targets.kinds

# METADATA
# title: The parameters are not what the action's row describes
# custom: {code: decision.parameters, remedy: "give the parameters of the action's row"}
deny contains reason.telling(rego.metadata.rule(), _mismatches) if {
	action
	not _fitting
}

_fitting if _matched[0]

_mismatches := {sprintf("%s: %s", [mismatch.field, mismatch.desc]) | some mismatch in _matched[1]}

# A text would be read as the JSON it holds.
_matched := json.match_schema(input.intent.parameters, action.parameters) if is_object(input.intent.parameters)

# METADATA
# title: A secret parameter holds something other than the name of a secret this action may use
# custom: {code: decision.secret, remedy: "write secret:NAME with a NAME of the action's row; never the value"}
deny contains reason.of(rego.metadata.rule()) if {
	some name in action.secret_parameters
	value := input.intent.parameters[name]
	not _secret(value)
}

_secret(value) if value in {concat("", ["secret:", name]) | some name in action.secrets}

# METADATA
# title: An act of administration is proposed by an operator
# custom: {code: decision.administration, remedy: "an operator submits it"}
deny contains reason.of(rego.metadata.rule()) if {
	action.administration
	input.proposer.type != "operator"
}

# METADATA
# title: The subject of the act is not the one its parameters name
# custom: {code: decision.subject, remedy: "name the subject in the parameter the action's row points to"}
deny contains reason.of(rego.metadata.rule()) if {
	action.subject
	not _subject_named
}

_subject_named if {
	input.subject.type == action.subject_type
	input.subject.id == pointer.read(input.intent, action.subject)
}
