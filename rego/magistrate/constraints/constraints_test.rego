package tests.magistrate.constraints

import data.magistrate.constraints
import data.magistrate.limits
import data.tests.world

_kinds := {
	"rooms": {"type": "integer", "least": 0, "merge": "min", "phases": ["night", "day"], "scope": {"read": "value", "at": "/parameters/rooms"}},
	"doors": {"type": "integer", "least": 1, "merge": "min", "phases": ["day"]},
	"quiet": {"type": "boolean", "merge": "or", "phases": []},
	"guests": {
		"type": "strings",
		"merge": "intersection",
		"phases": ["day"],
		"scope": {"read": "domain", "at": "/parameters/to"},
		"evidence": [
			{"read": "changed", "at": ["rooms", {"from": "/target/name"}]},
			{"read": "value", "at": ["guests"]},
		],
	},
}

_combined(stated) := combined if {
	combined := constraints.combined(stated) with data.magistrate.constraints.kinds as _kinds
}

test_the_least_number_the_loudest_wish_and_the_common_names_win if {
	_combined({"rooms": {3, 2}, "quiet": {false, true}, "guests": {["ann", "ben"], ["ben", "cat"]}}) == {
		"rooms": 2,
		"quiet": true,
		"guests": ["ben"],
	}
	_combined({"quiet": {false}, "rooms": {0}, "doors": {1}, "guests": {{"b", "a"}}}) == {
		"quiet": false,
		"rooms": 0,
		"doors": 1,
		"guests": ["a", "b"],
	}
	_combined({}) == {}
}

test_what_cannot_be_kept_is_left_out[sprintf("%v", [stated])] if {
	some stated in [
		{"beds": {1}},
		{"": {1}},
		{"rooms": {"2"}},
		{"rooms": {null}},
		{"rooms": {true}},
		{"rooms": {1.5}},
		{"rooms": {-1}},
		{"rooms": {1, "2"}},
		{"rooms": {1, null}},
		{"rooms": {1, [2]}},
		{"doors": {0}},
		{"quiet": {"yes"}},
		{"quiet": {true, null}},
		{"quiet": {1}},
		{"guests": {"ann"}},
		{"guests": {[]}},
		{"guests": {["ann", 7]}},
		{"guests": {["ann"], ["ben"]}},
		{"guests": {["ann"], "ann"}},
		{"guests": {{"ann": true}}},
		{"guests": {{"first": "ann"}}},
	]
	_combined(stated) == {}
}

test_one_fault_spoils_no_other_kind if {
	_combined({"beds": {1}, "rooms": {"2"}, "doors": {5}, "guests": {[]}, "quiet": {true}}) == {"doors": 5, "quiet": true}
}

test_a_value_is_typed_by_its_kind if {
	constraints.typed("rooms", 2) with data.magistrate.constraints.kinds as _kinds
	constraints.typed("quiet", false) with data.magistrate.constraints.kinds as _kinds
	not constraints.typed("rooms", "2") with data.magistrate.constraints.kinds as _kinds
	not constraints.typed("beds", 2) with data.magistrate.constraints.kinds as _kinds
}

_within(kind, value, bound) if {
	constraints.within(kind, value, bound) with data.magistrate.constraints.kinds as _kinds
}

test_a_tighter_value_is_within if {
	_within("rooms", 2, 2)
	_within("rooms", 1, 2)
	_within("quiet", true, false)
	_within("quiet", true, true)
	_within("quiet", false, false)
	_within("guests", ["ann"], ["ann", "ben"])
	_within("guests", ["ben", "ann"], ["ann", "ben"])
}

test_a_looser_or_untyped_value_is_not_within if {
	not _within("rooms", 3, 2)
	not _within("rooms", "1", 2)
	not _within("rooms", null, 2)
	not _within("rooms", 1, "2")
	not _within("quiet", false, true)
	not _within("guests", ["ann", "cat"], ["ann", "ben"])
	not _within("guests", [], ["ann"])
	not _within("guests", ["cat"], ["ann"])
	not _within("beds", 1, 2)
}

test_a_kind_is_judged_in_its_phases if {
	constraints.judged("rooms", "night") with data.magistrate.constraints.kinds as _kinds
	not constraints.judged("rooms", "noon") with data.magistrate.constraints.kinds as _kinds
	not constraints.judged("beds", "day") with data.magistrate.constraints.kinds as _kinds
}

# limits

test_a_constraint_stands_in_its_warrant if limits.stands("rooms") == "/warrant/constraints/rooms"

_asked_within(kind, bound, parameters) if {
	scope := {"action": "thing.make", "target": "corner", "parameters": parameters}
	limits.asked_within(kind, bound, scope) with data.magistrate.constraints.kinds as _kinds
}

