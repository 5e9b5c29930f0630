package magistrate

import data.magistrate.judgement

# METADATA
# title: The verification
# description: Whether what was done is what was warranted, by whose word, and what follows.
# entrypoint: true
verification := {
	"verdict": judgement.verdict,
	"deviations": judgement.shown,
	"containment": judgement.containment,
	"reasons": judgement.reasons,
}
