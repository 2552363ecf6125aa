"""What every test may rely on: asyncio as the one backend, the fake upstream on a real socket."""

import pytest

pytest_plugins = ["tests.fake_upstream"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
