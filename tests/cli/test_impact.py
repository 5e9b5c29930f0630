"""The forms of an impact: each tells loosened from tightened, and the record's own words are never markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from magistrate.cli import activating, impact_forms, say
from magistrate.cli.impact_words import NOTHING
from magistrate.core.looseness import RECORDED

HOSTILE = "<script>alert(1)</script> | [x](http://evil) `rm` \x1b[31m\u202e\n# head"
NONE = {"loosened": 0, "tightened": 0, "other": 0}


def said(**other):
    loose, tight = {**NONE, "loosened": 2}, {**NONE, "tightened": 3}
    return {
        "was": "sha256:" + "a" * 64,
        "now": "sha256:" + "b" * 64,
        "range": {"first": 0, "end": 84, "size": 84, "left_out": 0},
        "questions": 12,
        "reproduced": 12,
        "same": 7,
        "no_answer": 0,
        "loosened": 2,
        "tightened": 3,
        "other": 0,
        "uncovered": 2,
        "accepted": [],
        "skipped": {"erased": 1},
        "unread": 0,
        "transitions": [
            {"document": "decision", "was": "ask X1", "now": "allow X0", **loose},
            {"document": "decision", "was": "allow X0", "now": "deny", **tight},
        ],
        "unmoved": [{"document": "decision", "answer": "deny", "count": 7}],
        "rules": [
            {
                "code": "a.large",
                "policy": "policies.a",
                "title": HOSTILE,
                "was_at": "policies/a/a.rego:5",
                "now_at": "",
                "names": ["a.large", "policies.a.limits.small"],
                "uncovered": 2,
                **loose,
            },
            {
                "code": "b.new",
                "policy": "policies.b",
                "title": "New",
                "was_at": "",
                "now_at": "policies/b/b.rego:9",
                "names": ["b.new"],
                "uncovered": 0,
                **tight,
            },
            {
                "code": "tiers.X0.warrant.ttl",
                "policy": "",
                "title": "",
                "was_at": "",
                "now_at": "",
                "names": ["tiers.X0.warrant.ttl"],
                "uncovered": 0,
                **tight,
            },
        ],
        "data": [{"name": "policies.a.limits.small", "was": "5", "now": "10"}],
        "data_untold": 0,
        "unseen": [],
        "agents": [{"agent": HOSTILE, **loose}],
        "actions": [{"action": "a.do", **loose}],
        "heat": [
            {"action": "a.do", "was": "ask X1", "now": "allow X0", **loose},
            {"action": HOSTILE, "was": "allow X0", "now": "deny", **tight},
        ],
        "examples": [
            {
                "entry": 7,
                "leaf": "sha256:c",
                "intent_id": "int-7",
                "document": "decision",
                "agent": HOSTILE,
                "action": "a.do",
                "direction": "loosened",
                "was": "ask X1",
                "now": "allow X0",
                "fields": [],
                "because": ["a.large"],
            }
        ],
        **other,
    }


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_fetches_nothing_runs_nothing_and_shows_the_records_words_as_words():
    raw = impact_forms.FORMS["html"](said())
    page = Page()
    page.feed(raw)
    assert not {"script", "img", "link", "iframe", "object", "svg", "a", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in raw
    assert "@import" not in raw
    assert "<script>alert" not in raw
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert "alert(1)" in "".join(page.text)


def test_on_a_phone_every_row_of_a_wide_table_is_a_card_that_names_its_columns():
    raw = impact_forms.FORMS["html"](said())
    wide = [table for table in raw.split("<table")[1:] if "stack" in table.partition(">")[0]]
    heads = {table: re.findall(r"<th scope=col>([^<]+)", table.partition("</thead>")[0]) for table in wide}
    assert {"code", "changed data"} < set(next(said for said in heads.values() if "code" in said))
    for table in wide:
        for cell in re.findall(r"<td[^>]*>", table):
            named = re.fullmatch(r'<td data-head="(.+)">', cell)
            assert cell == "<td class=blank>" or named[1] in heads[table], cell
    assert all(len(said) > 2 for said in heads.values())
    assert raw.count("<table>") == 2  # of two columns


def test_no_form_says_of_the_record_that_it_was_asked():
    """Beside the answers on record one bundle is asked."""
    alone = {name: form(said(was=RECORDED)) for name, form in impact_forms.FORMS.items()}
    assert "asked of B; A is the answers on record" in alone["text"].splitlines()[0]
    assert "asked of `sha256:bbbbbbbbbbbbbbbb`, beside the answers on record;" in alone["markdown"]
    assert "asked of the bundle; its answers stand beside those on record." in alone["html"]
    assert "both" not in "".join(alone.values())


def test_json_is_what_was_said_and_nothing_in_it_moves_the_cursor():
    for raw in (impact_forms.FORMS["json"](hostile()), impact_forms.FORMS["sarif"](said())):
        assert all(c.isprintable() or c == "\n" for c in raw)
    assert json.loads(impact_forms.FORMS["json"](hostile())) == hostile()
    assert json.loads(say.json_of(ESCAPE + "\x7f\U000e0001é")) == ESCAPE + "\x7f\U000e0001é"
    assert "é" in say.json_of("é")


def test_the_heat_map_says_the_direction_by_a_shape_and_a_word():
    raw = impact_forms.FORMS["html"](said())
    heat = raw[raw.index('<table class="heat stack">') : raw.index("</table>")]
    assert "▲ 2 loosened" in heat
    assert "▼ 3 tightened" in heat
    assert heat.index("a.<wbr>do") < heat.index("alert(1)")  # what got looser stands first


def test_the_text_names_rule_line_limit_and_what_to_accept():
    text = impact_forms.FORMS["text"](said())
    assert "LOOSENED 2  ← a.large policies/a/a.rego:5 (gone)" in text
    assert "policies.a.limits.small 5 → 10" in text
    assert "tightened 3  ← b.new policies/b/b.rego:9 (new)" in text
    assert text.splitlines()[-1] == "2 loosened, 2 of them not accepted; if they are meant: --accept a.large"
    assert "\x1b" not in text
    assert re.search(r"^was ask +2 +0 +0$", text, re.MULTILINE)
    assert re.search(r"^was deny +0 +0 +7$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("other", "last"),
    [
        ({"loosened": 0, "uncovered": 0}, "nothing got looser"),
        ({"uncovered": 0, "accepted": ["a.large"]}, "2 loosened, all accepted by name"),
    ],
)
def test_what_passes_says_so(other, last):
    for form in ("text", "markdown"):
        assert impact_forms.FORMS[form](said(**other)).splitlines()[-1] == last


def test_every_form_for_people_says_which_part_of_the_record_was_looked_at():
    part = {"first": 40, "end": 84, "size": 90, "left_out": 5}
    words = "looked at entries 40 to 83 of 90; older ones were not looked at; 5 questions among them not asked"
    for form in ("text", "markdown", "html"):
        assert words in impact_forms.FORMS[form](said(range=part))
        assert "not looked at" not in impact_forms.FORMS[form](said())


def test_no_form_passes_a_change_that_no_answer_can_show():
    row = {"name": "counters.c", "was": '{"seconds":86400}', "now": '{"seconds":1}', "accepted": False}
    calm = {**NONE, "rules": [], "uncovered": 1, "unseen": [row], "data_untold": 7}
    text = impact_forms.FORMS["text"](said(**calm))
    assert 'NOT SEEN BY ANY ANSWER: counters.c {"seconds":86400} → {"seconds":1}' in text
    assert "policies.a.limits.small 5 → 10" in text  # no rule moved, and it is told all the same
    assert "7 more changed values" in text
    assert text.splitlines()[-1] == (
        "nothing on record got looser; 1 changed that no recorded answer can show, not accepted; "
        "if they are meant: --accept counters.c"
    )
    assert "1 changed that no recorded answer can show" in impact_forms.FORMS["markdown"](said(**calm)).splitlines()[0]
    assert '<p class="verdict bad"><strong>1 changed that no' in impact_forms.FORMS["html"](said(**calm))
    (run,) = json.loads(impact_forms.FORMS["sarif"](said(**calm)))["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("counters.c", "error")
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "counters/data.json"

    meant = said(**{**calm, "uncovered": 0, "accepted": ["counters.c"], "unseen": [{**row, "accepted": True}]})
    assert impact_forms.FORMS["text"](meant).splitlines()[-1] == "nothing on record got looser"
    (run,) = json.loads(impact_forms.FORMS["sarif"](meant))["runs"]
    assert run["results"][0]["level"] == "note"


def test_no_form_passes_what_was_not_compared():
    calm = {**NONE, "uncovered": 0, "skipped": {"changed": 3}, "unread": 3}
    text = impact_forms.FORMS["text"](said(**calm)).splitlines()[-1]
    assert text.startswith("NOT COMPARED: 3,")
    markdown = impact_forms.FORMS["markdown"](said(**calm)).splitlines()
    assert "3 entries or questions not compared" in markdown[0]
    assert markdown[-1].startswith("NOT COMPARED: 3,")
    html = impact_forms.FORMS["html"](said(**calm))
    assert '<p class="verdict bad"><strong>3 entries or questions were not compared' in html
    (run,) = json.loads(impact_forms.FORMS["sarif"](said(**calm)))["runs"]
    assert not run["invocations"][0]["executionSuccessful"]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["level"] == "error"


ESCAPE = "x\x1b[1A\x1b[2K\rnothing got looser\n\u202e\x9b2K"


def test_no_form_passes_where_nothing_was_compared():
    """A date that is mistyped leaves no question, and so nothing that could have got looser."""
    empty = said(**{**NONE, "uncovered": 0, "questions": 0})
    assert not impact_forms.passes(empty)
    assert impact_forms.passes(said(**{**NONE, "uncovered": 0, "questions": 1}))
    assert impact_forms.FORMS["text"](empty).splitlines()[-1] == NOTHING
    markdown = impact_forms.FORMS["markdown"](empty).splitlines()
    assert (markdown[0], markdown[-1]) == (f"### Policy impact: ⚠ {NOTHING}", NOTHING)
    assert f'<p class="verdict bad"><strong>{NOTHING}' in impact_forms.FORMS["html"](empty)
    (run,) = json.loads(impact_forms.FORMS["sarif"](empty))["runs"]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == NOTHING


def hostile():
    """An impact in which every name that a bundle or a record gives is hostile."""
    loose = {**NONE, "loosened": 2}
    places = {"was_at": ESCAPE, "now_at": ESCAPE}
    rule = {"code": ESCAPE, "policy": ESCAPE, "title": ESCAPE, **places, "names": [ESCAPE], "uncovered": 1, **loose}
    example = {**said()["examples"][0], "intent_id": ESCAPE, "because": [ESCAPE], "agent": ESCAPE, "was": ESCAPE}
    return said(
        rules=[rule],
        data=[{"name": ESCAPE, "was": ESCAPE, "now": ESCAPE}],
        transitions=[{"document": ESCAPE, "was": ESCAPE, "now": ESCAPE, **loose}],
        examples=[example],
        skipped={ESCAPE: 1},
    )


def test_no_name_of_a_bundle_or_a_record_moves_the_cursor_of_whoever_reads(capsys):
    activating.tell_impact(hostile())
    told = capsys.readouterr().err + impact_forms.FORMS["text"](hostile())
    assert "\\u001b[2K" in told
    assert all(c.isprintable() or c == "\n" for c in told)
    assert "nothing got looser" not in told.splitlines()


@pytest.mark.parametrize(
    "begins", ["**▲ 2 loosened** <img src=x> [x](http://evil) | `c`", "▼ <b>| [y](z)", "<img> | `q` [y](z) other"]
)
def test_words_of_the_record_that_look_like_our_own_marks_are_words(begins):
    row = {**NONE, "loosened": 1}
    text = impact_forms.FORMS["markdown"](
        said(
            agents=[{"agent": begins, **row}],
            rules=[{**said()["rules"][0], "title": begins, "code": begins, "names": [begins]}],
        )
    )
    assert not re.search(
        r"(?<!\\)[<`\[]", text.replace("`sha256:aaaaaaaaaaaaaaaa`", "").replace("`sha256:bbbbbbbbbbbbbbbb`", "")
    )
    assert "http://evil" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 7), line
    assert "| **▲ 1 loosened** |" in text  # what we mark ourselves stays


def test_markdown_keeps_its_tables_whatever_the_record_says():
    text = impact_forms.FORMS["markdown"](said())
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 7), line
    assert "<script>" not in text.replace("\\<", "")
    assert "](http" not in text.replace("\\]", "")
    assert "\n# head" not in text


def test_sarif_has_a_place_for_every_result_and_fails_only_on_what_nobody_accepted():
    log = json.loads(impact_forms.FORMS["sarif"](said()))
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    places = {
        row["ruleId"]: row["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for row in run["results"]
    }
    assert places == {
        "a.large": "policies/a/a.rego",
        "b.new": "policies/b/b.rego",
        "tiers.X0.warrant.ttl": "tiers/data.json",
    }
    assert {row["ruleId"]: row["level"] for row in run["results"]} == {
        "a.large": "error",
        "b.new": "note",
        "tiers.X0.warrant.ttl": "note",
    }
    assert all(run["tool"]["driver"]["rules"][row["ruleIndex"]]["id"] == row["ruleId"] for row in run["results"])
    covered = [{**row, "uncovered": 0} for row in said()["rules"]]
    accepted = json.loads(impact_forms.FORMS["sarif"](said(accepted=["policies.a.limits.small"], rules=covered)))
    assert {row["level"] for row in accepted["runs"][0]["results"]} == {"note"}
