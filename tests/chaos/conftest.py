"""The chaos suite is left out unless it is asked for: it takes most of a minute."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the suite out, whatever else `-m` says."""
    if "chaos" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("chaos")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
