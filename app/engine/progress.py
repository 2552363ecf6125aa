"""What the panel does, in a line for people: the text of `progress: reasoning`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.engine.graph import Layer
from app.engine.layer import Raced, Seat
from app.engine.panel import Result


def asking(number: int, layer: Layer) -> str:
    """Said when a layer begins."""
    names = ", ".join(
        node.name if node.samples == 1 else f"{node.name} x{node.samples}" for node in layer.nodes
    )
    return f"Layer {number}: asking {names}.\n"


def answered(number: int, places: Sequence[Seat], raced: Raced[Result]) -> str:
    """Said when a layer has ended."""
    lost = Counter(
        seat.label
        for seat, result in zip(places, raced.results, strict=True)
        if not isinstance(result, tuple)
    )
    without = f"; nothing from {', '.join(lost)}" if lost else ""
    return f"Layer {number}: {len(places) - len(lost)} of {len(places)} answered{without}.\n"
