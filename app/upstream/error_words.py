"""The words upstreams use in error objects: which may reach a client, and what others mean.

Sources: platform.openai.com/docs/guides/error-codes; docs.anthropic.com/en/api/errors;
openrouter.ai/docs/api-reference/errors; the error texts of vLLM and llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

CONTEXT_CODE = "context_length_exceeded"

CODES = frozenset(
    {
        CONTEXT_CODE,
        "array_above_max_length",
        "array_below_min_length",
        "content_filter",
        "content_policy_violation",
        "image_content_policy_violation",
        "image_too_large",
        "image_too_small",
        "integer_above_max_value",
        "integer_below_min_value",
        "invalid_base64",
        "invalid_base64_image",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_url",
        "invalid_json_schema",
        "invalid_prompt",
        "invalid_type",
        "invalid_value",
        "missing_required_parameter",
        "string_above_max_length",
        "string_below_min_length",
        "unknown_parameter",
        "unsupported_image_media_type",
        "unsupported_parameter",
        "unsupported_value",
    }
)
"""Values of `code` that go on to the client."""

FIELDS = frozenset(
    {
        "audio",
        "dimensions",
        "encoding_format",
        "frequency_penalty",
        "function_call",
        "functions",
        "input",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""Fields of a request that `param` may name."""

REASONS: Mapping[str, str] = MappingProxyType(
    {
        CONTEXT_CODE: "finds the conversation longer than the model's context",
        "content_filter": "refused the content of the request",
        "content_policy_violation": "refused the content of the request",
        "image_content_policy_violation": "refused the content of the request",
    }
)
"""What a refusal is called where the plain words would say too little."""

STATUS_BY_WORD: Mapping[str, int] = MappingProxyType(
    {
        "authentication_error": 401,
        "bad_request": 400,
        "badrequesterror": 400,
        "billing_error": 429,
        "content_filter": 400,
        CONTEXT_CODE: 400,
        "exceed_context_size_error": 400,
        "insufficient_quota": 429,
        "invalid_api_key": 401,
        "invalid_request_error": 400,
        "not_found_error": 404,
        "overloaded_error": 529,
        "permission_error": 403,
        "rate_limit_error": 429,
        "rate_limit_exceeded": 429,
        "request_too_large": 413,
        "timeout": 504,
        "timeout_error": 504,
        "too_many_requests": 429,
        "unprocessableentityerror": 422,
    }
)
"""What `code` or `type` of an error inside an answer would have been as a status."""

NO_MONEY = re.compile(
    r"insufficient_quota|billing|insufficient (?:balance|credits|funds)", re.IGNORECASE
)
TELLS_CONTEXT = re.compile(
    r"context_length|exceed_context|context (?:length|window|size)|prompt is too long",
    re.IGNORECASE,
)
TELLS_TEMPLATE = re.compile(
    r"chat.?template|jinja|roles must alternate|conversation roles|only user and assistant roles",
    re.IGNORECASE,
)
