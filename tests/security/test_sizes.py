"""What a request may hold: over HTTP, in every dialect, with the status that says whose fault."""

import orjson
import pytest

from app.protocol.chat_body import MAX_CHOICES, MAX_MESSAGES
from app.protocol.images import MAX_IMAGES
from app.protocol.nesting import MAX_DEPTH
from app.protocol.text_request import MAX_PROMPTS
from app.upstream.fake import FakeModel

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HI = {"role": "user", "content": "Hi"}
BODIES = {
    CHAT: {"model": "m", "messages": [HI]},
    MESSAGES: {"model": "m", "messages": [HI], "max_tokens": 9},
    "/v1/messages/count_tokens": {"model": "m", "messages": [HI]},
    RESPONSES: {"model": "m", "input": "Hi", "store": False},
    "/v1/completions": {"model": "m", "prompt": "Hi"},
    "/v1/embeddings": {"model": "m", "input": "Hi"},
}
URL = "https://pictures.example/a.png"
every_dialect = pytest.mark.parametrize("path", BODIES)


@pytest.fixture
async def client(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as ready:
        yield ready


@every_dialect
async def test_a_body_above_the_limit_is_a_413_in_every_dialect(serve, client_of, path):
    settings = {"max_body_bytes": 1024}
    async with serve({"m": FakeModel("m")}, **settings) as app, client_of(app) as client:
        body = {**BODIES[path], "user": "x" * 2000}
        assert (await client.post(path, json=body)).status_code == 413


@every_dialect
async def test_json_nested_too_deep_is_a_400_in_every_dialect(client, path):
    deep = orjson.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    answer = await client.post(path, json={**BODIES[path], "unknown": deep})
    assert answer.status_code == 400
    assert "nested too deep" in answer.text


@pytest.mark.parametrize(
    ("path", "field", "one"),
    [
        (CHAT, "messages", HI),
        (MESSAGES, "messages", HI),
        (RESPONSES, "input", {"type": "message", **HI}),
    ],
)
async def test_more_messages_than_the_limit_are_a_400(client, path, field, one):
    answer = await client.post(path, json={**BODIES[path], field: [one] * (MAX_MESSAGES + 1)})
    assert answer.status_code == 400


def pictures(path, count):
    """A body with so many images, spread over two turns."""
    image = {
        CHAT: {"type": "image_url", "image_url": {"url": URL}},
        MESSAGES: {"type": "image", "source": {"type": "url", "url": URL}},
        RESPONSES: {"type": "input_image", "image_url": URL},
    }[path]
    parts = [image] * count
    turns = [{"role": "user", "content": half} for half in (parts[:10], parts[10:])]
    field = "input" if path == RESPONSES else "messages"
    return {**BODIES[path], field: turns}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_more_images_than_the_limit_are_a_400_in_every_dialect(client, path):
    assert (await client.post(path, json=pictures(path, MAX_IMAGES))).status_code == 200
    answer = await client.post(path, json=pictures(path, MAX_IMAGES + 1))
    assert answer.status_code == 400
    assert f"more than {MAX_IMAGES} images" in answer.text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"n": MAX_CHOICES + 1}),
        ("/v1/completions", {"n": MAX_CHOICES + 1}),
        ("/v1/completions", {"best_of": MAX_CHOICES + 1}),
        ("/v1/completions", {"prompt": ["x"] * (MAX_PROMPTS + 1)}),
        (MESSAGES, {"n": 2}),
        (RESPONSES, {"n": 2}),
    ],
)
async def test_more_answers_than_the_limit_are_a_400(client, path, fields):
    assert (await client.post(path, json={**BODIES[path], **fields})).status_code == 400
