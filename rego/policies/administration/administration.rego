# METADATA
# title: Acts of administration
# description: |
#   Who takes part, which keys count and which policy holds is decided like anything else: proposed by an operator who
#   answers for the installation, signed by that operator and, where trust itself is at stake, by a second one.
package policies.administration

import data.magistrate.reason
import data.policies.administration.limits

# METADATA
# title: The actions this policy judges
governs := {
	"agent.enrol",
	"agent.key",
	"agent.release",
	"auditor.enrol",
	"bundle.activate",
	"data.erase",
	"key.rotate",
	"observer.enrol",
	"opa.accept",
	"operator.enrol",
	"operator.roles",
	"operator.suspend",
}

# METADATA
# title: The installation itself changes
# custom: {code: administration.any, floor: A}
tier contains reason.of(rego.metadata.rule())

# METADATA
# title: Trust itself is at stake
# custom: {code: administration.shared}
approval contains reason.asks(rego.metadata.rule(), _as_many_as_there_are(limits.shared)) if not _single

# METADATA
# title: Nobody's own policy comes into force on their word
# description: An author who proposes signs as the proposer, like everybody who proposes; another's word is wanted too.
# custom: {code: administration.author}
approval contains reason.asks(rego.metadata.rule(), object.union(_as_many_as_there_are(limits.shared), _not_the_author)) if {
	input.subject.type == "bundle"
	input.author != input.proposer.id
}

_not_the_author := {"exclude": ["author"]}

# METADATA
# title: The proposer does not answer for the installation
# custom: {code: administration.proposer, remedy: "an active operator with the role for it proposes"}
deny contains reason.of(rego.metadata.rule()) if not _answers

# METADATA
# title: Nobody acts on oneself, nor on a newcomer of the same name
# custom: {code: administration.self, remedy: "another operator proposes it, or the newcomer takes another name"}
deny contains reason.of(rego.metadata.rule()) if input.subject.id == input.proposer.id

_single if input.intent.action in limits.single

_answers if {
	input.proposer.type == "operator"
	input.proposer.state == "active"
	some role in input.proposer.roles
	role in limits.proposers.roles
}

# A house with fewer operators than the row asks for needs them all.
_as_many_as_there_are(row) := object.union(row, {"count": min({row.count, max({input.installation.operators, 1})})})
