# METADATA
# title: The speaker
# description: |
#   Whether a person may say this of a decision. A no only narrows: every active operator may say it, after a yes of their
#   own too, if they say why. A yes must be one that can count: by a person whose role is wanted and whom no relation
#   keeps out, proved well enough, once in a round, for no longer and no wider than the terms give.
package magistrate.speaker

import data.magistrate.narrowing
import data.magistrate.people
import data.magistrate.reason
import data.magistrate.shape

# METADATA
# title: Whether the person may
default may := false

may if count(reasons) == 0

# METADATA
# title: Why not
reasons := sort({reason.shown(said, "magistrate.approval") | some said in refuse})

# METADATA
# title: The question is not a whole approval question
# custom: {code: approval.question, remedy: "send every field of contract 1, each of its own type, and no other"}
refuse contains reason.of(rego.metadata.rule()) if not _whole

# METADATA
# title: The person is not an active operator
# custom: {code: approval.operator, remedy: "an active operator says it"}
refuse contains reason.of(rego.metadata.rule()) if not _operator

_operator if {
	input.operator.type == "operator"
	input.operator.state == "active"
}

# METADATA
# title: The statement is another person's
# custom: {code: approval.signer, remedy: "say it yourself"}
refuse contains reason.of(rego.metadata.rule()) if not _own

_own if input.statement.operator == input.operator.id

# METADATA
# title: The statement is about another decision
# custom: {code: approval.decision, remedy: "read the intent and its terms again, then say it of those"}
refuse contains reason.of(rego.metadata.rule()) if not _same

_same if {
	input.statement.origin == input.origin
	input.intent.origin == input.origin
	input.statement.intent_id == input.intent.intent_id
	input.statement.round == input.round
}

# METADATA
# title: The statement has ended, or ends before it begins
# custom: {code: approval.expired, remedy: "say it anew"}
refuse contains reason.of(rego.metadata.rule()) if not _lasting

_lasting if {
	_until > _from
	_until > input.now.unix * _second
}

# METADATA
# title: A no gives no reason
# custom: {code: approval.reason, remedy: "say why"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("deny")
	not _reasoned
}

_reasoned if trim_space(input.statement.reason) != ""

# METADATA
# title: Nobody approves what they propose
# custom: {code: approval.proposer, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("proposer")

# METADATA
# title: Nobody approves what their own agent proposes
# custom: {code: approval.owner, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("owner")

# METADATA
# title: Nobody approves under a policy they put in force
# custom: {code: approval.author, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("author")

# METADATA
# title: Nobody approves an act about themselves
# custom: {code: approval.subject, remedy: "another operator approves"}
refuse contains reason.of(rego.metadata.rule()) if _kept_out("subject")

_kept_out(relation) if {
	_says("approve")
	relation in input.terms.requirement.exclude
	people.excluded(input.operator.id, {relation})
}

# METADATA
# title: No role of the person is wanted
# custom: {code: approval.role, remedy: "somebody with a role of the requirement approves"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("approve")
	not _wanted
}

_wanted if {
	some row in input.terms.requirement.all_of
	some role in row.roles
	role in input.operator.roles
}

# METADATA
# title: The proof is weaker than every place of the person's asks for
# custom: {code: approval.proof, remedy: "approve with the kind of proof the requirement names"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("approve")
	_wanted
	not _proved
}

_proved if {
	some row in input.terms.requirement.all_of
	people.fills(input.operator.roles, input.operator.credential, row)
}

# METADATA
# title: The person has spoken in this round
# custom: {code: approval.spoken, remedy: "wait until the first word ends, or deny"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("approve")
	some approval in input.approvals
	approval.operator == input.operator.id
	approval.expires_at > input.now.unix
}

# METADATA
# title: The approval would last longer than the terms give
# custom: {code: approval.too_long, remedy: "approve for at most approval_seconds"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("approve")
	not _brief
}

_brief if _until - _from <= input.terms.requirement.approval_seconds * _second

# METADATA
# title: The narrowing is wider than the terms, or of an unknown kind
# custom: {code: approval.narrowing, remedy: "narrow to a shorter ttl, fewer uses or tighter constraints"}
refuse contains reason.of(rego.metadata.rule()) if {
	_says("approve")
	not _narrows
}

_narrows if narrowing.only(input.statement.narrowing, input.terms.warrant)

_says(verdict) if verdict == input.statement.verdict

_from := time.parse_rfc3339_ns(input.statement.at)

_until := time.parse_rfc3339_ns(input.statement.expires_at)

_second := 1000000000

_whole if {
	shape.asked(_asked)
	shape.actor(input.operator)
	shape.actor(input.proposer)
	shape.approvals(input.approvals)
	shape.terms(input.terms)
	shape.of(input.statement) == _statement
	shape.of(input.subject) == {"type": "string", "id": "string"}
	shape.of(input.installation) == {"operators": "number", "demo": "boolean"}
	input.intent.proposer == {"type": input.proposer.type, "id": input.proposer.id}
	input.statement.type == "magistrate/approval/v1"
	input.statement.verdict in {"approve", "deny"}
}

_asked := {
	"intent": "object",
	"proposer": "object",
	"operator": "object",
	"statement": "object",
	"terms": "object",
	"round": "number",
	"approvals": "array",
	"subject": "object",
	"author": "string",
	"installation": "object",
}

_statement := {
	"type": "string",
	"origin": "string",
	"intent_id": "string",
	"intent_digest": "string",
	"decision_digest": "string",
	"round": "number",
	"verdict": "string",
	"reason": "string",
	"narrowing": "object",
	"operator": "string",
	"key_id": "string",
	"at": "string",
	"expires_at": "string",
}
