"""The shape of a response body: OpenAI's `POST /v1/responses` fields with types and ranges.

Used to check and to document, as `protocol.chat_body` is. Unknown fields pass.
Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Annotated, Literal, Required, TypeAlias

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from app.protocol.chat_body import (
    MAX_MESSAGES,
    MAX_STOPS,
    InputAudio,
    MoaWishes,
    Name,
    Object,
    Penalty,
    RefusalPart,
    Tokens,
)
from app.protocol.json_types import JsonObject


class InputText(TypedDict):
    """Plain text."""

    type: Literal["input_text"]
    text: str


class InputImage(TypedDict, total=False):
    """An image by address or as a `data:` URL; the gateway never fetches it."""

    type: Required[Literal["input_image"]]
    image_url: str | None
    file_id: str | None
    detail: str | None


class InputFile(TypedDict, total=False):
    """A file, inline or by the id it has at the upstream."""

    type: Required[Literal["input_file"]]
    file_data: str | None
    file_id: str | None
    file_url: str | None
    filename: str | None


class InputSound(TypedDict):
    """Base64 audio."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class OutputText(TypedDict):
    """What an assistant said."""

    type: Literal["output_text"]
    text: str


InputPart: TypeAlias = Annotated[
    InputText | InputImage | InputFile | InputSound, Field(discriminator="type")
]
OutputPart: TypeAlias = Annotated[OutputText | RefusalPart, Field(discriminator="type")]


class InputMessage(TypedDict):
    """Instructions or a user's turn."""

    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    content: str | Annotated[list[InputPart], Field(fail_fast=True)]


class OutputMessage(TypedDict):
    """An earlier answer."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: str | Annotated[list[OutputPart], Field(fail_fast=True)]


class FunctionCall(TypedDict):
    """What the model wanted to call; `arguments` is JSON as text."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(TypedDict):
    """What the function gave back."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | Annotated[list[InputPart], Field(fail_fast=True)]


class Reasoning(TypedDict):
    """What a model thought earlier; accepted, and not shown to a model again."""

    type: Literal["reasoning"]


class ItemReference(TypedDict):
    """An item of a response that was stored."""

    type: Literal["item_reference"]
    id: str


Message: TypeAlias = Annotated[InputMessage | OutputMessage, Field(discriminator="role")]
Item: TypeAlias = Annotated[
    Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference,
    Field(discriminator="type"),
]


class FunctionTool(TypedDict, total=False):
    """A function the model may call; the only kind of tool there is here."""

    type: Required[Literal["function"]]
    name: Required[Name]
    description: str | None
    parameters: Object | None
    strict: bool | None


class ChosenFunction(TypedDict):
    """The one function to call."""

    type: Literal["function"]
    name: str


class AllowedTools(TypedDict):
    """The tools that may be called this time."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ChosenFunction]


ChosenTool: TypeAlias = Annotated[ChosenFunction | AllowedTools, Field(discriminator="type")]


class PlainFormat(TypedDict):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(TypedDict, total=False):
    """JSON after a schema."""

    type: Required[Literal["json_schema"]]
    name: Required[str]
    schema: Required[Object]
    strict: bool | None
    description: str | None


class Text(TypedDict, total=False):
    """How the text of the answer should be."""

    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None
    verbosity: str | None


class ReasoningWish(TypedDict, total=False):
    """How much a model should think; summaries are shown wherever there is reasoning."""

    effort: str | None
    summary: str | None
    generate_summary: str | None


class StreamOptions(TypedDict, total=False):
    """Only together with `stream: true`; nothing is obfuscated here."""

    include_obfuscation: bool | None


class ResponseBody(TypedDict, total=False):
    """The body of a request for a response."""

    model: Required[Name]
    input: str | Annotated[list[Item], Field(max_length=MAX_MESSAGES, fail_fast=True)] | None
    frequency_penalty: Penalty | None
    include: list[str] | None
    instructions: str | None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None
    max_output_tokens: Tokens | None
    max_tool_calls: Tokens | None
    metadata: dict[str, str] | None
    moderation: Object | None
    parallel_tool_calls: bool | None
    presence_penalty: Penalty | None
    previous_response_id: str | None
    prompt_cache_key: str | None
    prompt_cache_options: Object | None
    prompt_cache_retention: str | None
    reasoning: ReasoningWish | None
    safety_identifier: str | None
    seed: int | None
    service_tier: str | None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None
    store: bool | None
    stream: bool | None
    stream_options: StreamOptions | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    text: Text | None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None
    tools: list[FunctionTool] | None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    truncation: Literal["auto", "disabled"] | None
    user: str | None
    moa: MoaWishes | None


BODY = TypeAdapter(ResponseBody)


def body_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of a response body, for documentation."""
    return BODY.json_schema(ref_template=ref_template)
