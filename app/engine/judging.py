"""Asking a node's model to judge references. Reading what it says is `verdict`.

A judge sees what any reader of references sees (the conversation, then the fenced references in
the user role) but is asked with parameters of its own: not the caller's sampling, no tools, no
format, no stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.engine.asking import ask
from app.engine.graph import Turn
from app.engine.instructions import Wording
from app.engine.reference import Reference, without_thoughts
from app.engine.requests import inner_request
from app.engine.verdict import Reply
from app.interfaces import Abilities, ChatModel
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest

JUDGE_TOKENS = 2048
"""What a judge may write unless its node says otherwise: a verdict, and thoughts before it."""
_SHARE_OF_WINDOW = 4


async def ask_judge(
    turn: Turn, shown: Sequence[Reference], instruction: str, closing: str
) -> Reply:
    """What the judge says of these references, which are numbered in this order.

    One question, put to the fallbacks where the model fails. Raises a `MoaError` where all fail
    or no model has room for the references.
    """
    wording = Wording(instruction, closing, pinned=len(shown), must_show=True)
    node = replace(turn.node, instruction=None)
    asked = replace(turn, node=node, references=tuple(shown), wording=wording)
    answer = Answer()

    async def collect(batch: Batch) -> None:
        answer.add(batch)

    await ask(node.models, lambda model: _judge_request(asked, model), turn.step, collect)
    whole = answer.finish_reason(0) != "length"
    return Reply(without_thoughts(answer.text(0)), whole=whole)


def _judge_request(turn: Turn, model: ChatModel) -> ChatRequest:
    """What is asked: a repeatable judgement (temperature 0) of a few tokens."""
    caller = turn.request.params
    kept = {"seed": caller["seed"]} if "seed" in caller else {}
    params = {**_defaults(model.abilities), **turn.node.params}
    node = replace(turn.node, params=params)
    return inner_request(replace(turn, node=node, request=turn.request.with_params(kept)), model)


def _defaults(abilities: Abilities) -> Mapping[str, object]:
    caps = [JUDGE_TOKENS]
    if abilities.max_output:
        caps.append(abilities.max_output)
    if abilities.context:
        caps.append(max(1, abilities.context // _SHARE_OF_WINDOW))
    return {"temperature": 0.0, "max_tokens": min(caps)}
