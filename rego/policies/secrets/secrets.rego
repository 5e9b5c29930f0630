# METADATA
# title: Secrets
# description: An agent may have a secret used without seeing it; for a short time, once, and only those that are lent.
package policies.secrets

import data.magistrate.reason
import data.policies.secrets.limits

# METADATA
# title: The actions this policy judges
governs := {"secret.use"}

# METADATA
# title: A secret is used
# custom: {code: secrets.any, floor: T1}
tier contains reason.of(rego.metadata.rule()) if _lent

# METADATA
# title: The secret opens much
# custom: {code: secrets.guarded, floor: T2}
tier contains reason.of(rego.metadata.rule()) if _guarded

# METADATA
# title: Whoever holds a bearer key asks for a secret that opens much
# custom: {code: secrets.bearer, floor: T3}
tier contains reason.of(rego.metadata.rule()) if {
	_guarded
	not _strong
}

# METADATA
# title: Whoever answers for security lends what opens much
# custom: {code: secrets.keeper}
approval contains reason.asks(rego.metadata.rule(), limits.keeper) if _guarded

# METADATA
# title: The secret is not lent
# custom: {code: secrets.unlent, remedy: "name a secret that is lent, or ask security to lend this one"}
deny contains reason.of(rego.metadata.rule()) if not _lent

# METADATA
# title: A secret is lent for a short time
constraint contains {"kind": "ttl", "value": limits.ttl}

# METADATA
# title: A secret is lent for few uses
constraint contains {"kind": "uses", "value": limits.uses}

_strong if input.proposer.credential in limits.strong

_lent if input.intent.parameters.credential in _called(limits.lent)

_guarded if input.intent.parameters.credential in _called(limits.guarded)

# Secrets as parameters call them.
_called(names) := {concat("", ["secret:", name]) | some name in names}
