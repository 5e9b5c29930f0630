package tests.magistrate.pointer

import data.magistrate.pointer
import data.tests.world

_call := {"action": "thing.make", "target": "corner", "parameters": {"name": "hat", "size": {"cm": 5}}}

_filled(template) := value if {
	value := pointer.filled(template, _call) with data.catalogue as world.catalogue
}

_path(template) := value if {
	value := pointer.path(template, _call) with data.catalogue as world.catalogue
}

test_a_pointer_leads_to_a_value if {
	pointer.read(_call, "/action") == "thing.make"
	pointer.read(_call, "/parameters/size/cm") == 5
}

test_a_pointer_to_nothing_is_undefined if {
	every at in ["/nothing", "/parameters/none", "/action/inner", "/parameters/size/cm/mm"] {
		not pointer.read(_call, at)
	}
	not pointer.read({"a": null}, "/a")
	not pointer.read("text", "/a")
}

test_a_template_is_filled_from_the_call if {
	_filled("plain") == "plain"
	_filled(7) == 7
	_filled(["a"]) == ["a"]
	_filled({"from": "/action"}) == "thing.make"
	_filled({"from": "/target"}) == "corner"
	_filled({"from": "/target/name"}) == "corner-shop"
	_filled({"from": "/parameters/name"}) == "hat"
	_filled({"from": "/parameters/size/cm"}) == 5
}

test_a_template_of_anything_else_is_undefined if {
	every from in ["/targets/name", "/target/none", "/parameters/none", "/parameter/name", "", "/before/eye"] {
		not pointer.filled({"from": from}, _call)
	}
	not pointer.filled({"to": "/action"}, _call)
}

test_a_target_of_no_row_gives_nothing if {
	not pointer.filled({"from": "/target/name"}, {"target": "nowhere"}) with data.catalogue as world.catalogue
}

test_a_path_is_filled_segment_by_segment if {
	_path(["made", {"from": "/target/name"}, {"from": "/parameters/name"}]) == ["made", "corner-shop", "hat"]
	_path([]) == []
}

test_a_path_with_a_segment_missing_is_undefined if {
	not pointer.path(["made", {"from": "/parameters/none"}], _call)
}
