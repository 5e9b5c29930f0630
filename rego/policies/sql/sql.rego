# METADATA
# title: SQL
# description: |
#   The usual way is a statement of the catalogue, with typed parameters. Free text is the exception: one plain statement,
#   shown whole to whoever approves it, at the highest tier.
package policies.sql

import data.magistrate.reason
import data.policies.sql.limits

# METADATA
# title: The actions this policy judges
governs := {"sql.free", "sql.statement"}

# METADATA
# title: A statement of the catalogue runs
# custom: {code: sql.catalogued, floor: T0}
tier contains reason.of(rego.metadata.rule()) if input.intent.action == "sql.statement"

# METADATA
# title: The statement may touch many rows
# custom: {code: sql.many_rows, floor: T1}
tier contains reason.of(rego.metadata.rule()) if not _few_rows

# METADATA
# title: The statement writes
# custom: {code: sql.writes, floor: T1}
tier contains reason.of(rego.metadata.rule()) if not _reads

# METADATA
# title: The text of the statement is the agent's own
# custom: {code: sql.free_text, floor: T3}
tier contains reason.of(rego.metadata.rule()) if input.intent.action != "sql.statement"

# METADATA
# title: Whoever keeps the database looks at what writes
# custom: {code: sql.keeper}
approval contains reason.asks(rego.metadata.rule(), limits.keeper) if not _reads

# METADATA
# title: More than one statement
# custom: {code: sql.stacked, remedy: "send one statement an intent, without a semicolon"}
deny contains reason.of(rego.metadata.rule()) if contains(_text, ";")

# METADATA
# title: A comment hides part of the statement
# custom: {code: sql.comment, remedy: "leave comments out; say why in the reason"}
deny contains reason.of(rego.metadata.rule()) if {
	some mark in ["--", "/*", "#"]
	contains(_text, mark)
}

# METADATA
# title: The statement holds characters that people may not see
# custom: {code: sql.unseen, remedy: "use printable ASCII only"}
deny contains reason.of(rego.metadata.rule()) if not _plain

# METADATA
# title: The statement changes tables or rights
# custom: {code: sql.forbidden, remedy: "ask those who keep the database to make the change"}
deny contains reason.of(rego.metadata.rule()) if {
	some word in regex.split(`[^a-z]+`, lower(_text))
	word in limits.forbidden
}

# METADATA
# title: No more rows than asked for
constraint contains {"kind": "max_rows", "value": input.intent.parameters.limit}

# METADATA
# title: A statement that writes did not run exactly once
# custom: {code: sql.runs, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	not _reads
	input.execution.state == "succeeded"
	some before in _runs("before")
	some after in _runs("after")
	before.source == after.source
	after.count != before.count + 1
	seen := {
		"pointer": concat("/", ["", "runs", _name, "count"]),
		"expected": before.count + 1,
		"observed": after.count,
		"source": after.source,
	}
}

_plain if regex.match(`^[\x20-\x7e\t\n]*$`, _text)

_reads if input.intent.parameters.statement in limits.reads

_few_rows if {
	is_number(input.intent.parameters.limit) # "5" > 1000 and null < 1000 are true in Rego
	input.intent.parameters.limit <= limits.rows
}

# Free text, "" where there is none; what is no text the engine has refused.
default _text := ""

_text := input.intent.parameters.sql if is_string(input.intent.parameters.sql)

default _name := "free"

_name := input.intent.parameters.statement

# How often it has run, as each source that counts saw it.
_runs(phase) := {{"source": observation.source, "count": _times(observation.facts)} |
	some observation in input.observations
	observation.phase == phase
	observation.source in input.warrant.evidence
}

# What is no number counts as none, so that a source cannot silence the comparison.
default _times(_) := 0

_times(facts) := facts.runs[_name].count if is_number(facts.runs[_name].count)
