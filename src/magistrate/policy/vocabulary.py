"""What a policy may say: `governs`, and partial sets of deny, tier, approval, constraint and deviation.

`denies contains` and `deny := false if` pass OPA's own strict check and never deny anything. So every public rule
that is not a word of the vocabulary, in exactly its form, keeps the whole bundle out. Modules are OPA's own syntax
trees (`opa parse --format json`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from magistrate.core.administration import ACTS, row_of
from magistrate.core.canonical import pointer_to
from magistrate.core.decision import LONGEST
from magistrate.core.errors import Malformed
from magistrate.core.values import IDENTIFIER
from magistrate.policy.bundle import ROOTS
from magistrate.policy.capabilities import ENGINE_ONLY

SETS: Final = ("deny", "tier", "approval", "constraint", "deviation")
EXPLAINED: Final = frozenset({"deny", "tier", "approval", "deviation"})  # the reason is made from their METADATA
WORDS: Final = ("governs", *SETS)
_FORM: Final = "written `{0} contains … if …`"
_POLICY: Final = re.compile(r"/policies/([a-z][a-z0-9_]*)/(?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]+\.rego")
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

Module = Mapping[str, Any]
Term = Mapping[str, Any]


def check(modules: Mapping[str, Module], data: Mapping[str, Any]) -> None:
    """Return if a bundle's modules (by file name) and data keep to the vocabulary.

    Raises:
        Malformed: a code under `gate.`, with file and rule.
    """
    actions = _actions(data)
    governing: dict[str, str] = {}
    for name, module in sorted(modules.items()):
        policy = _policy_of(name, module)
        _check_references(name, module, engine=not policy)
        governing.setdefault(policy, "")
        for rule in module.get("rules", []) if policy else []:
            word = _check_rule(name, rule)
            if word == "governs":
                if governing[policy]:
                    raise Malformed("gate.governs", f"{name}: policies.{policy} says twice what it governs")
                _check_governs(name, rule, actions, _defined(module))
                governing[policy] = name
    if silent := sorted(policy for policy, name in governing.items() if policy and not name):
        hint = 'governs := {"refund.create"}'
        raise Malformed("gate.governs", f"policies.{silent[0]} does not say what it governs", hint=hint)
    _check_limits(data)
    _check_acts(data)
    _check_counters(data)
    _check_tiers(data.get("tiers", {}), "/tiers")
    _check_schemas(data.get("catalogue", {}), "/catalogue")


# -- files and packages ----------------------------------------------------------------------------------------------


def _policy_of(name: str, module: Module) -> str:
    """The policy a file belongs to, "" for the engine's own; its package must say the same."""
    package = ".".join(str(part["value"]) for part in module["package"]["path"][1:])
    if name.startswith("/magistrate/") and package.split(".")[0] == "magistrate":
        return ""
    found = _POLICY.fullmatch(name)
    if found and package == f"policies.{found[1]}":
        return found[1]
    raise Malformed(
        "gate.package",
        f"{name} holds package {package}",
        hint="a policy lies in policies/<name>/ and is package policies.<name>",
    )


# -- rules -----------------------------------------------------------------------------------------------------------


def _check_rule(name: str, rule: Module) -> str:
    """The word a rule defines, "" for a private one."""
    name = f"{name}:{rule['location']['row']}" if "location" in rule else name
    word = str(rule["head"]["ref"][0]["value"])
    if word.startswith("_"):
        return ""
    if word not in WORDS:
        near = difflib.get_close_matches(word, WORDS, 1)
        hint = f"did you mean `{near[0]}`?" if near else "a helper's name begins with `_`"
        raise Malformed("gate.public_rule", f"{name}: `{word}` is no word of the vocabulary", hint=hint)
    if word in SETS:
        _check_set(name, word, rule)
    if word in EXPLAINED and not _code(rule):
        hint = "write above it: # METADATA, # title: …, # custom: {code: policy.reason}"
        raise Malformed("gate.metadata", f"{name}: a rule of `{word}` has no METADATA with a code", hint=hint)
    return word


def _check_set(name: str, word: str, rule: Module) -> None:
    head = rule["head"]
    partial = "key" in head and "value" not in head and len(head["ref"]) == 1
    if not partial or rule.get("default") or "else" in rule or "args" in head:
        raise Malformed("gate.partial_set", f"{name}: `{word}` is not a partial set", hint=_FORM.format(word))


