# METADATA
# title: Reasons
# description: |
#   What a rule says when it speaks, made from its own METADATA. A policy writes `reason.of(rego.metadata.rule())` in
#   `deny` and `tier`, `reason.asks(rego.metadata.rule(), row)` in `approval`, and
#   `reason.deviates(rego.metadata.rule(), seen)` in `deviation`. The engine adds the policy's name.
package magistrate.reason

# METADATA
# title: A rule's reason
# description: Code, title and remedy; floor and severity where the rule states one. What is missing is "".
of(metadata) := {
	"code": object.get(metadata, ["custom", "code"], ""),
	"title": object.get(metadata, "title", ""),
	"remedy": object.get(metadata, ["custom", "remedy"], ""),
	"floor": object.get(metadata, ["custom", "floor"], ""),
	"severity": object.get(metadata, ["custom", "severity"], ""),
}

# METADATA
# title: A rule's reason, with the approval it asks for
# description: A row is {roles, count, proof} and, where wanted, exclude.
asks(metadata, row) := object.union(of(metadata), {"row": row})

# METADATA
# title: A rule's reason, with what was seen
# description: Seen is {pointer, expected, observed, source}; expected and observed may be any value.
deviates(metadata, seen) := object.union(of(metadata), {"seen": seen})

# METADATA
# title: A reason as the answer shows it
# description: Total, so that a rule which spoke is never lost for the want of a word.
shown(said, policy) := {
	"code": _word(said, "code"),
	"title": _word(said, "title"),
	"remedy": _word(said, "remedy"),
	"policy": policy,
}

# METADATA
# title: The tier a rule states as the lowest it accepts
floor(said) := _word(said, "floor")

_word(said, name) := said[name] if is_string(said[name])

_word(said, name) := "" if not is_string(said[name])
