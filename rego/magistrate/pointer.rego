# METADATA
# title: Pointers
# description: |
#   Where the catalogue says a value stands. A pointer is plain segments between slashes; the catalogue's own names hold
#   no slash and no tilde, so nothing is escaped. What is missing or null is undefined.
package magistrate.pointer

import data.catalogue

# METADATA
# title: The value a pointer leads to
read(document, pointer) := value if {
	is_object(document)
	value := object.get(document, array.slice(split(pointer, "/"), 1, 64), null)
	value != null
}

# METADATA
# title: A template's value for this call
# description: A literal, or {from} the action, the target's name, the target's row or the parameters.
filled(template, _) := template if not is_object(template)

filled(template, call) := call.action if template.from == "/action"

filled(template, call) := call.target if template.from == "/target"

filled(template, call) := read({"target": catalogue.targets[call.target]}, template.from) if {
	startswith(template.from, "/target/")
}

filled(template, call) := read({"parameters": call.parameters}, template.from) if {
	startswith(template.from, "/parameters/")
}

# METADATA
# title: A template's path for this call, every segment filled
path(template, call) := segments if {
	segments := [segment | some part in template; segment := filled(part, call)]
	count(segments) == count(template)
}
