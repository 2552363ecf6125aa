"""What the gateway under the clients serves, and what the fake upstream behind it says."""

from __future__ import annotations

from itertools import cycle

import orjson

from app.protocol.json_types import JsonObject
from app.upstream.fake_server import Answer, Reply

KEY = "sk-a-client-of-the-tests"

CONFIG = """
upstreams:
  fake: {base_url: BASE, api_key: sk-of-the-upstream, retries: 0, breaker: off}
models:
  first: {upstream: fake, model: first}
  second: {upstream: fake, model: second}
  text: {upstream: fake, model: text}
  adder: {upstream: fake, model: adder}
  cities: {upstream: fake, model: cities}
  second-thoughts: {upstream: fake, model: second-thoughts}
  limited: {upstream: fake, model: limited}
  flaky: {upstream: fake, model: flaky}
  down: {upstream: fake, model: down}
  silent: {upstream: fake, model: silent}
  broken: {upstream: fake, model: broken}
  never: {upstream: fake, model: never}
  embedder: {upstream: fake, model: embedder}
graphs:
  panel:
    layers: [{proposers: [first, second]}]
    aggregator: text
  tools:
    layers: [{proposers: [first, second]}]
    aggregator: adder
  object:
    layers: [{proposers: [first, second]}]
    aggregator: cities
  capped:
    layers: [{proposers: [never]}]
    aggregator: never
    caps: {max_calls: 1, on_cap: error}
"""

CITY = {"name": "Paris", "inhabitants": 2102650}


def replies() -> dict[str, Answer]:
    """As if nothing had been asked yet."""
    turns = cycle([Reply(status=429, retry_after="0"), Reply(text="at last")])
    cities = cycle([{"name": "Paris"}, CITY])
    return {
        "first": Reply(text="A first proposal."),
        "second": Reply(text="A second proposal."),
        "text": Reply(text="one two three"),
        "adder": _add,
        "cities": lambda body: _object(body, CITY),
        "second-thoughts": lambda body: _object(body, next(cities)),
        "limited": Reply(status=429, retry_after="0"),
        "flaky": lambda _: next(turns),
        "down": Reply(status=500),
        "silent": Reply(then="hang", after=-1),
        "broken": Reply(text="one two three", after=2, then="cut"),
    }


def _add(body: JsonObject) -> Reply:
    for message in reversed(body["messages"]):
        if message["role"] == "tool":
            return Reply(text=f"The sum is {message['content']}.")
    return _call("add", {"a": 2, "b": 3})


def _object(body: JsonObject, value: JsonObject) -> Reply:
    """What was asked for: a call of the only tool, or JSON that fits the format."""
    if body.get("tools"):
        return _call(body["tools"][0]["function"]["name"], value)
    assert body["response_format"]["type"] in {"json_schema", "json_object"}
    return Reply(text=orjson.dumps(value).decode().replace(",", ", "))


def _call(name: str, arguments: JsonObject) -> Reply:
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return Reply(text="", tool_calls=({"id": "call_1", "type": "function", "function": function},))
