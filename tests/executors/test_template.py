"""A template and a scope make one call, or none: what a value could do to a call, it cannot."""

import asyncio
from types import MappingProxyType
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core.errors import Malformed, Refused
from magistrate.executors.secret import Secret
from magistrate.executors.template import CommandCall, HttpCall, fill

CONTEXT = {
    "action": "service.deploy",
    "target": {"": "api-gateway-prod", "name": "api-gateway", "services": ["api-gateway", "web"]},
    "parameters": {
        "version": "2.4.1",
        "count": 3,
        "ratio": 0.5,
        "force": False,
        "body": {"a": [1, {"from": "/action"}]},
    },
    "execution_id": "exe-1",
    "before": {"fleet": {"services": {"api-gateway": {"version": "2.4.0"}}}},
}
HTTP = {
    "kind": "http",
    "method": "POST",
    "base": "http://fleet.internal",
    "path": ["services", {"from": "/target/name"}],
}
COMMAND = {"kind": "command", "argv": ["/bin/echo", {"from": "/parameters/version"}]}


def http(**changes) -> dict:
    return HTTP | changes


def command(*argv, **changes) -> dict:
    return COMMAND | {"argv": ["/bin/echo", *argv]} | changes


def given_value(value, **more) -> dict:
    return CONTEXT | {"parameters": {"x": value}} | more


def test_an_http_template_whole():
    template = http(
        path=["services", {"from": "/target/name"}, "deploy"],
        query={"by": {"from": "/execution_id"}, "n": {"from": "/parameters/count"}, "dry": False},
        json={
            "version": {"from": "/parameters/version"},
            "token": {"secret": "deploy"},
            "list": [{"from": "/target"}, 1, None],
        },
        headers={"Authorization": {"secret": "fleet-token", "prefix": "Bearer "}, "X-Kind": "deploy"},
        timeout_seconds=5,
    )

    assert fill(template, CONTEXT) == HttpCall(
        method="POST",
        scheme="http",
        host="fleet.internal",
        port=80,
        path="/services/api-gateway/deploy",
        query="by=exe-1&dry=false&n=3",
        headers=(("Authorization", Secret("fleet-token", "Bearer ")), ("X-Kind", "deploy")),
        json={"version": "2.4.1", "token": Secret("deploy"), "list": ["api-gateway-prod", 1, None]},
        timeout_seconds=5.0,
    )


def test_a_command_template_whole():
    template = command(
        "--version", {"from": "/parameters/version"}, {"from": "/parameters/count"}, {"from": "/parameters/force"},
        {"from": "/parameters/ratio"}, {"from": "/target/services/1"},
        user="nobody", env={"PATH": "/bin", "TOKEN": {"secret": "t"}, "V": {"from": "/parameters/version"}}, timeout_seconds=9,
    )  # fmt: skip

    assert fill(template, CONTEXT) == CommandCall(
        argv=("/bin/echo", "--version", "2.4.1", "3", "false", "0.5", "web"),
        env=(("PATH", "/bin"), ("TOKEN", Secret("t")), ("V", "2.4.1")),
        user="nobody",
        timeout_seconds=9.0,
    )


def test_the_target_is_its_name_and_below_it_its_row():
    call = fill(http(json=[{"from": "/target"}, {"from": "/target/name"}, {"from": "/target/services"}]), CONTEXT)

    assert call.json == ["api-gateway-prod", "api-gateway", ["api-gateway", "web"]]


def test_a_rollback_reads_what_was_probed_before():
    template = http(json={"version": {"from": "/before/fleet/services/api-gateway/version"}})

    assert fill(template, CONTEXT).json == {"version": "2.4.0"}
    with pytest.raises(Refused):
        fill(template, {key: value for key, value in CONTEXT.items() if key != "before"})


