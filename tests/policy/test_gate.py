"""What passes OPA's strict check and yet would never deny, or not deny again in a replay, is refused at the gate."""

import json
import subprocess

import pytest

from magistrate.core.administration import ACTS
from magistrate.core.errors import Malformed, Unavailable
from magistrate.policy import capabilities, command, gate, vocabulary
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from tests.policy.trees import DATA, FILES, POLICY, packed, policy
from tests.support import rego_tools

META = "# METADATA\n# title: x\n# custom: {code: refunds.x}\n"


def refused(binary, raw):
    with pytest.raises(Malformed) as caught:
        gate.check(binary, Bundle.read(raw))
    return caught.value.code


def with_rule(text, head="import data.magistrate.reason"):
    return policy(POLICY.replace("import data.magistrate.reason", head) + "\n" + text + "\n")


def with_data(**other):
    return packed({**FILES, "/data.json": json.dumps({**DATA, **other}).encode()})


def test_the_small_bundle_passes(binary, bundle):
    gate.check(binary, bundle)


ALLOWED = {
    "a private helper of any form": "_any := 1\n\n_f(x) := x\n\n_p[x] := 1 if x := input.x\n\n_deny if _any == _f(_p.y)",
    "a constraint without METADATA": 'constraint contains {"kind": "x"} if input.y',
    "a constraint that always holds": 'constraint contains {"kind": "x"}',
    "every set of the vocabulary": "\n\n".join(
        f"{META}{word} contains reason.of(rego.metadata.rule()) if input.{word}" for word in ("approval", "deviation")
    ),
    "a second rule of a set": f"{META}deny contains reason.of(rego.metadata.rule()) if input.z",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_vocabulary_allows_passes(binary, name):
    gate.check(binary, Bundle.read(with_rule(ALLOWED[name])))


@pytest.mark.parametrize(
    "governs",
    [
        "{a | some a, _ in data.catalogue.actions}",
        "{a | some a; data.catalogue.actions[a].administration == false}",
        '{a |\n\tsome a, row in data.catalogue.actions\n\trow.targets.kinds[_] == "service"\n}',
    ],
)
def test_what_a_policy_governs_may_come_from_the_catalogue(binary, governs):
    gate.check(binary, Bundle.read(policy(POLICY.replace('{"refund.create"}', governs))))


NO_WORD = {
    "denies": f"{META}denies contains 1 if input.y",
    "Deny": f"{META}Deny contains 1 if input.y",
    "allow": "allow if input.y",
    "allow := true": "allow := true",
    "a public constant": "limit := 3",
    "a public function": "small(x) if x < 3",
    "default of another word": "default allow := true",
    "limits": "limits2 := {}",
    "a public object": "rows[x] := 1 if x := input.x",
    "a word below another": "other.deny contains 1 if input.y",
}


@pytest.mark.parametrize("name", NO_WORD)
def test_a_public_rule_that_is_no_word_is_refused(binary, name):
    assert refused(binary, with_rule(NO_WORD[name])) == "gate.public_rule"


def test_a_near_miss_is_told(binary):
    with pytest.raises(Malformed) as caught:
        gate.check(binary, Bundle.read(with_rule(NO_WORD["denies"])))

    assert caught.value.hint == "did you mean `deny`?"


NO_SET = {
    "deny := false if": "deny := false if input.y",
    "deny if": "deny if input.y",
    "deny := set": 'deny := {"a"}',
    "deny[x] if": "deny[x] if x := input.y",
    "deny[x] := y": "deny[x] := 1 if x := input.y",
    "deny.sub contains": "deny.sub contains 1 if input.y",
    "a function": "deny(x) if x == input.y",
    "default deny": "default deny := false",
}


@pytest.mark.parametrize("word", ["deny", "tier", "approval", "constraint", "deviation"])
@pytest.mark.parametrize("name", NO_SET)
def test_a_word_in_another_form_is_refused(binary, word, name):
    bare = "package policies.refunds\n\n" + 'governs := {"refund.create"}\n\n'
    text = META + NO_SET[name].replace("deny", word)

    assert refused(binary, policy(bare + text + "\n")) == "gate.partial_set"


def test_a_word_in_two_forms_does_not_even_compile(binary):
    assert refused(binary, with_rule("deny := false if input.y")) == "gate.compile"


NO_CODE = {
    "none": "",
    "a title only": "# METADATA\n# title: x\n",
    "an empty code": '# METADATA\n# custom: {code: ""}\n',
    "a code that is a number": "# METADATA\n# custom: {code: 3}\n",
    "a code with spaces": '# METADATA\n# custom: {code: "a b"}\n',
    "custom is a list": "# METADATA\n# custom: [code]\n",
    "not above the rule": META + "_other := 1\n\n",
    "for the document, not the rule": "# METADATA\n# scope: document\n# custom: {code: refunds.x}\n",
    "a comment": "# custom: {code: refunds.x}\n",
}


@pytest.mark.parametrize("word", ["deny", "tier", "approval", "deviation"])
def test_a_rule_without_a_code_is_refused(binary, word):
    assert refused(binary, with_rule(f"{word} contains 1 if input.y")) == "gate.metadata"


@pytest.mark.parametrize("name", NO_CODE)
def test_metadata_without_a_code_of_the_rules_own_is_none(binary, name):
    code = refused(binary, with_rule(f"{NO_CODE[name]}approval contains 1 if input.y"))

    assert code == ("gate.compile" if name == "custom is a list" else "gate.metadata")


def test_the_code_of_a_neighbour_does_not_count(binary):
    text = f"{META}approval contains 1 if input.y\n\napproval contains 2 if input.z"

    assert refused(binary, with_rule(text)) == "gate.metadata"


GOVERNS = {
    "nothing": "",
    "an empty set": "governs := set()",
    "an array": 'governs := ["refund.create"]',
    "a string": 'governs := "refund.create"',
    "a partial set": 'governs contains "refund.create"',
    "a condition": 'governs := {"refund.create"} if input.x',
    "another condition": 'governs := {"refund.create"} if true == true',
    "an else": 'governs := {"refund.create"} if input.x else := {"refund.create"}',
    "a default": 'default governs := {"refund.create"}',
    "a function": 'governs(_) := {"refund.create"}',
    "a number in the set": 'governs := {"refund.create", 3}',
    "a variable in the set": 'governs := {"refund.create", input.x}',
    "an action the catalogue does not have": 'governs := {"refund.creat"}',
    "the question": "governs := {x | x := input.x}",
    "the question by a helper": "governs := {x | some x in _x}\n\n_x contains input.x",
    "limits": "governs := {x | some x in data.policies.refunds.limits}",
    "an import": "governs := {x | some x in limits}",
    "a rule of another": "governs := {x | some x in data.magistrate.decision.seen}",
    "below it": 'governs.x := {"refund.create"}',
}


@pytest.mark.parametrize("name", GOVERNS)
def test_a_policy_that_does_not_always_govern_the_same_is_refused(binary, name):
    head = "package policies.refunds\n\n" + ("import data.policies.refunds.limits\n\n" if name == "an import" else "")

    assert refused(binary, policy(head + GOVERNS[name] + "\n")) == "gate.governs"


def test_a_policy_that_says_twice_what_it_governs_is_refused(binary):
    other = {"/policies/refunds/more.rego": b'package policies.refunds\n\ngoverns := {"refund.create"}\n'}

    assert refused(binary, packed({**FILES, **other})) == "gate.governs"


def test_two_files_of_one_policy_are_one_policy(binary):
    text = f"package policies.refunds\n\n{META}deny contains 1 if input.y\n"

    gate.check(binary, Bundle.read(packed({**FILES, "/policies/refunds/more.rego": text.encode()})))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("/policies/refunds/x.rego", "policies.other"),
        ("/policies/refunds/x.rego", "policies.refunds.sub"),
        ("/policies/refunds/x.rego", "magistrate.decision"),
        ("/policies/x.rego", "policies"),
        ("/policies/Upper/x.rego", "policies.Upper"),
        ("/magistrate/x.rego", "policies.x"),
        ("/magistrate/x.rego", "policies"),
        ("/catalogue/x.rego", "catalogue"),
        ("/x.rego", "magistrate.x"),
        ("/tiers/x.rego", "tiers.x"),
    ],
)
def test_a_file_whose_package_is_not_its_place_is_refused(binary, name, package):
    assert refused(binary, packed({**FILES, name: f"package {package}\n\n_x := 1\n".encode()})) == "gate.package"


