package tests.policies.mail

import data.policies.mail

_limits := {
	"own": ["acme.example"],
	"partners": ["partner.example"],
	"never": ["password:"],
	"body": 10,
}

_mail(to, subject, body) := {"intent": {
	"action": "mail.send",
	"parameters": {"to": to, "subject": subject, "body": body},
}}

_codes(said) := {one.code | some one in said}

_tiers(question) := {one.code: one.floor |
	some one in mail.tier with input as question with data.policies.mail.limits as _limits
}

_denials(question) := codes if {
	codes := _codes(mail.deny) with input as question with data.policies.mail.limits as _limits
}

_deviations(question) := said if {
	said := mail.deviation with input as question with data.policies.mail.limits as _limits
}

test_it_judges_mail if mail.governs == {"mail.send"}

test_mail_within_the_house_is_the_lowest_tier if {
	question := _mail("ann@ACME.example", "Hello", "ten letter")
	_tiers(question) == {"mail.any": "T0"}
	_denials(question) == set()
}

test_mail_to_a_partner_is_one_higher if {
	question := _mail("bob@partner.example", "Hello", "ten letter")
	_tiers(question) == {"mail.any": "T0", "mail.outside": "T1"}
	_denials(question) == set()
}

test_a_long_text_is_higher_still_wherever_it_goes if {
	_tiers(_mail("bob@partner.example", "Hello", "ten letters"))["mail.long"] == "T2"
	_tiers(_mail("ann@acme.example", "Hello", "ten letters"))["mail.long"] == "T2"
}

test_a_domain_off_the_list_is_refused if {
	_denials(_mail("eve@evil.example", "Hello", "text")) == {"mail.domain"}
	_denials(_mail("eve@sub.acme.example", "Hello", "text")) == {"mail.domain"}
	_denials(_mail("eve@acme.example.", "Hello", "text")) == {"mail.domain"}
}

test_a_recipient_that_is_not_one_is_refused if {
	_denials(_mail("ann@acme.example@evil.example", "Hello", "text")) == {"mail.domain"}
	_denials(_mail("eve@evil.example,ann@acme.example", "Hello", "text")) == {"mail.domain"}
	_denials(_mail("acme.example", "Hello", "text")) == {"mail.domain"}
	_denials(_mail(["ann@acme.example"], "Hello", "text")) == {"mail.domain"}
	_tiers(_mail(["ann@acme.example"], "Hello", "text")) == {"mail.outside": "T1"}
}

test_a_subject_of_two_lines_is_refused if {
	_denials(_mail("ann@acme.example", "Hello\nBcc: eve@evil.example", "text")) == {"mail.header"}
}

test_what_is_no_text_is_left_to_the_engine if _denials(_mail("ann@acme.example", null, "text")) == set()

test_a_secret_is_refused_wherever_it_stands if {
	_denials(_mail("ann@acme.example", "Hello", "the Password: is x")) == {"mail.secret"}
	_denials(_mail("ann@acme.example", "PASSWORD: x", "text")) == {"mail.secret"}
}

test_mail_goes_nowhere_but_to_the_list if {
	said := mail.constraint with input as _mail("ann@acme.example", "Hello", "text")
		with data.policies.mail.limits as _limits
	said == {{"kind": "recipient_domains", "value": ["acme.example", "partner.example"]}}
}

_observed(phase, source, sent) := {"phase": phase, "source": source, "facts": {"sent": sent}}

_done(state, observations) := {
	"intent": {"parameters": {}},
	"warrant": {"evidence": ["probe/mail", "observer/postmaster"]},
	"execution": {"state": state},
	"observations": observations,
}

_sent(state, before, after) := _deviations(_done(state, [
	_observed("before", "probe/mail", before),
	_observed("after", "probe/mail", after),
]))

test_two_mails_deviate if {
	_sent("succeeded", 4, 6) == {{
		"code": "mail.sent",
		"title": "Not exactly one mail was sent",
		"remedy": "",
		"floor": "",
		"severity": "critical",
		"seen": {"pointer": "/sent", "expected": 5, "observed": 6, "source": "probe/mail"},
	}}
}

test_no_mail_deviates_when_said_to_be_sent if count(_sent("succeeded", 4, 4)) == 1

test_one_mail_conforms if _sent("succeeded", 4, 5) == set()

test_a_failed_mail_need_not_be_sent if _sent("failed", 4, 4) == set()

test_a_count_that_is_no_number_is_none if {
	some said in _sent("succeeded", "many", 6)
	said.seen.expected == 1
}

test_a_source_that_does_not_count_says_nothing if {
	_deviations(_done("succeeded", [_observed("before", "holder", 1), _observed("after", "holder", 9)])) == set()
}

test_two_sources_are_not_mixed if {
	seen := [_observed("before", "probe/mail", 1), _observed("after", "observer/postmaster", 9)]
	_deviations(_done("succeeded", seen)) == set()
}