def test_what_comes_from_the_scope_is_never_read_as_a_template():
    hostile = {"from": "/action", "deep": [{"secret": "fleet-token"}]}
    call = fill(http(json={"data": {"from": "/parameters/x"}}), given_value(hostile))
    assert call.json == {"data": hostile}

    call = fill(http(json={"data": {"from": "/parameters/x"}}), given_value({"secret": "fleet-token"}))
    assert not isinstance(call.json["data"], Secret)

    with pytest.raises(Refused):
        fill(command({"from": "/parameters/x"}), given_value({"from": "/action"}))


def test_read_only_views_are_read_like_plain_values():
    context = MappingProxyType(given_value(MappingProxyType({"a": (1, 2)})))

    assert fill(http(json={"from": "/parameters/x/a/1"}), context).json == 2


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a/b", "/", "..\\x", "\\", "a\0", "a\nb", "\x7f", "\x85", "a\r\nHost: x"]
)
def test_a_value_that_would_not_be_one_path_segment_is_refused(value):
    with pytest.raises(Refused) as refused:
        fill(http(path=["a", {"from": "/parameters/x"}]), given_value(value))
    assert (refused.value.code, refused.value.pointer) == ("executor.value", "/path/1")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a b", "/a%20b"),
        ("a?b#c", "/a%3Fb%23c"),
        ("%2e%2e", "/%252e%252e"),
        ("%2f", "/%252f"),
        ("a;b=c&d", "/a%3Bb%3Dc%26d"),
        ("ü", "/%C3%BC"),
        ("...", "/..."),
        (7, "/7"),
        (True, "/true"),
    ],
)
def test_a_path_segment_is_encoded(value, path):
    assert fill(http(path=[{"from": "/parameters/x"}]), given_value(value)).path == path


@given(st.text())
def test_whatever_the_text_the_path_has_as_many_segments_as_the_template(text):
    try:
        call = fill(http(path=["a", {"from": "/parameters/x"}, "b"]), given_value(text))
    except Refused:
        return
    assert [unquote(part) for part in call.path.split("/")] == ["", "a", text, "b"]
    assert call.path.isascii()
    assert not set(call.path) & set("?# \r\n")


@given(st.text())
def test_whatever_the_text_the_query_has_as_many_values_as_the_template(text):
    try:
        call = fill(http(query={"q": {"from": "/parameters/x"}, "z": "1"}), given_value(text))
    except Refused:
        return
    name, _, value = call.query.split("&")[0].partition("=")
    assert (name, unquote(value), call.query.count("&"), call.query.count("=")) == ("q", text, 1, 2)


@given(st.one_of(st.text(), st.integers(-(2**53) + 1, 2**53 - 1), st.booleans()))
def test_whatever_the_value_it_is_one_argument_and_no_option(value):
    try:
        call = fill(command({"from": "/parameters/x"}), given_value(value))
    except Refused:
        return
    assert len(call.argv) == 2
    assert not call.argv[1].startswith("-")
    assert "\0" not in call.argv[1]


@pytest.mark.parametrize("value", ["-rf", "-", "--output=/etc/passwd", -1])
def test_a_value_that_begins_with_a_dash_is_refused_unless_the_row_allows_it(value):
    with pytest.raises(Refused) as refused:
        fill(command({"from": "/parameters/x"}), given_value(value))
    assert refused.value.code == "executor.value"
    assert str(value) not in str(refused.value)

    assert fill(command({"from": "/parameters/x"}, allow_dash=True), given_value(value)).argv[1] == str(value)
    assert fill(command("-n"), CONTEXT).argv[1] == "-n"  # the row's own words may


@pytest.mark.parametrize("value", [{}, {"a": 1}, [], ["a"], None])
@pytest.mark.parametrize("template", [
    http(path=[{"from": "/parameters/x"}]), http(query={"q": {"from": "/parameters/x"}}), command({"from": "/parameters/x"}),
    command(env={"X": {"from": "/parameters/x"}}),
])  # fmt: skip
def test_only_a_scalar_fills_what_holds_one_text(template, value):
    with pytest.raises(Refused):
        fill(template, given_value(value))


