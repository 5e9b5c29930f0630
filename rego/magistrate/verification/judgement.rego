# METADATA
# title: Judgement
# description: |
#   Deviating where anything deviates, and from then on. Conforming only where the execution succeeded and every doubt is
#   answered by somebody whose word counts. Inconclusive otherwise.
package magistrate.judgement

import data.catalogue.installation
import data.magistrate.constraints
import data.magistrate.deviations
import data.magistrate.evidence
import data.magistrate.reason
import data.magistrate.shape

# METADATA
# title: The verdict itself
default verdict := "inconclusive"

verdict := "deviating" if _deviates

verdict := "conforming" if {
	not _deviates
	_undoubted
}

_deviates if count(deviations.told) > 0

_deviates if input.previous == "deviating"

_undoubted if count(doubt) == 0

_undoubted if input.previous == "conforming"

# METADATA
# title: The reasons for anything but conforming
reasons := sort({reason.shown(said, "magistrate.verification") | some said in doubt}) if verdict == "inconclusive"

reasons := [] if verdict == "conforming"

reasons := sort({reason.shown(one.said, one.policy) | some one in deviations.told}) if verdict == "deviating"

# METADATA
# title: The deviations as the answer shows them
# description: Total, so that none is lost for the want of a word; a severity the bundle does not know is kept.
shown := sort({_shown(one.said) | some one in deviations.told})

_shown(said) := {
	"code": _word(said, "code"),
	"pointer": _word(_seen(said), "pointer"),
	"expected": _quoted(_value(said, "expected")),
	"observed": _quoted(_value(said, "observed")),
	"severity": _word(said, "severity"),
	"source": _word(_seen(said), "source"),
}

# Long enough to tell two values apart; the evidence stands whole in entries of its own, and what is quoted of it must
# not keep a verdict from its record.
_quoted(value) := text if {
	text := json.marshal(value)
	count(text) <= 500
}

_quoted(value) := sprintf("%s… (%d characters)", [substring(text, 0, 500), count(text)]) if {
	text := json.marshal(value)
	count(text) > 500
}

default _seen(_) := {}

_seen(said) := said.seen

default _word(_, _) := ""

_word(said, name) := said[name] if is_string(said[name])

default _value(_, _) := null

_value(said, name) := said.seen[name]

# METADATA
# title: The question is not a whole verification question
# custom: {code: verification.question, remedy: "send every field of contract 1, each of its own type"}
doubt contains reason.of(rego.metadata.rule()) if not _whole

_whole if {
	shape.asked({
		"intent": "object",
		"warrant": "object",
		"issue": "object",
		"execution": "object",
		"call": "object",
		"reports": "array",
		"observations": "array",
		"final": "boolean",
		"previous": "string",
	})
	shape.of(input.execution) == {
		"execution_id": "string",
		"warrant_id": "string",
		"use": "number",
		"state": "string",
		"started": "number",
		"ended": "number",
		"attempts": "array",
		"missed_heartbeats": "number",
		"halted_because": "string",
		"rollback": "string",
	}
	is_object(input.warrant.scope)
	is_object(input.warrant.constraints)
	is_array(input.warrant.evidence)
	is_string(input.warrant.issued_at)
	is_string(input.warrant.expires_at)
	is_string(input.issue.audience)
}

# METADATA
# title: It has not ended
# custom: {code: verification.running}
doubt contains reason.of(rego.metadata.rule()) if input.execution.state in {"started", "halting"}

# METADATA
# title: How it ended is not known
# custom: {code: verification.unknown, remedy: "an operator reconciles it"}
doubt contains reason.of(rego.metadata.rule()) if not _known

_known if input.execution.state in {"started", "halting", "succeeded"}

# METADATA
# title: Nobody whose word is enough has seen how it ended
# custom: {code: verification.unheard, remedy: "an observer the warrant names says what it saw"}
doubt contains reason.of(rego.metadata.rule()) if not evidence.heard

# METADATA
# title: The catalogue's expectations were not seen
# custom: {code: verification.unseen, remedy: "mend the probe, or let an observer say what it saw"}
doubt contains reason.of(rego.metadata.rule()) if not _expectations_seen

_expectations_seen if {
	evidence.expectations_whole
	every row in evidence.expected {
		some observation in evidence.after
		observation.source == row.source
	}
}

# METADATA
# title: Nobody measured what a constraint limits
# custom: {code: verification.unmeasured, remedy: "mend the probe, or let an observer say what it saw"}
doubt contains reason.telling(rego.metadata.rule(), kinds) if {
	kinds := {kind | some kind, seen in deviations.seen; count(seen) == 0}
	count(kinds) > 0
}

# METADATA
# title: The warrant holds a constraint that cannot be judged
# custom: {code: verification.constraint_unknown}
doubt contains reason.telling(rego.metadata.rule(), kinds) if {
	kinds := {kind | some kind, value in input.warrant.constraints; not constraints.typed(kind, value)}
	count(kinds) > 0
}

# METADATA
# title: What follows
# description: |
#   The acts the bundle's data names for the severity of each deviation that our record or a source the warrant names
#   vouches for. Nothing is halted that has ended, and rolled back only what is over, may be, and was asked to be.
containment := sort({act |
	some act in _acts
	_possible(act)
})

_acts contains act if {
	some said in shown
	_vouched(said.source)
	some act in _following(said.severity)
}

# What failed or was halted is rolled back whatever its severity.
_acts contains "rollback" if input.execution.state in {"failed", "halted"}

_vouched("magistrate")

_vouched(source) if source in input.warrant.evidence

# A severity nobody foresaw brings about all that any severity does.
_following(severity) := installation.containment[severity]

_following(severity) := {act | some acts in installation.containment; some act in acts} if {
	not installation.containment[severity]
}

_possible("revoke")

_possible("quarantine")

_possible("halt") if input.execution.state in {"started", "halting"}

_possible("rollback") if {
	input.execution.state in {"succeeded", "failed", "halted"}
	input.execution.rollback == "none"
	input.warrant.constraints.rollback_on_failure == true
	evidence.action.rollback
}
