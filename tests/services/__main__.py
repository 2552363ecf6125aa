"""`python -m tests.services [pytest's arguments]`: the tests that need real servers, with some.

Servers named by MOA_TEST_REDIS and MOA_TEST_POSTGRES are used; others are installed if need be,
started for the run and stopped after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from tests.services.install import install
from tests.services.servers import CannotServe, PostgresProcess, RedisProcess, Server

SERVERS: tuple[tuple[str, str, type[Server]], ...] = (
    ("MOA_TEST_REDIS", "redis-server", RedisProcess),
    ("MOA_TEST_POSTGRES", "postgresql", PostgresProcess),
)


def main(arguments: list[str]) -> int:
    """Pytest's exit code, or 1 where there are no servers."""
    with ExitStack() as running:
        environ = dict(os.environ)
        try:
            for variable, package, kind in SERVERS:
                if not environ.get(variable):
                    install(package)
                    environ[variable] = running.enter_context(kind()).url
                print(f"{variable}={environ[variable]}", flush=True)  # noqa: T201 (for who reads CI's log)
        except CannotServe as error:
            sys.stderr.write(f"{error}\n")
            return 1
        command = [sys.executable, "-m", "pytest", "-m", "services", *arguments]
        return subprocess.call(command, env=environ)  # noqa: S603 (what make was told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
