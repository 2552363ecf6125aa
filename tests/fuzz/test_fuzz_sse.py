import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.protocol.sse import MAX_EVENT_BYTES, SseDecoder
from tests.fuzz import saved
from tests.fuzz.mutations import damaged
from tests.fuzz.sse_properties import check, events, outcome, pieces

SAVED = pytest.mark.parametrize("file", saved.corpus("sse"), ids=saved.name)
BOM = b"\xef\xbb\xbf"
PARTS = [b"\n", b"\r", b"x" * 31, b"data: ", b"data: y\n\n", BOM]
CUTS = st.lists(st.integers(0, 2**16), max_size=6)


class CountingBytes(bytes):
    """Bytes that count how often they are searched."""

    searched = 0

    def __contains__(self, part: object) -> bool:
        CountingBytes.searched += len(self)
        return super().__contains__(part)


@SAVED
def test_a_saved_answer_reads_the_same_however_it_is_cut_in_two(file):
    data = file.read_bytes()[:3000]
    whole = outcome([data], whole=False)
    for at in range(len(data) + 1):
        assert outcome(pieces(data, [at]), whole=False) == whole


@SAVED
def test_a_saved_answer_reads_the_same_in_every_size_of_reads(file):
    data = file.read_bytes()
    for size in (1, 2, 3, 5, 7, 64, 1000):
        check(data, range(0, len(data), size))


@given(damaged("sse"), CUTS)
@settings(max_examples=400, deadline=None)
def test_a_damaged_answer_gives_the_same_chunks_and_error_however_it_is_cut(data, cuts):
    check(data, cuts)


@given(st.lists(st.sampled_from(PARTS)), CUTS)
@settings(max_examples=200, deadline=None)
def test_whether_an_event_is_too_long_does_not_depend_on_the_cuts(parts, cuts):
    data = b"".join(parts)
    assert events(pieces(data, cuts)) == events([data])


@pytest.mark.parametrize("filler", [b"data: x" * 9, b"\rx" * 30, b": comment\n" * 6])
def test_fifty_megabytes_without_an_end_stop_at_the_limit(filler):
    fed = 0

    def reads():
        nonlocal fed
        while fed < 50_000_000:
            fed += len(filler)
            yield filler

    assert events(reads(), MAX_EVENT_BYTES) == ([], True)
    assert MAX_EVENT_BYTES <= fed <= MAX_EVENT_BYTES + 2 * len(filler)


def test_blank_lines_without_end_are_not_kept():
    decoder = SseDecoder(64)
    for _ in range(10_000):
        assert decoder.feed(b"\n\r\n\r") == []
    assert len(decoder._pending) == 0


def test_each_byte_of_an_unfinished_event_is_searched_once():
    CountingBytes.searched = 0
    decoder = SseDecoder()
    for _ in range(10_000):
        decoder.feed(CountingBytes(b"data: x"))
    assert CountingBytes.searched <= 3 * 10_000 * len(b"data: x")
