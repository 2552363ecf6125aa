"""Choosing among references without asking a model: who may be chosen, by length, by diversity.

Pure. When these decide instead of a judge is the business of the node kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.engine.reference import Reference


def candidates(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """Those that may be chosen, each once: the answers, not words about answers.

    One that came over two inputs, such as a skip edge and an earlier selection, is still one.
    """
    return tuple(each for each in dict.fromkeys(references) if each.role == "response")


def longest(references: Sequence[Reference], count: int) -> tuple[Reference, ...]:
    """The longest, longest first; of two that are equally long the earlier one."""
    return tuple(sorted(references, key=lambda each: -len(each.text))[:count])


def most_diverse(
    references: Sequence[Reference], count: int, alike: Sequence[Sequence[float]]
) -> tuple[Reference, ...]:
    """Those that are least alike, by greedy max-min diversity; there must be one at least.

    As in RMoA (arXiv 2505.24442). `alike[i][j]` says how alike two of them are. Each next one is
    the one least like the nearest of those chosen. The first is the most typical of all, so that
    what most agree on is always in, and an outlier that somebody planted is never alone. Of
    equals the earlier one.
    """
    places = range(len(references))
    typical = max(places, key=lambda at: math.fsum(alike[at]))
    chosen = [typical]
    nearest = {at: alike[at][typical] for at in places if at != typical}
    while nearest and len(chosen) < count:
        farthest = min(nearest, key=lambda at: nearest[at])
        chosen.append(farthest)
        del nearest[farthest]
        nearest = {at: max(near, alike[at][farthest]) for at, near in nearest.items()}
    return tuple(references[at] for at in chosen)
