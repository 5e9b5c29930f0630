# METADATA
# title: The question of a decision
# description: |
#   Rego compares across types without a word (null <= 100 is true), so a question with a field missing or of another
#   type is answered no before any rule reads it.
package magistrate.question

import data.magistrate.reason
import data.magistrate.shape

# METADATA
# title: The question is not a whole decision question
# custom: {code: decision.question, remedy: "send every field of contract 1, each of its own type"}
deny contains reason.of(rego.metadata.rule()) if not _whole

_whole if {
	input.contract == 1
	is_number(input.now.unix)
	is_number(input.now.minute_of_day)
	is_string(input.now.weekday)
	is_string(input.now.at)
	is_string(input.intent.intent_id)
	is_string(input.intent.action)
	is_string(input.intent.target)
	is_object(input.intent.parameters)
	is_string(input.intent.claims.reason)
	is_object(input.intent.claims.context)
	input.intent.proposer.type == input.proposer.type
	input.intent.proposer.id == input.proposer.id
	is_number(input.round)
	is_number(input.round_began)
	is_object(input.facts)
	is_array(input.counters_blind)
	is_string(input.subject.type)
	is_string(input.subject.id)
	is_string(input.author)
	is_number(input.installation.operators)
	is_boolean(input.installation.demo)
	shape.actor(input.proposer)
	is_array(input.approvals)
	shape.approvals(input.approvals)
	every approval in input.approvals {
		approval.verdict in {"approve", "deny"}
	}
}
