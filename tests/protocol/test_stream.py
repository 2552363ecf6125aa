from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamTimeout
from app.protocol.chat import Batch, Chunk, text_chunk
from app.protocol.stream import ChunkEncoder
from app.protocol.usage import Usage

DONE = "[DONE]"


def encoder(*, include_usage: bool = False) -> ChunkEncoder:
    return ChunkEncoder("chatcmpl-1", 7, "m", include_usage=include_usage)


def events(raw: bytes) -> list[Any]:
    """The payloads, after checking that each is one `data:` line and an empty one."""
    if not raw:
        return []
    assert raw.endswith(b"\n\n")
    parts = raw[:-2].split(b"\n\n")
    assert all(part.startswith(b"data: ") and b"\n" not in part for part in parts)
    payloads = [part.removeprefix(b"data: ") for part in parts]
    return [DONE if each == b"[DONE]" else orjson.loads(each) for each in payloads]


def said(delta: dict[str, Any], index: int = 0, finish: str | None = None) -> Chunk:
    return Chunk(({"index": index, "delta": delta, "finish_reason": finish},))


def test_every_chunk_has_our_id_time_and_model():
    raw = encoder().encode([text_chunk("a"), text_chunk("b")])

    assert [
        (each["id"], each["object"], each["created"], each["model"]) for each in events(raw)
    ] == [("chatcmpl-1", "chat.completion.chunk", 7, "m")] * 2


def test_only_the_first_delta_of_each_choice_is_given_a_role():
    coder = encoder()
    batch = [said({"content": "a"}), said({"content": "b"}), said({"content": "c"}, 1)]

    deltas = [each["choices"][0]["delta"] for each in events(coder.encode(batch))]

    assert deltas == [
        {"role": "assistant", "content": "a"},
        {"content": "b"},
        {"role": "assistant", "content": "c"},
    ]


def test_an_upstreams_own_role_stays():
    coder = encoder()

    first, second = events(coder.encode([said({"role": "assistant"}), said({"content": "a"})]))

    assert first["choices"][0]["delta"] == {"role": "assistant"}
    assert second["choices"][0]["delta"] == {"content": "a"}


def test_a_role_that_an_upstream_repeats_is_said_once():
    coder = encoder()
    repeated = [said({"role": "assistant", "content": text}) for text in "ab"]

    first, second = events(coder.encode(repeated))

    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert second["choices"][0]["delta"] == {"content": "b"}


def test_after_a_heartbeat_delta_the_role_is_not_said_again():
    coder = encoder()
    coder.heartbeat("delta")

    (first,) = events(coder.encode([said({"role": "assistant", "content": "a"})]))

    assert first["choices"][0]["delta"] == {"content": "a"}


def test_the_tool_calls_of_a_whole_message_are_numbered():
    calls = [{"id": "a", "function": {}}, {"id": "b", "function": {}}]

    (event,) = events(encoder().encode([said({"tool_calls": calls})]))

    numbered = event["choices"][0]["delta"]["tool_calls"]
    assert [(each["index"], each["id"]) for each in numbered] == [(0, "a"), (1, "b")]
    assert calls[0] == {"id": "a", "function": {}}


def test_what_we_do_not_know_passes():
    choice = {"index": 0, "delta": {"vendor": {"x": 1}}, "finish_reason": None, "stop_reason": 3}
    chunk = Chunk((choice,), extras={"service_tier": "t", "system_fingerprint": None, "id": "no"})

    (event,) = events(encoder().encode([chunk]))

    assert event["choices"][0]["delta"]["vendor"] == {"x": 1}
    assert event["choices"][0]["stop_reason"] == 3
    assert event["service_tier"] == "t"
    assert event["system_fingerprint"] is None
    assert event["id"] == "chatcmpl-1"


def test_an_upstreams_usage_is_left_out_unless_asked_for():
    coder = encoder()
    raw = coder.encode([Chunk(text_chunk("a").choices, Usage(1, 1)), Chunk((), Usage(1, 1))])

    assert [("usage" in each) for each in events(raw + coder.finish({"total_tokens": 2}))[:-1]] == [
        False
    ]


