"""How an embedded upstream is written in the configuration: `llama_cpp: {model: …}`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.fields import Duration, Spec

BUNDLED_MODEL = "smollm2-135m-instruct"
"""The one model that `make install` brings along (98 MB, context 8 192 tokens)."""


class LlamaCppSpec(Spec):
    """A llama.cpp server that the gateway starts itself, on loopback, in its own process."""

    model: Annotated[
        str,
        Field(
            min_length=1,
            description=f"`{BUNDLED_MODEL}`, or the path of a GGUF file",
        ),
    ] = BUNDLED_MODEL
    context: Annotated[int, Field(ge=256, description="Tokens per slot: prompt and answer")] = 4096
    parallel: Annotated[
        int, Field(ge=1, le=256, description="Slots: answers being written at the same time")
    ] = 4
    threads: Annotated[
        int | None, Field(ge=1, description="Threads that compute; the number of cores if left out")
    ] = None
    start_deadline: Annotated[
        Duration, Field(gt=0, description="How long a start may take; large files load slowly")
    ] = 60.0
