"""Token usage as upstreams report it, added up over a fan-out. No prices here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.protocol.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or the sum of many; `estimated` marks a guess of ours.

    `cached` and `reasoning` are parts of `prompt` and `completion`, as in OpenAI's
    `prompt_tokens_details.cached_tokens` and `completion_tokens_details.reasoning_tokens`. Of the
    other parts, those that are 0 are not written.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    audio_prompt: int = 0
    audio_completion: int = 0
    estimated: bool = False
    cache_write: int = 0
    accepted_prediction: int = 0
    rejected_prediction: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.audio_prompt + other.audio_prompt,
            self.audio_completion + other.audio_completion,
            self.estimated or other.estimated,
            self.cache_write + other.cache_write,
            self.accepted_prediction + other.accepted_prediction,
            self.rejected_prediction + other.rejected_prediction,
        )

    def to_wire(self) -> JsonObject:
        """OpenAI's `usage` object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {
                "cached_tokens": self.cached,
                "audio_tokens": self.audio_prompt,
                **_said(cache_write_tokens=self.cache_write),
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": self.audio_completion,
                **_said(
                    accepted_prediction_tokens=self.accepted_prediction,
                    rejected_prediction_tokens=self.rejected_prediction,
                ),
            },
        }


def parse_usage(raw: object) -> Usage | None:
    """Read a `usage` object; None if there is none or it holds no counts (some servers send {})."""
    if not isinstance(raw, dict):
        return None
    prompt = _count(raw.get("prompt_tokens"))
    completion = _count(raw.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt_details = raw.get("prompt_tokens_details")
    completion_details = raw.get("completion_tokens_details")
    return Usage(
        prompt or 0,
        completion or 0,
        _part(prompt_details, "cached_tokens"),
        _part(completion_details, "reasoning_tokens"),
        _part(prompt_details, "audio_tokens"),
        _part(completion_details, "audio_tokens"),
        cache_write=_part(prompt_details, "cache_write_tokens"),
        accepted_prediction=_part(completion_details, "accepted_prediction_tokens"),
        rejected_prediction=_part(completion_details, "rejected_prediction_tokens"),
    )


def _said(**counts: int) -> JsonObject:
    return {name: count for name, count in counts.items() if count}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _part(details: Any, name: str) -> int:
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0
