"""One question, with the panel's progress before the answer and a report of all calls after it."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("GATEWAY_KEY", "unused"),
)

report = None
with client.chat.completions.create(
    model=os.environ.get("GATEWAY_MODEL", "moa"),
    messages=[{"role": "user", "content": "Why is the sky blue?"}],
    stream=True,
    stream_options={"include_usage": True},
    extra_body={"moa": {"include": ["run"], "progress": "reasoning"}},
) as stream:
    for chunk in stream:
        for choice in chunk.choices:
            progress = getattr(choice.delta, "reasoning_content", None)
            print(progress or choice.delta.content or "", end="", flush=True)
        report = getattr(chunk, "moa", report)

if report is None:
    raise SystemExit("the stream ended without a report")
print(
    f"\n\nrun {report['run_id']}, cost {report['cost']} USD, degraded: {report['degraded'] or 'no'}"
)
for call in report["calls"]:
    seconds = call["ended"] - call["started"]
    tokens = call["usage"]["completion_tokens"] if call["usage"] else 0
    node = f"layer {call['layer']} {call['node']}#{call['sample'] + 1}"
    print(f"  {node:24} {call['model']:12} {call['outcome']:10} {seconds:6.2f} s {tokens:5} tokens")
