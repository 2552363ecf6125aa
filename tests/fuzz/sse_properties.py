"""What holds for the bytes of every answer, however they are damaged and cut."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import orjson

from app.errors import UpstreamError
from app.protocol.sse import EventTooLong, SseDecoder
from app.upstream.answer_reader import AnswerReader
from app.upstream.errors import ErrorTranslator

SMALL_LIMIT = 64


def events(reads: Iterable[bytes], limit: int = SMALL_LIMIT) -> tuple[list[bytes], bool]:
    """All payloads, and whether an event was too long."""
    decoder = SseDecoder(limit)
    payloads: list[bytes] = []
    try:
        for read in reads:
            payloads += decoder.feed(read)
            assert len(decoder._pending) <= limit + len(read)
        return payloads + decoder.end(), False
    except EventTooLong as too_long:
        return payloads + too_long.before, True


def outcome(reads: Iterable[bytes], *, whole: bool) -> tuple[bytes, str | None]:
    """What a client would get of an answer: its chunks as JSON, and the error after them."""
    reader = AnswerReader(ErrorTranslator("up"), whole=whole)
    chunks = []
    error = None
    try:
        for read in reads:
            if not reader.done:
                chunks += reader.feed(read)
        chunks += reader.end()
    except UpstreamError as failure:
        error = type(failure).__name__
    return b"\n".join(orjson.dumps([*chunk.choices, chunk.extras | {}]) for chunk in chunks), error


def check(data: bytes, cuts: Sequence[int]) -> None:
    """Cut at these places, or into single bytes, the same comes out as in one piece."""
    single = [data[at : at + 1] for at in range(len(data))]
    for reads in (pieces(data, cuts), single):
        assert events(reads) == events([data])
        for whole in (False, True):
            assert outcome(reads, whole=whole) == outcome([data], whole=whole)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]