@pytest.mark.parametrize("package", ["system.authz", "system.log", "tests.x"])
def test_a_package_outside_the_roots_is_refused(binary, package):
    raw = packed({**FILES, "/magistrate/x.rego": f"package {package}\n\n_x := 1\n".encode()})

    assert refused(binary, raw) == "gate.compile"


# -- builtins --------------------------------------------------------------------------------------------------------

CALLS = {
    "http.send": 'http.send({"method": "GET", "url": "http://x"})',
    "io.jwt.decode_verify": 'io.jwt.decode_verify("x", {})',
    "io.jwt.encode_sign": "io.jwt.encode_sign({}, {}, {})",
    "io.jwt.encode_sign_raw": 'io.jwt.encode_sign_raw("", "", "")',
    "json.verify_schema": "json.verify_schema({})",
    "net.lookup_ip_addr": 'net.lookup_ip_addr("x")',
    "opa.runtime": "opa.runtime()",
    "rand.intn": 'rand.intn("x", 2)',
    "time.now_ns": "time.now_ns()",
    "uuid.rfc4122": 'uuid.rfc4122("x")',
    "crypto.x509.parse_and_verify_certificates": 'crypto.x509.parse_and_verify_certificates("x")',
    "crypto.x509.parse_and_verify_certificates_with_options": 'crypto.x509.parse_and_verify_certificates_with_options("x", {})',
    "time.clock": "time.clock(0)",
    "time.date": "time.date(0)",
    "time.weekday": "time.weekday(0)",
    "time.add_date": "time.add_date(0, 1, 1, 1)",
    "time.diff": "time.diff(0, 1)",
    "time.format": "time.format(0)",
    "time.parse_ns": 'time.parse_ns("2006", "2020")',
}


