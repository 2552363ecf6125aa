"""Embeddings over a real socket, through both transports, and the fakes that make them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import anyio
import httpx
import pytest

from app.engine.similarity import cosine
from app.errors import (
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from app.interfaces import Embedder, EmbeddingServer
from app.record import CallRecord, Outcome, RunRecord, Step
from app.upstream.deployment import Deployment, Transports, build_deployment
from app.upstream.fake_embedding import FakeEmbedder, vector
from app.upstream.fake_server import FakeUpstream, Reply
from app.upstream.spec import ModelSpec, UpstreamSpec

TEXTS = ("one text", "another text")


class Embedding:
    """One question and what was booked for it."""

    def __init__(self, embedder: Embedder, texts: Sequence[str] = TEXTS) -> None:
        self._embedder, self._texts = embedder, texts
        self.run = RunRecord("run", "m", perf_counter, hops=2)

    async def go(self) -> list[list[float]]:
        step = Step(self.run, "moa", 1, "layer 1 filter", is_output=False)
        with anyio.fail_after(10):
            return await self._embedder.embed(self._texts, step)

    @property
    def call(self) -> CallRecord:
        [call] = self.run.calls
        return call


def data(*vectors: Any, **more: Any) -> dict[str, Any]:
    items = [{"index": at, "embedding": each} for at, each in enumerate(vectors)]
    return {"data": items, **more}


@pytest.fixture
def faked(fake_upstream: FakeUpstream, transports: Transports) -> Deployment:
    spec = ModelSpec(upstream="up", model="emb")
    upstream = UpstreamSpec(base_url=fake_upstream.base_url)
    return build_deployment("pool", spec, "up", upstream, transports)


async def test_a_batch_is_one_call_with_the_models_own_id(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.json(data([1, 0], [0, 1.5], usage={"prompt_tokens": 4})))
    embedding = Embedding(deploy(api_key="sk-1", extra_body={"dimensions": 2}))
    assert await embedding.go() == [[1, 0], [0, 1.5]]
    [request] = raw.requests
    assert request.path == "/v1/embeddings"
    assert request.json == {"model": "vendor/model", "input": list(TEXTS), "dimensions": 2}
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-moa-hops"] == "3"


async def test_it_is_booked_like_any_call(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.json(data([1], [1], usage={"prompt_tokens": 4})))
    embedding = Embedding(deploy())
    await embedding.go()
    call = embedding.call
    assert (call.target.model, call.node, call.outcome) == ("pool", "layer 1 filter", Outcome.OK)
    assert call.usage is not None
    assert (call.usage.prompt, call.usage.completion, call.usage.estimated) == (4, 0, False)
    assert not call.is_output


async def test_what_is_not_reported_is_estimated(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.json(data([1], [1])))
    embedding = Embedding(deploy())
    await embedding.go()
    assert embedding.call.usage is not None
    assert embedding.call.usage.estimated
    assert embedding.call.usage.prompt == 7


async def test_vectors_come_in_the_order_of_the_texts(raw: Any, deploy: Any) -> None:
    items = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    raw.script = raw.answers(raw.json({"data": items}))
    assert await Embedding(deploy()).go() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        [],
        data([1]),
        data([1], [1], [1]),
        data([1], [1, 2]),
        data([1], []),
        data([1], ["x"]),
        data([1], [True]),
        data([1], "AAAA"),
        {"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]},
        {"data": [{"index": "0", "embedding": [1]}, {"index": "1", "embedding": [1]}]},
        {"data": [1, 2]},
    ],
)
async def test_what_is_no_vector_a_text_is_refused(raw: Any, deploy: Any, answer: Any) -> None:
    raw.script = raw.answers(raw.json(answer))
    embedding = Embedding(deploy())
    with pytest.raises(UpstreamMalformed):
        await embedding.go()
    assert embedding.call.outcome is Outcome.FAILED
    assert embedding.call.usage is not None


@pytest.mark.parametrize(
    ("status", "error", "billed"),
    [
        (400, UpstreamRejected, False),
        (401, UpstreamDenied, False),
        (404, UpstreamUnavailable, False),
        (429, UpstreamRateLimited, False),
        (500, UpstreamUnavailable, False),
    ],
)
async def test_statuses_are_translated_like_those_of_chats(
    raw: Any, deploy: Any, status: int, error: type[UpstreamError], *, billed: bool
) -> None:
    raw.script = raw.answers(raw.json({"error": {"message": "private words"}}, status))
    embedding = Embedding(deploy())
    with pytest.raises(error) as caught:
        await embedding.go()
    assert "private" not in caught.value.message
    assert embedding.call.error_kind == error.kind
    assert (embedding.call.usage is not None) is billed


async def test_an_error_under_a_good_status_is_an_error(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.json({"error": {"message": "no", "code": 429}}))
    with pytest.raises(UpstreamRateLimited):
        await Embedding(deploy()).go()


async def test_html_is_no_answer(raw: Any, deploy: Any) -> None:
    raw.script = raw.answers(raw.whole(b"<html>Welcome</html>", content_type="text/html"))
    with pytest.raises(UpstreamMalformed):
        await Embedding(deploy()).go()


async def test_a_body_that_breaks_off_is_no_answer(raw: Any, deploy: Any) -> None:
    head = raw.head(content_length="100", content_type="application/json")
    raw.script = raw.pieces(head, b'{"data": [', then="reset")
    with pytest.raises(UpstreamError):
        await Embedding(deploy()).go()


async def test_nobody_there_costs_nothing(transports: Transports) -> None:
    spec = ModelSpec(upstream="up", model="emb")
    upstream = UpstreamSpec(base_url="http://127.0.0.1:9/v1")
    embedding = Embedding(build_deployment("pool", spec, "up", upstream, transports))
    with pytest.raises(UpstreamUnavailable):
        await embedding.go()
    assert embedding.call.usage is None


async def test_the_whole_call_has_the_deadline_of_the_first_token(raw: Any, deploy: Any) -> None:
    head = raw.head(content_type="application/json", content_length="1000000")
    trickle = [b" "] * 100

    async def script(_: Any, connection: Any) -> None:
        await connection.send(head, *trickle, pause=0.05)

    raw.script = script
    embedding = Embedding(deploy(timeouts={"first_token": 0.3}))
    with pytest.raises(UpstreamTimeout):
        await embedding.go()
    assert embedding.call.usage is not None


async def test_leaving_closes_the_connection_and_books_the_call(raw: Any, deploy: Any) -> None:
    raw.script = raw.pieces(then="hang")
    embedding = Embedding(deploy())
    with anyio.move_on_after(0.2):
        await embedding.go()
    assert embedding.call.outcome is Outcome.CANCELLED
    with anyio.fail_after(5):
        await raw.connections[0].gone.wait()


async def test_a_text_beyond_the_window_loses_its_end_and_that_is_noted(
    raw: Any, deploy: Any
) -> None:
    raw.script = raw.answers(raw.json(data([1], [1])))
    embedding = Embedding(deploy(model={"context": 10}), ["é" * 100, "short"])
    await embedding.go()
    assert raw.requests[0].json["input"] == ["é" * 15, "short"]
    assert [note.what for note in embedding.run.notes] == ["embedding_cut"]


async def pass_on(deployment: Deployment, **params: Any) -> tuple[list[Any], CallRecord]:
    run = RunRecord("run", "m", perf_counter)
    with anyio.fail_after(10):
        found = await deployment.pass_on(params, Step(run))
    [call] = run.calls
    return found, call


async def test_a_clients_own_request_is_handed_on_as_the_operator_wants_it(
    raw: Any, deploy: Any
) -> None:
    raw.script = raw.answers(raw.json(data([1], usage={"prompt_tokens": 4})))
    deployment = deploy(
        drop=("encoding_format",), rename={"dimensions": "dim"}, extra_body={"truncate": True}
    )
    found, call = await pass_on(
        deployment, input="a", dimensions=2, encoding_format="base64", task="query"
    )
    assert raw.requests[0].json == {
        "model": "vendor/model",
        "input": "a",
        "dim": 2,
        "task": "query",
        "truncate": True,
    }
    assert found == [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}]
    assert isinstance(deployment, EmbeddingServer)
    assert (call.outcome, call.usage and call.usage.prompt) == (Outcome.OK, 4)


@pytest.mark.parametrize(
    ("given", "count", "tokens"),
    [("abcdef", 1, 2), (["abc", "abcdef"], 2, 3), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3)],
)
async def test_each_text_and_each_list_of_tokens_is_one_input(
    raw: Any, deploy: Any, given: Any, count: int, tokens: int
) -> None:
    raw.script = raw.answers(raw.json(data(*([1.0],) * count)))
    found, call = await pass_on(deploy(model={"context": 1}), input=given)
    assert raw.requests[0].json["input"] == given
    assert len(found) == count
    assert call.usage is not None
    assert (call.usage.prompt, call.usage.estimated) == (tokens, True)


@pytest.mark.parametrize("answer", [{}, data(), data([1], [1]), data("%"), data({}), data(["x"])])
async def test_a_clients_request_without_a_good_answer_fails_and_is_booked(
    raw: Any, deploy: Any, answer: Any
) -> None:
    raw.script = raw.answers(raw.json(answer))
    run = RunRecord("run", "m", perf_counter)
    with pytest.raises(UpstreamMalformed):
        await deploy().pass_on({"input": "a", "encoding_format": "base64"}, Step(run))
    [call] = run.calls
    assert call.outcome is Outcome.FAILED
    assert call.usage is not None


async def test_the_fake_upstream_makes_embeddings(
    faked: Deployment, fake_upstream: FakeUpstream
) -> None:
    near, same, far = await Embedding(faked, ["a red fox", "a red dog", "nothing else"]).go()
    assert cosine(near, same) > 0.5 > cosine(near, far)
    [asked] = fake_upstream.log.entries
    assert asked.path == "/v1/embeddings"
    assert asked.model == "emb"


async def test_the_fake_upstream_fails_as_scripted(
    faked: Deployment, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.replies["emb"] = Reply(status=429, retry_after="3")
    with pytest.raises(UpstreamRateLimited) as caught:
        await Embedding(faked).go()
    assert caught.value.retry_after == 3


@pytest.mark.parametrize("wrong", [{}, {"input": []}, {"input": [""]}, {"input": [1, "one"]}])
async def test_the_fake_upstream_refuses_what_it_cannot_embed(
    fake_upstream: FakeUpstream, wrong: dict[str, Any]
) -> None:
    async with httpx.AsyncClient(base_url=fake_upstream.base_url) as client:
        refused = await client.post("/embeddings", json={"model": "emb", **wrong})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "input"


def test_fake_vectors_are_near_where_words_are_shared() -> None:
    assert vector("A red fox.") == vector("a red fox")
    assert cosine(vector("a red fox"), vector("a red dog")) > 0.5
    assert any(vector(""))


async def test_a_fake_embedder_books_its_calls_and_fails_as_told() -> None:
    embedding = Embedding(FakeEmbedder("emb"))
    assert len(await embedding.go()) == 2
    assert embedding.call.outcome is Outcome.OK
    failing = Embedding(FakeEmbedder("emb", failure=UpstreamUnavailable("Down.")))
    with pytest.raises(UpstreamUnavailable):
        await failing.go()
    assert failing.call.error_kind == UpstreamUnavailable.kind
