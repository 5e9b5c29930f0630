# METADATA
# title: An operator's voice
# description: |
#   Any active operator may say no. A yes is heard only from someone who could count: holding a wanted role, proved
#   strongly enough, kept out by no relation, and taking away no more than the terms give.
package magistrate.voice

import data.catalogue.installation
import data.magistrate.narrowing
import data.magistrate.people
import data.magistrate.question
import data.magistrate.reason

# METADATA
# title: The question is not a whole approval question
# custom: {code: approval.question, remedy: "send every field of contract 1, each of its own type"}
refuse contains reason.of(rego.metadata.rule()) if not _whole

_whole if {
	input.contract == 1
	is_number(input.now.unix)
	is_string(input.intent.intent_id)
	question.actor(input.proposer)
	question.actor(input.operator)
	question.approvals(input.approvals)
	is_number(input.round)
	is_string(input.subject.type)
	is_string(input.subject.id)
	is_string(input.author)
	is_array(input.terms.requirement.all_of)
	is_array(input.terms.requirement.exclude)
	is_number(input.terms.requirement.approval_seconds)
	is_object(input.terms.warrant.constraints)
	input.statement.verdict in {"approve", "deny"}
	is_string(input.statement.reason)
	is_object(input.statement.narrowing)
	is_string(input.statement.at)
	is_string(input.statement.expires_at)
}

# METADATA
# title: Only an active operator may speak
# custom: {code: approval.operator, remedy: "an active operator approves"}
refuse contains reason.of(rego.metadata.rule()) if not _active

_active if {
	input.operator.type == "operator"
	input.operator.state == "active"
}

# METADATA
# title: The statement is another operator's
# custom: {code: approval.other_operator, remedy: "sign a statement of your own"}
refuse contains reason.of(rego.metadata.rule()) if input.statement.operator != input.operator.id

# METADATA
# title: The statement is about another intent
# custom: {code: approval.other_intent, remedy: "fetch the intent and sign what it says"}
refuse contains reason.of(rego.metadata.rule()) if input.statement.intent_id != input.intent.intent_id

# METADATA
# title: The statement is about another round
# custom: {code: approval.round, remedy: "fetch the terms of this round and sign them"}
refuse contains reason.of(rego.metadata.rule()) if input.statement.round != input.round

# METADATA
# title: The operator has spoken in this round already
# custom: {code: approval.spoken, remedy: "wait until the verdict given has expired"}
refuse contains reason.of(rego.metadata.rule()) if {
	some given in input.approvals
	given.operator == input.operator.id
	given.expires_at > input.now.unix
}

# METADATA
# title: The statement has expired, or lives longer than the terms let an approval live
# custom: {code: approval.expiry, remedy: "sign one that ends within the terms' approval_seconds"}
refuse contains reason.of(rego.metadata.rule()) if not _short

_short if {
	at := time.parse_rfc3339_ns(input.statement.at)
	expires := time.parse_rfc3339_ns(input.statement.expires_at)
	expires > input.now.unix * 1000000000
	expires - at <= input.terms.requirement.approval_seconds * 1000000000
}

# METADATA
# title: A no without a reason
# custom: {code: approval.reason, remedy: "say why"}
refuse contains reason.of(rego.metadata.rule()) if {
	input.statement.verdict == "deny"
	input.statement.reason == ""
}

# METADATA
# title: Nobody approves what they proposed
# custom: {code: approval.self, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("proposer")

# METADATA
# title: Nobody approves what their own agent proposed
# custom: {code: approval.owner, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("owner")

# METADATA
# title: Whoever activated the policy in force does not approve under it
# custom: {code: approval.author, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("author")

# METADATA
# title: Nobody approves an act about themselves
# custom: {code: approval.subject, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("subject")

_kept_out(relation) if {
	input.statement.verdict == "approve"
	relation in input.terms.requirement.exclude
	people.excluded(input.operator.id, [relation])
}

# METADATA
# title: The operator holds none of the wanted roles
# custom: {code: approval.role, remedy: "someone with one of the wanted roles approves"}
refuse contains reason.of(rego.metadata.rule()) if {
	input.statement.verdict == "approve"
	not _wanted
}

_wanted if {
	some row in input.terms.requirement.all_of
	some role in input.operator.roles
	role in row.roles
}

# METADATA
# title: The proof is weaker than every row asks for that the operator could fill
# custom: {code: approval.proof, remedy: "prove yourself as the row asks"}
refuse contains reason.of(rego.metadata.rule()) if {
	input.statement.verdict == "approve"
	_wanted
	not _filling
}

_filling if {
	some row in input.terms.requirement.all_of
	people.fills(input.operator.roles, _proof, row)
}

# The statement's own signature is what proves it; the request's credential says of which kind it is.
_proof := input.operator.credential if installation.proofs[input.operator.credential]

# METADATA
# title: The approval takes away something other than what the terms give
# custom: {code: approval.narrowing, remedy: "give a shorter ttl, fewer uses or tighter constraints, or none"}
refuse contains reason.of(rego.metadata.rule()) if not narrowing.only(input.statement.narrowing, input.terms.warrant)
