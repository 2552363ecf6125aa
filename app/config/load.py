"""The way from a file to a checked `Config`. Builds a new one each time and keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from app.config.environment import expand, map_texts, texts
from app.config.files import Seen, Stamps
from app.config.include import Draft, gather
from app.config.left_out import LeftOut, find_left_out
from app.config.names import name_problems, section
from app.config.pools import pool_problems
from app.config.problems import (
    CUT,
    LONGEST_FOUND,
    KeyPath,
    NothingToServe,
    Place,
    Problem,
    nearest,
    path_text,
    refusal,
)
from app.config.prompts import read_prompts
from app.config.schema import Config
from app.config.translate import Translator, may_be_secret
from app.config.yaml_tree import NO_UNICODE, is_unicode
from app.errors import ConfigError
from app.protocol.json_types import JsonObject

_SHORTEST_SECRET = 6
"""Shorter values are not looked for in messages: they would match words."""


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration that may be compiled, and what of it is left out and why.

    `files` is all that it was read from, as it looked just before; `used` what its variables held.
    """

    config: Config
    file: Path
    left_out: tuple[str, ...]
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)
    files: Stamps = field(default_factory=dict, repr=False)
    used: Mapping[str, str] = field(default_factory=dict, repr=False)

    def located(self, error: ConfigError) -> ConfigError:
        """The same error with file and line, for one that knows only its path in the tree."""
        if error.file or not error.path:
            return error
        known = {path_text(path): place for path, place in self.places.items()}
        path = error.path
        while path and path not in known:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        place = known.get(path)
        message = _without_values(error.message.removeprefix(f"{error.path}: "), self.used)
        return ConfigError(message, file=str(place or self.file), path=error.path)


def load_config(path: Path, environ: Mapping[str, str], seen: Seen | None = None) -> LoadedConfig:
    """Read a configuration file with its includes, variables and prompt files.

    `seen` learns which files these are, also when an error is raised.

    Raises ConfigError listing everything that is wrong, each with file, line, path, what was found
    and what is accepted; NothingToServe if unset variables leave no model and no graph.
    """
    seen = seen or Seen()
    draft = gather(path, environ, seen)
    filled = _put_in(draft, environ)
    tree, prompt_problems = read_prompts(filled.tree, draft, seen)
    gone = find_left_out(tree, filled.unset)
    problems = [*filled.problems, *prompt_problems, *name_problems(tree, draft.places)]
    problems += pool_problems(tree, draft.places)
    problems += _shape_problems(tree, draft, filled)
    problems += _unset_problems(filled, gone, draft)
    if problems:
        raise refusal(filled.without_values(problem) for problem in problems)
    pruned = gone.prune(tree)
    if not section(pruned, "models") and not section(pruned, "graphs"):
        raise _nothing(draft, gone)
    config, sentences = _validate(pruned), gone.sentences()
    return LoadedConfig(config, path, sentences, draft.places, seen.stamps, filled.used)


@dataclass(frozen=True, slots=True)
class _Filled:
    """A tree with its variables put in; `used` is what they held."""

    tree: JsonObject
    unset: Mapping[KeyPath, tuple[str, ...]]
    problems: list[Problem]
    used: Mapping[str, str]

    def without_values(self, problem: Problem) -> Problem:
        """The same problem with a message in which no variable's value can be read."""
        return replace(problem, message=_without_values(problem.message, self.used))


def _without_values(message: str, used: Mapping[str, str]) -> str:
    # The longest first: a value may be a part of another one.
    for name, value in sorted(used.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST_SECRET:
            for form in {value, value.replace("\n", "\\n"), repr(value)[1:-1]}:
                message = _strike(form, f"${{{name}}}", message)
    return message.encode("utf-8", "backslashreplace").decode()


def _strike(value: str, reference: str, message: str) -> str:
    """The message with a reference in place of a value, also of one that `found` cut off."""
    message = message.replace(value, reference)
    if CUT in message:
        for length in range(min(len(value), 2 * LONGEST_FOUND), _SHORTEST_SECRET - 1, -1):
            message = message.replace(value[:length] + CUT, reference + CUT)
    return message


def _put_in(draft: Draft, environ: Mapping[str, str]) -> _Filled:
    unset: dict[KeyPath, tuple[str, ...]] = {}
    problems: list[Problem] = []
    used: dict[str, str] = {}

    def put_in(path: KeyPath, text: str) -> str:
        expansion = expand(text, environ)
        if expansion.unset:
            unset[path] = expansion.unset
        for wrong in expansion.malformed:
            what = "found no name in ${…}" if may_be_secret(path) else f'found "{wrong}"'
            message = f"{what}, expected ${{NAME}}, or $${{ for the characters themselves"
            problems.append(Problem(nearest(path, draft.places), path, message))
        used.update({name: environ.get(name, "").strip() for name in expansion.names})
        return expansion.text

    tree = {key: map_texts(value, put_in, (key,)) for key, value in draft.tree.items()}
    return _Filled(tree, unset, problems, used)


def _shape_problems(tree: JsonObject, draft: Draft, filled: _Filled) -> Iterator[Problem]:
    """What the specs refuse, save for texts that wait for a variable: those are not final."""
    try:
        _validate(tree)
    except ValidationError as error:
        schema = Config.model_json_schema()
        for problem in Translator(schema, draft.tree, draft.places).problems(error):
            if problem.path not in filled.unset:
                yield problem
    except orjson.JSONEncodeError:
        broken = next(path for path, text in texts(tree) if not is_unicode(text))
        yield Problem(nearest(broken, draft.places), broken, NO_UNICODE)


def _unset_problems(filled: _Filled, gone: LeftOut, draft: Draft) -> Iterator[Problem]:
    for path, names in filled.unset.items():
        if not gone.covers(path):
            many = "s" if len(names) > 1 else ""
            message = f"the environment variable{many} {', '.join(names)} must be set"
            yield Problem(nearest(path, draft.places), path, message)


def _validate(tree: JsonObject) -> Config:
    return TypeAdapter(Config).validate_json(orjson.dumps(tree), strict=True)


def _nothing(draft: Draft, gone: LeftOut) -> ConfigError:
    if not gone.variables:
        return NothingToServe("defines no model and no graph", file=str(draft.file))
    sets = tuple(dict.fromkeys(" and ".join(names) for names in gone.variables.values()))
    message = f"nothing is left to serve; set one of these variables: {', '.join(sets)}"
    return NothingToServe(message, file=str(draft.file), variables=sets)
