# METADATA
# title: The gate
# description: |
#   A warrant is used by its holder, within its window, while a use is left, for exactly its scope, where it says, within
#   every constraint that can be judged beforehand. Each violation says by its pointer what of the question it is about.
package magistrate.gate

import data.catalogue
import data.magistrate.constraints
import data.magistrate.limits
import data.magistrate.reason
import data.magistrate.shape

# METADATA
# title: What of the question a violation is about
pointer(said) := object.get(said, "pointer", "")

# METADATA
# title: The question is not a whole admission question
# custom: {code: admission.question, remedy: "send every field of contract 1, each of its own type"}
refuse contains reason.of(rego.metadata.rule()) if not _whole

_whole if {
	shape.asked({
		"intent": "object",
		"warrant": "object",
		"terms": "object",
		"issue": "object",
		"presenter": "object",
		"holder": "object",
		"uses_left": "number",
		"state": "string",
		"armed": "boolean",
		"audience": "string",
		"call": "object",
		"before": "array",
	})
	shape.actor(input.presenter)
	shape.actor(input.holder)
	is_object(input.warrant.scope)
	is_object(input.warrant.constraints)
	is_array(input.warrant.evidence)
	input.state in {"live", "spent", "expired", "revoked"}
}

# METADATA
# title: The presenter is not the holder
# custom: {code: admission.not_holder, pointer: /presenter, remedy: "the holder presents it"}
refuse contains reason.of(rego.metadata.rule()) if not _held

_held if {
	input.presenter.type == input.warrant.holder.type
	input.presenter.id == input.warrant.holder.id
	input.holder.type == input.warrant.holder.type
	input.holder.id == input.warrant.holder.id
}

# METADATA
# title: The holder of a key presents it by another credential
# custom: {code: admission.credential, pointer: /presenter/credential, remedy: "sign the request with the warrant's key"}
refuse contains reason.of(rego.metadata.rule()) if {
	input.warrant.holder.proof == "key"
	not _signed
}

_signed if catalogue.installation.proofs[input.presenter.credential]

# METADATA
# title: The holder is quarantined
# custom: {code: admission.quarantined, pointer: /holder/state, remedy: "an operator releases the agent"}
refuse contains reason.of(rego.metadata.rule()) if input.holder.state == "quarantined"

# METADATA
# title: The holder is not active
# custom: {code: admission.holder, pointer: /holder/state, remedy: "an operator looks into why"}
refuse contains reason.of(rego.metadata.rule()) if not _standing

_standing if input.holder.state in {"active", "quarantined"}

# METADATA
# title: The warrant was revoked
# custom: {code: admission.revoked, pointer: /state, remedy: "propose anew"}
refuse contains reason.of(rego.metadata.rule()) if input.state == "revoked"

# METADATA
# title: No use of the warrant is left
# custom: {code: admission.spent, pointer: /uses_left, remedy: "propose anew"}
refuse contains reason.of(rego.metadata.rule()) if not _usable

_usable if {
	input.state != "spent"
	is_number(input.uses_left)
	input.uses_left >= 1
}

# METADATA
# title: The warrant does not hold yet
# custom: {code: admission.early, pointer: /warrant/issued_at, remedy: "wait"}
refuse contains reason.of(rego.metadata.rule()) if not _begun

_begun if time.parse_rfc3339_ns(input.warrant.issued_at) <= _now

# METADATA
# title: The warrant has expired
# custom: {code: admission.expired, pointer: /warrant/expires_at, remedy: "propose anew"}
refuse contains reason.of(rego.metadata.rule()) if not _lasting

_lasting if {
	input.state != "expired"
	_now < time.parse_rfc3339_ns(input.warrant.expires_at)
}

_now := input.now.unix * 1000000000

# METADATA
# title: The call is not what the warrant permits
# custom: {code: admission.call_differs, pointer: /call, remedy: "do exactly what was approved, or propose anew"}
refuse contains reason.of(rego.metadata.rule()) if not _to_the_letter

_to_the_letter if input.call == input.warrant.scope

# METADATA
# title: The warrant's scope is not what was decided
# custom: {code: admission.scope, pointer: /warrant/scope, remedy: "present the warrant as it was issued"}
refuse contains reason.of(rego.metadata.rule()) if not _as_decided

_as_decided if input.warrant.scope == object.filter(input.intent, {"action", "target", "parameters"})

# METADATA
# title: The warrant is not what its decision gave
# custom: {code: admission.wider, pointer: /warrant, remedy: "present the warrant as it was issued"}
refuse contains reason.of(rego.metadata.rule()) if not _as_issued

_as_issued if {
	input.warrant.tier == input.terms.tier
	input.warrant.ttl == input.issue.ttl
	input.warrant.uses == input.issue.uses
	input.warrant.constraints == input.issue.constraints
	input.warrant.evidence == input.issue.evidence
	input.warrant.origin == input.origin
}

# METADATA
# title: The warrant is for another gate
# custom: {code: admission.audience, pointer: /warrant/audience, remedy: "use it where it says"}
refuse contains reason.of(rego.metadata.rule()) if not _for_us

_for_us if {
	input.audience == input.issue.audience
	input.warrant.audience == concat("/", [input.origin, input.audience])
}

# METADATA
# title: The gate is disarmed
# custom: {code: admission.disarmed, pointer: /armed, remedy: "see what the service is waiting for"}
refuse contains reason.of(rego.metadata.rule()) if not _armed

_armed if input.armed == true

# METADATA
# title: The catalogue no longer holds the action or the target
# custom: {code: admission.catalogue, pointer: /warrant/scope, remedy: "propose anew"}
refuse contains reason.of(rego.metadata.rule()) if not _catalogued

_catalogued if {
	action := catalogue.actions[input.warrant.scope.action]
	target := catalogue.targets[input.warrant.scope.target]
	target.kind in action.targets.kinds
}

# METADATA
# title: A probe whose word counts saw nothing beforehand
# custom: {code: admission.unobserved, pointer: /before, remedy: "mend the probe; what changes could not be told from what was"}
refuse contains reason.of(rego.metadata.rule()) if {
	some name, _ in catalogue.actions[input.warrant.scope.action].probes
	source := concat("/", ["probe", name])
	source in input.warrant.evidence
	not _looked(source)
}

_looked(source) if {
	some observation in input.before
	observation.phase == "before"
	observation.source == source
}

# METADATA
# title: A constraint is unknown or of the wrong type
# custom: {code: admission.constraint_unknown, remedy: "propose anew"}
refuse contains object.union(reason.of(rego.metadata.rule()), {"pointer": limits.stands(kind)}) if {
	some kind, value in input.warrant.constraints
	not constraints.typed(kind, value)
}

# METADATA
# title: What is asked for is beyond a constraint
# custom: {code: admission.constraint, remedy: "propose within the constraint"}
refuse contains object.union(reason.of(rego.metadata.rule()), {"pointer": limits.stands(kind)}) if {
	some kind, bound in input.warrant.constraints
	constraints.judged(kind, "admission")
	not _within(kind, bound)
}

_within(kind, bound) if limits.asked_within(kind, bound, input.warrant.scope)
