from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.include import MAX_FILES, _stays_inside, merge
from app.config.problems import Place
from app.config.yaml_source import Source
from app.errors import ConfigError

MODEL = "models: {%s: {upstream: up, model: m}}\n"


def test_sections_of_included_files_are_merged_in_sorted_order(folder):
    folder.write("more/b.yaml", MODEL % "b")
    folder.write("more/a.yaml", MODEL % "a")
    folder.write("more/ignored.txt", "not yaml: [")
    folder.write("one.yaml", MODEL % "one" + "aliases: {first: one}\n")
    loaded = folder.load(
        "include: [more/*.yaml, one.yaml]\n"
        "upstreams: {up: {base_url: https://x.example}}\n" + MODEL % "m"
    )
    assert list(loaded.config.models) == ["m", "a", "b", "one"]
    assert loaded.config.aliases == {"first": "one"}
    assert loaded.config.include == ("more/*.yaml", "one.yaml")


def test_includes_are_relative_to_the_including_file(folder):
    folder.write("sub/a.yaml", "include: [deeper/b.yaml]\n" + MODEL % "a")
    folder.write("sub/deeper/b.yaml", MODEL % "b")
    text = "include: [sub/a.yaml]\nupstreams: {up: {base_url: https://x.example}}\n"
    assert set(folder.load(text).config.models) == {"a", "b"}


def test_a_pattern_may_match_nothing_and_absolute_paths_work(folder, models):
    file = folder.write("elsewhere/a.yaml", "aliases: {x: m}")
    text = f"include: [none/*.yaml, '{file}', '{file.parent}/**/*.yaml']\n{models}"
    assert folder.load(text).config.aliases == {"x": "m"}


def test_a_variable_may_name_the_file(folder, models):
    folder.write("team.yaml", "aliases: {x: m}")
    loaded = folder.load("include: ['${TEAM}.yaml']\n" + models, {"TEAM": "team"})
    assert loaded.config.aliases == {"x": "m"}


def test_a_file_that_two_others_include_is_read_once(folder, models):
    folder.write("a.yaml", "include: [shared.yaml]")
    folder.write("b.yaml", "include: [shared.yaml]")
    folder.write("shared.yaml", "aliases: {x: m}")
    assert folder.load("include: [a.yaml, b.yaml]\n" + models).config.aliases == {"x": "m"}


def test_a_name_defined_twice_is_refused_naming_both_files(folder, models):
    folder.write("a.yaml", MODEL % "m")
    message = folder.refusal("include: [a.yaml]\n" + models)
    assert message == "a.yaml:1: models.m: defined twice, first in main.yaml:3"


def test_every_name_defined_twice_is_reported(folder):
    folder.write("a.yaml", MODEL % "m" + "limits: {}\n")
    message = folder.refusal("include: [a.yaml]\nlimits: {}\n" + MODEL % "m")
    assert "a.yaml:1: models.m: defined twice, first in main.yaml:3" in message
    assert "a.yaml:2: limits: defined twice, first in main.yaml:2" in message


def test_a_mistake_in_an_included_file_is_reported_with_that_file(folder, models):
    folder.write("a.yaml", "graphs:\n  g: {layers: [{proposers: [m]}], aggregator: 5}\n")
    message = folder.refusal("include: [a.yaml]\n" + models)
    assert message == "a.yaml:2: graphs.g.aggregator: found 5, expected text"


def test_files_that_include_each_other_in_a_circle_are_refused(folder, models):
    folder.write("a.yaml", "include: [b.yaml]")
    folder.write("b.yaml", "include: [main.yaml]")
    message = folder.refusal("include: [a.yaml]\n" + models)
    assert message.startswith("b.yaml:1: include[0]: main.yaml is still being read")


def test_a_pattern_that_matches_its_own_file_is_refused(folder, models):
    assert "in a circle" in folder.refusal("include: ['*.yaml']\n" + models)


def test_a_missing_file_is_refused(folder, models):
    message = folder.refusal("include:\n  - gone.yaml\n" + models)
    assert message == 'main.yaml:2: include[0]: found "gone.yaml", but there is no file gone.yaml'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.yaml", 'main.yaml:1: include: found "a.yaml", expected a list of files'),
        ("[5]", "main.yaml:1: include[0]: found 5, expected a file or a pattern"),
        ("[{a: b}]", "main.yaml:1: include[0]: found a mapping, expected a file"),
        ("['']", 'main.yaml:1: include[0]: found "", expected a file or a pattern'),
        ("['${GONE}']", 'include[0]: found "${GONE}", GONE is not set, expected a file'),
    ],
)
def test_an_include_that_is_no_list_of_files_is_refused(folder, models, text, message):
    assert message in folder.refusal(f"include: {text}\n{models}")


def test_too_many_files_are_refused(folder, models):
    for number in range(MAX_FILES + 1):
        folder.write(f"many/{number}.yaml", "aliases: {}")
    assert f"more than {MAX_FILES} files" in folder.refusal("include: [many/*]\n" + models)


names = st.sampled_from("abcdef")
sections = st.sampled_from(["models", "graphs", "aliases", "upstreams"])
trees = st.dictionaries(sections, st.dictionaries(names, st.integers(), max_size=3), max_size=3)


def _source(number: int, tree: dict[str, dict[str, int]]) -> Source:
    paths = [(key,) for key in tree] + [(key, name) for key in tree for name in tree[key]]
    return Source(
        Path(f"{number}.yaml"), tree, {path: Place(Path(f"{number}.yaml"), 1) for path in paths}
    )


@given(st.lists(trees, min_size=1, max_size=4))
def test_a_merge_has_every_entry_once_or_is_refused_for_those_defined_twice(given_trees):
    entries = [
        (key, name) for tree in given_trees for key, section in tree.items() for name in section
    ]
    sources = [_source(number, tree) for number, tree in enumerate(given_trees)]
    twice = {entry for entry in entries if entries.count(entry) > 1}
    if twice:
        with pytest.raises(ConfigError) as refusal:
            merge(sources)
        assert all(f"{key}.{name}: defined twice" in str(refusal.value) for key, name in twice)
        return
    draft = merge(sources)
    assert {(key, name) for key in draft.tree for name in draft.tree[key]} == set(entries)
    for tree, source in zip(given_trees, sources, strict=True):
        for key, section in tree.items():
            for name, value in section.items():
                assert draft.tree[key][name] == value
                assert draft.places[key, name].file == source.file


@pytest.mark.parametrize(
    "pattern", ["/**/*.yaml", "../**/*.yaml", "a/../../**", "**/../../**", "/etc/**"]
)
def test_a_walk_through_other_folders_is_refused(folder, models, pattern):
    message = folder.refusal(f"include: ['{pattern}']\n{models}")
    assert message.startswith(f'main.yaml:1: include[0]: found "{pattern}", but `**` walks only')


def test_a_walk_below_the_file_itself_may_take_any_way(folder, models):
    folder.write("sub/deeper/a.yaml", "aliases: {x: m}")
    folder.write("sub/other/b.yaml", "aliases: {y: m}")
    text = f"include: ['./sub/**/a.yaml', 'sub/../sub/other/**/*.yaml']\n{models}"
    assert folder.load(text).config.aliases == {"x": "m", "y": "m"}


def test_a_configuration_in_the_root_does_not_walk_the_disk():
    assert not _stays_inside(Path("/"), ("**", "*.yaml"))
    assert _stays_inside(Path("/"), ("etc", "**", "*.yaml"))
