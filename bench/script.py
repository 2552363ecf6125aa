"""The plain script to compare with: AsyncOpenAI and asyncio.gather.

Reads jobs from stdin, one JSON object a line (`model`, `stream`, `concurrency`, `count` or
`seconds`), and writes a line of JSON with latencies, wall and CPU seconds for each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from openai import AsyncOpenAI

from bench.workload import aggregate_messages, graph_of

QUESTION = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Which of the two roads is the shorter one, and why?"},
]


async def answer(client: AsyncOpenAI, model: str) -> int:
    """One Mixture-of-Agents request; returns the number of streamed chunks."""
    graph = graph_of(model)
    messages: Any = QUESTION
    for layer in graph.layers:
        calls = [client.chat.completions.create(model=m, messages=messages) for m in layer]
        replies = await asyncio.gather(*calls)
        texts = [str(reply.choices[0].message.content) for reply in replies]
        messages = aggregate_messages(messages, texts)
    stream = await client.chat.completions.create(
        model=graph.aggregator, messages=messages, stream=True
    )
    return len([chunk async for chunk in stream])


async def run(client: AsyncOpenAI, job: dict[str, Any]) -> dict[str, Any]:
    """All requests of a job."""
    latencies: list[float] = []
    events = 0
    started, cpu = time.perf_counter(), time.process_time()
    count, stop = job.get("count", 0), started + job.get("seconds", 0.0)
    left = iter(range(count))
    more: Callable[[], bool] = (
        (lambda: next(left, None) is not None) if count else (lambda: time.perf_counter() < stop)
    )

    async def slot() -> None:
        nonlocal events
        while more():
            begun = time.perf_counter()
            seen = await answer(client, job["model"])
            events += seen
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*(slot() for _ in range(job["concurrency"])))
    return {
        "latencies": latencies,
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "events": events,
    }


async def main(upstream: str) -> None:
    """Jobs until stdin closes."""
    loop = asyncio.get_running_loop()
    async with AsyncOpenAI(base_url=upstream, api_key="none", timeout=60) as client:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await run(client, json.loads(line))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", required=True)
    asyncio.run(main(parser.parse_args().upstream))
