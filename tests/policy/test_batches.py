"""Many questions in one query get what each gets alone, whatever stands beside it."""

import asyncio
import json

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from magistrate.core import canonical
from magistrate.core.errors import NoAnswer
from magistrate.policy import batches
from magistrate.policy.batches import Batches
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar
from tests.policy import trees
from tests.policy.test_sidecar import alive

pytestmark = pytest.mark.asyncio(loop_scope="module")


# A document that answers by what it is asked: an object, nothing, null, a number, an error, two answers at once.
DECISION = """package magistrate

decision := {"echo": input.echo, "seen": _seen} if input.kind == "echo"

decision := null if input.kind == "null"

decision := 7 if input.kind == "number"

decision := {"n": to_number(input.echo)} if input.kind == "error"

decision := input.echo if input.kind == "echoed"

decision := {"one": 1} if input.kind == "conflict"

decision := {"two": 2} if input.kind == "conflict"

default _seen := "nothing"

_seen := _deep if _deep

_deep := input.echo.deep if input.kind == "echo"

access := {"zoned": [time.weekday(t) | some t in input.times], "clock": time.clock([input.times[0], input.zone])}
"""
FILES = {**trees.FILES, "/magistrate/decision/decision.rego": DECISION.encode()}
del FILES["/policies/refunds/refunds.rego"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def odd(binary):
    """A bundle of questions that err, and both ways of asking it."""
    made = Bundle.read(trees.packed(FILES))
    many, alone = Batches(binary, made, opas=1), Sidecar(binary, made, deadline=30.0)
    await many.start()
    await alone.start()
    yield many, alone
    await many.stop()
    await alone.stop()


async def plainly(sidecar, document, question):
    """What one question gets of an ordinary sidecar."""
    try:
        return (await sidecar.ask(document, question)).value
    except NoAnswer as none:
        return (none.code, none.detail)


def said(answer):
    return (answer.code, answer.detail) if isinstance(answer, NoAnswer) else answer


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"d": value}
    return value


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["echo", "echo", "echo", "null", "number", "error", "conflict", "echoed", "no such kind"])
questions = st.fixed_dictionaries({"kind": kinds, "echo": values | st.sampled_from(["1", "1.50", deep(59), deep(62)])})


@given(st.data())
async def test_a_batch_answers_as_each_question_alone(odd, data):
    many, alone = odd
    batch = data.draw(st.lists(questions, min_size=1, max_size=12))
    batch += data.draw(st.lists(st.sampled_from(batch), max_size=4))  # the same question twice is asked twice
    packed = [("decision", canonical.canonical(question)) for question in batch]
    assert [said(answer) for answer in await many.ask(packed)] == [await plainly(alone, *one) for one in packed]


@pytest.mark.parametrize("levels", [30, 31, 33, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 90])
async def test_an_answer_may_be_as_deep_in_a_batch_as_alone(odd, levels):
    many, alone = odd
    inner = b"{}"
    for level in range(levels):
        inner = b"[%b]" % inner if level % 2 else b'{"d":%b}' % inner
    asked = ("decision", b'{"echo":{"d":%b},"kind":"echoed"}' % inner)
    assert [said(answer) for answer in await many.ask([asked, asked])] == [await plainly(alone, *asked)] * 2


async def test_documents_keep_their_order_and_one_that_the_bundle_has_not_is_undefined(odd):
    many, _ = odd
    echo = ("decision", b'{"echo":%d,"kind":"echo"}')
    asked = [(echo[0], echo[1] % 1), ("verification", b"{}"), (echo[0], echo[1] % 2)]
    one, none, two = await many.ask(asked)
    assert (one["echo"], two["echo"], none.code) == (1, 2, "opa.undefined")


async def test_an_error_hurts_only_its_own_question(odd, monkeypatch):
    many, _ = odd
    asked = []
    ask_many = batches.ReplaySidecar.ask_many

    async def counted(self, questions):
        asked.append(len(questions))
        return await ask_many(self, questions)

    monkeypatch.setattr(batches.ReplaySidecar, "ask_many", counted)
    good = ("decision", b'{"echo":1,"kind":"echo"}')
    bad = ("decision", b'{"echo":"x","kind":"error"}')
    answers = await many.ask([*[good] * 20, bad, *[good] * 11])
    assert [isinstance(answer, NoAnswer) for answer in answers] == [False] * 20 + [True] + [False] * 11
    assert answers[20].code == "opa.eval_error"
    assert max(asked) == 32
    assert len(asked) < 12  # halves, not all of them one by one


async def test_what_together_is_more_than_a_request_carries_is_split(odd):
    many, alone = odd
    long = ("decision", canonical.canonical({"kind": "echoed", "echo": {"text": "x" * 700_000}}))
    assert await many.ask([long, long]) == [await plainly(alone, *long)] * 2


async def test_a_question_of_any_size_that_may_be_asked_is_asked(odd):
    many, alone = odd
    whole = canonical.MAX_RECORD - len(canonical.canonical({"kind": "number", "echo": ""}))
    fits = ("decision", canonical.canonical({"kind": "number", "echo": "x" * whole}))
    beyond = ("decision", fits[1].replace(b"x", b"xx", 1))
    got = await many.ask([fits, beyond, fits])
    assert [said(answer) for answer in got] == [await plainly(alone, *one) for one in (fits, beyond, fits)]
    assert got[1].code == "opa.question_too_large"


async def test_a_restarted_opa_is_asked_again(odd):
    many, _ = odd
    good = ("decision", b'{"echo":1,"kind":"echo"}')
    await many._sidecars[0].restart()
    assert (await many.ask([good] * 3))[2]["echo"] == 1


