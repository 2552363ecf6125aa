"""The marker of tests that build whole environments."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "slow: builds a whole environment (seconds, needs a package index); "
        "left out by `make test ARGS='-m \"not slow\"'`",
    )
