"""Hunts in request bodies with atheris, led by coverage; README.md tells how to run it."""

import sys

import atheris

with atheris.instrument_imports(include=["app"]):
    from tests.fuzz.request_properties import PARSERS, check


def one(data: bytes) -> None:
    for kind in PARSERS:
        check(kind, data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
