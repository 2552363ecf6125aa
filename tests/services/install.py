"""Gets the real servers where they are missing: Debian's packages, as root only."""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.services.servers import CannotServe, find, find_postgres

MINUTES = 5
HINT = """\
make test-services needs a Redis and a PostgreSQL, and {missing} cannot be had here.
Either install them (Debian, Ubuntu: apt-get install redis-server postgresql),
or name running ones, whose data the tests change:
  MOA_TEST_REDIS=redis://127.0.0.1:6379/15
  MOA_TEST_POSTGRES=postgresql+asyncpg://user@127.0.0.1:5432/database
"""


def install(package: str) -> None:
    """Install what is missing where that can be done; raises CannotServe with advice elsewhere."""
    if is_installed(package):
        return
    asked = ("install", "-y", "--no-install-recommends", package)
    if os.geteuid() == 0 and shutil.which("apt-get") and not _apt_get(*asked):
        _apt_get("update")
        _apt_get(*asked)
    if not is_installed(package):
        raise CannotServe(HINT.format(missing=package))


def is_installed(package: str) -> bool:
    """Whether the program of this package is found."""
    try:
        if package == "postgresql":
            find_postgres("postgres")
        else:
            find("redis-server", "valkey-server")
    except CannotServe:
        return False
    return True


def _apt_get(*args: str) -> bool:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    environ["RUNLEVEL"] = "1"  # else the package's scripts start a server of their own
    command = ["apt-get", "-qq", *args]
    done = subprocess.run(command, env=environ, timeout=MINUTES * 60, check=False)  # noqa: S603 (words of ours)
    return done.returncode == 0
