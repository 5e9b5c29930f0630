"""Decision tables: a row names only what matters, and whatever is not what it looks like is refused with its line."""

import json
import shutil

import pytest

from magistrate.core.errors import Malformed
from magistrate.policy import source, strict_yaml
from magistrate.policy.cases import judged
from magistrate.policy.tables import tables
from tests.support.rego_tools import REGO

HERE = {
    "catalogue": {
        "actions": {
            "refund.create": {"parameters": {"properties": {"amount": {"type": "integer"}, "tags": {"type": "array"}}}},
            "mail.send": {"parameters": {"properties": {"quick": {"type": "boolean"}}}},
        },
        "targets": {"refunds-ledger": {}, "outbound-mail": {}},
    },
    "tiers": {"low": {}},
    "counters": {"refunded_today": {"action": "refund.create"}},
    "magistrate": {"constraints": {"kinds": {"max_amount": {"type": "integer"}, "domains": {"type": "strings"}}}},
}
ROW = "{name: a, action: refund.create, target: refunds-ledger, expect: {outcome: allow}}"


def _read(tmp_path, text, name="cases.yaml"):
    folder = tmp_path / "policies" / "refunds"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables(tmp_path, HERE)


REFUSED = {
    "not YAML": ("cases: [", "table.yaml", ":1"),
    "a tab": ("cases:\n\t- 1", "table.yaml", ":2"),
    "not UTF-8": (b"cases: \xff", "table.yaml", ""),
    "no cases": ("base: {}", "table.empty", ""),
    "cases that are no list": ("cases: {a: 1}", "table.empty", ""),
    "no rows": ("cases: []", "table.empty", ""),
    "a third part": (f"cases: [{ROW}]\nrows: []", "table.column", ":2"),
    "a row that is a word": ("cases: [a]", "table.value", ":1"),
    "an unknown column": (f"cases:\n  - {ROW[:-1]}, paramters: {{}}}}", "table.column", ":2"),
    "an unknown column of expect": (ROW.join(["cases: [", "]"]).replace("outcome:", "outcme:"), "table.column", ":1"),
    "no name": ("cases: [" + ROW.replace("name: a, ", "") + "]", "table.column", ":1"),
    "no outcome": ("cases: [{name: a, action: refund.create, target: refunds-ledger, expect: {}}]", "table.column", ""),
    "an outcome that is none": ("cases: [" + ROW.replace("allow", "permit") + "]", "table.value", ":1"),
    "a fact that is a text": (f'cases: [{ROW[:-1]}, facts: {{refunded_today: "1"}}}}]', "table.value", ":1"),
    "a fact below 0": (f"cases: [{ROW[:-1]}, facts: {{refunded_today: -1}}}}]", "table.value", ":1"),
    "a fact nobody counts": (f"cases: [{ROW[:-1]}, facts: {{refunded_tody: 1}}}}]", "table.fact", ":1"),
    "an unknown action": ("cases: [" + ROW.replace("refund.create", "refund.creat") + "]", "table.action", ":1"),
    "no action": ("cases: [" + ROW.replace("action: refund.create, ", "") + "]", "table.action", ":1"),
    "an unknown target": ("cases: [" + ROW.replace("refunds-ledger", "refund-ledger") + "]", "table.target", ":1"),
    "an unknown tier": ("cases: [" + ROW.replace("allow", "allow, tier: lowest") + "]", "table.tier", ":1"),
    "an unknown constraint": (
        "cases: [" + ROW.replace("allow", "allow, constraints: {max_amont: 1}") + "]",
        "table.constraint",
        ":1",
    ),
    "two rows of one name": (f"cases:\n  - {ROW}\n  - {ROW}", "table.name", ":3"),
    "a key twice": ("cases: [" + ROW.replace("{name: a", "{name: b, name: a") + "]", "table.twice", ":1"),
    "an anchor": (f"base: &b {{}}\ncases: [{ROW}]", "table.yaml", ":1"),
    "an alias": (f"base: {{parameters: &p {{}}}}\ncases: [{ROW[:-1]}, parameters: *p}}]", "table.yaml", ":1"),
    "a tag": (f"base: !!python/object:os.system {{}}\ncases: [{ROW}]", "table.yaml", ":1"),
    "a merge key": (f"cases: [{ROW[:-1]}, <<: {{}}}}]", "table.lookalike", ":1"),
    "a second document": (f"cases: [{ROW}]\n---\nx", "table.yaml", ""),
    "a name that is a number": ("cases: [" + ROW.replace("name: a", "name: a, 1: 2") + "]", "table.yaml", ":1"),
    "a demand without its number": (
        "cases: [" + ROW.replace("allow", "ask, approvals: [finance-lead]") + "]",
        "table.value",
        ":1",
    ),
    "a time without its zone": (f'cases: [{ROW[:-1]}, now: "2026-03-25 12:00"}}]', "table.value", ":1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_with_its_line(tmp_path, name):
    text, code, line = REFUSED[name]

    with pytest.raises(Malformed) as refused:
        _read(tmp_path, text)

    assert refused.value.code == code, refused.value
    assert f"policies/refunds/cases.yaml{line}" in refused.value.detail


@pytest.mark.parametrize(
    "word",
    [
        "no",
        "No",
        "NO",
        "yes",
        "on",
        "off",
        "y",
        "N",
        "True",
        "FALSE",
        "Null",
        "~",
        "012",
        "-012",
        "0o17",
        "0x1F",
        "1_000",
        "12:30:00",
        "2026-03-25",
        ".5",
        "5.",
        "1e3",
        "+5",
        ".inf",
        ".NaN",
        "=",
        "<<",
        "2026-03-25T12:00:00Z",
        "",
    ],
)
def test_a_word_that_another_yaml_reads_otherwise_is_refused_unless_it_is_quoted(word):
    with pytest.raises(Malformed) as refused:
        strict_yaml.load(f"a: {word}\n".encode(), "t.yaml")

    assert refused.value.code == "table.lookalike"
    assert json.dumps(word) in refused.value.hint
    assert strict_yaml.load(f"a: {json.dumps(word)}\n".encode(), "t.yaml")[0] == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("null", None),
        ("0", 0),
        ("-7", -7),
        ("1.50", 1.5),
        ("2.4.1", "2.4.1"),
        ("A-1", "A-1"),
        ("a b", "a b"),
    ],
)
def test_a_word_that_every_yaml_reads_alike_is_taken(word, value):
    assert strict_yaml.load(f"a: [{word}]\n".encode(), "t.yaml")[0] == {"a": [value]}


