"""The request a node puts to its model: its view of the conversation, references, parameters.

Whatever was cut or left out on the way is noted in the run.
"""

from __future__ import annotations

from app.engine.forwarding import inner_params, output_cap, output_params
from app.engine.graph import Turn
from app.engine.references import (
    CLOSING,
    Showing,
    instruction_for,
    render,
    share_of,
    with_references,
)
from app.engine.tool_history import as_text, has_tool_history
from app.engine.views import fitted, media_in, with_system, without_media
from app.errors import InvalidRequest, NodeSkipped
from app.interfaces import Abilities, ChatModel
from app.protocol.chat import ChatRequest, Conversation
from app.record import Degradation

RESERVED_OUTPUT = 1024
"""Tokens kept free for an answer whose length nobody has capped."""
DEFAULT_OUTPUT = 4096
"""Tokens an answer may have where money is reserved for it and nobody said what its model can."""
SMALLEST_REFERENCE = 64
"""A reference cut below this says nothing; it is left out instead."""


def inner_request(turn: Turn, model: ChatModel) -> ChatRequest:
    """What a node in a layer asks: advice on the conversation, without tools and format."""
    params = inner_params(
        turn.node.params, turn.request.params, salt=f"{turn.node.name}:{turn.step.sample}"
    )
    abilities = model.abilities
    if "max_tokens" not in params and (abilities.max_output or turn.step.run.is_reserved):
        params["max_tokens"] = most_written(abilities)
    conversation = _inner_view(turn, abilities)
    reserved = output_cap(params) or _uncapped(abilities)
    conversation = _in_window(turn, conversation, abilities, reserved)
    return ChatRequest(_shown(turn, conversation, abilities, reserved), params)


def output_request(turn: Turn, model: ChatModel) -> ChatRequest:
    """What the output node asks: the caller's own request, with the references at its end."""
    params = output_params(turn.node.params, turn.request.params)
    conversation = turn.request.conversation
    if not model.abilities.tools:
        if params.get("tools"):
            raise InvalidRequest("This model cannot use tools.", param="tools")
        conversation = _untooled(conversation)
    conversation = _media_view(turn, conversation, model.abilities)
    if turn.node.system:
        conversation = Conversation(tuple(with_system(conversation.messages, turn.node.system)))
    reserved = output_cap(params) or _uncapped(model.abilities)
    shown = _shown(turn, conversation, model.abilities, reserved)
    asked = turn.request
    return ChatRequest(shown, params, asked.stream, after_tools=asked.is_tool_turn)


def most_written(abilities: Abilities) -> int:
    """Tokens of an answer that nobody has capped: what money is reserved for."""
    return _uncapped(abilities) if abilities.max_output else _halved(DEFAULT_OUTPUT, abilities)


def _uncapped(abilities: Abilities) -> int:
    """Tokens kept free where no cap is set."""
    return _halved(abilities.max_output or RESERVED_OUTPUT, abilities)


def _halved(wanted: int, abilities: Abilities) -> int:
    """Half the window at most: many models state an output as long as their window."""
    return wanted if abilities.context is None else min(wanted, -(-abilities.context // 2))


def _inner_view(turn: Turn, abilities: Abilities) -> Conversation:
    conversation = _media_view(turn, _untooled(turn.request.conversation), abilities)
    if turn.node.system:
        conversation = Conversation(tuple(with_system(conversation.messages, turn.node.system)))
    return conversation


def _untooled(conversation: Conversation) -> Conversation:
    if not has_tool_history(conversation.messages):
        return conversation
    return Conversation(tuple(as_text(conversation.messages)))


def _media_view(turn: Turn, conversation: Conversation, abilities: Abilities) -> Conversation:
    if abilities.vision and abilities.audio:
        return conversation
    taken = {"audio": abilities.audio}
    blind_to = {k for k in media_in(conversation.messages) if not taken.get(k, abilities.vision)}
    if not blind_to:
        return conversation
    what = ", ".join(sorted(blind_to))
    if turn.graph.policy.media == "skip" and turn.node is not turn.graph.output:
        turn.step.run.note("media_skipped", turn.node.name, what)
        raise InvalidRequest(f"This model takes no {what} input.", param="messages")
    turn.step.run.note("media_noted", turn.node.name, what)
    return Conversation(tuple(without_media(conversation.messages, blind_to)))


def _in_window(
    turn: Turn, conversation: Conversation, abilities: Abilities, reserved: int
) -> Conversation:
    if abilities.context is None:
        return conversation
    fit = fitted(conversation, abilities.context - reserved)
    if fit is None:
        turn.step.run.note("context_skipped", turn.node.name, conversation.tokens)
        raise InvalidRequest(
            f"The conversation does not fit the context window of {abilities.context} tokens.",
            param="messages",
            code="context_length_exceeded",
        )
    kept, dropped = fit
    if dropped:
        turn.step.run.note("turns_trimmed", turn.node.name, dropped)
    return kept


def _shown(
    turn: Turn, conversation: Conversation, abilities: Abilities, reserved: int
) -> Conversation:
    """The conversation with the turn's references, each within its share of the window."""
    run, policy, wording = turn.step.run, turn.graph.policy, turn.wording
    if not turn.references:
        if wording and wording.must_show:
            raise NodeSkipped("There was no reference response to work on.")
        return conversation
    instruction = turn.node.instruction or _said_first(turn)
    closing = wording.closing if wording else CLOSING
    share = policy.max_reference_tokens
    if abilities.context is not None:
        room = abilities.context - conversation.tokens - reserved
        share = min(share, share_of(room, len(turn.references), instruction, closing))
    if share < SMALLEST_REFERENCE:
        run.note("references_left_out", turn.node.name, len(turn.references))
        if wording and wording.must_show:
            raise NodeSkipped("The references do not fit the model's context window.")
        if turn.node is turn.graph.output:
            run.degrade(Degradation.NO_REFERENCES)
        return conversation
    seed = f"{run.seed}:{turn.step.graph}:{turn.node.name}:{turn.step.sample}"
    order = seed if policy.shuffle else None
    pinned = wording.pinned if wording else 0
    showing = Showing(turn.nonce, instruction, order, share, closing, pinned)
    shown = render(turn.references, showing)
    for reference in shown.cut:
        run.note("reference_cut", turn.node.name, reference.node)
    return with_references(conversation, shown.text)


def _said_first(turn: Turn) -> str:
    if turn.wording:
        return turn.wording.instruction
    return turn.graph.instruction or instruction_for(turn.references)
