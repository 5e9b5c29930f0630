# METADATA
# title: Deploys and restarts
# description: |
#   A service changes at once where nobody is hurt, with a second pair of eyes in production, and never in a freeze.
#   The blast radius is the number of services its target carries.
package policies.deploys

import data.catalogue.actions
import data.catalogue.targets
import data.magistrate.reason
import data.policies.deploys.limits

# METADATA
# title: The actions this policy judges
governs := {
	"service.deploy",
	"service.handover_deploy",
	"service.restart",
	"service.rolling_restart",
	"service.scale",
}

# METADATA
# title: A service changes
# custom: {code: deploys.any, floor: T0}
tier contains reason.of(rego.metadata.rule()) if _target

# METADATA
# title: The service is in production
# custom: {code: deploys.production, floor: T1}
tier contains reason.of(rego.metadata.rule()) if not _calm

# METADATA
# title: The agent carries it out by itself
# custom: {code: deploys.handover, floor: T1}
tier contains reason.of(rego.metadata.rule()) if actions[input.intent.action].executor.kind == "none"

# METADATA
# title: The change reaches many services
# custom: {code: deploys.wide, floor: T2}
tier contains reason.of(rego.metadata.rule()) if _wide

# METADATA
# title: Many restarts in one go
# custom: {code: deploys.restarts, floor: T2}
tier contains reason.of(rego.metadata.rule()) if {
	not _calm
	input.intent.action == "service.rolling_restart"
	not _few_restarts
}

# METADATA
# title: The service would be switched off, or grow beyond its means
# custom: {code: deploys.scale, floor: T2}
tier contains reason.of(rego.metadata.rule()) if {
	not _calm
	input.intent.action == "service.scale"
	not _modest
}

# METADATA
# title: The proposer itself calls it risky
# custom: {code: deploys.risky, floor: T2}
tier contains reason.of(rego.metadata.rule()) if input.intent.claims.context.risk in limits.risky

# METADATA
# title: Two fleets stand at once, and no ticket says why
# custom: {code: deploys.ticket, floor: T2}
tier contains reason.of(rego.metadata.rule()) if {
	not _calm
	input.intent.parameters.strategy == "blue-green"
	not _ticketed
}

# METADATA
# title: Whoever answers for releases looks at a wide change
# custom: {code: deploys.lead}
approval contains reason.asks(rego.metadata.rule(), limits.wide) if _wide

# METADATA
# title: Production is frozen
# custom: {code: deploys.freeze, remedy: "wait until the freeze has ended, or change the target outside production"}
deny contains reason.of(rego.metadata.rule()) if not _open

# METADATA
# title: The target carries no service
# custom: {code: deploys.empty, remedy: "name a target that lists the services it carries"}
deny contains reason.of(rego.metadata.rule()) if not _inhabited

# METADATA
# title: Only the target's own services may change
constraint contains {"kind": "affected_services", "value": _target.services}

# METADATA
# title: A failed change is tried again once at most
constraint contains {"kind": "max_retries", "value": limits.retries}

# METADATA
# title: A service that is scaled has no more copies than asked for
constraint contains {"kind": "max_replicas", "value": input.intent.parameters.replicas}

# METADATA
# title: What failed is taken back where the catalogue knows how
constraint contains {"kind": "rollback_on_failure", "value": true} if actions[input.intent.action].rollback

# METADATA
# title: Another version runs than the one allowed
# custom: {code: deploys.version, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	input.execution.state == "succeeded"
	some after in _states("after")
	after.service.version != input.intent.parameters.version
	seen := _seen("version", input.intent.parameters.version, after)
}

# METADATA
# title: The service restarted more often than allowed
# custom: {code: deploys.restarted, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	some before in _states("before")
	some after in _states("after")
	before.source == after.source
	most := _restarted(before) + input.intent.parameters.count
	after.service.restarts > most
	seen := _seen("restarts", most, after)
}

_target := targets[input.intent.target]

# What is not known to be calm is production.
_calm if _target.environment in limits.calm

_wide if {
	not _calm
	not _narrow
}

_narrow if count(_target.services) <= limits.services

_inhabited if count(_target.services) > 0

_few_restarts if input.intent.parameters.count <= limits.restarts

_modest if {
	input.intent.parameters.replicas >= limits.fewest_replicas
	input.intent.parameters.replicas <= limits.most_replicas
}

_ticketed if input.intent.parameters.ticket

_open if _calm

_open if {
	every freeze in limits.freezes {
		_outside(freeze)
	}
}

_outside(freeze) if {
	is_string(input.now.weekday) # a clock that says nothing opens nothing
	not _of_the_day(freeze)
}

_outside(freeze) if _minute < freeze.from

_outside(freeze) if _minute >= freeze.until

_of_the_day(freeze) if input.now.weekday in freeze.weekdays

_minute := input.now.minute_of_day if is_number(input.now.minute_of_day)

# The service itself, as each source that counts saw it.
_states(phase) := {{"source": observation.source, "service": service} |
	some observation in input.observations
	observation.phase == phase
	observation.source in input.warrant.evidence
	service := observation.facts.services[_target.name]
}

# What is no number counts as none, so that a source cannot silence the comparison.
default _restarted(_) := 0

_restarted(before) := before.service.restarts if is_number(before.service.restarts)

_seen(field, expected, after) := {
	"pointer": concat("/", ["", "services", _target.name, field]),
	"expected": expected,
	"observed": after.service[field],
	"source": after.source,
}
