"""Other pools for a pool that gives no answer.

The last thing that is tried: each of them has been retried and hedged by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.caps import enter_repeat, may_repeat
from app.errors import MoaError, UpstreamEmpty
from app.first_token import FirstToken
from app.interfaces import Abilities, ChatModel, Emit
from app.protocol.chat import ChatRequest
from app.record import Degradation, Step
from app.upstream.retry import NO_CALL


class FallingBack:
    """A model, the first of `models`, whose others answer in turn while nothing has been said.

    A whole answer that says nothing counts as none while there is another model.
    """

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._models = tuple(models)

    @property
    def name(self) -> str:
        """The name of the first."""
        return self._models[0].name

    @property
    def abilities(self) -> Abilities:
        """What the first can take: requests are made to fit it."""
        return self._models[0].abilities

    async def answer(self, request: ChatRequest, step: Step, emit: Emit) -> None:
        """Answer, as every `ChatModel` does; raises the first model's error where all failed."""
        first: MoaError | None = None
        for position, model in enumerate(self._models):
            gate = FirstToken(emit)
            try:
                await model.answer(request, step, gate)
            except MoaError as error:
                if gate.seen:
                    raise
                first = first or error
                if not self._may_go_on(position, step, unspent=isinstance(error, NO_CALL)):
                    raise first from None
                continue
            if gate.seen or not self._may_go_on(position, step):
                await gate.release()
                if position:
                    _declare(model, step)
                return
            first = first or UpstreamEmpty("The answer was empty.")

    def _may_go_on(self, position: int, step: Step, *, unspent: bool = False) -> bool:
        """Whether there is another model and room for its call, which is entered.

        `unspent`: the call before was never made, and the other takes its place.
        """
        if position + 1 == len(self._models) or step.time_left() <= 0:
            return False
        if unspent:
            return True
        if not may_repeat(step):
            return False
        enter_repeat(step)
        return True


def _declare(model: ChatModel, step: Step) -> None:
    step.run.note("fallback", step.node, model.name)
    step.run.degrade(Degradation.FALLBACK)