def _code(rule: Module) -> str:
    """The code of the rule's own METADATA, "" when it has none."""
    for annotation in rule.get("annotations", []):
        custom = annotation.get("custom")
        code = custom.get("code") if annotation.get("scope") == "rule" and isinstance(custom, dict) else None
        if isinstance(code, str) and re.fullmatch(IDENTIFIER, code):
            return code
    return ""


def _check_governs(name: str, rule: Module, actions: frozenset[str], defined: frozenset[str]) -> None:
    """What a policy governs depends on no question: a set of actions, written out or taken from the catalogue."""
    head = rule["head"]
    value = head.get("value", {})
    always = all(expression.get("generated") for expression in rule["body"])
    plain = len(head["ref"]) == 1 and "key" not in head and "args" not in head and not rule.get("default")
    if not (always and plain and "else" not in rule):
        raise Malformed("gate.governs", f"{name}: `governs` must hold always", hint='governs := {"refund.create"}')
    if value.get("type") == "setcomprehension":
        outside = any([part["value"] for part in ref[:2]] != ["data", "catalogue"] for ref in _data_refs(value))
        if outside or not defined.isdisjoint(_names(value)):
            raise Malformed("gate.governs", f"{name}: `governs` may look at data.catalogue and nothing else")
        return
    named = value["value"] if value.get("type") == "set" else []
    if not named or any(item["type"] != "string" for item in named):
        raise Malformed(
            "gate.governs", f"{name}: `governs` is not a set of actions", hint='governs := {"refund.create"}'
        )
    if unknown := sorted(item["value"] for item in named if item["value"] not in actions):
        raise Malformed("gate.governs", f"{name}: the catalogue has no action `{unknown[0]}`")


def _defined(module: Module) -> frozenset[str]:
    """What a name in this module can stand for beside a local variable: its rules, its imports, the question."""
    rules = {str(rule["head"]["ref"][0]["value"]) for rule in module.get("rules", [])}
    imports = {str(made.get("alias") or made["path"]["value"][-1]["value"]) for made in module.get("imports", [])}
    return frozenset(rules | imports | {"input"})


def _data_refs(node: Any) -> Iterator[list[Term]]:
    return (ref for ref in _refs(node) if ref[0]["value"] == "data")


# -- what a rule may look at -----------------------------------------------------------------------------------------


def _check_references(name: str, module: Module, *, engine: bool) -> None:
    """Data is the bundle's own, so that a replay sees the same; schemas are matched by the engine alone."""
    for ref in _refs(module.get("imports", [])):
        if [part["value"] for part in ref[:2]] == ["rego", "v2"]:
            raise Malformed("gate.rego_version", f"{name} imports rego.v2; bundles are Rego version 1")
    for ref in _refs([module.get("imports", []), module.get("rules", [])]):
        head, steps = ref[0]["value"], [part["value"] for part in ref[1:3]]
        if head == "data" and (not steps or ref[1]["type"] != "string" or steps[0] not in ROOTS):
            where = ".".join(map(str, ["data", *steps[:1]]))
            raise Malformed("gate.data", f"{name} looks at `{where}`, which is not of the bundle")
        if not engine and head == "json" and steps[:1] == [ENGINE_ONLY.removeprefix("json.")]:
            raise Malformed("gate.builtin", f"{name} calls {ENGINE_ONLY}, which is for the engine's own Rego")


def _refs(node: Any) -> Iterator[list[Term]]:
    """Every reference below a node; `data` standing alone is one too."""
    if isinstance(node, list):
        for child in node:
            yield from _refs(child)
    elif isinstance(node, Mapping):
        if node.get("type") == "ref":
            head, *steps = node["value"]
            yield node["value"]
            yield from _refs(steps if head["type"] == "var" else node["value"])
        elif node.get("type") == "var" and node.get("value") == "data":
            yield [node]
        else:
            yield from _refs([child for key, child in node.items() if key != "annotations"])


def _names(node: Any) -> Iterator[str]:
    """Every variable, rule, import or builtin named below a node."""
    if isinstance(node, list):
        for child in node:
            yield from _names(child)
    elif isinstance(node, Mapping):
        if node.get("type") == "var":
            yield str(node["value"])
        else:
            yield from _names(list(node.values()))


# -- data ------------------------------------------------------------------------------------------------------------


def _actions(data: Mapping[str, Any]) -> frozenset[str]:
    catalogue = data.get("catalogue", {})
    actions = catalogue.get("actions", {}) if isinstance(catalogue, Mapping) else {}
    return frozenset(actions) if isinstance(actions, Mapping) else frozenset()