def test_a_table_nested_without_end_is_refused():
    with pytest.raises(Malformed, match="deeper"):
        strict_yaml.load(b"[" * 40 + b"]" * 40, "t.yaml")


@pytest.mark.parametrize(
    ("word", "near"), [("paramters: {}", "parameters"), ("proposer: {stat: x}", "state"), ("approval: []", "approvals")]
)
def test_a_column_that_does_not_exist_is_told_with_its_neighbour(tmp_path, word, near):
    with pytest.raises(Malformed) as refused:
        _read(tmp_path, f"cases: [{ROW[:-1]}, {word}}}]")

    assert f"`{near}`" in refused.value.hint


def test_a_sheet_names_its_proposer_with_and_without_more(tmp_path):
    text = "name,action,target,proposer,proposer.state,proposer.roles,expect.outcome\n"

    (table,) = _read(tmp_path, text + 'a,mail.send,outbound-mail,bot,quarantined,"x, y",deny\n', "cases.csv")

    (proposer,) = (case.proposer for case in table.cases)
    assert (proposer.id, proposer.state, proposer.roles) == ("bot", "quarantined", ("x", "y"))


HEAD = "name,action,target,parameters.amount,parameters.tags,facts.refunded_today,approvals,expect.outcome,expect.reasons,expect.constraints.domains\n"
CSV_REFUSED = {
    "semicolons": (HEAD.replace(",", ";"), "table.csv"),
    "a column twice": (HEAD.replace("target", "action"), "table.twice"),
    "a cell too many": (HEAD + "a,refund.create,refunds-ledger,1,,,,allow,,,\n", "table.csv"),
    "an unknown column": (HEAD.replace("approvals", "aprovals") + "a,refund.create,refunds-ledger,1,,,x: y,allow,,\n", "table.column"),
    "a number that is none": (HEAD + 'a,refund.create,refunds-ledger,"5,000",,,,allow,,\n', "table.value"),
    "a number with a leading zero": (HEAD + "a,refund.create,refunds-ledger,007,,,,allow,,\n", "table.value"),
    "an approval without a role": (HEAD + "a,refund.create,refunds-ledger,1,,,olivia,allow,,\n", "table.value"),
    "an unknown action": (HEAD + "a,refund.creat,refunds-ledger,1,,,,allow,,\n", "table.action"),
    "no rows": (HEAD, "table.empty"),
    "an open quote": (HEAD + '"a,refund.create\n', "table.csv"),
    "a column that is two": ("name,parameters,parameters.amount\na,1,2\n", "table.column"),
    "a misspelt column": ("name,action,target,expect.outcom\na,mail.send,outbound-mail,allow\n", "table.column"),
    "a misspelt place": ("name,action,taget,expect.outcome\na,mail.send,outbound-mail,allow\n", "table.column"),
    "a flag that is none": ("name,action,target,parameters.quick,expect.outcome\na,mail.send,outbound-mail,yes,allow\n", "table.value"),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV_REFUSED)
