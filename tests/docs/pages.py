"""What the tests of the documentation read: its pages, their code blocks, links and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md")
    for page in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced code block; `name` tells it apart in test reports."""

    page: Path
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.language}:{self.number}"


def blocks(*languages: str) -> list[Block]:
    """All code blocks in these languages."""
    return [
        Block(page, number, match[1], match[2])
        for page in PAGES
        for number, match in enumerate(_BLOCK.finditer(page.read_text()))
        if match[1] in languages
    ]


def code(page: Path) -> Iterator[str]:
    """Every line of code on a page, in blocks and in running text."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        yield from match[2].replace("\\\n", " ").splitlines()
    yield from _SPAN.findall(_BLOCK.sub("", text))


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(_BLOCK.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown on the usual hosts."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def listed(page: str, name: str) -> list[str]:
    """The code words in the first column of a table between markers."""
    return [word for row in rows(page, name) for word in _SPAN.findall(row[0])]


def rows(page: str, name: str) -> list[list[str]]:
    """The rows of a table between markers, cell by cell, without its head."""
    text = (ROOT / page).read_text()
    _, _, rest = text.partition(f"<!-- {name}:begin -->\n")
    table, found, _ = rest.partition(f"<!-- {name}:end -->")
    assert found, f"{page} has no table {name}"
    lines = table.strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
