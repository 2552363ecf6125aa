"""Hunts in configuration files with atheris, led by coverage; README.md tells how to run it."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app"]):
    from tests.fuzz.config_properties import check

FOLDER = Path(tempfile.mkdtemp())


def one(data: bytes) -> None:
    check(data, FOLDER)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
