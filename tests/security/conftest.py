"""The application with and without a socket, as the tests of the API and of the wire have it."""

from tests.api.conftest import client_of, serve, wire
from tests.cli.conftest import serve as command
from tests.e2e.conftest import gateway_with

__all__ = ["client_of", "command", "gateway_with", "serve", "wire"]
