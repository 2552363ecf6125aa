"""What every test may rely on: asyncio as the one backend, the fake upstream on a real socket."""

import os
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fake_upstream"]

os.environ["XDG_DATA_HOME"] = mkdtemp(prefix="moa-tests-")
"""No test, and no process that one starts, opens the database of whoever runs the tests."""

settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
"""How long an example takes is the machine's business: time is measured in the bench."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs real servers unless it is asked for (make test-services)."""
    if "services" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("services")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
