"""The table of clients in `docs/clients.md`, made from the catalogue.

`python -m tests.clients.table` writes it again.
"""

from __future__ import annotations

from tests.clients.catalogue import CLIENTS, ROOT

PAGE = ROOT / "docs/clients.md"
BEGIN, END = "<!-- clients:begin -->\n", "<!-- clients:end -->\n"


def table() -> str:
    """One row for each client: its version, its features and how many they are."""
    rows = ["| client | version | what it is run with | tests |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {client.name} | {client.version} | {', '.join(client.features)} "
        f"| {len(client.features)} |"
        for client in CLIENTS
    ]
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """The page with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
