from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.keys import StaticKeys, bearer, presented_key


def test_a_known_key_is_found_and_named_by_its_digest_only():
    caller = StaticKeys(["moa-one", "moa-two"]).find(b"moa-two")

    assert caller is not None
    assert caller.id == sha256(b"moa-two").hexdigest()[:32]


def test_each_key_has_a_caller_of_its_own():
    keys = StaticKeys(["moa-one", "moa-two"])

    assert keys.find(b"moa-one") != keys.find(b"moa-two")


@given(st.binary(max_size=64))
def test_no_other_bytes_are_a_key(presented: bytes):
    known = b"moa-secret"
    assert (StaticKeys([known.decode()]).find(presented) is not None) == (presented == known)


def test_without_keys_there_is_nothing_to_find():
    keys = StaticKeys([])

    assert not keys
    assert keys.find(b"") is None


def test_the_keys_themselves_are_not_kept():
    keys = StaticKeys(["moa-secret"])

    assert "moa-secret" not in repr(vars(keys))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer  abc ", b"abc"),
        (b"Basic abc", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"abc", None),
        (b"", None),
    ],
)
def test_only_a_bearer_header_holds_a_key(header: bytes, key: bytes | None):
    assert bearer(header) == key


@pytest.mark.parametrize(
    ("authorization", "api_key", "key"),
    [
        (b"Bearer abc", None, b"abc"),
        (None, b"abc", b"abc"),
        (None, b" abc ", b"abc"),
        (b"Bearer abc", b"xyz", b"abc"),
        (b"Basic abc", b"xyz", b"xyz"),
        (b"Basic abc", None, None),
        (None, b" ", None),
        (None, None, None),
    ],
)
def test_a_bearer_comes_before_the_header_of_anthropics_sdks(authorization, api_key, key):
    assert presented_key(authorization, api_key) == key