def test_a_sheet_that_is_not_what_it_looks_like_is_refused(tmp_path, name):
    text, code = CSV_REFUSED[name]

    with pytest.raises(Malformed) as refused:
        _read(tmp_path, text, "cases.csv")

    assert refused.value.code == code, refused.value
    assert "policies/refunds/cases.csv" in refused.value.detail


def test_the_cells_of_a_sheet_are_read_by_the_catalogues_types(tmp_path):
    row = 'a,refund.create,refunds-ledger,5000,"x, y",7,"olivia: lead, dba; sam: lead",ask,"b.c, d.e",none\n'

    (table,) = _read(tmp_path, b"\xef\xbb\xbf" + f"# a remark\n\n{HEAD}{row}".encode(), "cases.csv")

    (case,) = table.cases
    assert case.parameters == {"amount": 5000, "tags": ["x", "y"]}
    assert case.facts == {"refunded_today": 7}
    assert [(voice.operator, voice.roles) for voice in case.approvals] == [
        ("olivia", ("lead", "dba")),
        ("sam", ("lead",)),
    ]
    assert case.expect.reasons == ("b.c", "d.e")
    assert case.expect.constraints == {"domains": []}
    assert table.lines == (4,)


# -- asked ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here():
    return source.data(REGO)


def _judge(binary, here, tmp_path, text):
    folder = tmp_path / "policies" / "refunds"
    folder.mkdir(parents=True)
    (folder / "cases.yaml").write_text(text)
    found = tables(tmp_path, here)
    return judged(binary, REGO, here, [(table, case) for table in found for case in table.cases])


BASE = "base: {action: refund.create, target: refunds-ledger, parameters: {order: A-1, amount: 1, currency: EUR}}\ncases:\n"


def test_the_shipped_tables_are_what_the_shipped_policies_decide(binary, here):
    rows = [(table, case) for table in tables(REGO, here) for case in table.cases]

    assert {table.policy for table, _ in rows} >= {"refunds", "deploys"}
    assert [(row.name, row.cells) for row in judged(binary, REGO, here, rows) if not row.passed] == []


@pytest.mark.parametrize(
    ("expect", "column", "expected", "actual"),
    [
        ("{outcome: deny}", "outcome", "deny", "ask"),
        ("{outcome: ask, tier: T2}", "tier", "T2", "T1"),
        ("{outcome: ask, reasons: [refunds.any]}", "reasons", "refunds.any", "refunds.any; refunds.large"),
        ("{outcome: ask, approvals: none}", "approvals", "none", "1 of dba, finance-lead, release-manager, security-lead"),
        ("{outcome: ask, wanted: [2 of dba]}", "wanted", "2 of dba", "1 of dba, finance-lead, release-manager, security-lead"),
        ("{outcome: ask, ttl: 301}", "ttl", "301", "300"),
        ("{outcome: ask, uses: 9}", "uses", "9", "1"),
        ("{outcome: ask, constraints: {max_amount: 5000}}", "constraints.max_amount", "5000", "7501"),
        ("{outcome: ask, constraints: {max_rows: 1}}", "constraints.max_rows", "1", "none"),
        (
            "{outcome: ask, approvals: [{count: 1, roles: [dba, finance-lead, release-manager, security-lead], proof: webauthn}]}",
            "approvals.proof",
            "webauthn",
            "ed25519",
        ),
    ],
)  # fmt: skip
def test_a_cell_that_came_out_otherwise_is_told_with_what_spoke(
    binary, here, tmp_path, expect, column, expected, actual
):
    (row,) = _judge(binary, here, tmp_path, f"{BASE}  - {{name: a, parameters: {{amount: 7501}}, expect: {expect}}}\n")

    assert not row.passed
    assert [(cell.column, cell.expected, cell.actual) for cell in row.cells] == [(column, expected, actual)]
    assert row.facts == ("parameters.amount = 7501",)
    assert "refunds.large: Above the small-refund limit" in row.spoke
    assert (row.file, row.line) == ("policies/refunds/cases.yaml", 3)


def test_a_row_of_another_action_inherits_no_parameters(binary, here, tmp_path):
    row = "  - {name: a, action: batch.run, target: batch-host, parameters: {seconds: 1}, expect: {outcome: deny, reasons: [decision.parameters]}}\n"

    (judged_row,) = _judge(binary, here, tmp_path, BASE + row)

    assert not any("order" in reason for reason in judged_row.spoke)