def test_exactly_these_builtins_are_dropped(binary):
    current = json.loads(subprocess.check_output([binary.path, "capabilities", "--current"]))
    pure = json.loads(capabilities.text(binary))
    names = {builtin["name"] for builtin in current["builtins"]}

    assert names - {builtin["name"] for builtin in pure["builtins"]} == set(CALLS)
    assert pure["allow_net"] == []
    assert "json.match_schema" in {builtin["name"] for builtin in pure["builtins"]}


def test_the_committed_capabilities_are_those_of_the_gate(binary):
    assert (rego_tools.REGO / "capabilities.json").read_text("utf-8") == capabilities.text(binary)


@pytest.mark.parametrize("name", CALLS)
def test_each_dropped_builtin_is_refused_in_a_policy(binary, name):
    assert refused(binary, with_rule(f"_x := {CALLS[name]}")) == "gate.builtin"


def test_a_dropped_builtin_is_refused_in_the_engine_too(binary):
    raw = packed({**FILES, "/magistrate/x.rego": b"package magistrate.x\n\nnow := time.now_ns()\n"})

    assert refused(binary, raw) == "gate.builtin"


def test_a_dropped_builtin_may_not_stand_in_for_another(binary):
    assert refused(binary, with_rule("_x if input.x with input as time.now_ns()")) == "gate.builtin"
    assert refused(binary, with_rule("_x if { count([1]) == 2 with count as opa.runtime }")) == "gate.compile"


@pytest.mark.parametrize(
    "text",
    [
        '_x := json.match_schema(input.x, {"type": "object"})',
        "_x if { json.match_schema(input.x, data.catalogue.actions.x.parameters)[0] }",
        "_x := {y | y := json.match_schema(input.x, {})[0]}",
        "_x if { object.union({}, {}) with object.union as json.match_schema }",
        "_f(x) := json.match_schema(x, {})",
    ],
)
def test_only_the_engine_matches_schemas(binary, text):
    assert refused(binary, with_rule(text)) == "gate.builtin"


def test_the_engine_may_match_schemas(binary):
    text = b"package magistrate.x\n\n_x := json.match_schema(input.x, data.catalogue.actions.y.parameters)\n\nx := _x\n"

    gate.check(binary, Bundle.read(packed({**FILES, "/magistrate/x.rego": text})))


