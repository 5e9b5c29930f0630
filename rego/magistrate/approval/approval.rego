package magistrate

import data.magistrate.speaker

# METADATA
# title: Approval
# description: Whether this operator may say this of that decision.
# entrypoint: true
approval := {
	"may": speaker.may,
	"reasons": speaker.reasons,
}