def _check_acts(data: Mapping[str, Any]) -> None:
    """What is an act of administration, about whom, and by whom carried out is the program's own to say."""
    for action in sorted(_actions(data)):
        pointer = pointer_to("/catalogue/actions", action)
        row = data["catalogue"]["actions"][action]
        if not isinstance(row, Mapping):
            raise Malformed("gate.act", f"the row of {action} is not an object", pointer=pointer)
        must = row_of(action)
        said = {name: row.get(name, other) for name, other in row_of("").items()}
        odd = [name for name in must if said[name] != must[name] or type(said[name]) is not type(must[name])]
        executor = row.get("executor")
        builtin = isinstance(executor, Mapping) and executor.get("kind") == "builtin"
        if builtin != must["administration"]:
            odd.append("executor")
        if odd:
            hint = "acts of administration are the program's own: take their rows as they were shipped"
            detail = f"the row of {action} says of an act of administration what is not so: {', '.join(odd)}"
            raise Malformed("gate.act", detail, hint=hint, pointer=pointer)
        if action in ACTS:
            _check_parameters(action, row.get("parameters"), pointer_to(pointer, "parameters"))


def _check_parameters(action: str, schema: Any, pointer: str) -> None:
    """An act that is permitted can be carried out: its schema wants what it needs, and knows nothing else."""
    needed = set(ACTS[action].parameters.model_fields)
    said = schema if isinstance(schema, Mapping) else {}
    known, required = said.get("properties"), said.get("required")
    if not (isinstance(known, Mapping) and isinstance(required, list | tuple) and needed <= {*map(str, required)}):
        detail = f"the parameters of {action} require {', '.join(sorted(needed))}"
        raise Malformed("gate.act", detail, pointer=pointer)
    if known.keys() - needed:
        detail = f"{action} has no parameter {min(known.keys() - needed)}"
        raise Malformed("gate.act", detail, pointer=pointer)


def _check_counters(data: Mapping[str, Any]) -> None:
    """A counter says what it counts: an action, by whom or what, in which window, and where the amount stands."""
    counters = data.get("counters", {})
    for name, row in counters.items() if isinstance(counters, Mapping) else [("", counters)]:
        if not (isinstance(row, Mapping) and _is_counter(row)):
            detail = f"{name} is no counter: action, by (agent, target or all), window (utc_day or seconds), amount"
            raise Malformed("gate.counter", detail, pointer=pointer_to("/counters", name))


def _is_counter(row: Mapping[str, Any]) -> bool:
    action, by, window, amount = (row.get(name, "") for name in ("action", "by", "window", "amount"))
    if not isinstance(window, Mapping) or len(window) != 1 or row.keys() - {"action", "by", "window", "amount"}:
        return False
    seconds = window.get("seconds")
    bounded = window.get("utc_day") is True or (type(seconds) is int and 1 <= seconds <= LONGEST)
    return bounded and by in ("agent", "target", "all") and isinstance(action, str) and isinstance(amount, str)


def _check_tiers(node: Any, pointer: str) -> None:
    """No number of a tier is beyond what can be carried out: every answer of that tier would be none."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            _check_tiers(child, pointer_to(pointer, key))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _check_tiers(child, pointer_to(pointer, index))
    elif isinstance(node, int | float) and not 0 <= node <= LONGEST:
        raise Malformed(
            "gate.tier", f"a tier holds {node}, where at most {LONGEST} can be carried out", pointer=pointer
        )


def _check_limits(data: Mapping[str, Any]) -> None:
    """Numbers that may change lie under one key: data beside it could stand in for a rule."""
    policies = data.get("policies", {})
    rows = policies.items() if isinstance(policies, Mapping) else [("", policies)]
    for policy, row in rows:
        if not isinstance(row, Mapping) or row.keys() != {"limits"}:
            raise Malformed("gate.limits", f"policies/{policy}/data.json may hold `limits` and nothing else")
        _check_names(row["limits"], f"/policies/{policy}/limits")


def _check_names(node: Any, pointer: str) -> None:
    """Names of limits are read by those who approve them: each character is one that can be seen."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            if not key.isprintable():
                raise Malformed("gate.limits", f"{key!a} holds what cannot be printed", pointer=pointer)
            _check_names(child, pointer_to(pointer, key))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _check_names(child, pointer_to(pointer, index))


def _check_schemas(node: Any, pointer: str) -> None:
    """No schema fetches another one."""
    if isinstance(node, Mapping):
        if found := _REFERENCES & node.keys():
            raise Malformed("gate.schema_ref", f"a schema of the catalogue holds {min(found)}", pointer=pointer)
        for key, child in node.items():
            _check_schemas(child, f"{pointer}/{key}")
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _check_schemas(child, f"{pointer}/{index}")
