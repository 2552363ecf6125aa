"""A change of the configuration's files, taken up by a running gateway without a signal."""

import time

import httpx

from app.upstream.fake_server import Reply
from tests.e2e.test_raw_http import read_until, request

PATIENCE = 15.0
NEW = "  fresh: {layers: [{proposers: [first]}], aggregator: second}\n"


def names(gateway):
    listed = httpx.get(f"{gateway.url}/v1/models").json()["data"]
    return {each["id"]: each["created"] for each in listed}


def until(reached):
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_changed_file_is_served_and_a_running_stream_ends_as_it_began(
    gateway_with, fake_upstream, tmp_path
):
    file = tmp_path / "gateway.yaml"
    text = file.read_text()
    fake_upstream.replies["plain-up"] = Reply(text="one two", after=1, then="gate")
    with gateway_with() as gateway, gateway.connect() as connection:
        connection.sendall(request({"model": "panel", "stream": True}))
        early = read_until(connection, b'"one ')
        before = names(gateway)
        file.write_text(text.partition("graphs:")[0] + "graphs:\n" + NEW)
        until(lambda: "fresh" in names(gateway))
        after = names(gateway)
        assert "panel" not in after
        assert {name: after[name] for name in ("plain", "first")} == {
            name: before[name] for name in ("plain", "first")
        }
        fake_upstream.open_gate()
        assert b"[DONE]" in early + read_until(connection, b"0\r\n\r\n")
        with gateway.openai() as client:
            messages = [{"role": "user", "content": "Hi"}]
            answer = client.chat.completions.create(model="fresh", messages=messages)
        assert answer.choices[0].message.content == "An answer."


def test_an_embedded_server_is_not_added_while_running(gateway_with, tmp_path, caplog):
    file = tmp_path / "gateway.yaml"
    with gateway_with() as gateway:
        until(lambda: gateway.server.started)
        embedded = "upstreams:\n  small: {llama_cpp: {model: no.gguf}}\n"
        file.write_text(file.read_text().replace("upstreams:\n", embedded, 1))
        until(lambda: "restart it" in caplog.text)
        assert f"{file}:3: upstreams.small.llama_cpp: " in caplog.text
        assert "plain" in names(gateway)
