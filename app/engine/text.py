"""Text written by other models, made safe to stand inside a prompt, and cut to size. Pure.

All of it is linear in the length of the text, whatever the text is: it runs on every reference.
"""

from __future__ import annotations

import re

from app.protocol.tokens import BYTES_PER_TOKEN, estimate_text

# The mark ends inside a line: what follows it must not become the start of one, where a fence is.
CUT_MARK = "\n[… {} characters left out …] "

# Markers of the chat templates in use: a server that parses special tokens in content would read
# them as the end of a turn. Most open with `<|` (ChatML, Llama 3 and 4, Phi, Command R, harmony)
# or its full-width twin (DeepSeek); the others are Llama 2's, Mistral's, Gemma's, GLM's, EXAONE's.
_TEMPLATE_TOKEN = re.compile(
    r"<(?=[|\uff5c]|\w{1,40}[|\uff5c]>|/?s>|</?SYS>>"
    r"|/?(?:bos|eos|pad|unk|mask|sep|cls|sop|eop|eod)(?:_token)?>"
    r"|/?(?:start|end)_of_[a-z]{1,20}>|image_soft_token>"
    r"|/?(?:think|thinking|tools|tool_calls?|tool_responses?|tool_results?)>"
    r"|/?seed:|reserved_|special_|extra_id_)"
    r"|\[(?=\||e~\[|g?MASK\]"
    r"|/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|THINK"
    r"|MODEL_SETTINGS|CALL_ID|ARGS|PREFIX|MIDDLE|SUFFIX|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO)\])"
    r"|\](?=~!?b[\[\]])",
    re.IGNORECASE,
)
# Whole stretches without a letter or digit, so that the search begins once in each of them.
_FENCE = re.compile(
    r"(?<![^\w\n])(?<!_)(?:[^\w\n]|_)++"
    r"(?=(?:end(?:[^\w\n]|_)++of(?:[^\w\n]|_)++)?"
    r"(?:response|reference|critique|analys|message))",
    re.IGNORECASE,
)
_FENCE_MARK = re.compile(r"={3,}+")
_LINE_BREAK = re.compile(r"\r\n?|[\x85\u2028\u2029]")
# What joins letters (U+200C, U+200D) stays: several scripts and most emoji need it.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
    r"\u200b\u2060-\u2064\U000e0000-\U000e007f]"
)
_EMPTY_LINES = re.compile(r"\n(?:[^\S\n]*+\n){9,}+")


def neutralise(text: str) -> str:
    """The text with nothing in it that a template or a reader could take for structure.

    Template tokens and look-alike fences get a space after their first sign, so that they stay
    legible. Control characters go, and so do those that are invisible or reverse the direction of
    writing; a long run of empty lines becomes a short one.
    """
    text = _CONTROL.sub("", _LINE_BREAK.sub("\n", text))
    text = _EMPTY_LINES.sub("\n\n\n", text)
    text = _TEMPLATE_TOKEN.sub(lambda match: match[0] + " ", text)
    return _FENCE.sub(_broken_up, text) if "===" in text else text


def _broken_up(stretch: re.Match[str]) -> str:
    return _FENCE_MARK.sub(lambda mark: " ".join(mark[0]), stretch[0])


def cut_middle(text: str, max_tokens: int) -> tuple[str, bool]:
    """The text within an estimated number of tokens, and whether its middle was left out.

    Two thirds of what remains are the head: conclusions stand at the end, the matter before it.
    """
    if estimate_text(text) <= max_tokens:
        return text, False
    raw = text.encode("utf-8", "surrogatepass")
    mark_bytes = len(CUT_MARK.format(len(text)).encode())
    budget = max_tokens * BYTES_PER_TOKEN - mark_bytes
    if budget <= 0:
        return raw[: max(0, max_tokens) * BYTES_PER_TOKEN].decode("utf-8", "ignore"), True
    head = raw[: budget * 2 // 3].decode("utf-8", "ignore")
    tail = raw[len(raw) - (budget - budget * 2 // 3) :].decode("utf-8", "ignore")
    left_out = len(text) - len(head) - len(tail)
    return f"{head}{CUT_MARK.format(left_out)}{tail}", True
