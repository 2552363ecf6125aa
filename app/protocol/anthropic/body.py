"""The shape of a messages body: Anthropic's `POST /v1/messages` fields with types and ranges.

Used to check a client's JSON and to document it. Blocks and tools that only Anthropic's own
servers can carry out are not in it, so they are refused by name.
Source: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from typing import Annotated, Literal, Required, TypeAlias

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from app.protocol.chat_body import MAX_MESSAGES, MAX_STOPS, MoaWishes, Name, Object, Tokens
from app.protocol.json_types import JsonObject


class TextBlock(TypedDict):
    """Plain text; `cache_control` and `citations` are not used."""

    type: Literal["text"]
    text: str


class EncodedSource(TypedDict):
    """Bytes in base64."""

    type: Literal["base64"]
    media_type: str
    data: str


class UrlSource(TypedDict):
    """An address; the gateway never fetches it."""

    type: Literal["url"]
    url: str


class ImageBlock(TypedDict):
    """An image."""

    type: Literal["image"]
    source: Annotated[EncodedSource | UrlSource, Field(discriminator="type")]


class TextSource(TypedDict):
    """A document as plain text."""

    type: Literal["text"]
    data: str


class ContentSource(TypedDict):
    """A document as blocks."""

    type: Literal["content"]
    content: str | list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]]


class DocumentBlock(TypedDict, total=False):
    """A document: a file in base64, plain text or blocks."""

    type: Required[Literal["document"]]
    source: Required[
        Annotated[EncodedSource | TextSource | ContentSource, Field(discriminator="type")]
    ]
    title: str | None
    context: str | None


class SearchResultBlock(TypedDict):
    """A source to be cited; it is read as text."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]


ResultBlock: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, Field(discriminator="type")
]


class ToolResultBlock(TypedDict, total=False):
    """What a tool gave back."""

    type: Required[Literal["tool_result"]]
    tool_use_id: Required[str]
    content: str | list[ResultBlock] | None
    is_error: bool | None


class ThinkingBlock(TypedDict, total=False):
    """Reasoning of an earlier answer."""

    type: Required[Literal["thinking"]]
    thinking: Required[str]
    signature: str | None


class RedactedThinkingBlock(TypedDict):
    """Reasoning that only Anthropic can read; left out."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(TypedDict):
    """A tool call of an earlier answer."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: Object


UserBlock: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock,
    Field(discriminator="type"),
]
AssistantBlock: TypeAlias = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock, Field(discriminator="type")
]
SystemContent: TypeAlias = str | list[TextBlock]


class UserMessage(TypedDict):
    """A user's turn, and what tools gave back."""

    role: Literal["user"]
    content: str | Annotated[list[UserBlock], Field(min_length=1, fail_fast=True)]


class AssistantMessage(TypedDict):
    """An earlier answer."""

    role: Literal["assistant"]
    content: str | Annotated[list[AssistantBlock], Field(fail_fast=True)]


class SystemMessage(TypedDict):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: SystemContent


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")
]


class Tool(TypedDict, total=False):
    """A tool of the client's; `input_schema` is a JSON Schema."""

    type: Literal["custom"] | None
    name: Required[Name]
    description: str | None
    input_schema: Required[Object]
    strict: bool | None


class AnyChoice(TypedDict, total=False):
    """Whether a tool is to be called."""

    type: Required[Literal["auto", "any", "none"]]
    disable_parallel_tool_use: bool | None


class ToolChoice(TypedDict, total=False):
    """Which tool is to be called."""

    type: Required[Literal["tool"]]
    name: Required[Name]
    disable_parallel_tool_use: bool | None


class Thinking(TypedDict, total=False):
    """Whether reasoning is shown in the answer; how much there is of it is the model's matter."""

    type: Required[str]
    budget_tokens: int | None
    display: str | None


class OutputFormat(TypedDict):
    """The JSON Schema an answer keeps to."""

    type: Literal["json_schema"]
    schema: Object


class OutputConfig(TypedDict, total=False):
    """Effort and form of the answer."""

    effort: str | None
    format: OutputFormat | None


class Metadata(TypedDict, total=False):
    """Who asks, hashed before anybody else sees it."""

    user_id: str | None


class Prompt(TypedDict, total=False):
    """What the model is asked: the fields that `count_tokens` has too."""

    model: Required[Name]
    messages: Required[
        Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    ]
    system: SystemContent | None
    tools: list[Tool] | None
    tool_choice: Annotated[AnyChoice | ToolChoice, Field(discriminator="type")] | None
    thinking: Thinking | None
    output_config: OutputConfig | None


class MessagesBody(Prompt, total=False):
    """The body of a messages request."""

    max_tokens: Required[Tokens]
    metadata: Metadata | None
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOPS)] | None
    stream: bool | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    top_k: Annotated[int, Field(ge=0)] | None
    moa: MoaWishes | None


MESSAGES_BODY = TypeAdapter(MessagesBody)
PROMPT = TypeAdapter(Prompt)


def messages_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of a messages body, for documentation."""
    return MESSAGES_BODY.json_schema(ref_template=ref_template)


def prompt_schema(ref_template: str) -> JsonObject:
    """The JSON Schema of a count_tokens body, for documentation."""
    return PROMPT.json_schema(ref_template=ref_template)
