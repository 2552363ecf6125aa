"""How a request's body is read: in pieces, not for ever, or not at all."""

from dataclasses import replace

import anyio
import orjson
import pytest

from app.api.body import read_body
from app.errors import RequestTimeout
from app.upstream.fake import FakeModel

SOON = 0.02


def receiving(*messages):
    """A client that sends so much and then nothing."""
    rest = list(messages)

    async def receive():
        if not rest:
            await anyio.sleep_forever()
        return rest.pop(0)

    return receive


def piece(body, *, more):
    return {"type": "http.request", "body": body, "more_body": more}


async def test_pieces_are_put_together():
    receive = receiving(piece(b"one ", more=True), piece(b"", more=True), piece(b"two", more=False))
    assert await read_body(receive) == b"one two"


async def test_a_client_that_leaves_in_the_middle_has_no_body():
    assert await read_body(receiving(piece(b"{", more=True), {"type": "http.disconnect"})) is None


@pytest.mark.parametrize("sent", [(), (piece(b"{", more=True),)])
async def test_a_body_that_does_not_come_is_given_up(sent):
    with anyio.fail_after(5), pytest.raises(RequestTimeout):
        await read_body(receiving(*sent), patience=SOON)


async def test_a_body_that_does_not_come_is_a_408_and_the_end_of_the_connection(serve, wire):
    request = wire(None)
    async with serve({"m": FakeModel("m")}) as app:
        app.state.services = replace(app.state.services, body_patience=SOON)
        with anyio.fail_after(5):
            await request.run(app)

    assert request.status == 408
    assert request.response_headers["connection"] == "close"
    assert orjson.loads(request.text)["error"]["code"] == "request_timeout"