@pytest.mark.parametrize("word", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize(
    "schema",
    [
        lambda ref: ref,
        lambda ref: {"properties": {"a": ref}},
        lambda ref: {"allOf": [{"items": ref}]},
    ],
    ids=["at the top", "in a property", "in a list"],
)
def test_no_schema_of_the_catalogue_fetches_another(binary, word, schema):
    rows = {"refund.create": {"parameters": schema({word: "http://x/schema.json"})}}

    assert refused(binary, with_data(catalogue={"actions": rows})) == "gate.schema_ref"


# -- acts of administration ------------------------------------------------------------------------------------------

SHIPPED_ROWS = json.loads((rego_tools.REGO / "catalogue/data.json").read_text())["actions"]
OWN = sorted(ACTS)


def _row(action, **change):
    row = {**SHIPPED_ROWS[action], **change}
    return {action: {name: value for name, value in row.items() if value is not ...}}


def _schema(action, **change):
    return _row(action, parameters={**SHIPPED_ROWS[action]["parameters"], **change})


def test_the_rows_that_ship_say_what_the_program_does():
    assert set(OWN) <= set(SHIPPED_ROWS)
    vocabulary.check({}, {"catalogue": {"actions": SHIPPED_ROWS}})


OTHERWISE = {
    "an act that is said to be none": _row("operator.enrol", administration=False),
    "an act of which that is not said": _row("operator.enrol", administration=...),
    "an act of which it is nearly said": _row("operator.enrol", administration=1),
    "an act about nobody": _row("operator.roles", subject=...),
    "an act about somebody else": _row("agent.enrol", subject="/parameters/owner"),
    "an act about a name of another kind": _row("bundle.activate", subject_type="operator"),
    "an act that is carried out by others": _row("agent.release", executor={"kind": "none"}),
    "an act whose parameters are not told": _row("agent.key", parameters=...),
    "an act that lacks what it needs": _schema("agent.enrol", required=["agent"]),
    "an act that takes what it ignores": _schema("agent.key", properties={"owner": {"type": "string"}}),
    "an action that is no act": _row("refund.create", administration=True),
    "an action that the program does not carry out": _row("refund.create", executor={"kind": "builtin"}),
    "a row that is none": {"refund.create": []},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_an_act_of_administration_is_no_catalogue_says(name):
    with pytest.raises(Malformed) as caught:
        vocabulary.check({}, {"catalogue": {"actions": OTHERWISE[name]}})
    assert caught.value.code == "gate.act"
    assert caught.value.pointer.startswith("/catalogue/actions/")


def test_a_bundle_whose_catalogue_says_otherwise_of_an_act_is_refused(binary):
    rows = {**DATA["catalogue"]["actions"], **OTHERWISE["an act that is said to be none"]}
    assert refused(binary, with_data(catalogue={"actions": rows})) == "gate.act"


# -- counters --------------------------------------------------------------------------------------------------------

COUNTER = {"action": "refund.create", "by": "agent", "window": {"seconds": 60}}


@pytest.mark.parametrize(
    "row",
    [COUNTER, {**COUNTER, "amount": "/parameters/amount"}, {**COUNTER, "window": {"utc_day": True}}],
)
def test_a_counter_that_can_be_counted_passes(row):
    vocabulary.check({}, {"counters": {"mine": row}})


@pytest.mark.parametrize(
    "row",
    [
        "x",
        {},
        {**COUNTER, "by": "team"},
        {**COUNTER, "by": ["agent"]},
        {**COUNTER, "action": 1},
        {**COUNTER, "amount": 5},
        {**COUNTER, "more": 1},
        {**COUNTER, "window": {}},
        {**COUNTER, "window": 60},
        {**COUNTER, "window": {"seconds": 0}},
        {**COUNTER, "window": {"seconds": True}},
        {**COUNTER, "window": {"seconds": 2**53 - 1}},
        {**COUNTER, "window": {"seconds": 60, "utc_day": True}},
    ],
)
def test_a_counter_that_nobody_can_count_is_refused(row):
    with pytest.raises(Malformed) as caught:
        vocabulary.check({}, {"counters": {"mine": row}})
    assert (caught.value.code, caught.value.pointer) == ("gate.counter", "/counters/mine")


@pytest.mark.parametrize("value", [-1, 2**53 - 1, 1e300])
def test_a_number_of_a_tier_that_nobody_can_carry_out_is_refused(value):
    with pytest.raises(Malformed) as caught:
        vocabulary.check({}, {"tiers": {"calm": {"rank": 0, "warrant": {"uses": 1, "ttl": value}}}})
    assert (caught.value.code, caught.value.pointer) == ("gate.tier", "/tiers/calm/warrant/ttl")


# -- what a rule may look at -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "_x := data.system.bundles",
        "_x := data.magistrate_authz.token",
        "_x := data.tests.x",
        "_f(x) := data.system[x]",
        "_x := [1 | data.system.authz.allow]",
        "_x if { input.y with data.system as 1 }",
        '_x := {"a": data.system}',
        "_x[data.system.x] := 1",
        "_x := {1, data.system.x}",
        "_x := 1 if false else := data.system.x",
        "_x if { every y in data.system { y } }",
        "_x if { not data.system.x }",
    ],
)
def test_a_rule_that_looks_outside_the_bundle_is_refused(binary, text):
    assert refused(binary, with_rule(text)) == "gate.data"


