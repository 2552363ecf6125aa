"""Mixture of Agents without any model: a scripted upstream, the gateway, one streamed question.

python examples/00-demo/demo.py ["a question"] [--stay]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.upstream.fake_server import FakeUpstream, Reply, running

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "demo.yaml"
QUESTION = "Should I learn to play the piano?"
PATIENCE = 30.0
CURL = """
Ask it yourself, until Ctrl-C:

  curl -N {address}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "demo", "stream": true, "messages": [{{"role": "user", "content": "Why?"}}]}}'
"""


def aggregate(body: dict[str, Any]) -> Reply:
    """What the scripted aggregator writes: it has read what the gateway handed to it."""
    prompt = json.dumps(body["messages"])
    references = len(set(re.findall(r"Response \d+", prompt)))
    return Reply(
        text=f"I was shown {references} candidate answers, and this is what is left of them: yes, "
        "begin, but begin small. Twenty minutes a day is what the evenings allow; decide after a "
        "month whether it was worth it."
    )


@contextmanager
def gateway(upstream: str) -> Iterator[str]:
    """`moa serve` over the scripted upstream; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    moa = Path(sys.executable).with_name("moa")
    command = [
        str(moa),
        "serve",
        "--config",
        str(CONFIG),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with tempfile.TemporaryFile("w+") as log:
        others = {name: value for name, value in os.environ.items() if name[:4] != "MOA_"}
        environ = {**others, "DEMO_UPSTREAM": upstream}
        server = subprocess.Popen(  # noqa: S603 - our own command line
            command, cwd=ROOT, env=environ, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            if not is_ready(server, address):
                log.seek(0)
                raise SystemExit(f"the gateway did not start:\n{log.read()}")
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE)


def is_ready(server: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until it serves."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up and server.poll() is None:
        try:
            return httpx.get(f"{address}/health/ready").is_success
        except httpx.TransportError:
            time.sleep(0.1)
    return False


def ask(address: str, question: str) -> None:
    """Print the panel's progress and the answer as they come."""
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    url = f"{address}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=PATIENCE) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("data: {"):
                show(json.loads(line.removeprefix("data: ")))


def show(chunk: dict[str, Any]) -> None:
    """One chunk on the terminal: reasoning as it is, then the answer, then the tokens used."""
    if "error" in chunk:
        raise SystemExit(chunk["error"]["message"])
    for choice in chunk["choices"]:
        delta = choice["delta"]
        reasoning, content = delta.get("reasoning_content"), delta.get("content")
        print(reasoning or content or "", end="", flush=True)
    if usage := chunk.get("usage"):
        print(f"\n\n({usage['total_tokens']} tokens in all, proposers included)")


def main() -> None:
    """Start, ask, and stay if wished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--stay", action="store_true", help="serve until Ctrl-C")
    options = parser.parse_args()
    with (
        running(FakeUpstream({"aggregator": aggregate})) as upstream,
        gateway(upstream.base_url) as address,
    ):
        print(f"> {options.question}\n")
        ask(address, options.question)
        if options.stay:
            print(CURL.format(address=address))
            wait()
    if not options.stay:
        print("Every word came from a script. With --stay the server stays, to be asked with curl.")


def wait() -> None:
    """Until Ctrl-C."""
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
