"""Prompts that stand in files of their own: `system: config/prompts/optimist.md`.

A text of one line that ends in `.md` or `.txt` is a file; every other text is the prompt itself.
"""

from __future__ import annotations

from pathlib import Path

from app.config.environment import map_texts
from app.config.files import Seen
from app.config.include import Draft, is_file
from app.config.problems import KeyPath, Problem, nearest
from app.protocol.json_types import JsonObject

FIELDS = frozenset({"system", "instruction"})
SUFFIXES = (".md", ".txt")
MAX_BYTES = 256 * 1024


def read_prompts(tree: JsonObject, draft: Draft, seen: Seen) -> tuple[JsonObject, list[Problem]]:
    """The tree with the text of prompt files in their place, and what is wrong with the files.

    A path is relative to the file that names it, else to the main file, else to the working
    folder.
    """
    problems: list[Problem] = []

    def read(path: KeyPath, text: str) -> str:
        if not is_prompt_file(path, text):
            return text
        place = nearest(path, draft.places)
        folders = [place.file.parent] if place else []
        content = _read(text, [*folders, draft.file.parent, Path()], seen)
        if isinstance(content, ValueError):
            problems.append(Problem(place, path, f'found "{text}", {content}'))
            return text
        return content

    return {key: map_texts(value, read, (key,)) for key, value in tree.items()}, problems


def is_prompt_file(path: KeyPath, text: str) -> bool:
    """Whether the text at a path names a file."""
    named = path[0] == "graphs" and path[-1] in FIELDS
    return named and "\n" not in text and text.endswith(SUFFIXES)


def _read(name: str, folders: list[Path], seen: Seen) -> str | ValueError:
    """The file's text, or what is wrong with it."""
    places = list(dict.fromkeys(folder / name for folder in folders))
    file = None
    for place in places:
        seen.add(place)
        if is_file(place):
            file = place
            break
    if file is None:
        looked = ", ".join(str(place) for place in places)
        return ValueError(f"but there is no such file; looked for {looked}")
    try:
        if file.stat().st_size > MAX_BYTES:
            return ValueError(f"which is larger than {MAX_BYTES:,} bytes")
        text = file.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        return ValueError("which is not UTF-8 text")
    except OSError as error:
        return ValueError(f"which cannot be read: {error.strerror}")
    return text or ValueError("which is empty")
