package magistrate

import data.magistrate.verdict

# METADATA
# title: Approval
# description: Whether this operator may say this of that decision.
# entrypoint: true
approval := {
	"may": verdict.may,
	"reasons": verdict.reasons,
}
