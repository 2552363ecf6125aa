"""What the fake upstream sends for one model, with everything real servers get wrong.

A `Reply` is written in code, or by anybody with curl as a query string behind the model's name:
`any-name?tokens=64&first=200ms&every=20ms`. Its bytes are made in `fake_wire`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias
from urllib.parse import parse_qsl

import orjson
from pydantic import BeforeValidator, Field, ValidationError

from app.errors import InvalidRequest
from app.fields import Duration, Spec
from app.protocol.json_types import JsonObject
from app.upstream.fake_script import split_words

Then: TypeAlias = Literal[
    "finish", "gate", "hang", "cut", "reset", "noise", "end", "half", "error", "garbage"
]
UsagePlace: TypeAlias = Literal["asked", "end", "finish", "choice", "every", "none"]


def _from_json(value: object) -> object:
    return orjson.loads(value) if isinstance(value, str) else value


class Reply(Spec):
    """One scripted answer; the default is a correct one, as OpenAI sends it.

    What happens when `after` events are out (-1: before the headers, so nothing is), by `then`:
    `finish` goes on to the end · `gate` goes on when the test says so · `hang` says nothing more ·
    `cut` closes the connection · `reset` breaks it off with a TCP reset · `noise` sends bytes that
    are no HTTP and closes · `end` closes the body neatly, without finish reason or `[DONE]` ·
    `half` does the same in the middle of an event · `error` sends an error object with status 200
    and ends · `garbage` sends broken JSON and ends. `half_head`: with `after` -1, half the headers
    are out when it happens.
    """

    text: str = "An answer."
    tokens: int | None = Field(None, ge=0, description="repeat or cut the text to so many words")
    first: Duration = Field(0.0, ge=0, description="seconds before the headers")
    every: Duration = Field(0.0, ge=0, description="seconds between events")
    joined: bool = Field(default=True, description="without a pause: one write for all events")
    reasoning: str = ""
    refusal: str = ""
    tool_calls: Annotated[tuple[JsonObject, ...], BeforeValidator(_from_json)] = ()
    finish: str | None = Field(None, description="finish reason; empty: none is ever sent")
    usage: UsagePlace = Field("asked", description="where the usage goes; asked: as OpenAI does")
    prompt_tokens: int = 10
    completion_tokens: int | None = Field(None, description="default: as many as there are tokens")

    status: int = Field(200, ge=200, le=599)
    retry_after: str | None = Field(None, description="the header's value, seconds or a date")
    code: str | None = Field(None, description="the code of an error body")
    message: str = Field("scripted failure", description="the message of an error body")
    body: str | None = Field(None, description="a body instead of any answer, such as HTML")
    content_type: str | None = Field(None, description="a wrong one; default of `body`: text/html")
    flood: Literal["none", "gzip", "line"] = Field(
        "none", description="instead of any answer: a gzip bomb, or one line without an end"
    )
    megabytes: int = Field(50, ge=1, le=16_384, description="of `flood`, unpacked")
    strict_roles: bool = Field(default=False, description="400 for two user messages in a row")

    after: int = Field(0, ge=-1)
    then: Then = "finish"
    half_head: bool = False

    done: bool = Field(default=True, description="send [DONE]")
    newline: Literal["lf", "crlf", "cr"] = "lf"
    comments: bool = Field(default=False, description="a comment before every event")
    data_lines: bool = Field(
        default=False, description="spread each event over several data: lines"
    )
    split: int = Field(0, ge=0, description="bytes per write, through the middle of anything")
    tool_index: Literal["own", "zero"] = Field("own", description="zero: all tool calls at index 0")

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens of the text."""
        words = split_words(self.text)
        if self.tokens is None or not words:
            return words
        whole, rest = divmod(self.tokens, len(words))
        return (*words[:-1], words[-1] + " ") * whole + words[:rest]

    @property
    def billed(self) -> JsonObject:
        """The usage object, wherever it is sent."""
        completion = self.completion_tokens
        completion = len(self.words) if completion is None else completion
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }


def read_model(model: str, known: Reply) -> Reply:
    """`known` changed by the query string in a model name; InvalidRequest says what is accepted."""
    _, _, query = model.partition("?")
    if not query:
        return known
    wishes = dict(parse_qsl(query, keep_blank_values=True))
    try:
        return Reply.model_validate({**known.model_dump(exclude_unset=True), **wishes})
    except (ValidationError, orjson.JSONDecodeError) as error:
        accepted = ", ".join(Reply.model_fields)
        message = f"the model's query string is wrong, accepted are: {accepted}"
        raise InvalidRequest(message, param="model", detail=str(error)) from error
