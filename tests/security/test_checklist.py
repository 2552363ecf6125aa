"""The checklist in docs/security.md: all lines are there, and every test it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (
    "authorise on the route object",
    "deny by default",
    "constant-time compare",
    "body size",
    "JSON depth",
    "messages, images and `n`",
    "header and read time-outs",
    "concurrency limit",
    "`root_path` and forwarded headers",
    "CR/LF in header values",
    "no caller-set `base_url`, `api_key`, `headers`",
    "redirects off",
    "egress guard",
    "images of a caller",
    "no template engine",
    "no process started",
    "`/metrics`, schema and admin need a right",
    "CORS off",
    "secrets are `SecretStr`",
    "canary",
    "prompts and answers are not logged",
    "dead upstream credentials are 502",
    "pinned with hashes",
)
"""Each begins or names one line of the checklist."""
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def checklist() -> list[tuple[str, list[tuple[str, str]]]]:
    """Every row: the line, and the tests it names."""
    page = (ROOT / "docs/security.md").read_text()
    part = page.partition("<!-- checklist:begin -->")[2].partition("<!-- checklist:end -->")[0]
    rows = [row.split(" | ") for row in part.splitlines() if row.startswith("| ")][2:]
    return [(row[0].removeprefix("| "), NAMED.findall(row[1])) for row in rows]


ROWS = checklist()


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("line", LINES)
def test_the_checklist_has_this_line_once(line: str) -> None:
    assert [row for row, _ in ROWS if line in row] != [], line


@pytest.mark.parametrize(("line", "tests"), ROWS, ids=[row for row, _ in ROWS])
def test_every_line_names_tests_that_exist(line: str, tests: list[tuple[str, str]]) -> None:
    assert tests, line
    for file, name in tests:
        assert (ROOT / file).is_file(), file
        assert name in functions(ROOT / file), (file, name)
