# METADATA
# title: The question of a decision
# description: |
#   Rego compares across types without a word (null <= 100 is true), so a question with a field missing or of another
#   type is answered no before any rule reads it.
package magistrate.question

import data.magistrate.reason

# METADATA
# title: The question is not a whole decision question
# custom: {code: decision.question, remedy: "send every field of contract 1, each of its own type"}
deny contains reason.of(rego.metadata.rule()) if not _whole

_whole if {
	input.contract == 1
	_clock(input.now)
	_intent(input.intent)
	actor(input.proposer)
	_is_proposer(input.proposer, input.intent.proposer)
	_round
	_surroundings
	approvals(input.approvals)
}

_clock(now) if {
	is_number(now.unix)
	is_number(now.minute_of_day)
	is_string(now.weekday)
	is_string(now.at)
}

_intent(intent) if {
	is_string(intent.intent_id)
	is_string(intent.action)
	is_string(intent.target)
	is_object(intent.parameters)
	is_string(intent.claims.reason)
	is_object(intent.claims.context)
}

_is_proposer(actor, proposer) if {
	actor.type == proposer.type
	actor.id == proposer.id
}

_round if {
	is_number(input.round)
	is_number(input.round_began)
}

_surroundings if {
	is_object(input.facts)
	is_array(input.counters_blind)
	is_string(input.subject.type)
	is_string(input.subject.id)
	is_string(input.author)
	is_number(input.installation.operators)
	is_boolean(input.installation.demo)
}

# METADATA
# title: Whether these are the whole facts about one person or program
actor(facts) if {
	is_string(facts.type)
	is_string(facts.id)
	is_string(facts.state)
	is_array(facts.roles)
	is_string(facts.owner)
	is_string(facts.credential)
	is_number(facts.open_intents)
}

# METADATA
# title: Whether these are whole approvals
approvals(given) if {
	is_array(given)
	every approval in given {
		_approval(approval)
	}
}

_approval(approval) if {
	is_string(approval.operator)
	is_array(approval.roles)
	approval.verdict in {"approve", "deny"}
	is_object(approval.narrowing)
	is_number(approval.at)
	is_number(approval.expires_at)
	is_string(approval.proof)
}
