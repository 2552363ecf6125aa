"""The saved inputs: one file each, named after what is odd about it."""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def corpus(kind: str) -> list[Path]:
    """The files of one folder, in a fixed order."""
    return sorted((FOLDER / kind).iterdir())


def name(file: Path) -> str:
    """A file as pytest shows it."""
    return file.stem
