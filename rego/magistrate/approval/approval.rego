package magistrate

import data.magistrate.voice

# METADATA
# title: Approval
# description: Whether this operator may say this of that decision.
# entrypoint: true
approval := {
	"may": voice.may,
	"reasons": voice.reasons,
}
