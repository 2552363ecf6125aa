"""What the scripts beside this one share: features, run one after another and told as JSON.

The arguments name the features to run. `BASE` is the address without `/v1`; clients that read
`OPENAI_BASE_URL` and `OPENAI_API_KEY` by themselves are left to do so.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable

BASE = os.environ["MOA_ADDRESS"]
V1 = f"{BASE}/v1"
KEY = os.environ["OPENAI_API_KEY"]

QUESTION = "What is two and three?"
ASK = [{"role": "user", "content": QUESTION}]
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
ADD = {"name": "add", "description": "Add two numbers.", "parameters": NUMBERS}
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["name", "inhabitants"],
    "additionalProperties": False,
}

FEATURES: dict[str, Callable[[], object]] = {}


def feature(run: Callable[[], object]) -> Callable[[], object]:
    """Register a feature under its name with spaces; what it returns are its facts."""
    FEATURES[run.__name__.replace("_", " ")] = run
    return run


def error_of(call: Callable[[], object]) -> str:
    """The class of the error a call ends with."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whichever it is, is the fact
        return type(error).__name__
    return "none"


def tell() -> None:
    """Run the features named in the arguments and print their facts."""
    told = {}
    for name in sys.argv[1:]:
        try:
            told[name] = {"facts": FEATURES[name]()}
        except Exception:  # noqa: BLE001 - the others are to run
            told[name] = {"failed": traceback.format_exc()}
    sys.stdout.write("\n" + json.dumps(told))
