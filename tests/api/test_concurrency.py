"""The limit on requests under way: who is turned away, who never is, and what is counted."""

import anyio
import anyio.lowlevel
import pytest

from app.upstream.fake import FakeModel, Script

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def full(serve, client_of):
    """A client of a gateway whose one place is taken, and the gate that frees it."""
    gate = anyio.Event()
    model = FakeModel("m", Script("one", gate=gate))
    async with (
        serve({"m": model}, max_concurrent_requests=1) as app,
        client_of(app) as client,
        anyio.create_task_group() as tasks,
    ):
        answers = []

        async def ask():
            answers.append(await client.post("/v1/chat/completions", json=ASK))

        tasks.start_soon(ask)
        with anyio.fail_after(10):
            while b"moa_inflight 1.0" not in (await client.get("/metrics")).content:
                await anyio.lowlevel.checkpoint()
        yield client, gate
        gate.set()
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize("stream", [True, False])
async def test_one_more_is_turned_away_at_once_with_the_time_to_try_again(full, stream):
    client, _ = full
    with anyio.fail_after(5):
        answer = await client.post("/v1/chat/completions", json={**ASK, "stream": stream})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "overloaded"


async def test_anthropic_s_address_says_it_in_its_own_words(full):
    client, _ = full
    answer = await client.post("/v1/messages", json={**ASK, "max_tokens": 5})
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_an_overload_can_be_watched(full, path):
    client, _ = full
    assert (await client.get(path)).status_code == 200


async def test_places_are_given_back_however_a_request_ends(full):
    client, gate = full
    gate.set()
    with anyio.fail_after(10):
        while b"moa_inflight 0.0" not in (await client.get("/metrics")).content:
            await anyio.lowlevel.checkpoint()
    for body in ({"model": "nobody"}, {}, ASK):
        await client.post("/v1/chat/completions", json=body)
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200


async def test_strangers_take_no_place(serve, client_of):
    settings = {"max_concurrent_requests": 1, "api_keys": ("moa-key",)}
    async with serve({"m": FakeModel("m")}, **settings) as app, client_of(app) as client:
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 401
        key = {"authorization": "Bearer moa-key"}
        answer = await client.post("/v1/chat/completions", json=ASK, headers=key)
        assert answer.status_code == 200
