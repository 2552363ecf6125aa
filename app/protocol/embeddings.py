"""OpenAI's embeddings on the wire: a client's body, both forms of a vector, the answer's body.

Source: https://platform.openai.com/docs/api-reference/embeddings/create.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Annotated, Literal, Required, TypeAlias

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from app.errors import InvalidRequest
from app.protocol.answer import Answer
from app.protocol.chat import ChatRequest, Conversation
from app.protocol.chat_body import MoaWishes, Name
from app.protocol.json_types import JsonObject
from app.protocol.request import ChatCall, checked_body, read_wishes

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 300_000
_FLOAT_BYTES = 4
_OURS = ("model", "moa")

Text: TypeAlias = Annotated[str, Field(min_length=1)]
TokenId: TypeAlias = Annotated[int, Field(ge=0)]
TokenIds: TypeAlias = Annotated[
    list[TokenId], Field(min_length=1, max_length=MAX_INPUT_TOKENS, fail_fast=True)
]


class EmbeddingsBody(TypedDict, total=False):
    """The body of a request for embeddings; unknown fields go to the upstream."""

    model: Required[Name]
    input: Required[
        Text
        | Annotated[
            list[Text | TokenId | TokenIds],
            Field(min_length=1, max_length=MAX_INPUT_TOKENS, fail_fast=True),
        ]
    ]
    dimensions: Annotated[int, Field(ge=1)] | None
    encoding_format: Literal["float", "base64"] | None
    user: str | None
    moa: MoaWishes | None


_BODY = TypeAdapter(EmbeddingsBody)


def parse_embeddings(body: bytes, model: str | None = None) -> ChatCall:
    """Check a body; `model` stands for the one in it. Raises InvalidRequest, naming the field.

    The fields are the request's `params`; there is no conversation.
    """
    data = checked_body(body, _BODY, model)
    _check_inputs(data["input"])
    params = {key: value for key, value in data.items() if key not in _OURS}
    request = ChatRequest(Conversation(()), params)
    wishes = read_wishes(data.get("moa"))
    return ChatCall(data["model"], request, include_usage=False, wishes=wishes)


def embeddings_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of the body, for documentation."""
    return _BODY.json_schema(ref_template=ref_template)


def embedding_list(
    model: str, answer: Answer, usage: JsonObject, moa: JsonObject | None
) -> JsonObject:
    """The body of an answer whose `data` are embeddings; `model` is the requested name."""
    counted = {name: usage[name] for name in ("prompt_tokens", "total_tokens", "cost")}
    body: JsonObject = {
        "object": "list",
        "data": answer.extras["data"],
        "model": model,
        "usage": counted,
    }
    return body if moa is None else {**body, "moa": moa}


def _check_inputs(given: object) -> None:
    if not isinstance(given, list):
        return
    if len({type(each) for each in given}) > 1:
        raise InvalidRequest("input: either texts or tokens, not both", param="input")
    if not isinstance(given[0], int) and len(given) > MAX_INPUTS:
        raise InvalidRequest(f"input: at most {MAX_INPUTS} inputs are accepted", param="input")


def in_form(vector: object, *, is_base64: bool) -> str | list[float]:
    """A vector of either form in the wanted one, untouched if it has it; ValueError if it is none.

    `base64` is OpenAI's: 32-bit floats, little-endian.
    """
    if isinstance(vector, str):
        floats = _as_floats(vector)
        return vector if is_base64 else floats
    if isinstance(vector, list) and vector:
        return _as_base64(vector) if is_base64 else vector
    raise ValueError("no vector")


def _as_base64(vector: Sequence[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as failure:
        raise ValueError("no vector of numbers") from failure


def _as_floats(encoded: str) -> list[float]:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as failure:
        raise ValueError("no base64") from failure
    if not raw or len(raw) % _FLOAT_BYTES:
        raise ValueError("no vector of 32-bit floats")
    return list(struct.unpack(f"<{len(raw) // _FLOAT_BYTES}f", raw))
