"""Hunts in answers with atheris, led by coverage; README.md tells how to run it."""

import sys

import atheris

with atheris.instrument_imports(include=["app"]):
    from tests.fuzz.sse_properties import check


def one(data: bytes) -> None:
    check(data, range(0, len(data), 5))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
