package magistrate

import data.magistrate.permits

# METADATA
# title: Access
# description: Whether this caller may see or do this, on every route that has no document of its own.
# entrypoint: true
access := {
	"allowed": permits.granted,
	"reason": permits.why,
}