@pytest.mark.parametrize("pointer", [
    "/parameters/absent", "/parameters/version/deeper", "/target/absent", "/target/services/2", "/target/services/-1",
    "/target/services/one", "/parameters/count/0", "/target/services/²",
])  # fmt: skip
def test_a_missing_value_is_refused(pointer):
    with pytest.raises(Refused) as refused:
        fill(http(json={"from": pointer}), CONTEXT)
    assert refused.value.code == "executor.value"


@pytest.mark.parametrize("pointer", [
    "", "/", "parameters/version", "/other", "/parameters/", "/target/", "//x", "/parameters//x", "/a~1b", "/~0", 1, None,
    ["/action"], {"from": "/action"}, "/claims/reason", "/parameters/version/",
])  # fmt: skip
def test_a_pointer_that_is_none_is_refused(pointer):
    with pytest.raises(Malformed) as refused:
        fill(http(json={"from": pointer}), CONTEXT)
    assert (refused.value.code, refused.value.pointer) == ("executor.template", "/json")


@pytest.mark.parametrize("base", [
    "http://fleet.internal/", "http://fleet.internal/a", "http://user@fleet.internal", "http://user:pw@fleet.internal",
    "http://fleet.internal?x", "http://fleet.internal#x", "ftp://fleet.internal", "fleet.internal", "//fleet.internal",
    "http://", "http://a b", "http://a\n", "http://a:", "http://a:0", "http://a:65536", "http://a:80:80", "HTTP://a",
    "http://a.", "http://-a", "http://a_b", "http://ü.internal", "http://[::1", "http://a\\@b", "", None, 7,
    {"from": "/parameters/x"},
])  # fmt: skip
def test_a_base_is_a_literal_host(base):
    with pytest.raises(Malformed) as refused:
        fill(http(base=base), given_value("http://evil"))
    assert refused.value.pointer == "/base"


@pytest.mark.parametrize(("base", "host", "port"), [
    ("http://a", "a", 80), ("https://A.b-c", "a.b-c", 443), ("http://127.0.0.1:8080", "127.0.0.1", 8080), ("https://[::1]:99", "::1", 99),
])  # fmt: skip
def test_what_a_base_may_be(base, host, port):
    call = fill(http(base=base), CONTEXT)

    assert (call.host, call.port) == (host, port)


@pytest.mark.parametrize(("template", "pointer"), [
    ({}, "/kind"), ({"kind": "builtin"}, "/kind"), ({"kind": "none"}, "/kind"), ({"kind": "sql"}, "/kind"),
    (http(extra=1), "/extra"), (http(argv=[]), "/argv"), (http(verify=False), "/verify"), (http(proxy="http://x"), "/proxy"),
    (http(method="get"), "/method"), (http(method={"from": "/action"}), "/method"), (http(method="CONNECT"), "/method"),
    ({"kind": "http", "base": "http://a"}, "/method"), (http(method="GET", json={}), "/json"),
    (http(path="services"), "/path"), (http(path={"from": "/action"}), "/path"), (http(query=["a"]), "/query"),
    (http(headers=[]), "/headers"), (http(timeout_seconds=0), "/timeout_seconds"), (http(timeout_seconds=-1), "/timeout_seconds"),
    (http(timeout_seconds=3601), "/timeout_seconds"), (http(timeout_seconds="5"), "/timeout_seconds"),
    (http(timeout_seconds=True), "/timeout_seconds"), (http(timeout_seconds=float("nan")), "/timeout_seconds"),
    (http(headers={"Host": "evil"}), "/headers/Host"), (http(headers={"content-length": "1"}), "/headers/content-length"),
    (http(headers={"Idempotency-Key": "x"}), "/headers/Idempotency-Key"), (http(headers={"Transfer-Encoding": "chunked"}), "/headers/Transfer-Encoding"),
    (http(headers={"a b": "x"}), "/headers/a b"), (http(headers={"a\r\nb": "x"}), "/headers/a\r\nb"), (http(headers={"": "x"}), "/headers/"),
    (http(headers={"X": 1}), "/headers/X"), (http(headers={"X": "ü"}), "/headers/X"), (http(headers={"X": {"from": "/action"}}), "/headers/X"),
    (http(headers={"X": {"secret": "a", "suffix": "b"}}), "/headers/X"), (http(headers={"X": {"secret": "a", "prefix": "b\n"}}), "/headers/X"),
    (http(json={"from": "/action", "default": 1}), "/json"), (http(json={"a": [{"from": "/action", "to": "/x"}]}), "/json/a/0"),
    ({"kind": "command"}, "/argv/0"), (command(extra=1), "/extra"), (command(shell=True), "/shell"), (command(cwd="/"), "/cwd"),
    (COMMAND | {"argv": "ls -l"}, "/argv"), (COMMAND | {"argv": []}, "/argv/0"), (COMMAND | {"argv": ["ls"]}, "/argv/0"),
    (COMMAND | {"argv": [{"from": "/parameters/version"}]}, "/argv/0"), (COMMAND | {"argv": ["./ls"]}, "/argv/0"),
    (command(user=0), "/user"), (command(user={"from": "/action"}), "/user"), (command(allow_dash="yes"), "/allow_dash"),
    (command(env={"A=B": "x"}), "/env/A=B"), (command(env={"LD_PRELOAD": "x"}), "/env/LD_PRELOAD"), (command(env={"": "x"}), "/env/"),
    (command(env=["A=B"]), "/env"),
])  # fmt: skip
def test_a_template_that_says_what_we_do_not_know_is_refused(template, pointer):
    with pytest.raises(Malformed) as refused:
        fill(template, CONTEXT)
    assert (refused.value.code, refused.value.pointer) == ("executor.template", pointer)


