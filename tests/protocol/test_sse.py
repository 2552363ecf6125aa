from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.sse import EventTooLong, SseDecoder


def decode(*reads: bytes) -> list[bytes]:
    decoder = SseDecoder()
    events = [payload for read in reads for payload in decoder.feed(read)]
    return events + decoder.end()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


def reference(stream: str) -> list[str]:
    """The grammar of the standard, line by line, without any thought of speed."""
    stream = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events: list[str] = []
    lines: list[str] = []
    for line in [*stream.split("\n"), ""]:
        name, _, value = line.partition(":")
        if not line:
            events += ["\n".join(lines)] if any("\n".join(lines)) else []
            lines = []
        elif name == "data":
            lines.append(value.removeprefix(" "))
    return events


def test_events_of_one_read_come_together() -> None:
    assert SseDecoder().feed(b'data: {"a":1}\n\ndata: {"a":2}\n\n') == [b'{"a":1}', b'{"a":2}']


def test_an_event_waits_for_its_blank_line() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a") == []
    assert decoder.feed(b"b\n") == []
    assert decoder.feed(b"\ndata: c\n\n") == [b"ab", b"c"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_counts(end: bytes) -> None:
    assert decode(b"data: a" + end + end + b"data: b" + end + end) == [b"a", b"b"]


def test_a_blank_line_cut_in_two_ends_the_event_at_once() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [b"a"]


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    assert decode(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\ndata: c\r\n\r\n") == [b"a\nb", b"c"]


def test_a_lone_cr_at_the_end_of_a_read_ends_the_event_at_once() -> None:
    assert SseDecoder().feed(b"data: a\r\r") == [b"a"]


def test_a_cr_then_lf_after_an_empty_read_is_still_one_line_end() -> None:
    assert decode(b"data: a\r", b"", b"\n", b"data: b\n\n") == [b"a\nb"]


def test_comments_and_keep_alives_say_nothing() -> None:
    assert decode(b": OPENROUTER PROCESSING\n\n:\n\n\n\ndata: a\n: b\n\n: c\n\n") == [b"a"]


def test_data_lines_are_joined_by_line_feeds() -> None:
    assert decode(b"data: {\ndata:\ndata\ndata: }\n\n") == [b"{\n\n\n}"]


def test_the_space_after_the_colon_is_optional_and_only_one_is_dropped() -> None:
    assert decode(b"data:a\n\ndata:  b\n\n") == [b"a", b" b"]


def test_other_fields_are_passed_over() -> None:
    assert decode(b"event: x\nid: 1\nretry: 5\ndata: a\ndatax: b\n\nid: 2\n\n") == [b"a"]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert decode(b"\xef", b"\xbb\xbfdata: a\n", b"\ndata: b\n\n") == [b"a", b"b"]


def test_only_the_first_byte_order_mark_is_one() -> None:
    assert decode(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]
    assert decode(b"data: a\n\n", b"\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_split_characters_come_back_whole() -> None:
    text = "data: grüße 🎉\n\n".encode()
    assert decode(*(text[i : i + 1] for i in range(len(text)))) == ["grüße 🎉".encode()]


def test_an_event_without_data_is_none() -> None:
    assert decode(b"data:\n\ndata\n\nevent: ping\n\n") == []


def test_a_last_event_without_its_blank_line_is_handed_out_at_the_end() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\ndata: [DONE]\n") == [b"a"]
    assert decoder.end() == [b"[DONE]"]
    assert decoder.end() == []


def test_an_event_that_never_ends_is_refused() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    decoder.feed(b"data: " + b"0" * 94)
    with pytest.raises(EventTooLong):
        decoder.feed(b"1")


def test_the_limit_is_on_one_event_not_on_the_stream() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    reads = [b"data: 0123456789\n\ndata: 01234" for _ in range(50)]
    assert sum(len(decoder.feed(read + b"\n\n")) for read in reads) == 100


def test_a_long_event_in_small_reads_costs_no_more_than_its_length() -> None:
    class Counting(bytes):
        searched = 0

        def __contains__(self, what: object) -> bool:
            Counting.searched += len(self)
            return bytes.__contains__(self, what)  # type: ignore[arg-type]

    decoder = SseDecoder()
    decoder.feed(b"data: ")
    for _ in range(2_000):
        decoder.feed(Counting(b"0123456789"))
    assert Counting.searched <= 2 * 20_000
    assert decoder.feed(b"\n\n") == [b"0123456789" * 2_000]


PIECES = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data",
        ": c",
        "event: x",
        "ü🎉",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        " ",
        "\ufeff",
        "",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map("".join)
CUTS = st.lists(st.integers(0, 500), max_size=20)


@given(STREAMS, CUTS)
def test_any_cutting_of_the_bytes_gives_the_events_of_the_grammar(
    stream: str, cuts: list[int]
) -> None:
    assert decode(*cut(stream.encode(), cuts)) == [e.encode() for e in reference(stream)]


@given(st.binary(max_size=200), CUTS)
def test_any_bytes_at_all_give_the_same_events_however_cut(data: bytes, cuts: list[int]) -> None:
    assert decode(*cut(data, cuts)) == decode(data)
