# METADATA
# title: Reasons
# description: |
#   What a rule says when it speaks, made from its own METADATA. A policy writes `reason.of(rego.metadata.rule())` in
#   `deny` and `tier`, `reason.asks(rego.metadata.rule(), row)` in `approval`, and
#   `reason.deviates(rego.metadata.rule(), seen)` in `deviation`. The engine adds the policy's name.
package magistrate.reason

_blank := {"code": "", "title": "", "remedy": "", "floor": "", "severity": ""}

# METADATA
# title: A rule's reason
# description: Code, title and remedy; floor and severity where the rule states one. What is missing is "".
of(metadata) := object.union_n([
	_blank,
	object.get(metadata, "custom", {}),
	{"title": object.get(metadata, "title", "")},
])

# METADATA
# title: A rule's reason, with the approval it asks for
# description: A row is {roles, count, proof} and, where wanted, exclude.
asks(metadata, row) := object.union(of(metadata), {"row": row})

# METADATA
# title: A rule's reason, with what was seen
# description: Seen is {pointer, expected, observed, source}; expected and observed may be any value.
deviates(metadata, seen) := object.union(of(metadata), {"seen": seen})

# METADATA
# title: A rule's reason that also names what it is about
# description: The particulars follow the remedy.
telling(metadata, particulars) := object.union(of(metadata), {"remedy": sprintf("%s: %s", [
	object.get(metadata, ["custom", "remedy"], ""),
	concat("; ", sort(particulars)),
])})

# METADATA
# title: A reason as the answer shows it
# description: Total, so that a rule which spoke is never lost for the want of a word.
shown(said, policy) := object.union(_words(said), {"policy": policy})

default _words(_) := {"code": "", "title": "", "remedy": ""}

_words(said) := {"code": said.code, "title": said.title, "remedy": said.remedy}
