"""Every field of the chat API, both ways: what each upstream is sent, what a client gets back."""

from typing import Any, get_type_hints

import httpx
import orjson
import pytest
from openai.types import chat

from app.config import Settings
from app.main import create_app
from app.protocol.chat_body import ChatBody
from app.upstream.fake_server import Reply
from tests.e2e.conftest import running

CONFIG = """
upstreams:
  fake: {base_url: BASE, api_key: sk-planted-upstream-key}
models:
  plain: {upstream: fake, model: plain-up}
  first: {upstream: fake, model: first-up}
  second: {upstream: fake, model: second-up}
  third: {upstream: fake, model: third-up}
graphs:
  panel:
    layers:
      - nodes:
          free: {kind: propose, model: first}
          own:
            kind: propose
            model: second
            temperature: 0.11
            top_p: 0.22
            frequency_penalty: 0.33
            presence_penalty: 0.44
            max_tokens: 55
            reasoning_effort: low
            verbosity: low
            service_tier: flex
      - nodes: {critic: {kind: critique, model: third}}
    output: {kind: aggregate, model: plain, inputs: [free, own, critic]}
"""
PROPOSER, PROPOSER_WITH_OWN, CRITIC, OUTPUT = "first-up", "second-up", "third-up", "plain-up"
USER = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SCHEMA = {"name": "s", "strict": True, "schema": {"type": "object"}}
OWN = {
    "temperature": 0.11,
    "top_p": 0.22,
    "frequency_penalty": 0.33,
    "presence_penalty": 0.44,
    "max_tokens": 55,
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "flex",
}

TO_ALL = {"temperature": 0.9, "top_p": 0.8, "frequency_penalty": 0.7, "presence_penalty": -0.6}
"""Inner nodes without a setting of their own have the caller's."""

TO_OUTPUT = {
    "audio": {"voice": "ash", "format": "wav"},
    "function_call": "auto",
    "functions": [{"name": "add", "parameters": {"type": "object"}}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 99,
    "max_tokens": 98,
    "metadata": {"team": "search"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "Hi there"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "service_tier": "priority",
    "stop": ["END", "\n\n"],
    "store": True,
    "tool_choice": {"type": "function", "function": {"name": "add"}},
    "tools": [TOOL],
    "top_logprobs": 3,
    "verbosity": "high",
    "web_search_options": {"search_context_size": "low"},
    "top_k": 40,
    "a_field_of_tomorrow": {"deep": [1, None, "x"]},
}
"""The output node alone has these, word for word."""

HASHED = {"safety_identifier": "ann@example.com", "user": "ann"}
DERIVED = {"seed": 7}
OURS = {
    "messages": USER,
    "model": "plain",
    "stream": False,
    "stream_options": {"include_usage": True},
}
EVERY = {**TO_ALL, **TO_OUTPUT, **HASHED, **DERIVED}


@pytest.fixture(scope="module")
def _panel(_fake_upstream_server, tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "gateway.yaml"
    file.write_text(CONFIG.replace("BASE", _fake_upstream_server.base_url))
    app = create_app(Settings.read({}, config=file), environ={})
    with running(app, _fake_upstream_server) as started:
        yield started


@pytest.fixture
def gateway(_panel, fake_upstream):
    assert _panel.upstream is fake_upstream
    return _panel


def ask(gateway, **fields: Any) -> Any:
    response = httpx.post(
        f"{gateway.url}/v1/chat/completions", json={"messages": USER, **fields}, timeout=10
    )
    assert response.status_code == 200, response.text
    return response


def sent(gateway) -> dict[str, Any]:
    """What each upstream model was asked, but for the fields of every request."""
    return {
        entry.model: {k: v for k, v in entry.body.items() if k not in OURS}
        for entry in gateway.upstream.log.entries
    }


def test_the_tables_have_every_field_that_openai_has():
    params = chat.completion_create_params
    known = set(get_type_hints(params.CompletionCreateParamsNonStreaming))
    known |= set(get_type_hints(params.CompletionCreateParamsStreaming))
    assert known <= {*EVERY, *OURS}
    assert known <= set(get_type_hints(ChatBody))


@pytest.mark.parametrize("name", TO_ALL)
def test_sampling_is_the_nodes_own_or_else_the_callers(gateway, name):
    ask(gateway, model="panel", **{name: TO_ALL[name]})
    asked = sent(gateway)
    assert asked[PROPOSER] == asked[CRITIC] == asked[OUTPUT] == {name: TO_ALL[name]}
    assert asked[PROPOSER_WITH_OWN] == OWN


@pytest.mark.parametrize("name", TO_OUTPUT)
def test_what_shapes_the_answer_goes_to_the_output_alone(gateway, name):
    ask(gateway, model="panel", **{name: TO_OUTPUT[name]})
    asked = sent(gateway)
    assert asked[OUTPUT] == {name: TO_OUTPUT[name]}
    assert asked[PROPOSER] == asked[CRITIC] == {}
    assert asked[PROPOSER_WITH_OWN] == OWN


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("model", ["panel", "plain"])
def test_who_asks_is_a_hash_that_the_output_alone_learns(gateway, name, model):
    for value in (HASHED[name], HASHED[name], "someone else"):
        ask(gateway, model=model, **{name: value})
    hashes = [e.body[name] for e in gateway.upstream.log.entries if e.model == OUTPUT]
    others = [e.body for e in gateway.upstream.log.entries if e.model != OUTPUT]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(each) == 64 for each in hashes)
    assert not any(name in body for body in others)


def test_a_seed_is_another_one_for_each_inner_node(gateway):
    ask(gateway, model="panel", seed=7)
    seeds = {model: fields["seed"] for model, fields in sent(gateway).items()}
    assert seeds[OUTPUT] == 7
    assert len(set(seeds.values())) == 4
    gateway.upstream.log.clear()
    ask(gateway, model="panel", seed=7)
    assert {model: fields["seed"] for model, fields in sent(gateway).items()} == seeds


@pytest.mark.parametrize("stream", [True, False])
def test_a_plain_model_has_every_field_as_it_came(gateway, stream):
    fields = {**EVERY, "stream": stream}
    ask(gateway, model="plain", **fields)
    (entry,) = gateway.upstream.log.entries
    body = entry.body
    assert {len(body.pop(name)) for name in HASHED} == {64}
    usage = {"stream_options": {"include_usage": True}} if stream else {}
    expected = {k: v for k, v in fields.items() if k not in HASHED}
    assert body == {**expected, **usage, "model": "plain-up", "messages": USER}


@pytest.mark.parametrize("name", [*TO_ALL, *TO_OUTPUT, *DERIVED])
def test_null_is_as_good_as_nothing(gateway, name):
    ask(gateway, model="panel", **{name: None})
    asked = sent(gateway)
    assert asked[PROPOSER] == {}
    assert asked[PROPOSER_WITH_OWN] == OWN
    assert asked[OUTPUT] in ({}, {name: None})


PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}},
]


