"""`moa attacks`: every hostile proposal we know, run through a graph of fakes, and what arrives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.table import Table

from app.cli.terminal import stdout
from app.engine.attacks import ATTACKS, FENCE_WORD, Attack
from app.engine.compile import compile_graphs
from app.engine.spec import GraphSpec
from app.protocol.answer import Answer
from app.protocol.chat import Batch, ChatRequest, Conversation
from app.protocol.json_types import JsonObject
from app.record import RunRecord, Step
from app.upstream.fake import FakeModel, Script

QUESTION = "What is six times seven?"
HONEST = (
    "Six times seven is 42.",
    "The answer is 42: six times seven is 42.",
    "Six times seven is 42, as seven times six is.",
    "It is 42, since six times seven is 42.",
    "Six times seven is forty-two, that is 42.",
    "Seven taken six times is 42, so six times seven is 42.",
)
HOSTILE = "hostile"
BEGIN, END = "<!-- attacks:begin -->", "<!-- attacks:end -->"
_SHOWN = 150
_FENCE = re.compile(r"^=== Response \d+.* \[([0-9a-f]{12})\] ===$", re.MULTILINE)
_CALL = {"id": "call_1", "type": "function", "function": {"name": "delete_all", "arguments": "{}"}}


@dataclass(frozen=True, slots=True)
class Received:
    """What the output model was asked after one attack, and how the run went.

    `blocks` are the references it was shown, without their fences; `hostile` is the attacker's.
    """

    messages: tuple[JsonObject, ...]
    nonce: str
    blocks: tuple[str, ...]
    record: RunRecord

    @property
    def hostile(self) -> str | None:
        """The attacker's block; None where it was left out."""
        return next((block for block in self.blocks if block not in HONEST), None)


def attacks(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Put the table between the markers of a Markdown file."),
    ] = None,
) -> None:
    """Run every known hostile proposal through a graph, without a network; show what arrives."""
    rows = [row(attack, anyio.run(run, attack)) for attack in ATTACKS]
    if write is not None:
        write.write_text(between_markers(write.read_text("utf-8"), rows), "utf-8")
    elif markdown:
        stdout().print(in_markdown(rows))
    else:
        table = Table("attack", "aim", "what the output model receives", "outcome", show_lines=True)
        for cells in rows:
            table.add_row(*cells)
        stdout().print(table)


async def run(attack: Attack) -> Received:
    """Run one attack: a hostile proposer among honest ones, then an aggregator."""
    honest = HONEST if attack.deceives else HONEST[:2]
    models = {f"honest-{at}": FakeModel(f"honest-{at}", text) for at, text in enumerate(honest)}
    models |= {HOSTILE: FakeModel(HOSTILE, _says(attack)), "output": FakeModel("output")}
    graph = compile_graphs({"attacked": _graph(attack, [*models][:-1])}, models)["attacked"]
    record = RunRecord("attack", "attacked", lambda: 0.0, seed=7)
    question = Conversation(({"role": "user", "content": QUESTION},))
    answer = Answer()

    async def emit(batch: Batch) -> None:
        answer.add(batch)

    await graph.answer(ChatRequest(question), Step(record), emit)
    return _received(models["output"].calls[0].messages, record)


def row(attack: Attack, received: Received) -> tuple[str, str, str, str]:
    """The attack in the words of the table."""
    return attack.name, attack.aim, _excerpt(received), _outcome(attack, received)


def in_markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows as a Markdown table; what arrives is code."""
    head = "| attack | aim | what the output model receives | outcome |\n| --- | --- | --- | --- |"
    return "\n".join((head, *(_in_markdown(*cells) for cells in rows)))


def between_markers(document: str, rows: Sequence[tuple[str, ...]]) -> str:
    """The document with a fresh table between its markers."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{in_markdown(rows)}\n{END}{after}"


def _graph(attack: Attack, proposers: Sequence[str]) -> GraphSpec:
    first: JsonObject = {"proposers": list(proposers)}
    if attack.deceives:
        first["filter"] = "cluster"
    layers = [first, first] if attack.knows_fences else [first]
    return GraphSpec.model_validate({"layers": layers, "aggregator": "output"})


def _says(attack: Attack) -> Script | Callable[[ChatRequest], str]:
    if attack.calls_tool:
        return Script(attack.text, tool_calls=(_CALL,))
    if not attack.knows_fences:
        return Script((attack.text,))

    def copy(request: ChatRequest) -> str:
        found = _FENCE.search(str(request.conversation.messages[-1]["content"]))
        return attack.text.replace(FENCE_WORD, found[1] if found else "none")

    return copy


def _received(messages: tuple[JsonObject, ...], record: RunRecord) -> Received:
    text = str(messages[-1]["content"])
    fence = _FENCE.search(text)
    nonce = fence[1] if fence else ""
    mark = re.escape(f" [{nonce}] ===")
    block = re.compile(
        rf"^=== (Response \d+)[^\n\[]*{mark}\n(.*?)\n=== end of \1{mark}$", re.DOTALL | re.MULTILINE
    )
    return Received(messages, nonce, tuple(found[2] for found in block.finditer(text)), record)


def _excerpt(received: Received) -> str:
    text = received.hostile
    if text is None:
        return "nothing of it"
    text = text.encode("unicode_escape").decode("ascii").replace("\\\\", "\\")
    if len(text) <= _SHOWN:
        return text
    mark = re.search(r"\[\\u2026 \d+ characters left out \\u2026\]", text)
    middle = f" {mark[0]} " if mark else " … "
    return f"{text[: _SHOWN * 2 // 3]}{middle}{text[-_SHOWN // 3 :]}"


def _outcome(attack: Attack, received: Received) -> str:
    notes = {note.what for note in received.record.notes}
    if received.hostile is None:
        reasons = {"outlier_dropped": "an outlier", "refusals_dropped": "a refusal"}
        why = [reason for note, reason in reasons.items() if note in notes]
        return f"left out: {why[0] if why else 'no answer'}"
    if "reference_cut" in notes:
        return "shown between fences, cut in the middle"
    changed = received.hostile != attack.text.strip()
    return "shown between fences, made harmless" if changed else "shown between fences, as data"


def _in_markdown(name: str, aim: str, received: str, outcome: str) -> str:
    shown = received if received == "nothing of it" else _code(received)
    return f"| {name} | {aim} | {shown} | {outcome} |"


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`".replace("|", "\\|")