@pytest.mark.parametrize("template", [
    http(path=[{"secret": "t"}]), http(query={"q": {"secret": "t"}}), command({"secret": "t"}),
    http(headers={"X": {"secret": ""}}), http(headers={"X": {"secret": "a b"}}), http(headers={"X": {"secret": 1}}),
    http(headers={"X": "a\r\nb"}), http(headers={"X": "a\0"}),
])  # fmt: skip
def test_a_secret_stands_only_in_headers_json_and_environment(template):
    with pytest.raises(Refused) as refused:
        fill(template, CONTEXT)
    assert refused.value.code == "executor.value"


def test_a_secret_parameter_becomes_the_secret_it_names():
    template = http(json={"key": {"from": "/parameters/x"}}, headers={"X-Key": {"from": "/parameters/x"}})

    call = fill(template, given_value("secret:team/key"), secret_parameters=["x"])

    assert call.json == {"key": Secret("team/key")}
    assert call.headers == (("X-Key", Secret("team/key")),)
    plain = fill(http(json={"key": {"from": "/parameters/x"}}), given_value("secret:team/key"))
    assert plain.json == {"key": "secret:team/key"}  # not marked: a text like any other


@pytest.mark.parametrize("value", ["hunter2", "secret:", "secret:a b", "Secret:a", 7, {"secret": "a"}, ["secret:a"]])
def test_a_secret_parameter_that_names_none_is_refused(value):
    with pytest.raises(Refused) as refused:
        fill(http(json={"key": {"from": "/parameters/x"}}), given_value(value), secret_parameters=["x"])
    assert "hunter2" not in str(refused.value)


def test_a_secret_parameter_does_not_fill_an_argument_or_a_url():
    for template in (command({"from": "/parameters/x"}), http(path=[{"from": "/parameters/x"}])):
        with pytest.raises(Refused):
            fill(template, given_value("secret:key"), secret_parameters=["x"])


def test_an_empty_path_is_the_root():
    assert fill(http(path=[]), CONTEXT).path == "/"


def test_no_body_is_not_an_empty_body():
    assert fill(http(), CONTEXT).json is None
    assert fill(http(json={}), CONTEXT).json == {}


def test_filling_needs_no_event_loop():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert fill(COMMAND, CONTEXT).argv == ("/bin/echo", "2.4.1")