@pytest.mark.parametrize(
    "text",
    [
        "_x := data[input.x]",
        "_x := {k | some k, _ in data}",
        "_x := data",
        "_x if walk(data, [_, 1])",
        "_x[k] := v if some k, v in data",
        "_x := y.z if y := data",
        '_x := object.get(data, ["system"], 1)',
    ],
)
def test_a_rule_that_looks_at_everything_looks_at_itself_and_is_refused(binary, text):
    assert refused(binary, with_rule(text)) == "gate.compile"


@pytest.mark.parametrize("term", ["data", "data[input.x]"])
def test_a_rule_that_looks_at_everything_is_refused_by_the_vocabulary_too(term):
    rule = {"head": {"ref": [{"type": "var", "value": "_x"}], "value": TERMS[term]}, "body": []}
    module = {"package": {"path": [{"value": "data"}, {"value": "magistrate"}]}, "rules": [rule]}

    with pytest.raises(Malformed, match=r"gate\.data"):
        vocabulary.check({"/magistrate/x.rego": module}, {})


TERMS = {
    "data": {"type": "var", "value": "data"},
    "data[input.x]": {
        "type": "ref",
        "value": [{"type": "var", "value": "data"}, {"type": "ref", "value": [{"type": "var", "value": "input"}]}],
    },
}


@pytest.mark.parametrize("path", ["data.system.bundles", "data.magistrate_authz", "data"])
def test_an_import_from_outside_the_bundle_is_refused(binary, path):
    assert refused(binary, with_rule("_x := o.y", f"import data.magistrate.reason\nimport {path} as o")) == "gate.data"


def test_another_rego_is_refused(binary):
    assert refused(binary, with_rule("_x := 1", "import data.magistrate.reason\nimport rego.v2")) == "gate.rego_version"


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ({"refunds": {"small": 3}}, "gate.limits"),
        ({"refunds": {}}, "gate.limits"),
        ({"refunds": {"limits": {"small": 1}, "more": {}}}, "gate.limits"),
        ({"refunds": {"limits": {"small": 1}}, "other": {"x": 1}}, "gate.limits"),
        (
            {"refunds": {"limits": {}, "deny": ["x"]}},
            "gate.compile",
        ),  # data in the place of a rule: OPA sees that itself
        ({"refunds": {"limits": {"small\x1b[2K": 1}}}, "gate.limits"),
        ({"refunds": {"limits": {"by": [{"eur\u202e": 1}]}}}, "gate.limits"),
        ({"refunds": []}, "gate.compile"),
        ([], "gate.compile"),
        ("x", "gate.compile"),
    ],
)
def test_data_of_a_policy_beside_its_limits_is_refused(binary, policies, code):
    assert refused(binary, with_data(policies=policies)) == code


@pytest.mark.parametrize("policies", [[], "x", {"other": []}])
def test_data_that_is_no_policys_is_refused(policies):
    with pytest.raises(Malformed, match=r"gate\.limits"):
        vocabulary.check({}, {"policies": policies})


# -- OPA's own complaints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "_x if {",
        "_x := y",
        "_x := data.magistrate.nothing(1)",
        "_x := _y\n\n_y := _x",
        "_x if { y := 1 }",
        "_x := is_number",
        "import data.policies.unused",
    ],
)
def test_what_opas_strict_check_refuses_is_refused(binary, text):
    assert refused(binary, with_rule(text)) == "gate.compile"


def test_the_complaint_names_file_and_row(binary):
    with pytest.raises(Malformed, match=r"policies/refunds/refunds\.rego:\d+: rego_unsafe_var_error"):
        gate.check(binary, Bundle.read(with_rule("_x := y")))


# -- an OPA that does not do what it should --------------------------------------------------------------------------


def odd(tmp_path, text):
    path = tmp_path / "opa"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Binary(path, "1.22.2", f"{text!r}", "setting")


def test_an_opa_that_does_not_tell_its_builtins_is_no_gate(tmp_path, bundle):
    with pytest.raises(Unavailable, match=r"opa\.start.*no such command"):
        gate.check(odd(tmp_path, "echo no such command >&2; exit 1"), bundle)


def test_an_opa_that_does_not_end_is_no_gate(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(command, "PATIENCE", 0.1)

    with pytest.raises(Unavailable, match=r"opa\.start.*did not end"):
        gate.check(odd(tmp_path, "exec sleep 60"), bundle)


def test_a_file_that_opa_checks_and_cannot_parse_is_refused(tmp_path, bundle):
    text = """case $1 in capabilities) echo '{"builtins": []}';; check) ;; *) echo odd >&2; exit 1;; esac"""

    with pytest.raises(Malformed, match=r"gate\.compile: odd"):
        gate.check(odd(tmp_path, text), bundle)
