"""Who is responsible for a changed answer, and what covers it."""

import pytest

from magistrate.core.responsible import EVERY, UNEXPLAINED, Cause, Changed, causes, changed_data, covered, unseen

SMALL = Changed("policies.a.limits.small", "/policies/a/limits/small", "5", "10")
TTL = Changed("tiers.low.warrant.ttl", "/tiers/low/warrant/ttl", "1", "2")
OTHER = Changed("policies.b.limits.small", "/policies/b/limits/small", "5", "10")


def answer(*codes, tier="low"):
    reasons = [{"code": code, "title": "", "remedy": "", "policy": f"policies.{code[0]}"} for code in codes]
    return {"terms": {"tier": tier}, "standing": {"reasons": reasons}}


def found(was, now, data=(), fields=(), action="", rewritten=()):
    return causes("decision", was, now, fields=fields, action=action, data=list(data), rewritten=rewritten)


def test_a_rule_that_is_silent_now_let_go_and_its_policys_limits_may_be_named_instead():
    assert found(answer("a.any", "a.large"), answer("a.any"), [SMALL, OTHER, TTL]) == [
        Cause("a.large", "policies.a", ("a.large", "policies.a.limits.small"))
    ]


@pytest.mark.parametrize(
    ("data", "rewritten", "stands"),
    [
        ([SMALL], ["policies.b"], True),
        ([SMALL, TTL], [], True),
        ([SMALL], ["policies.a"], False),
        ([SMALL], [EVERY], False),
        ([SMALL, Changed("catalogue.targets.x", "/catalogue/targets/x", "1", "2")], [], False),
        ([SMALL, Changed("magistrate.x", "/magistrate/x", "1", "2")], [], False),
        ([SMALL, Changed("x", "/catalogue/actions/other.act", "", "{}")], [], True),
        ([SMALL, Changed("x", "/catalogue/actions/its.act2/parameters", "", "{}")], [], True),
        ([SMALL, Changed("x", "/catalogue/actions/its.act", "", "{}")], [], False),
        ([SMALL, Changed("x", "/catalogue/actions/its.act/parameters", "", "{}")], [], False),
        ([SMALL, Changed("x", "/catalogue/actions", "", "{}")], [], False),
    ],
)
def test_a_limit_stands_for_a_rule_only_where_nothing_else_can_have_moved_it(data, rewritten, stands):
    (cause,) = found(answer("a.large"), answer(), data, action="its.act", rewritten=rewritten)
    assert cause.names == ("a.large", SMALL.name)[: 1 + stands]
    assert covered([cause], [SMALL.name]) is stands
    assert covered([cause], ["a.large"])


def test_which_of_two_limits_let_go_is_open_so_both_are_accepted_or_the_rule():
    more = Changed("policies.a.limits.daily", "/policies/a/limits/daily", "5", "50000")
    (cause,) = found(answer("a.large"), answer(), [SMALL, more])
    assert not covered([cause], [SMALL.name])
    assert not covered([cause], [more.name])
    assert covered([cause], [SMALL.name, more.name])
    assert covered([cause], ["a.large"])


COUNTER = {"action": "a.do", "window": {"utc_day": True}}


@pytest.mark.parametrize(
    ("was", "now", "names"),
    [
        ({"c": COUNTER}, {"c": COUNTER}, []),
        ({"c": COUNTER}, {"c": {**COUNTER, "window": {"seconds": 1}}}, ["counters.c"]),
        ({"c": COUNTER}, {}, ["counters.c"]),
        ({}, {"c": COUNTER}, ["counters.c"]),
        ({"c": COUNTER}, [], ["counters.c"]),
    ],
)
def test_no_answer_shows_what_became_of_a_counter(was, now, names):
    assert [row.name for row in unseen({"counters": was}, {"counters": now})] == names


def test_nor_whom_an_act_is_about():
    row = {"subject": "/parameters/name", "subject_type": "operator", "title": "A"}
    was, now = (
        {"catalogue": {"actions": {"a.do": each}}} for each in (row, {"title": "B", "subject_type": "operator"})
    )
    name = "catalogue.actions.a.do.subject"
    assert unseen(was, now) == [Changed(name, "/catalogue/actions/a.do/subject", '"/parameters/name"', "")]
    assert unseen({}, now) == unseen(was, {}) == []


def test_else_a_rule_that_speaks_now():
    assert [cause.code for cause in found(answer("a.any"), answer("a.any", "b.new"))] == ["b.new"]
    assert [cause.code for cause in found(None, answer("a.any"))] == ["a.any"]


def test_else_the_data_a_field_is_called_by():
    assert [c.code for c in found(answer("a.any"), answer("a.any"), [SMALL, TTL], ["/terms/warrant/ttl"])] == [TTL.name]
    assert [c.code for c in found(answer("a.any"), answer("a.any"), [SMALL, TTL])] == [SMALL.name, TTL.name]


def changed(pointer):
    return Changed(pointer.strip("/").replace("/", "."), pointer, "1", "2")


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ("/tiers/low/rank", "/tiers/high/rank"),
        ("/catalogue/actions/a.do/uses", "/catalogue/actions/a.undo/uses"),
        ("/catalogue/installation/environment", "/catalogue/targets/t/environment"),
        ("/magistrate/defaults/x", "/magistrates/defaults/x"),
        ("/counters/c/window", "/schedules/c/window"),
        ("/policies/a/limits/small", "/policies/b/limits/small"),
    ],
)
def test_else_the_data_of_what_the_answers_are_about(near, far):
    said = answer("a.any")
    (cause,) = found(said, said, [changed(far), changed(near)], action="a.do")
    assert cause.code == changed(near).name
    (cause,) = found(said, said, [changed(far)], action="a.do")
    assert cause.code == UNEXPLAINED


def test_else_nobody_knows_and_that_can_be_accepted_too():
    (cause,) = found(answer("a.any"), answer("a.any"))
    assert cause.code == UNEXPLAINED
    assert covered([cause], [UNEXPLAINED])


def test_every_cause_is_covered_or_nothing_is():
    both = found(answer("a.large", "b.large"), answer(), [SMALL])
    assert not covered(both, ["a.large"])
    assert not covered(both, ["policies.b.limits.small"])
    assert covered(both, ["policies.a.limits.small", "b.large"])


def test_changed_data_is_named_by_its_path_and_canaries_are_none():
    was = {"tiers": {"low": {"rank": 0}}, "canaries": {"x": 1}}
    now = {"tiers": {"low": {"rank": 1}}, "canaries": {"x": 2}, "counters": {}}
    assert changed_data(was, now) == [
        Changed("counters", "/counters", "", "{}"),
        Changed("tiers.low.rank", "/tiers/low/rank", "0", "1"),
    ]


def test_each_document_has_its_codes():
    reason = {"code": "x", "title": "", "remedy": "", "policy": "p"}
    for document, no, yes in (
        ("approval", {"may": False, "reasons": [reason]}, {"may": True, "reasons": []}),
        ("admission", {"admit": False, "violations": [{**reason, "pointer": ""}]}, {"admit": True, "violations": []}),
        ("access", {"allowed": False, "reason": reason}, {"allowed": True, "reason": {**reason, "code": ""}}),
        (
            "verification",
            {"verdict": "deviating", "deviations": [{"code": "x"}], "reasons": []},
            {"verdict": "conforming", "deviations": [], "reasons": []},
        ),
    ):
        (cause,) = causes(document, no, yes, fields=(), action="", data=[])
        assert cause.code == "x"
