"""One configuration out of a file and the files it includes. Names must be unique across them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.config.environment import expand
from app.config.files import Seen
from app.config.problems import KeyPath, Place, Problem, found, refusal
from app.config.yaml_source import Source, read_source
from app.errors import ConfigError
from app.protocol.json_types import JsonObject

SECTIONS = ("upstreams", "models", "graphs", "aliases")
MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """The merged tree as it was written, and where each path stands."""

    file: Path
    tree: JsonObject
    places: Mapping[KeyPath, Place]


def gather(file: Path, environ: Mapping[str, str], seen: Seen) -> Draft:
    """Read a file with everything it includes and merge the sections; `seen` learns what is read.

    Raises ConfigError for unreadable files, includes that match nothing or come back to a file
    that is still being read, and for names that are defined twice.
    """
    return merge(list(_Gatherer(environ, seen).files(file, ())))


def merge(sources: Sequence[Source]) -> Draft:
    """One tree out of several; `include` is kept of the first."""
    tree: JsonObject = {}
    places: dict[KeyPath, Place] = {}
    problems: list[Problem] = []
    for source in sources:
        problems += _add(tree, places, source)
        for path, place in source.places.items():
            places.setdefault(path, place)
    if problems:
        raise refusal(problems)
    return Draft(sources[0].file, tree, places)


def _add(tree: JsonObject, places: Mapping[KeyPath, Place], source: Source) -> Iterator[Problem]:
    for key, value in source.tree.items():
        if key not in SECTIONS:
            if key in tree and key != "include":
                yield _twice((key,), source, places)
            tree.setdefault(key, value)
        elif isinstance(value, dict):
            section = tree.setdefault(key, {})
            for name, entry in value.items():
                if name in section:
                    yield _twice((key, name), source, places)
                section.setdefault(name, entry)
        elif value is not None:
            place = source.places[key,]
            yield Problem(place, (key,), f"{found(value)}, expected a mapping of names")


def _twice(path: KeyPath, source: Source, places: Mapping[KeyPath, Place]) -> Problem:
    return Problem(source.places[path], path, f"defined twice, first in {places[path]}")


@dataclass(slots=True)
class _Gatherer:
    """Follows includes; a file that two others include is read once."""

    environ: Mapping[str, str]
    seen: Seen
    read: set[Path] = field(default_factory=set)

    def files(self, file: Path, chain: tuple[Path, ...]) -> Iterator[Source]:
        """The file, then what it includes."""
        self.seen.add(file)
        source = read_source(file)
        real = file.resolve()
        self.read.add(real)
        if len(self.read) > MAX_FILES:
            raise ConfigError(f"more than {MAX_FILES} files are included", file=str(file))
        yield source
        for path, pattern in self._patterns(source):
            for below in self._matches(source, path, pattern):
                if below.resolve() in (*chain, real):
                    message = f"{below} is still being read: files include each other in a circle"
                    raise refusal([Problem(source.places[path], path, message)])
                if below.resolve() not in self.read:
                    yield from self.files(below, (*chain, real))

    def _patterns(self, source: Source) -> Iterator[tuple[KeyPath, str]]:
        listed = source.tree.get("include")
        if listed is None:
            return
        if not isinstance(listed, list):
            problem = f"{found(listed)}, expected a list of files"
            raise refusal([Problem(source.places["include",], ("include",), problem)])
        for at, item in enumerate(listed):
            path: KeyPath = ("include", at)
            expansion = expand(item, self.environ) if isinstance(item, str) else None
            if expansion and not expansion.unset and not expansion.malformed and expansion.text:
                yield path, expansion.text
                continue
            names = ", ".join(expansion.unset) if expansion else ""
            unset = f"{names} is not set, " if names else ""
            message = f"{found(item)}, {unset}expected a file or a pattern such as graphs/*.yaml"
            raise refusal([Problem(source.places[path], path, message)])

    def _matches(self, source: Source, path: KeyPath, pattern: str) -> list[Path]:
        folder = source.file.parent
        file = folder / pattern
        written = source.tree["include"][path[-1]]
        if not glob.has_magic(pattern) or is_file(file):
            self.seen.add(file)
            if is_file(file):
                return [file]
            problem = f"but there is no file {folder / written}"
        else:
            try:
                if _stays_inside(folder.resolve(), Path(pattern).parts):
                    return self._expanded(folder, pattern)
                problem = "but `**` walks only below the folder of the file it stands in"
            except (OSError, ValueError, RuntimeError):
                problem = "which no file can be called"
        raise refusal([Problem(source.places[path], path, f"{found(written)}, {problem}")])

    def _expanded(self, folder: Path, pattern: str) -> list[Path]:
        for looked_in in _folders(folder, Path(pattern)):
            self.seen.add(looked_in)
        return [name for name in _expand(folder, pattern) if is_file(name)]


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 — Path.is_file raises for a name that is too long


def _folders(folder: Path, pattern: Path) -> list[Path]:
    """The folders in which a new entry may match: one for each prefix of the pattern."""
    parts = pattern.parts
    at = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    found = [folder.joinpath(*parts[:at])]
    for end in range(at + 1, len(parts)):
        found += [name for name in _expand(folder, str(Path(*parts[:end]))) if name.is_dir()]
    if parts[-1] == "**":
        found += [name for name in _expand(folder, str(pattern)) if name.is_dir()]
    return found


def _expand(folder: Path, pattern: str) -> list[Path]:
    # Unlike Path.glob this takes absolute patterns too.
    names = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 — see above
    return [folder / name for name in sorted(names)]


def _stays_inside(folder: Path, parts: Sequence[str]) -> bool:
    """Whether no `**` starts elsewhere than in or below the folder, or in the root: whole disks."""
    starts = [
        Path(os.path.normpath(folder.joinpath(*parts[:at])))
        for at, part in enumerate(parts)
        if part == "**"
    ]
    return all(
        start.is_relative_to(folder) and start != Path(start.anchor)
        for start in (each.resolve() for each in starts)
    )