def test_roles_names_and_parts_reach_every_node(gateway):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind.", "name": "boss"},
        {"role": "user", "content": PARTS, "name": "ann"},
    ]
    ask(gateway, model="panel", messages=messages)
    for entry in gateway.upstream.log.entries:
        assert entry.body["messages"][:2] == messages[:2]
        last = entry.body["messages"][2]
        assert (last["name"], last["content"][: len(PARTS)]) == ("ann", PARTS)


# -- back ------------------------------------------------------------------------------------------

CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "c2", "type": "function", "function": {"name": "mul", "arguments": "{}"}},
    {"id": "c3", "type": "custom", "custom": {"name": "run", "input": "ls"}},
]
CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 2, "title": "T", "url": "https://example.com"},
}
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
MESSAGES = {
    "text": {"content": "Hi there."},
    "refusal": {"content": None, "refusal": "No."},
    "tool calls": {"content": None, "tool_calls": CALLS},
    "function call": {"content": None, "function_call": {"name": "add", "arguments": "{}"}},
    "audio": {"content": None, "audio": {"id": "a1", "data": "AA==", "transcript": "Hi"}},
    "annotations": {"content": "Hi", "annotations": [CITATION]},
    "reasoning_content": {"content": "Hi", "reasoning_content": "Hm."},
    "reasoning": {"content": "Hi", "reasoning": "Hm.", "reasoning_details": [{"type": "x"}]},
    "unknown": {"content": "Hi", "a_field_of_tomorrow": {"deep": [1, "x"]}},
}
REASONS = ["stop", "length", "tool_calls", "content_filter", "function_call"]
EXTRAS = {
    "service_tier": "flex",
    "system_fingerprint": "fp_1",
    "metadata": {"team": "search"},
    "moderation": {"input": {"type": "error", "code": "c", "message": "m"}},
}
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 30,
    "total_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 2, "cache_write_tokens": 3},
    "completion_tokens_details": {
        "reasoning_tokens": 7,
        "audio_tokens": 1,
        "accepted_prediction_tokens": 4,
        "rejected_prediction_tokens": 6,
    },
}


