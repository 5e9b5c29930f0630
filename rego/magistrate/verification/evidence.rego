# METADATA
# title: Evidence
# description: |
#   Whose word counts: the sources the warrant names. The word of the one who ran it ("executor", "holder") counts where it
#   is named, and is never enough where the warrant names others too.
package magistrate.evidence

import data.catalogue
import data.magistrate.pointer

# METADATA
# title: The catalogue's row for the action
action := catalogue.actions[input.warrant.scope.action]

# METADATA
# title: The words of those who ran it
own_words := {"executor", "holder"}

# METADATA
# title: What counts as seen
# description: A report that counts is what its source saw after the end.
counted contains observation if {
	some observation in input.observations
	observation.source in input.warrant.evidence
}

counted contains {"source": report.source, "phase": "after", "facts": report.facts} if {
	some report in input.reports
	report.source in input.warrant.evidence
}

# METADATA
# title: What was seen after the end
after contains observation if {
	some observation in counted
	observation.phase == "after"
}

# METADATA
# title: Whether somebody was heard whose word is enough
heard if {
	some observation in after
	not _own(observation)
}

_own(observation) if observation.source in own_words

heard if {
	count(after) > 0
	every source in input.warrant.evidence {
		source in own_words
	}
}

# METADATA
# title: What the catalogue expects, for this scope
# description: A row whose path or value the scope does not give stands with what is missing left out.
expected contains row if {
	some template in action.expect
	row := {
		"source": template.source,
		"path": pointer.path(template.pointer, input.warrant.scope),
		"value": pointer.filled(template.equals, input.warrant.scope),
	}
}

# METADATA
# title: Whether every expectation of the catalogue could be drawn up
expectations_whole if {
	is_array(action.expect)
	every template in action.expect {
		pointer.path(template.pointer, input.warrant.scope)
		pointer.filled(template.equals, input.warrant.scope) != null
	}
}

# METADATA
# title: The pointer of a path
at(path) := concat("/", array.concat([""], path))
