"""Models, health, metrics, the schema and the access log."""

import logging
import re

import httpx

from app.upstream.fake import FakeModel

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "a planted prompt"}]}


async def test_models_lists_every_name_a_request_may_use(serve, client_of):
    async with (
        serve({"m": FakeModel("m"), "a/b": FakeModel("a/b")}) as app,
        client_of(app) as client,
    ):
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/a/b")).json()

    assert [each["id"] for each in listed["data"]] == ["m", "a/b", "alias"]
    assert one == listed["data"][1]


async def test_health_is_open_and_says_whether_there_is_something_to_serve(serve, client_of):
    async with serve({}, api_keys=("moa-key",)) as app, client_of(app) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
    async with serve({"m": FakeModel("m")}, api_keys=("moa-key",)) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).json() == {"status": "ready"}


async def test_metrics_count_the_runs_of_this_server(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        await client.post(CHAT, json=BODY)
        await client.post(CHAT, json={**BODY, "stream": True})
        response = await client.get("/metrics")

    assert 'moa_requests_total{graph="m",outcome="ok"} 2.0' in response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_the_schema_documents_the_chat_body(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response = await client.get("/openapi.json")

    document = response.json()
    operation = document["paths"][CHAT]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "temperature", "moa"} <= set(body["properties"])
    for name in re.findall(r"#/components/schemas/(\w+)", response.text):
        assert name in document["components"]["schemas"]


async def test_a_request_is_one_log_line_without_prompt_and_key(serve, client_of, caplog):
    headers = {"authorization": "Bearer moa-planted-key"}
    other = {"authorization": "Bearer moa-other"}
    caplog.set_level(logging.INFO, "moa")
    models = {"m": FakeModel("m")}
    async with serve(models, api_keys=("moa-planted-key",)) as app, client_of(app) as client:
        await client.post(f"{CHAT}?moa-planted-query", json=BODY, headers=headers)
        await client.post(CHAT, json=BODY, headers=other)

    served, refused = [each.fields for each in caplog.records if each.name == "moa.access"]
    assert (served["status"], served["model"], served["outcome"]) == (200, "m", "ok")
    assert re.fullmatch("[0-9a-f]{32}", served["caller"])
    assert served["run_id"]
    assert (refused["status"], refused["error"]) == (401, "caller_unauthenticated")
    assert "planted" not in str([each.__dict__ for each in caplog.records])
    assert "moa-other" not in str([each.__dict__ for each in caplog.records])


async def test_a_client_that_left_is_logged_as_such(serve, wire, caplog):
    request = wire(None)
    request.leave()
    with caplog.at_level(logging.INFO, "moa"):
        async with serve({"m": FakeModel("m")}) as app:
            await request.run(app)

    (fields,) = [each.fields for each in caplog.records if each.name == "moa.access"]
    assert fields["client_left"] is True
    assert fields["status"] is None


async def test_a_web_socket_is_turned_away(serve):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/health/live", "headers": [], "root_path": ""}
    async with serve({"m": FakeModel("m")}) as app:
        await app(scope, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_answers_of_the_application_are_not_cached_by_mistake(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        response: httpx.Response = await client.post(CHAT, json=BODY)

    assert response.headers["cache-control"] == "no-store"


async def test_head_is_answered_as_get_is_without_the_body(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        for path in ("/health/live", "/health/ready", "/v1/models", "/v1/models/m", "/v1/models/x"):
            whole, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-length"] == str(len(whole.content)), path
        assert (await client.head(CHAT)).status_code == 405


async def test_what_accepts_get_says_that_it_accepts_head(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        assert (await client.delete("/v1/models")).headers["allow"] == "GET, HEAD"


async def test_an_address_with_several_routes_allows_the_methods_of_all(serve, client_of):
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        assert (await client.put("/v1/responses/any")).headers["allow"] == "GET, HEAD, DELETE"
