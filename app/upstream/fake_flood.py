"""Bodies that are a few bytes to make and very many to read: a gzip bomb, a line without an end."""

from __future__ import annotations

import zlib
from functools import lru_cache

MEGABYTE = 1_000_000
PIECE = 64 * 1024
"""Bytes in one write."""

_FILLING = b"a" * PIECE
_GZIP = 16 + zlib.MAX_WBITS


@lru_cache(maxsize=4)
def gzip_bomb(begin: bytes, megabytes: int) -> list[bytes]:
    """`begin` and so many megabytes of one letter, compressed about a thousandfold.

    Only one megabyte is ever compressed: after a full flush nothing refers back, so the same bytes
    may be repeated. The end of the stream, with its check sum, is missing.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    head = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"a" * MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    in_one = max(1, PIECE // len(block))
    whole, rest = divmod(megabytes, in_one)
    return [head, *[block * in_one] * whole, block * rest]


@lru_cache(maxsize=4)
def endless_line(begin: bytes, megabytes: int) -> list[bytes]:
    """`begin` and so many megabytes of one letter; one and the same piece of memory again."""
    return [begin, *[_FILLING] * (megabytes * MEGABYTE // PIECE)]
