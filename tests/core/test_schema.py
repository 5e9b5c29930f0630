"""The schema that types `input` for policies is the one the models make, and it catches what it is for."""

import json
import re
import subprocess

from magistrate.core import schema
from tests.support import rego_tools

SCHEMA = rego_tools.REGO / "schemas" / "input.json"


def checked(tmp_path, rule):
    policy = tmp_path / "policy.rego"
    policy.write_text(f"package typed\n\nx if {rule}\n")
    return subprocess.run(
        [rego_tools.opa(), "check", "--strict", "--schema", str(SCHEMA), str(policy)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shipped_schema_is_the_one_the_models_make():
    made = json.dumps(schema.input_schema(), indent=2, sort_keys=True) + "\n"

    assert SCHEMA.read_text() == made, "write rego/schemas/input.json from core.schema.input_schema()"


def test_a_field_that_exists_passes(tmp_path):
    assert checked(tmp_path, 'input.intent.action == "a"').returncode == 0


def test_a_misspelt_field_is_refused(tmp_path):
    ran = checked(tmp_path, 'input.intent.acton == "a"')

    assert ran.returncode != 0
    assert re.search("undefined ref", ran.stderr)


def test_a_misspelt_question_is_refused(tmp_path):
    assert checked(tmp_path, "input.intnt").returncode != 0


def test_a_wrong_type_is_refused(tmp_path):
    assert checked(tmp_path, 'startswith(input.now.unix, "1")').returncode != 0
