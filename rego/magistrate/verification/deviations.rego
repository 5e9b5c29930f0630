# METADATA
# title: Deviations
# description: |
#   What was not as warranted. What our own record shows has the source `magistrate`; anything else names whose word it is.
#   An execution that failed or was halted did not do what was warranted: it deviates, as a notice, and is rolled back
#   where its constraints ask for that. It quarantines nobody.
package magistrate.deviations

import data.magistrate.constraints
import data.magistrate.evidence
import data.magistrate.limits
import data.magistrate.policies
import data.magistrate.reason

# METADATA
# title: The call was not the warrant's scope
# custom: {code: verification.call, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _recorded("/call", input.warrant.scope, input.call)) if {
	not _to_the_letter
}

_to_the_letter if input.call == input.warrant.scope

# METADATA
# title: An attempt began outside the warrant's window
# custom: {code: verification.window, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _recorded(sprintf("/execution/attempts/%d", [i]), window, attempt)) if {
	window := {"from": input.warrant.issued_at, "until": input.warrant.expires_at}
	some i, attempt in input.execution.attempts
	not _inside(attempt)
}

_inside(attempt) if {
	started := time.parse_rfc3339_ns(attempt.started_at)
	started >= time.parse_rfc3339_ns(input.warrant.issued_at)
	started < time.parse_rfc3339_ns(input.warrant.expires_at)
}

# METADATA
# title: More attempts than allowed
# custom: {code: verification.attempts, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/attempts", allowed, attempts)) if {
	allowed := object.get(input.warrant.constraints, "max_retries", 0) + 1
	attempts := count(input.execution.attempts)
	attempts > allowed
}

# METADATA
# title: A further attempt after one that had not failed
# custom: {code: verification.repeated, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/attempts", "failed", before.outcome)) if {
	some i, _ in input.execution.attempts
	before := input.execution.attempts[i - 1]
	before.outcome != "failed"
}

# METADATA
# title: It lasted longer than allowed
# custom: {code: verification.duration, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/ended", allowed, lasted)) if {
	allowed := input.warrant.constraints.max_duration_seconds
	input.execution.ended > 0
	lasted := input.execution.ended - input.execution.started
	lasted > allowed
}

# METADATA
# title: The holder missed its heartbeats
# custom: {code: verification.heartbeats, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/missed_heartbeats", 0, missed)) if {
	missed := input.execution.missed_heartbeats
	missed > 0
}

# METADATA
# title: The holder never said how it ended
# custom: {code: verification.silent, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _recorded("/reports", "a report", "none")) if {
	input.final
	input.issue.audience == "holder"
	count(input.reports) == 0
}

# METADATA
# title: It failed
# custom: {code: verification.failed, severity: notice}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/state", "succeeded", "failed")) if {
	input.execution.state == "failed"
}

# METADATA
# title: It was halted
# custom: {code: verification.halted, severity: notice}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/state", "succeeded", "halted")) if {
	input.execution.state == "halted"
}

# METADATA
# title: What was to be rolled back was not
# custom: {code: verification.rollback, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _recorded("/execution/rollback", "done", input.execution.rollback)) if {
	input.execution.rollback in {"failed", "unknown"}
}

# METADATA
# title: Something changed that may not
# custom: {code: verification.affected_services, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _beyond(bound, one)) if {
	some kind, bound in input.warrant.constraints
	is_array(bound)
	some one in seen[kind]
	not _within(kind, one, bound)
}

# METADATA
# title: What was measured is beyond its constraint
# custom: {code: verification.measured, severity: critical}
found contains reason.deviates(rego.metadata.rule(), _beyond(bound, one)) if {
	some kind, bound in input.warrant.constraints
	not is_array(bound)
	some one in seen[kind]
	not _within(kind, one, bound)
}

_within(kind, one, bound) if limits.seen_within(kind, one.value, bound)

_beyond(bound, one) := {"pointer": one.pointer, "expected": bound, "observed": one.value, "source": one.source}

# METADATA
# title: What was seen of each constraint that is judged by what is seen
seen[kind] := limits.seen(kind, input.warrant.scope, evidence.counted) if {
	some kind, _ in input.warrant.constraints
	constraints.judged(kind, "verification")
}

# METADATA
# title: After success the world is not as the catalogue expects
# custom: {code: verification.expect, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _unlike(row, observation)) if {
	input.execution.state == "succeeded"
	some row in evidence.expected
	some observation in evidence.after
	observation.source == row.source
	object.get(observation.facts, row.path, null) != row.value
}

_unlike(row, observation) := {
	"pointer": evidence.at(row.path),
	"expected": row.value,
	"observed": object.get(observation.facts, row.path, null),
	"source": observation.source,
}

# METADATA
# title: Two sources contradict each other
# custom: {code: verification.contradiction, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _unlike({"path": row.path, "value": said}, observation)) if {
	some row in evidence.expected
	some report in input.reports
	said := object.get(report.facts, row.path, null)
	said != null
	some observation in evidence.after
	observation.source != report.source
	object.get(observation.facts, row.path, said) != said
}

# METADATA
# title: Two sources whose word counts contradict each other
# custom: {code: verification.contradiction, severity: serious}
found contains reason.deviates(rego.metadata.rule(), _unlike({"path": row.path, "value": said}, observation)) if {
	some row in evidence.expected
	some other in evidence.after
	other.source == row.source
	said := object.get(other.facts, row.path, null)
	said != null
	some observation in evidence.after
	observation.source != other.source
	object.get(observation.facts, row.path, said) != said
}

# METADATA
# title: It is said to have failed, and yet the expected change came about
# custom: {code: verification.contradiction, severity: serious}
found contains reason.deviates(rego.metadata.rule(), seen_) if {
	some report in input.reports
	report.outcome == "failed"
	some source in _achieving
	seen_ := {"pointer": "/reports/outcome", "expected": "failed", "observed": "succeeded", "source": source}
}

# Sources in whose own facts all they are asked for holds since, and did not before.
_achieving contains row.source if {
	some row in evidence.expected
	some since in evidence.after
	since.source == row.source
	every other in _rows_of(row.source) {
		object.get(since.facts, other.path, null) == other.value
	}
	some before in evidence.counted
	before.phase == "before"
	before.source == row.source
	object.get(before.facts, row.path, null) != row.value
}

_rows_of(source) := {row | some row in evidence.expected; row.source == source}

# METADATA
# title: The reports of one source contradict each other
# custom: {code: verification.contradiction, severity: serious}
found contains reason.deviates(rego.metadata.rule(), seen_) if {
	some first in input.reports
	some second in input.reports
	second.source == first.source
	second.outcome > first.outcome
	seen_ := {
		"pointer": "/reports/outcome",
		"expected": first.outcome,
		"observed": second.outcome,
		"source": second.source,
	}
}

# METADATA
# title: All that was found, each with who found it
told contains {"said": said, "policy": "magistrate.verification"} if some said in found

told contains {"said": said, "policy": policies.called(name)} if {
	some name in policies.governing
	some said in data.policies[name].deviation
}

_recorded(pointer, expected, observed) := {
	"pointer": pointer,
	"expected": expected,
	"observed": observed,
	"source": "magistrate",
}
