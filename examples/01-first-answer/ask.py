"""One question, streamed, with OpenAI's Python SDK: only the base URL is another one."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("GATEWAY_KEY", "unused"),
)

with client.chat.completions.create(
    model=os.environ.get("GATEWAY_MODEL", "moa"),
    messages=[{"role": "user", "content": "Why is the sky blue?"}],
    stream=True,
    stream_options={"include_usage": True},
) as stream:
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n\n{chunk.usage.total_tokens} tokens in all, proposers included")
