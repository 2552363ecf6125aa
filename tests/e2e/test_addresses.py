"""The other addresses of the same API: without `/v1`, and Azure's."""

import httpx
import openai
import pytest

from app.upstream.fake_server import Reply

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
TEXT = {"prompt": "Hi"}
EMBED = {"input": "Hi"}
POSTS = [("/chat/completions", CHAT), ("/completions", TEXT), ("/embeddings", EMBED)]


@pytest.mark.parametrize(("path", "body"), POSTS)
@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_v1_may_be_left_out(gateway, path, body, prefix):
    answer = httpx.post(gateway.url + prefix + path, json={**body, "model": "plain"})

    assert answer.status_code == 200
    assert answer.json()["model"] == "plain"


@pytest.mark.parametrize("path", ["/models", "/openai/models"])
def test_the_models_are_there_too(gateway, path):
    listed = httpx.get(gateway.url + path).json()

    assert listed == httpx.get(f"{gateway.url}/v1/models").json()
    assert httpx.get(f"{gateway.url}{path}/panel").json()["id"] == "panel"


@pytest.mark.parametrize(("path", "body"), POSTS)
@pytest.mark.parametrize("named", [{}, {"model": "first"}, {"model": "no-such-model"}])
def test_azures_address_names_the_model(gateway, path, body, named):
    url = f"{gateway.url}/openai/deployments/plain{path}?api-version=2026-01-01"
    answer = httpx.post(url, json={**body, **named})

    assert answer.status_code == 200
    assert answer.json()["model"] == "plain"
    assert gateway.upstream.log.entries[-1].model == "plain-up"


def test_azures_address_of_an_unknown_model_is_a_404(gateway):
    url = f"{gateway.url}/openai/deployments/a/b/chat/completions"
    answer = httpx.post(url, json=CHAT)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "'a/b'" in answer.json()["error"]["message"]


@pytest.mark.parametrize("deployment", [None, "panel"])
def test_the_azure_client(gateway_with, fake_upstream, deployment):
    fake_upstream.replies["plain-up"] = Reply(text="one two")
    with (
        gateway_with(api_keys=("moa-key",)) as gateway,
        openai.AzureOpenAI(
            azure_endpoint=gateway.url,
            api_key="moa-key",
            api_version="2026-01-01",
            azure_deployment=deployment,
            max_retries=0,
        ) as client,
    ):
        whole = client.chat.completions.create(model="panel", **CHAT)
        streamed = list(client.chat.completions.create(model="panel", **CHAT, stream=True))
        listed = [model.id for model in client.models.list()] if deployment is None else []

    assert whole.choices[0].message.content == "one two"
    assert streamed[0].model == whole.model == "panel"
    assert ("panel" in listed) == (deployment is None)


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_the_key_may_come_as_azure_and_anthropic_send_it(gateway_with, header):
    with gateway_with(api_keys=("moa-key",)) as gateway:
        known = httpx.get(f"{gateway.url}/v1/models", headers={header: "moa-key"})
        unknown = httpx.get(f"{gateway.url}/v1/models", headers={header: "moa-other"})

    assert (known.status_code, unknown.status_code) == (200, 401)


@pytest.mark.parametrize(
    "request_line",
    ["POST /v1/images/generations", "GET /v1/files", "POST /v1/audio/speech", "GET /v1"],
)
def test_what_is_not_there_says_so(gateway, request_line):
    method, path = request_line.split()
    answer = httpx.request(method, gateway.url + path, json={})

    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["code"], error["type"]) == ("unknown_url", "invalid_request_error")
    assert request_line in error["message"]
    assert answer.headers["x-request-id"]
