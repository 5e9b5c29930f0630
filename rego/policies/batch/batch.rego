# METADATA
# title: Batch runs
# description: A short batch runs at once, a long one when someone knows of it, an endless one never.
package policies.batch

import data.magistrate.reason
import data.policies.batch.limits

# METADATA
# title: The actions this policy judges
governs := {"batch.run"}

# METADATA
# title: A batch runs
# custom: {code: batch.any, floor: T0}
tier contains reason.of(rego.metadata.rule()) if _seconds

# METADATA
# title: The batch takes long
# custom: {code: batch.long, floor: T1}
tier contains reason.of(rego.metadata.rule()) if not _short

# METADATA
# title: The batch takes longer than any may
# custom: {code: batch.endless, remedy: "split the batch into shorter runs"}
deny contains reason.of(rego.metadata.rule()) if not _ending

# METADATA
# title: A batch that takes much longer than it said is stopped
constraint contains {"kind": "max_duration_seconds", "value": _seconds + limits.slack}

# METADATA
# title: The batch ended too early to have done its work
# custom: {code: batch.early, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	input.execution.state == "succeeded"
	took := input.execution.ended - input.execution.started
	took + limits.rounding < _seconds # both times are whole seconds
	seen := {"pointer": "/execution/ended", "expected": _seconds, "observed": took, "source": "executor"}
}

_short if _seconds <= limits.short

_ending if _seconds <= limits.longest

_seconds := input.intent.parameters.seconds if is_number(input.intent.parameters.seconds)