def answering(message, reason="stop", logprobs=None, **extras):
    """A model that says this whole, or in a stream: the message in one delta, then the end."""

    def completion(choice, kind):
        body = {"id": "x", "created": 1, "model": "x", "object": kind, **extras}
        return {**body, "choices": [choice]}

    def reply(call):
        choice = {"index": 0, "logprobs": logprobs, "finish_reason": reason}
        if not call.get("stream"):
            whole = completion({**choice, "message": message}, "chat.completion")
            body = orjson.dumps({**whole, "usage": USAGE}).decode()
            return Reply(body=body, content_type="application/json")
        calls = [{"index": n, **each} for n, each in enumerate(message.get("tool_calls", ()))]
        delta = {**message, **({"tool_calls": calls} if calls else {})}
        said = completion({**choice, "delta": delta, "finish_reason": None}, "chunk")
        end = completion({"index": 0, "delta": {}, "finish_reason": reason}, "chunk")
        events = [said, end, {**end, "choices": [], "usage": USAGE}]
        lines = [f"data: {orjson.dumps(each).decode()}\n\n" for each in events]
        return Reply(body="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream")

    return reply


def heard(gateway, model, *, stream):
    """The choice, whole or put together from its chunks, and all other fields of the answer."""
    fields = {"stream_options": {"include_usage": True}} if stream else {}
    response = ask(gateway, model=model, stream=stream, **fields)
    if not stream:
        answer = response.json()
        (choice,) = answer.pop("choices")
        return choice["message"], choice, answer
    payloads = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: {")]
    chunks = [orjson.loads(each) for each in payloads]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    message, rest = {}, {}
    for choice in choices:
        delta = choice.pop("delta")
        calls = delta.pop("tool_calls", None)
        if calls:
            assert [each.pop("index") for each in calls] == list(range(len(calls)))
            message["tool_calls"] = calls
        message |= delta
        rest |= {name: value for name, value in choice.items() if value is not None}
    joined = {name: value for chunk in chunks for name, value in chunk.items()}
    return message, rest, joined


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["plain", "panel"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_comes_back_as_it_was_said(gateway, kind, model, stream):
    gateway.upstream.replies["plain-up"] = answering({"role": "assistant", **MESSAGES[kind]})
    message, _, _ = heard(gateway, model, stream=stream)
    nothing = {} if stream else {"refusal": None, "content": None}
    assert message == {**nothing, "role": "assistant", **MESSAGES[kind]}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", REASONS)
def test_a_finish_reason_comes_back(gateway, reason, stream):
    gateway.upstream.replies["plain-up"] = answering({"content": "Hi"}, reason)
    _, choice, _ = heard(gateway, "panel", stream=stream)
    assert choice["finish_reason"] == reason


@pytest.mark.parametrize("stream", [True, False])
def test_log_probabilities_come_back(gateway, stream):
    logprobs = {"content": [TOKEN], "refusal": None}
    gateway.upstream.replies["plain-up"] = answering({"content": "Hi"}, logprobs=logprobs)
    _, choice, _ = heard(gateway, "panel", stream=stream)
    assert choice["logprobs"] == logprobs


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_said_of_the_answer_as_a_whole_comes_back(gateway, name, stream):
    gateway.upstream.replies["plain-up"] = answering({"content": "Hi"}, **{name: EXTRAS[name]})
    _, _, answer = heard(gateway, "panel", stream=stream)
    assert answer[name] == EXTRAS[name]


@pytest.mark.parametrize("stream", [True, False])
def test_usage_comes_back_with_its_details(gateway, stream):
    gateway.upstream.replies["plain-up"] = answering({"content": "Hi"})
    _, _, answer = heard(gateway, "plain", stream=stream)
    assert answer["usage"] == {**USAGE, "cost": None}


@pytest.mark.parametrize("stream", [True, False])
def test_usage_of_a_graph_is_added_up_with_its_details(gateway, stream):
    for model in (PROPOSER, PROPOSER_WITH_OWN, CRITIC, OUTPUT):
        gateway.upstream.replies[model] = answering({"content": "Hi"})
    _, _, answer = heard(gateway, "panel", stream=stream)
    four = orjson.loads(orjson.dumps(USAGE))
    for part in (four, four["prompt_tokens_details"], four["completion_tokens_details"]):
        part.update({name: 4 * count for name, count in part.items() if isinstance(count, int)})
    assert answer["usage"] == {**four, "cost": None}


@pytest.mark.parametrize("stream", [True, False])
def test_identity_is_the_gateways(gateway, stream):
    gateway.upstream.replies["plain-up"] = answering({"content": "Hi"})
    _, _, answer = heard(gateway, "panel", stream=stream)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "panel"
    assert answer["created"] > 1
    assert answer["object"] == ("chat.completion.chunk" if stream else "chat.completion")


@pytest.mark.parametrize("stream", [True, False])
def test_several_choices_stay_apart(gateway, stream):
    gateway.upstream.replies["plain-up"] = Reply(text="one two")
    response = ask(gateway, model="panel", n=3, stream=stream)
    texts = {}
    bodies = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: {")]
    for body in bodies if stream else [response.text]:
        for choice in orjson.loads(body)["choices"]:
            said = choice["delta" if stream else "message"].get("content") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + said
    assert texts == dict.fromkeys(range(3), "one two")
