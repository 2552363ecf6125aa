"""The child process of one embedded upstream: a llama.cpp server on loopback.

Run as a script, outside the package: only the standard library and `xllamacpp`, nothing of ours.
It reads one JSON line (`Order`) from stdin, writes one JSON line with its address to stdout once
it is healthy, and ends when stdin closes: whatever way the parent dies, no orphan stays.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from importlib import import_module
from typing import Any, TypedDict

HOST = "127.0.0.1"
PROMPT_CACHE_MIB = 256
"""llama.cpp keeps the prompts of freed slots in memory, up to 8 GiB by default."""
HEALTH_DEADLINE = 30.0


class Order(TypedDict):
    """What to serve. `prefix` is a secret path: no web page or other user can guess the API."""

    model: str
    alias: str
    context: int
    parallel: int
    threads: int
    port: int
    prefix: str


def start(order: Order) -> Any:  # a native object without type information
    """Load the model and listen; the server lives as long as the returned object."""
    xllamacpp = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.model_alias = [order["alias"]]
    params.n_ctx = order["context"] * order["parallel"]
    params.n_parallel = order["parallel"]
    params.cpuparams.n_threads = order["threads"]
    params.hostnames = [HOST]
    params.port = order["port"]
    params.api_prefix = order["prefix"]
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.cors_origins = ""
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.offline = True
    params.verbosity = 1
    return xllamacpp.Server(params)


def wait_until_healthy(address: str) -> None:
    """Ask `/health` once; llama.cpp answers when the model is loaded. OSError when it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{address}/health", timeout=HEALTH_DEADLINE) as answer:
        answer.read()


def main() -> int:
    """Serve until stdin closes; exit code 1 with the reason on stderr when that cannot be."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native code that prints to stdout must not garble the report
    order: Order = json.loads(sys.stdin.readline())
    try:
        server = start(order)
    except ImportError as error:
        sys.stderr.write(f"xllamacpp does not load on this platform: {error}\n")
        return 1
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    address = server.listening_address + order["prefix"]
    wait_until_healthy(address)
    with report:
        json.dump({"address": address}, report)
        report.write("\n")
    while sys.stdin.readline():
        pass
    sys.stderr.flush()
    os._exit(0)  # an answer nobody reads any more is not worth waiting for


if __name__ == "__main__":
    sys.exit(main())
