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
# title: The agent runs it by itself
# custom: {code: deploys.handover, floor: T1}
tier contains reason.of(rego.metadata.rule()) if input.intent.action == "service.handover_deploy"

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
	not input.intent.parameters.count <= limits.restarts
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
# title: Whoever leads operations looks at a wide change
# custom: {code: deploys.lead}
approval contains reason.asks(rego.metadata.rule(), limits.wide) if _wide

# METADATA
# title: Production is frozen
# custom: {code: deploys.freeze, remedy: "wait until the freeze has ended, or change the target outside production"}
deny contains reason.of(rego.metadata.rule()) if not _open

# METADATA
# title: The target carries no service
# custom: {code: deploys.empty, remedy: "name a target that lists the services it carries"}
deny contains reason.of(rego.metadata.rule()) if not count(_target.services) > 0

constraint contains {"kind": "affected_services", "value": _target.services}

constraint contains {"kind": "max_retries", "value": limits.retries}

constraint contains {"kind": "max_duration_seconds", "value": limits.halt_within_seconds}

constraint contains {"kind": "rollback_on_failure", "value": true} if actions[input.intent.action].rollback

# METADATA
# title: Another version runs than the one allowed
# custom: {code: deploys.version, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	input.execution.state == "succeeded"
	some source, state in _after
	state.version != input.intent.parameters.version
	seen := _seen("version", input.intent.parameters.version, state.version, source)
}

# METADATA
# title: The service restarted more often than allowed
# custom: {code: deploys.restarted, severity: serious}
deviation contains reason.deviates(rego.metadata.rule(), seen) if {
	input.intent.action == "service.rolling_restart"
	some source, state in _after
	most := _before[source].restarts + input.intent.parameters.count
	state.restarts > most
	seen := _seen("restarts", most, state.restarts, source)
}

_target := targets[input.intent.target]

# Anything not known to be calm is production.
_calm if _target.environment in limits.calm

_wide if {
	not _calm
	not count(_target.services) <= limits.services
}

_modest if {
	input.intent.parameters.replicas >= limits.fewest_replicas
	input.intent.parameters.replicas <= limits.most_replicas
}

_open if _calm

_open if {
	is_number(input.now.minute_of_day)
	every freeze in limits.freezes {
		_outside(freeze)
	}
}

_outside(freeze) if not input.now.weekday in freeze.weekdays

_outside(freeze) if input.now.minute_of_day < freeze.from

_outside(freeze) if input.now.minute_of_day >= freeze.until

# The service's own state, as each source that counts saw it.
_after := _states("after")

_before := _states("before")

_states(phase) := {observation.source: observation.facts.services[_target.name] |
	some observation in input.observations
	observation.phase == phase
	observation.source in input.warrant.evidence
}

_seen(field, expected, observed, source) := {
	"pointer": sprintf("/services/%s/%s", [_target.name, field]),
	"expected": expected,
	"observed": observed,
	"source": source,
}