def test_a_row_says_nothing_where_the_base_says_something(binary, here, tmp_path):
    base = (
        "base: {action: refund.create, target: refunds-ledger, parameters: {order: A-1, amount: 7501, currency: EUR},"
        " approvals: [{operator: frieda, roles: [finance-lead]}], proposer: {id: bot, owner: frieda}}\ncases:\n"
    )
    rows = [
        "{name: nobody counts who is the owner, expect: {outcome: ask}}",
        "{name: another owner, proposer: {owner: olga}, expect: {outcome: allow}}",
        "{name: and no approval, proposer: {owner: olga}, approvals: [], expect: {outcome: ask}}",
        "{name: an inactive one, proposer: {state: suspended}, expect: {outcome: deny, reasons: [decision.proposer]}}",
    ]

    found = _judge(binary, here, tmp_path, base + "".join(f"  - {row}\n" for row in rows))

    assert [(row.name, row.cells) for row in found if not row.passed] == []


def test_another_policys_reasons_are_its_own_tables_matter(binary, here, tmp_path):
    row = "  - {name: a, expect: {outcome: allow, reasons: [refunds.any]}}\n"
    folder = shutil.copytree(REGO, tmp_path / "rego")
    other = (REGO / "policies/batch/batch.rego").read_text().split("# METADATA\n# title: The batch takes long")[0]
    other = other.replace('"batch.run"', '"refund.create"').replace(" if _seconds", "").replace("batch", "other")
    (folder / "policies/other").mkdir()
    (folder / "policies/other/other.rego").write_text(other.replace("import data.policies.other.limits\n", ""))
    (folder / "policies/refunds/cases.yaml").write_text(
        BASE + row + row.replace("name: a", "name: b").replace("any]", "any, other.any]")
    )

    rows = [(table, case) for table in tables(folder, here) if table.policy == "refunds" for case in table.cases]

    assert [(judged_.name, judged_.cells) for judged_ in judged(binary, folder, here, rows) if not judged_.passed] == []


def test_an_act_of_administration_is_an_operators_about_its_subject(binary, here, tmp_path):
    row = (
        "cases:\n  - {name: a, action: agent.release, target: installation, parameters: {agent: deploy-bot},"
        " proposer: {roles: [admin]}, expect: {outcome: ask, tier: A, reasons: [administration.any]}}\n"
    )

    (judged_row,) = _judge(binary, here, tmp_path, row)

    assert judged_row.passed, judged_row


def test_a_question_that_ends_in_an_error_fails_its_own_row_alone(binary, tmp_path):
    from tests.policy.trees import DATA, DECISION, tree

    shape = DECISION.replace("package magistrate.decision", "package magistrate")
    answer = (
        'decision := {"terms": {"tier": "", "requirement": {"all_of": []}}, '
        '"standing": {"outcome": "allow", "reasons": [], "wanted": [], "issue": {"constraints": {}}}} '
        "if to_number(input.intent.parameters.x) > 0\n"
    )
    folder = tree(tmp_path, {"magistrate/decision/decision.rego": f"{shape.split('outcome', maxsplit=1)[0]}{answer}"})
    text = "cases:\n" + "".join(
        f'  - {{name: x is {x}, action: refund.create, target: t, parameters: {{x: "{x}"}}, expect: {{outcome: allow}}}}\n'
        for x in ("1", "zz", "2", "0")
    )
    (folder / "policies/refunds/cases.yaml").write_text(text)
    world = {**DATA, "catalogue": {**DATA["catalogue"], "targets": {"t": {}}}}
    rows = [(table, case) for table in tables(folder, world) for case in table.cases]

    found = {row.name.split()[-1]: row for row in judged(binary, folder, world, rows)}

    assert [x for x, row in found.items() if row.passed] == ["1", "2"]
    assert "to_number" in found["zz"].cells[0].actual
    assert "magistrate/decision/decision.rego:" in found["zz"].cells[0].actual
    assert found["0"].cells[0].actual == "no answer"


def test_a_number_that_no_question_can_hold_is_refused(binary, here, tmp_path):
    with pytest.raises(Malformed) as refused:
        _judge(
            binary,
            here,
            tmp_path,
            f"{BASE}  - {{name: a, parameters: {{amount: 9007199254740993}}, expect: {{outcome: deny}}}}\n",
        )

    assert refused.value.code == "table.value"
    assert "cases.yaml:3" in refused.value.detail
