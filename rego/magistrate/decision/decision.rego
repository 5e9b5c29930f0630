package magistrate

import data.magistrate.standing
import data.magistrate.terms

# METADATA
# title: The decision
# description: |
#   What an intent comes to: terms, which hold for the whole round, and standing, which approvals, facts and time move.
# entrypoint: true
decision := {
	"terms": terms.drawn,
	"standing": standing.now,
}
