"""A reference response: what a node wrote, cleaned so that it may be shown to another node."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from app.engine.text import neutralise
from app.protocol.answer import Answer

_LEADING_THOUGHT = re.compile(
    r"\s*(?:<(think|thinking)>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z))",
    re.DOTALL | re.IGNORECASE,
)
# A closing tag without its opening one ends a thought that the chat template began. One that is
# quoted, or stands amid a sentence, is only talked about.
_END_OF_THOUGHT = re.compile(
    r"(?<![`\"'\u2018\u201c ])</(?:think|thinking)>(?![`\"'\u2019\u201d])"
    r"|</(?:think|thinking)>[ \t]*(?=\n|\Z)",
    re.IGNORECASE,
)
_APOLOGY = (
    r"(?:(?:i[\u2019']?m|i am)(?: very| so| really)? sorry|sorry|my apologies|i apologi[sz]e"
    r"|unfortunately|regrettably)"
)
_CANNOT = (
    r"i ?(?:can ?not|can[\u2019']t|won[\u2019']t|will not"
    r"|(?:am|[\u2019']m) (?:unable|not able|not comfortable)(?: to| with)?"
    r"|(?:do not|don[\u2019']t) feel comfortable)"
)
_SERVICE = (
    r"(?:help(?! but)|assist|compl[yei]|fulfil|provid|answer|discuss|creat|generat|writ|produc"
    r"|shar|support|engag|offer|participat|respond|continu|facilitat|encourag|promot|give|do th"
    r"|carry out)"
)
_REFUSAL = re.compile(
    rf"\W{{0,3}}(?:{_APOLOGY}\W{{1,3}}(?:but )?{_CANNOT}\b"
    rf"|{_CANNOT}(?: and will not| in good conscience| \w{{1,20}}ly)? {_SERVICE}"
    r"|(?:i|i must|i have to) (?:respectfully )?decline\b"
    rf"|as an ai\b[^.\n]{{0,60}}\b{_CANNOT}\b)",
    re.IGNORECASE,
)
_LONGEST_REFUSAL = 400


Role: TypeAlias = Literal["response", "critique", "analysis"]
"""What a text is to those who read it: an answer, or words about answers."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One answer: `text` word for word, `safe` as it may stand in a prompt, cleaned once for all.

    `cut` if it hit its length, `refused` if it declines to answer.
    """

    node: str
    sample: int
    text: str
    cut: bool = False
    refused: bool = False
    role: Role = "response"
    safe: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "safe", neutralise(self.text.strip()))


def read_reference(
    answer: Answer,
    *,
    node: str,
    sample: int,
    role: Role = "response",
    reasoning_as_reference: bool = False,
) -> Reference | None:
    """The reference in an answer; None where it says nothing."""
    refusal = answer.refusal(0)
    text = without_thoughts(answer.text(0))
    if not text.strip():
        text = refusal or (answer.reasoning(0) if reasoning_as_reference else "")
    if not text.strip():
        return None
    finish = answer.finish_reason(0)
    return Reference(
        node,
        sample,
        text,
        cut=finish == "length",
        refused=bool(refusal) or finish == "content_filter" or is_refusal(text.strip()),
        role=role,
    )


def without_thoughts(text: str) -> str:
    """The text without leading `<think>` blocks, opened here or by the chat template."""
    start = 0
    while match := _LEADING_THOUGHT.match(text, start):
        start = match.end()
    end = _END_OF_THOUGHT.search(text, start) if "</" in text else None
    if end and "<think" not in text[start : end.start()].lower():
        start = end.end()
    return text[start:]


def is_refusal(text: str) -> bool:
    """Whether a short text opens like a refusal; long answers that begin politely are answers."""
    return len(text) <= _LONGEST_REFUSAL and _REFUSAL.match(text) is not None


def worth_showing(references: list[Reference]) -> list[Reference]:
    """The references without refusals, unless there is nothing else."""
    return [reference for reference in references if not reference.refused] or references
