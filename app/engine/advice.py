"""The advice of a panel, kept for the tool turns that follow from it.

While an agent works off its tools, each request repeats the user's turn: the panel is not asked
again, and what it said is shown again. Nothing is ever shared between callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import orjson

from app.engine.candidates import has_tools
from app.engine.reference import Reference
from app.interfaces import Cache
from app.protocol.chat import ChatRequest
from app.record import Step

_VERSION = "advice:1:"


class Advice:
    """What the panel of one graph said, by caller and user turn.

    `graph` tells the graph and its settings; `ttl` is in seconds since it was last used.
    """

    def __init__(self, store: Cache, graph: str, ttl: float) -> None:
        self._store, self._graph, self._ttl = store, graph, ttl

    async def keep(self, request: ChatRequest, step: Step, references: Sequence[Reference]) -> None:
        """Keep what is shown for this user turn; only tools make more turns of it."""
        key = self._key(request, step.run.caller)
        if key is not None and references and has_tools(request.params):
            fields = [[r.node, r.sample, r.text, r.cut, r.refused, r.role] for r in references]
            await self._store.set(key, orjson.dumps(fields), self._ttl)

    async def recall(self, request: ChatRequest, step: Step) -> tuple[Reference, ...]:
        """What was kept for this user turn, nothing if nothing was; noted."""
        key = self._key(request, step.run.caller)
        kept = None if key is None else await self._store.get(key)
        if key is None or kept is None:
            return ()
        await self._store.set(key, kept, self._ttl)
        references = tuple(Reference(*fields) for fields in orjson.loads(kept))
        step.run.note("advice_reused", step.node, len(references))
        return references

    def _key(self, request: ChatRequest, caller: str) -> str | None:
        """A digest of graph, caller and the conversation up to its last user message."""
        messages = request.conversation.messages
        roles = [message.get("role") for message in messages]
        if "user" not in roles:
            return None
        end = len(roles) - roles[::-1].index("user")
        told = [self._graph, caller, messages[:end]]
        digest = sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))
        return _VERSION + digest.hexdigest()
