"""The body of an upstream request. Pure; what a node may send at all is the engine's business."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from app.protocol.chat import ChatRequest
from app.upstream.spec import UpstreamSpec


class BodyWriter:
    """Writes bodies for one deployment: its model id, its dropped, renamed and fixed fields.

    The operator's `extra_body` wins over the caller's fields. Where a renamed field meets one
    that already has the new name, the latter stays: the caller wrote it for this upstream.
    """

    def __init__(self, model: str, settings: UpstreamSpec) -> None:
        self._model = model
        self._drop = frozenset(settings.drop)
        self._rename = settings.rename
        self._extra = settings.extra_body
        self._changes_names = bool(self._drop or self._rename)
        self._wants_usage = "stream_options" not in self._drop

    def write(self, request: ChatRequest) -> bytes:
        """The JSON of one request; a conversation is serialised once, however many ask it."""
        body: dict[str, object] = {
            "model": self._model,
            "messages": orjson.Fragment(request.conversation.encoded),
            **(self._renamed(request.params) if self._changes_names else request.params),
            **self._extra,
            "stream": request.stream,
        }
        if request.stream and self._wants_usage:
            body["stream_options"] = {"include_usage": True}
        return orjson.dumps(body)

    def fields(self, params: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a request that is no chat, but for `model`."""
        return {**self._renamed(params), **self._extra}

    def _renamed(self, params: Mapping[str, object]) -> Mapping[str, object]:
        kept = {name: value for name, value in params.items() if name not in self._drop}
        for ours, theirs in self._rename.items():
            if ours in kept:
                kept.setdefault(theirs, kept.pop(ours))
        return kept