test_what_is_asked_for_is_held_against_its_limit if {
	_asked_within("rooms", 2, {"rooms": 2})
	not _asked_within("rooms", 2, {"rooms": 3})
	not _asked_within("rooms", 2, {"rooms": "1"})
	not _asked_within("rooms", 2, {})
	not _asked_within("doors", 2, {"doors": 1}) # the vocabulary does not say where it stands
}

test_an_address_is_held_against_its_domain if {
	_asked_within("guests", ["inn.example"], {"to": "ann@inn.example"})
	_asked_within("guests", ["inn.example"], {"to": "Ann@INN.example"})
	every to in ["ann@other.example", "inn.example", "ann@inn.example@other.example", "a@other.example@inn.example", 7, ["a"]] {
		not _asked_within("guests", ["inn.example"], {"to": to})
	}
}

_scope := {"action": "thing.make", "target": "corner", "parameters": {}}

_saw(source, phase, facts) := {"source": source, "phase": phase, "facts": facts}

_seen(observations) := seen if {
	seen := limits.seen("guests", _scope, observations) with data.magistrate.constraints.kinds as _kinds
		with data.catalogue as world.catalogue
}

test_a_value_is_seen_where_the_vocabulary_says if {
	_seen({_saw("probe/eye", "after", {"guests": ["ann"]})}) == {{"value": ["ann"], "source": "probe/eye", "pointer": "/guests"}}
	_seen({_saw("probe/eye", "during", {"guests": 7})}) == {{"value": 7, "source": "probe/eye", "pointer": "/guests"}}
	_seen({_saw("probe/eye", "after", {"guests": null}), _saw("probe/ear", "after", {})}) == set()
}

test_what_was_there_before_is_not_seen if {
	_seen({_saw("probe/eye", "before", {"guests": ["ann"], "rooms": {"corner-shop": {"a": 1}}})}) == set()
}

_rooms(rooms) := {"rooms": {"corner-shop": rooms, "attic": {"z": 9}}}

test_what_changed_is_what_differs_from_before if {
	before := _saw("probe/eye", "before", _rooms({"a": 1, "b": 2, "c": {"x": 1}, "gone": 0}))
	after := _saw("probe/eye", "after", object.union(_rooms({"a": 1, "b": 3, "c": {"x": 2}, "new": 0}), {"attic": {"z": 8}}))
	_seen({before, after}) == {{
		"value": ["b", "c", "gone", "new"],
		"source": "probe/eye",
		"pointer": "/rooms/corner-shop",
	}}
}

test_each_source_is_compared_with_itself if {
	before := _saw("probe/eye", "before", _rooms({"a": 1}))
	after := _saw("probe/ear", "after", _rooms({"a": 2}))
	_seen({before, after}) == set()
	_seen({before, _saw("probe/eye", "after", _rooms({"a": 1}))}) == {{
		"value": [],
		"source": "probe/eye",
		"pointer": "/rooms/corner-shop",
	}}
}

test_what_is_no_object_has_not_been_compared if {
	before := _saw("probe/eye", "before", _rooms({"a": 1}))
	_seen({before, _saw("probe/eye", "after", {"rooms": {"corner-shop": "a"}})}) == set()
	_seen({_saw("probe/eye", "before", {"rooms": {}}), _saw("probe/eye", "after", _rooms({"a": 1}))}) == set()
	_seen({_saw("probe/eye", "during", _rooms({"a": 2})), _saw("probe/eye", "after", _rooms({"a": 1}))}) == set()
}

test_nothing_is_within_anything if {
	limits.seen_within("guests", [], ["ann"])
	limits.seen_within("guests", ["ann"], ["ann"]) with data.magistrate.constraints.kinds as _kinds
	not limits.seen_within("guests", ["ben"], ["ann"]) with data.magistrate.constraints.kinds as _kinds
}

# the vocabulary that ships

test_every_kind_is_whole if {
	every kind in data.magistrate.constraints.kinds {
		kind.type in {"integer", "boolean", "strings"}
		kind.merge == {"integer": "min", "boolean": "or", "strings": "intersection"}[kind.type]
		is_string(kind.title)
		every phase in kind.phases {
			phase in {"terms", "admission", "running", "verification"}
		}
	}
}

test_every_kind_says_where_it_is_judged if {
	every kind in data.magistrate.constraints.kinds {
		_placed(kind, "admission", "scope")
	}
	every kind in data.magistrate.constraints.kinds {
		_placed(kind, "verification", "evidence")
	}
}

_placed(kind, phase, _) if not phase in kind.phases

_placed(kind, _, where) if kind[where]
