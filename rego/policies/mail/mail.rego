# METADATA
# title: Mail
# description: Mail leaves the house only to domains on the list, one recipient an intent, and never with a secret in it.
package policies.mail

import data.magistrate.reason
import data.policies.mail.limits

# METADATA
# title: The actions this policy judges
governs := {"mail.send"}

# METADATA
# title: A mail is sent
# custom: {code: mail.any, floor: T0}
tier contains reason.of(rego.metadata.rule()) if _domain

# METADATA
# title: The recipient is outside the house
# custom: {code: mail.outside, floor: T1}
tier contains reason.of(rego.metadata.rule()) if not _inside

# METADATA
# title: A long text is sent, wherever it goes
# custom: {code: mail.long, floor: T2}
tier contains reason.of(rego.metadata.rule()) if not _brief

# METADATA
# title: The recipient's domain is not on the list
# custom: {code: mail.domain, remedy: "write to a domain of the list, or ask security to add this one"}
deny contains reason.of(rego.metadata.rule()) if not _known

# METADATA
# title: The subject could add headers
# custom: {code: mail.header, remedy: "keep the subject on one line"}
deny contains reason.of(rego.metadata.rule()) if not _one_line

# METADATA
# title: The mail seems to hold a secret
# custom: {code: mail.secret, remedy: "take the secret out; recipients fetch it where it is kept"}
deny contains reason.of(rego.metadata.rule()) if {
	some part in ["body", "subject"]
	some mark in limits.never
	contains(lower(_text(part)), mark)
}

# METADATA
# title: Mail goes nowhere but to the list
constraint contains {"kind": "recipient_domains", "value": sort(_listed)}

# METADATA
# title: Not exactly one mail was sent
# custom: {code: mail.sent, severity: critical}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	input.execution.state == "succeeded"
	some before in _counts("before")
	some after in _counts("after")
	before.source == after.source
	after.sent != before.sent + 1
	seen := {
		"pointer": "/sent",
		"expected": before.sent + 1,
		"observed": after.sent,
		"source": after.source,
	}
}

_inside if _domain in limits.own

_known if _domain in _listed

_brief if count(_text("body")) <= limits.body

_one_line if regex.match(`^[^\x00-\x1f\x7f]*$`, _text("subject"))

_listed := {domain | some domain in array.concat(limits.own, limits.partners)}

_domain := parts[1] if {
	parts := split(lower(_text("to")), "@")
	count(parts) == 2 # one recipient, and no doubt which domain is meant
}

# "" where there is none; what is no text the engine has refused.
default _text(_) := ""

_text(name) := input.intent.parameters[name] if is_string(input.intent.parameters[name])

_counts(phase) := {{"source": observation.source, "sent": _sent(observation.facts)} |
	some observation in input.observations
	observation.phase == phase
	observation.source in input.warrant.evidence
}

# What is no number counts as none, so that a source cannot silence the comparison.
default _sent(_) := 0

_sent(facts) := facts.sent if is_number(facts.sent)
