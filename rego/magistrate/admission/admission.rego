package magistrate

import data.magistrate.gate
import data.magistrate.reason

# METADATA
# title: The admission
# description: Whether this warrant may be used now, by this presenter, for this call.
# entrypoint: true
admission := {
	"admit": count(gate.refuse) == 0,
	"violations": sort({violation |
		some said in gate.refuse
		violation := object.union(reason.shown(said, "magistrate.admission"), {"pointer": gate.pointer(said)})
	}),
}
