package tests.magistrate.reason

import data.magistrate.reason

_metadata := {"title": "Too large", "custom": {"code": "x.large", "floor": "high", "remedy": "ask for less", "severity": "bad"}}

test_a_reason_is_made_of_the_rules_metadata if {
	reason.of(_metadata) == {
		"code": "x.large",
		"title": "Too large",
		"remedy": "ask for less",
		"floor": "high",
		"severity": "bad",
	}
}

test_what_the_metadata_does_not_say_is_empty if {
	reason.of({}) == {"code": "", "title": "", "remedy": "", "floor": "", "severity": ""}
	reason.of({"custom": {"code": "x"}}).code == "x"
}

test_an_approval_carries_its_row if {
	row := {"roles": ["smith"], "count": 1, "proof": "wax"}
	reason.asks(_metadata, row) == object.union(reason.of(_metadata), {"row": row})
}

test_a_deviation_carries_what_was_seen if {
	seen := {"pointer": "/a", "expected": 1, "observed": 2, "source": "probe/x"}
	reason.deviates(_metadata, seen) == object.union(reason.of(_metadata), {"seen": seen})
}

test_particulars_follow_the_remedy_in_order if {
	reason.telling(_metadata, {"b", "a"}).remedy == "ask for less: a; b"
	reason.telling({}, {"a"}).remedy == ": a"
}

test_what_is_shown_is_four_words if {
	reason.shown(reason.of(_metadata), "policies.x") == {
		"code": "x.large",
		"title": "Too large",
		"remedy": "ask for less",
		"policy": "policies.x",
	}
}

test_what_cannot_be_shown_keeps_its_place[sprintf("%v", [said])] if {
	some said in ["no", 7, null, {"code": "x", "title": "y"}]
	reason.shown(said, "policies.x") == {"code": "", "title": "", "remedy": "", "policy": "policies.x"}
}
