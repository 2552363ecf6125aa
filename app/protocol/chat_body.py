"""The shape of a chat body: OpenAI's `POST /v1/chat/completions` fields with types and ranges.

Used to check a client's JSON and to document it, never to build or re-serialise one. Unknown
fields pass. A value is a plain string where OpenAI lists values it keeps adding to: the upstream
knows which it takes. Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Annotated, Literal, Required, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from typing_extensions import TypedDict

from app.protocol.duration import POSITIVE_DURATION_SCHEMA, parse_duration
from app.protocol.json_types import JsonObject

MAX_MESSAGES = 10_000
MAX_CHOICES = 128
MAX_STOPS = 16

Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]
Tokens: TypeAlias = Annotated[int, Field(ge=1)]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Object: TypeAlias = dict[str, object]


class TextPart(TypedDict):
    """Plain text."""

    type: Literal["text"]
    text: str


class RefusalPart(TypedDict):
    """What an assistant said when it refused."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(TypedDict, total=False):
    """An address or a `data:` URL; the gateway never fetches it."""

    url: Required[str]
    detail: str | None


class ImagePart(TypedDict):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(TypedDict):
    """Base64 audio."""

    data: str
    format: str


class AudioPart(TypedDict):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class FilePart(TypedDict):
    """A file, inline or by id."""

    type: Literal["file"]
    file: Object


class VideoPart(TypedDict):
    """A video, as several servers besides OpenAI's take it."""

    type: Literal["video_url"]
    video_url: Object


class ThinkingPart(TypedDict):
    """Reasoning that some servers want to see again in the next turn."""

    type: Literal["thinking"]


Part: TypeAlias = Annotated[
    TextPart | RefusalPart | ImagePart | AudioPart | FilePart | VideoPart | ThinkingPart,
    Field(discriminator="type"),
]
Content: TypeAlias = str | Annotated[list[Part], Field(min_length=1, fail_fast=True)]


class CalledFunction(TypedDict):
    """What the model wants to call; `arguments` is JSON as text."""

    name: str
    arguments: str


class ToolCall(TypedDict, total=False):
    """One tool call of an assistant message."""

    id: Required[str]
    type: str
    function: CalledFunction
    custom: Object


class PromptMessage(TypedDict, total=False):
    """Instructions or a user's turn."""

    role: Required[Literal["system", "developer", "user"]]
    content: Required[Content]
    name: str | None


class AssistantMessage(TypedDict, total=False):
    """An earlier answer."""

    role: Required[Literal["assistant"]]
    content: Content | None
    refusal: str | None
    name: str | None
    audio: Object | None
    tool_calls: list[ToolCall] | None
    function_call: CalledFunction | None


class ToolMessage(TypedDict):
    """What a tool gave back."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionMessage(TypedDict):
    """What a function gave back (deprecated by OpenAI, still sent)."""

    role: Literal["function"]
    content: str | None
    name: str


Message: TypeAlias = Annotated[
    PromptMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]


class FunctionDefinition(TypedDict, total=False):
    """A function the model may call; `parameters` is a JSON Schema."""

    name: Required[Name]
    description: str | None
    parameters: Object | None
    strict: bool | None


class Tool(TypedDict, total=False):
    """A tool the model may call."""

    type: Required[str]
    function: FunctionDefinition


class StreamOptions(TypedDict, total=False):
    """Only together with `stream: true`."""

    include_usage: bool | None
    include_obfuscation: bool | None


class ResponseFormat(TypedDict, total=False):
    """`text`, `json_object`, `json_schema`, or what else an upstream knows."""

    type: Required[str]
    json_schema: Object | None


class MoaWishes(TypedDict, total=False):
    """Wishes to this gateway; an unknown one is refused, since it would silently not happen."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc] # pydantic's own way
    include: list[Literal["run"]]
    max_calls: Annotated[int, Field(ge=1)]
    max_cost: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    progress: Literal["reasoning", "off"]
    quorum: Annotated[int, Field(ge=1)]
    timeout: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        BeforeValidator(parse_duration),
        WithJsonSchema(POSITIVE_DURATION_SCHEMA),
    ]


class ChatBody(TypedDict, total=False):
    """The body of a chat request."""

    model: Required[Name]
    messages: Required[
        Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    ]
    audio: Object | None
    frequency_penalty: Penalty | None
    function_call: str | Object | None
    functions: list[FunctionDefinition] | None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None
    logprobs: bool | None
    max_completion_tokens: Tokens | None
    max_tokens: Tokens | None
    metadata: dict[str, str] | None
    modalities: list[str] | None
    moderation: Object | None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None
    parallel_tool_calls: bool | None
    prediction: Object | None
    presence_penalty: Penalty | None
    prompt_cache_key: str | None
    prompt_cache_options: Object | None
    prompt_cache_retention: str | None
    reasoning_effort: str | None
    response_format: ResponseFormat | None
    safety_identifier: str | None
    seed: int | None
    service_tier: str | None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None
    store: bool | None
    stream: bool | None
    stream_options: StreamOptions | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    tool_choice: str | Object | None
    tools: list[Tool] | None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    user: str | None
    verbosity: str | None
    web_search_options: Object | None
    moa: MoaWishes | None


def body_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of a chat body, for documentation."""
    return TypeAdapter(ChatBody).json_schema(ref_template=ref_template)
