"""The chaos suite can fail: each lie it looks for is told to it once."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import pytest

from app.protocol.usage import Usage
from app.record import Outcome, RunRecord, Step, Target
from app.upstream.fake_server import Asked, Ending
from tests.chaos import books
from tests.chaos.crowd import End, Request, judge
from tests.chaos.faults import Plan, Planned, Written, flaws, written

WHOLE = "w.calm.r1.7.1.3 w.calm.r1.7.2.3 w.calm.r1.7.3.3"
CUT = "w.calm.r1.7.1.3 w.calm.r1.7.2.3 "
GAP = "w.calm.r1.7.1.3 w.calm.r1.7.3.3"
MIXED = "w.calm.r1.7.1.3 w.wild.r1.8.2.3 w.wild.r1.8.3.3"
OTHERS = WHOLE.replace("r1", "r2")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def stream(
    text: str, *, reason: str | None = "stop", error: bool = False, done: bool = True
) -> bytes:
    events: list[object] = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    ]
    if reason:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    events.append({"error": {"message": "m"}} if error else {"choices": [], "usage": USAGE})
    lines = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def judged(raw: bytes, model: str = "httpx", status: int = 200) -> Request:
    request = Request("r1", model, stream=True, status=status)
    try:
        judge(request, {}, raw)
    except ValueError as error:
        request.flaws.append(str(error))
    return request


@pytest.mark.parametrize("text", [GAP, MIXED, OTHERS, f"{WHOLE} and more"])
def test_no_text_but_one_whole_answer_or_its_beginning_passes(text: str) -> None:
    with pytest.raises(ValueError, match=r"r1|mixed|words"):
        written(text, "r1")


def test_a_beginning_is_known_for_one() -> None:
    whole, cut = written(WHOLE, "r1"), written(CUT, "r1")
    assert whole == Written("calm", 7, is_whole=True)
    assert cut == Written("calm", 7, is_whole=False)


@pytest.mark.parametrize("text", [CUT, GAP, OTHERS])
def test_a_reference_with_a_gap_or_of_another_request_is_a_lie(text: str) -> None:
    assert flaws(text, "r1")
    assert not flaws(WHOLE, "r1")


@pytest.mark.parametrize(
    "raw",
    [
        stream(CUT),
        stream(WHOLE, done=False),
        stream(WHOLE, reason=None),
        stream(WHOLE, reason="length"),
        stream(CUT, error=True, done=True, reason=None),
        stream(CUT, error=True, done=False, reason="stop"),
        stream(WHOLE),  # by a fallback, and not declared
        stream(WHOLE.replace("calm", "other")),
    ],
)
def test_a_lying_stream_is_found_out(raw: bytes) -> None:
    assert judged(raw).flaws


def test_an_honest_error_event_is_none() -> None:
    honest = judged(stream(CUT, reason=None, error=True, done=False))
    assert (honest.end, honest.flaws) == (End.EVENT, [])


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_an_error_that_blames_the_client_or_nobody_is_found_out(status: int) -> None:
    assert judged(b'{"error": {"message": "m"}}', status=status).flaws


class Scene:
    """One request that went well, and its books, for a test to forge."""

    def __init__(self) -> None:
        self.request = Request("r1", "calm", stream=True, end=End.ANSWER, usage=dict(USAGE))
        self.request.source = written(WHOLE, "r1")
        self.run = RunRecord("run", "calm", time.perf_counter)
        step = Step(self.run)
        self.call = step.begin(Target("calm", "live", "calm"))
        step.end(self.call, Outcome.OK, usage=Usage(7, 3))
        self.run.close(Outcome.OK)
        self.asked = Asked("/", (), b'{"model": "calm"}', started=0.0)
        self.asked.ended, self.asked.ending = 0.0, Ending.ANSWERED
        self.planned = Planned(7, "r1", "calm", "none", stream=True)

    def errors(self) -> list[str]:
        pairs = [(self.asked, self.planned)]
        return books.errors([self.request], {"r1": [self.run]}, pairs)


def test_right_books_are_right() -> None:
    assert Scene().errors() == []


def _unclosed(scene: Scene) -> None:
    scene.call.ended, scene.call.outcome = None, Outcome.RUNNING


def _twice(scene: Scene) -> None:
    scene.run.calls.append(scene.call)


def _not_at_all(scene: Scene) -> None:
    scene.run.calls.clear()


def _not_asked(scene: Scene) -> None:
    scene.planned = Planned(7, "r1", "other", "none", stream=True)


def _failed(scene: Scene) -> None:
    scene.planned = Planned(7, "r1", "calm", "500", stream=True)


def _estimated(scene: Scene) -> None:
    scene.call.usage = Usage(7, 3, estimated=True)


def _misbilled(scene: Scene) -> None:
    assert scene.request.usage
    scene.request.usage["total_tokens"] = 11


def _called_a_success(scene: Scene) -> None:
    scene.request.end = End.STATUS


def _bug(scene: Scene) -> None:
    scene.run.error_kind = "moa_internal"


def _goes_on(scene: Scene) -> None:
    scene.asked.ended, scene.asked.ending = None, Ending.OPEN


def _late(scene: Scene) -> None:
    scene.asked.ended = 5.0


def _silent(scene: Scene) -> None:
    scene.request.source = None


@pytest.mark.parametrize(
    "forge",
    [
        _unclosed, _twice, _not_at_all, _not_asked, _failed, _estimated, _misbilled,
        _called_a_success, _bug, _goes_on, _late, _silent,
    ],
)  # fmt: skip
def test_wrong_books_are_wrong(forge: Callable[[Scene], None]) -> None:
    scene = Scene()
    forge(scene)
    assert scene.errors()


def test_the_same_seed_draws_the_same_faults() -> None:
    def drawn(seed: str) -> list[str]:
        plan = Plan(seed, {"wild": 0.5})
        for number in range(50):
            question = {"role": "user", "content": f"question r{number}"}
            plan.reply({"model": "wild", "messages": [question]})
        return [call.fault for call in plan.calls]

    assert drawn("a") == drawn("a") != drawn("b")
    assert {"none", *drawn("a")} > {"none"}
