"""Work that is not done twice, and answers that are picked whole, as an SDK sees them."""

import pytest

from app.upstream.fake_server import Reply

CONFIG = """
upstreams:
  fake: {base_url: BASE, api_key: sk-planted-upstream-key}
models:
  plain: {upstream: fake, model: plain-up}
  first: {upstream: fake, model: first-up}
  second: {upstream: fake, model: second-up}
graphs:
  kept: {layers: [{proposers: [first, second]}], aggregator: plain, cache: {ttl: 1h}}
  picked: {layers: [{proposers: [first, second]}], aggregator: plain, tools: pick}
"""
QUESTION = {"role": "user", "content": "Hi"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
PLANTED = ("sk-planted-client-one", "sk-planted-client-two")


@pytest.fixture
def keeping(gateway_with, tmp_path, fake_upstream):
    """A gateway with two keys and a graph that caches."""
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace("BASE", fake_upstream.base_url))
    with gateway_with(api_keys=",".join(PLANTED)) as gateway:
        yield gateway


def asked(gateway):
    return [entry.model for entry in gateway.upstream.log.entries]


def ask(gateway, key, model="kept", messages=(QUESTION,), **fields):
    with gateway.openai(api_key=key) as client:
        return client.chat.completions.create(
            model=model,
            messages=list(messages),
            extra_body={"moa": {"include": ["run"]}},
            **fields,
        )


def test_proposals_are_kept_for_the_key_that_paid_for_them_and_for_no_other(keeping):
    one, two = PLANTED
    ask(keeping, one)
    again = ask(keeping, one)
    assert sorted(asked(keeping)) == ["first-up", "plain-up", "plain-up", "second-up"]
    notes = {(note["what"], note["node"]) for note in again.moa["notes"]}
    assert notes == {("cached", "first"), ("cached", "second")}
    assert [call["node"] for call in again.moa["calls"]] == ["output"]
    assert again.usage.prompt_tokens == again.moa["calls"][0]["usage"]["prompt_tokens"]
    ask(keeping, two)
    assert asked(keeping).count("first-up") == 2


def test_advice_is_given_again_in_a_tool_turn_of_the_same_key_alone(keeping):
    keeping.upstream.replies["first-up"] = Reply(text="Add them up.")
    ask(keeping, PLANTED[0], tools=TOOLS)
    turn = [QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    turn.append({"role": "tool", "tool_call_id": "c1", "content": "3"})
    for key, advised in zip(PLANTED, (True, False), strict=True):
        ask(keeping, key, messages=turn, tools=TOOLS)
        seen = keeping.upstream.log.entries[-1].body["messages"]
        assert seen[:3] == turn
        assert ("Add them up." in str(seen[3:])) is advised
    assert asked(keeping).count("first-up") == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_picked_tool_call_reaches_the_client_whole(keeping, stream):
    both = (CALL, {**CALL, "id": "c2", "function": {"name": "add", "arguments": '{"a": 2}'}})
    for name in ("first-up", "second-up"):
        keeping.upstream.replies[name] = Reply(text="Adding.", tool_calls=both)
    keeping.upstream.replies["plain-up"] = Reply(text="Best: 2")
    fields = {"model": "picked", "messages": [QUESTION], "tools": TOOLS}
    with keeping.openai(api_key=PLANTED[0]) as client:
        if stream:
            with client.chat.completions.stream(**fields) as events:
                answer = events.get_final_completion()
        else:
            answer = client.chat.completions.create(**fields)
    (choice,) = answer.choices
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls]
    assert calls == [("c1", "add", '{"a": 1}'), ("c2", "add", '{"a": 2}')]
    assert choice.message.content == "Adding."
    assert choice.finish_reason == "tool_calls"
    proposers = [e.body for e in keeping.upstream.log.entries if e.model != "plain-up"]
    assert [body["tools"] for body in proposers] == [TOOLS, TOOLS]
    assert [body["stream"] for body in proposers] == [False, False]
