"""A client's request for embeddings, in the form of a chat: so it is run, capped and booked as one.

Only pools make embeddings; what a graph would do with vectors nobody has said.
"""

from __future__ import annotations

from app.errors import InvalidRequest
from app.interfaces import Abilities, ChatModel, EmbeddingServer, Emit
from app.protocol.chat import ChatRequest, Chunk
from app.record import Step
from app.serving.runtime import Served


class EmbeddingsModel:
    """A `ChatModel` that answers with `data` among the extras of one chunk, and no choice."""

    def __init__(self, name: str, server: EmbeddingServer) -> None:
        self._name, self._server = name, server

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def abilities(self) -> Abilities:
        """Nothing is known of what it embeds."""
        return Abilities()

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Hand the fields on; raises what the upstream's call raises."""
        await emit([Chunk(extras={"data": await self._server.pass_on(request.params, step)})])


def embeddings_of(served: Served) -> ChatModel:
    """What makes embeddings under this name. Raises InvalidRequest where nothing does."""
    if served.graph is not None:
        raise InvalidRequest(
            f"The model '{served.name}' is a graph, and graphs make no embeddings: name a model",
            param="model",
        )
    if not isinstance(served.model, EmbeddingServer):
        raise InvalidRequest(f"The model '{served.name}' makes no embeddings", param="model")
    return EmbeddingsModel(served.name, served.model)