def test_with_usage_there_is_one_usage_chunk_before_the_end():
    coder = encoder(include_usage=True)
    raw = coder.encode([text_chunk("a"), text_chunk("", finish_reason="stop")])

    *chunks, usage, done = events(raw + coder.finish({"total_tokens": 2}, {"run_id": "r"}))

    assert [each["usage"] for each in chunks] == [None, None]
    assert (usage["choices"], usage["usage"], usage["moa"]) == (
        [],
        {"total_tokens": 2},
        {"run_id": "r"},
    )
    assert done == DONE


def test_without_usage_the_extension_is_on_the_chunk_with_the_finish_reason():
    coder = encoder()
    raw = coder.encode([text_chunk("a"), text_chunk("", finish_reason="stop")])

    first, last, done = events(raw + coder.finish(None, {"run_id": "r"}))

    assert "moa" not in first
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["moa"] == {"run_id": "r"}
    assert done == DONE


def test_without_an_extension_no_chunk_has_one():
    coder = encoder()
    raw = coder.encode([text_chunk("a", finish_reason="stop")])

    assert [each for each in events(raw + coder.finish({}))[:-1] if "moa" in each] == []


def test_an_extension_is_sent_even_if_no_choice_finished():
    coder = encoder()

    last, done = events(coder.finish(None, {"run_id": "r"}))

    assert last["moa"] == {"run_id": "r"}
    assert done == DONE


def test_a_finish_reason_waits_until_the_answer_is_known_to_be_whole():
    assert events(encoder().encode([text_chunk("", finish_reason="stop")])) == []


def test_of_several_finish_reasons_only_the_last_waits():
    coder = encoder()
    raw = coder.encode([said({}, 0, "stop"), said({}, 1, "length")])
    raw += coder.finish(None, {"run_id": "r"})

    first, second, _ = events(raw)

    assert (first["choices"][0]["finish_reason"], "moa" in first) == ("stop", False)
    assert (second["choices"][0]["finish_reason"], "moa" in second) == ("length", True)


def test_extras_of_a_chunk_without_choices_ride_on_the_next_chunk():
    coder = encoder()
    raw = coder.encode([Chunk((), extras={"prompt_filter_results": [1]}), text_chunk("a")])

    (event,) = events(raw)

    assert event["prompt_filter_results"] == [1]
    assert "prompt_filter_results" not in events(coder.encode([text_chunk("b")]))[0]


def test_a_line_end_in_the_text_does_not_end_the_event():
    (event,) = events(encoder().encode([text_chunk("a\r\n\n\u2028b")]))

    assert event["choices"][0]["delta"]["content"] == "a\r\n\n\u2028b"


def test_a_comment_heartbeat_is_no_event():
    assert encoder().heartbeat("comment").startswith(b":")
    assert encoder().heartbeat("off") == b""


def test_a_delta_heartbeat_is_an_empty_chunk_that_any_client_can_read():
    coder = encoder(include_usage=True)

    first, second = events(coder.heartbeat("delta") + coder.heartbeat("delta"))

    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert second["choices"][0]["delta"] == {"content": ""}
    assert second["usage"] is None


def test_an_error_event_is_openais_error_object():
    (event,) = events(ChunkEncoder("id", 1, "m").failure(UpstreamTimeout("too slow")))

    assert event["error"]["code"] == "upstream_timeout"
    assert event["error"]["message"] == "too slow"


chunks = st.builds(
    lambda text, index, finish: said({"content": text}, index, finish),
    st.text(),
    st.integers(0, 2),
    st.none() | st.just("stop"),
)


@pytest.mark.parametrize("include_usage", [True, False])
@given(batches=st.lists(st.lists(chunks, min_size=1, max_size=4), max_size=5))
def test_no_chunk_is_lost_merged_split_or_moved(include_usage: bool, batches: list[Batch]):  # noqa: FBT001
    coder = encoder(include_usage=include_usage)
    raw = b"".join(coder.encode(batch) for batch in batches)
    raw += coder.finish({"total_tokens": 1} if include_usage else None)

    sent = [(c["index"], c["delta"]["content"], c["finish_reason"])
            for event in events(raw)[:-1] for c in event["choices"]]  # fmt: skip
    given = [(c["index"], c["delta"]["content"], c["finish_reason"])
             for batch in batches for chunk in batch for c in chunk.choices]  # fmt: skip

    assert sent == given
    assert events(raw)[-1] == DONE
