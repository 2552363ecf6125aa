"""What holds for every body a client may send: an accepted call, or a refusal that helps."""

import orjson

from app.errors import CallerError
from app.protocol.anthropic.request import parse_count, parse_messages
from app.protocol.chat import ChatRequest
from app.protocol.embeddings import parse_embeddings
from app.protocol.request import parse_chat
from app.protocol.responses.items import listed
from app.protocol.responses.request import parse_response_call
from app.protocol.text_request import parse_text

PARSERS = {
    "chat": parse_chat,
    "responses": parse_response_call,
    "messages": parse_messages,
    "count": parse_count,
    "text": parse_text,
    "embeddings": parse_embeddings,
}


def check(kind: str, body: bytes) -> CallerError | None:
    """The refusal, if it was refused; what is accepted can be sent on and means the same again."""
    parse = PARSERS[kind]
    try:
        call = parse(body)
        sent_on = _sent_on(kind, call)
    except CallerError as refusal:
        return _helpful(refusal)
    again = parse(orjson.dumps(orjson.loads(body)))
    assert again == call
    assert _sent_on(kind, again) == sent_on
    return None


def _helpful(refusal: CallerError) -> CallerError:
    """The same, which names its field unless it is about the whole, and can be written."""
    assert refusal.status == 400
    assert refusal.param or refusal.message.startswith(("The body", "The conversation"))
    assert orjson.dumps([refusal.message, refusal.param])
    return refusal


def _sent_on(kind: str, call) -> bytes:
    """What goes to an upstream or into the store, as bytes."""
    match kind:
        case "count":
            return orjson.dumps(call)
        case "responses":
            stored = orjson.dumps([call.repeated, listed(call.items, "run")])
            return stored + (_written(call.chat(call.items).request) if call.items else b"")
        case "messages" | "text":
            return _written(call.call.request)
    return _written(call.request)


def _written(request: ChatRequest) -> bytes:
    assert request.conversation.tokens >= 0
    return request.conversation.encoded + orjson.dumps(dict(request.params))
