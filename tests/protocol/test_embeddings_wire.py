"""Bodies of requests for embeddings, and the two forms of a vector."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.protocol.answer import Answer
from app.protocol.chat import Chunk
from app.protocol.embeddings import MAX_INPUTS, embedding_list, in_form, parse_embeddings

ASK = {"model": "m", "input": "a"}


def read(**fields: Any) -> Any:
    return parse_embeddings(orjson.dumps({**ASK, **fields}))


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2, 3], [[1], [2, 3]]])
def test_texts_and_tokens_are_accepted_as_they_came(given: Any) -> None:
    call = read(input=given, dimensions=8, encoding_format="base64", user="ann", input_type="q")
    assert call.request.params == {
        "input": given,
        "dimensions": 8,
        "encoding_format": "base64",
        "user": "ann",
        "input_type": "q",
    }


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [[1], 1]}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**wrong)
    assert caught.value.param == param


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_a_vector_survives_both_forms(vector: list[float]) -> None:
    encoded = in_form(vector, is_base64=True)
    assert in_form(encoded, is_base64=False) == vector
    assert in_form(encoded, is_base64=True) == encoded
    assert in_form(vector, is_base64=False) is vector


def test_base64_is_little_endian_floats_of_32_bits() -> None:
    raw = base64.b64decode(str(in_form([1.5, -2.0], is_base64=True)))
    assert struct.unpack("<2f", raw) == (1.5, -2.0)


@pytest.mark.parametrize("garbage", ["", "%%%", "AAA=", None, [], {}, 3])
@pytest.mark.parametrize("is_base64", [True, False])
def test_what_is_no_vector_is_refused(garbage: object, is_base64: bool) -> None:  # noqa: FBT001 - a case
    with pytest.raises(ValueError, match=r"vector|base64"):
        in_form(garbage, is_base64=is_base64)


@pytest.mark.parametrize("garbage", [["a"], [None], [math.inf * 0, "x"], [1e300]])
def test_a_vector_that_has_no_other_form_is_refused(garbage: Any) -> None:
    with pytest.raises(ValueError, match="no vector"):
        in_form(garbage, is_base64=True)


def test_the_answer_has_the_requested_name_and_no_completion_tokens() -> None:
    answer = Answer()
    answer.add([Chunk(extras={"data": [{"index": 0}]})])
    usage = {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3, "cost": None}
    assert embedding_list("m", answer, usage, {"run_id": "r"}) == {
        "object": "list",
        "data": [{"index": 0}],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3, "cost": None},
        "moa": {"run_id": "r"},
    }
