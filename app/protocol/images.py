"""How many images a request may have: each is fetched, scaled and paid for by an upstream."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import InvalidRequest
from app.protocol.json_types import JsonObject

MAX_IMAGES = 500
"""OpenAI's own limit, the highest of any API: https://platform.openai.com/docs/guides/images"""


def refuse_many_images(messages: Sequence[JsonObject], param: str = "messages") -> None:
    """Raise InvalidRequest if chat messages hold more than MAX_IMAGES images."""
    count = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            count += sum(part.get("type") == "image_url" for part in content)
    if count > MAX_IMAGES:
        raise InvalidRequest(f"{param}: more than {MAX_IMAGES} images", param=param)