SLOW = """
_slow := count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); i + j > input.echo])

decision := {"slow": _slow} if input.kind == "slow"
"""


@pytest_asyncio.fixture(loop_scope="module")
async def slow(binary, monkeypatch):
    monkeypatch.setattr(batches, "SECONDS", 1.0)
    made = Bundle.read(trees.packed({**FILES, "/magistrate/decision/decision.rego": (DECISION + SLOW).encode()}))
    many = Batches(binary, made, opas=1)
    await many.start()
    yield many
    await many.stop()


LATE = ("decision", b'{"echo":1,"kind":"slow"}')
WELL = ("decision", b'{"echo":1,"kind":"echo"}')


async def test_a_bundle_that_is_always_late_is_asked_no_more(slow):
    codes = [said.code for said in await slow.ask([LATE] * 8)]
    assert codes == ["opa.timeout"] * batches.GIVE_UP + ["opa.given_up"] * (8 - batches.GIVE_UP)
    assert [said.code for said in await slow.ask([WELL] * 2)] == ["opa.given_up"] * 2


async def test_a_document_that_is_always_late_is_given_up_and_the_others_are_asked(slow, monkeypatch):
    other = ("access", canonical.canonical({"times": [0, 1], "zone": "UTC"}))
    late = await slow.ask([LATE, other] * 5)
    assert [said.code for said in late[::2]] == ["opa.timeout"] * batches.GIVE_UP + ["opa.given_up"] * 2
    assert len({json.dumps(said) for said in late[1::2]}) == 1

    asked, ask_many = [], batches.ReplaySidecar.ask_many

    def together(self, questions):
        asked.append([document for document, _ in questions])
        return ask_many(self, questions)

    monkeypatch.setattr(batches.ReplaySidecar, "ask_many", together)
    assert (await slow.ask([WELL, other, LATE, other]))[1::2] == [late[1]] * 2
    assert asked == [["access"] * 2], "nobody waits for it again, not in a batch either"


async def test_a_bundle_that_is_always_late_is_left_after_one_batch_and_a_few_questions(slow, monkeypatch):
    """Each waits as long as it may: halving the batch first would wait again at every step, and so would trying again."""
    asked = []
    ask, ask_many = batches.ReplaySidecar.ask, batches.ReplaySidecar.ask_many

    def alone(self, *one):
        asked.append(1)
        return ask(self, *one)

    def together(self, questions):
        asked.append(len(questions))
        return ask_many(self, questions)

    monkeypatch.setattr(batches.ReplaySidecar, "ask", alone)
    monkeypatch.setattr(batches.ReplaySidecar, "ask_many", together)

    await slow.ask([LATE] * batches.MOST)

    assert asked == [batches.MOST, *[1] * batches.GIVE_UP]


async def test_a_bundle_that_is_late_now_and_then_is_not_given_up(slow):
    answers = await slow.ask([LATE, WELL] * 4)
    assert [said["echo"] for said in answers[1::2]] == [1] * 4
    assert [said.code for said in answers[::2]] == ["opa.timeout"] * 4


async def test_the_path_of_a_replay_is_closed_on_a_live_sidecar_and_nothing_else_is_open_on_a_replays(binary, odd):
    many, alone = odd
    with pytest.raises(NoAnswer) as no:
        await alone._line.ask_many(b'{"decision":[]}')
    assert no.value.code == "opa.unauthorized"
    status, _ = await many._sidecars[0]._line._client._post(_url("/v1/data/canaries"), b'{"input":{}}')
    assert status == 401
    status, _ = await many._sidecars[0]._line._client._post(_url("/v1/data/magistrate_replay/answers"), b'{"input":{}}')
    assert status == 401  # not strict, without provenance


def _url(path):
    from yarl import URL

    return URL(f"http://opa{path}", encoded=True)


async def test_an_opa_that_does_not_start_leaves_none_running(binary, monkeypatch):
    made = Bundle.read(trees.packed({**FILES, "/magistrate/decision/decision.rego": b"package magistrate\n\nnonsense"}))
    many = Batches(binary, made, opas=2)
    with pytest.raises(Exception, match=r"opa\.start"):
        await many.start()
    assert many.pids == [0, 0]


async def test_who_stops_waiting_for_a_start_leaves_no_opa_running(binary, monkeypatch):
    many = Batches(binary, Bundle.read(trees.packed(FILES)), opas=2)
    ready, start = asyncio.Event(), batches.ReplaySidecar.start
    pids = []

    async def one_of_two(sidecar):
        if sidecar is many._sidecars[1]:
            await asyncio.Event().wait()
        await start(sidecar)
        pids.append(sidecar.pid)
        ready.set()

    monkeypatch.setattr(batches.ReplaySidecar, "start", one_of_two)
    starting = asyncio.create_task(many.start())
    await ready.wait()
    starting.cancel()
    await asyncio.wait({starting})

    assert starting.cancelled()
    assert (many.pids, [alive(pid) for pid in pids]) == ([0, 0], [False])


async def test_other_time_zones_change_nothing(binary, odd, tmp_path):
    _, alone = odd
    made = Bundle.read(trees.packed(FILES))
    (tmp_path / "zoneinfo").mkdir()
    zones = ("Pacific/Kiritimati", "America/St_Johns", "no/such")
    question = canonical.canonical({"times": [1_774_440_000_000_000_000 // 10**3, 0], "zone": "UTC"})
    expected = await plainly(alone, "access", question)
    assert json.dumps(expected).count('"') > 2
    for zone in zones:
        many = Batches(binary, made, opas=1, environment={"TZ": zone, "ZONEINFO": str(tmp_path / "zoneinfo")})
        await many.start()
        try:
            assert await many.ask([("access", question)] * 2) == [expected] * 2
        finally:
            await many.stop()
