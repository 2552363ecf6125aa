"""Which files a configuration is made of, also where it is wrong, and how a change is noticed."""

import pytest

from app.config import load_config
from app.config.files import Seen, looks
from app.errors import ConfigError


def noticed(files, change):
    """Whether the files look otherwise after a change."""
    change()
    return looks(files) != dict(files)


@pytest.fixture
def loaded(folder, models):
    folder.write(
        "graphs/one.yaml",
        "graphs:\n  g:\n    layers: [{nodes: {n: {model: m, "
        "system: ../p.md}}}]\n    aggregator: m\n",
    )
    folder.write("p.md", "Be brief.")
    folder.write("team.yaml", "aliases: {x: m}")
    return folder.load("include: [team.yaml, 'graphs/*.yaml']\n" + models)


def test_every_file_and_every_folder_of_a_pattern_is_named(folder, loaded):
    names = {str(path.relative_to(folder.path)) for path in loaded.files}
    assert names == {"main.yaml", "team.yaml", "graphs", "graphs/one.yaml", "graphs/../p.md"}


def test_nothing_is_noticed_where_nothing_changed(loaded):
    assert not noticed(loaded.files, lambda: None)


@pytest.mark.parametrize("name", ["main.yaml", "team.yaml", "graphs/one.yaml", "p.md"])
def test_a_changed_file_is_noticed(folder, loaded, name):
    assert noticed(loaded.files, lambda: folder.write(name, "# something else\n"))


def test_a_new_file_of_a_pattern_is_noticed(folder, loaded):
    assert noticed(loaded.files, lambda: folder.write("graphs/two.yaml", "aliases: {}"))


def test_a_file_that_went_is_noticed(folder, loaded):
    assert noticed(loaded.files, (folder.path / "team.yaml").unlink)


@pytest.mark.parametrize("pattern", ["a/**/*.yaml", "a/*/x.yaml", "a/**"])
def test_a_new_file_deep_in_a_pattern_is_noticed(folder, models, pattern):
    folder.write("a/b/other.txt" if pattern != "a/**" else "a/b/other.yaml", "aliases: {}")
    loaded = folder.load(f"include: ['{pattern}']\n{models}")
    assert noticed(loaded.files, lambda: folder.write("a/b/x.yaml", "aliases: {y: m}"))


def test_another_target_of_a_link_is_noticed(folder, models):
    """So does Kubernetes put a new version of a mounted configuration in place."""
    first, second = folder.write("v1/c.yaml", models), folder.write("v2/c.yaml", models)
    link = folder.path / "c.yaml"
    link.symlink_to(first)
    loaded = load_config(link, {})

    def swap():
        link.unlink()
        link.symlink_to(second)

    assert noticed(loaded.files, swap)


@pytest.mark.parametrize(
    ("text", "mended"),
    [("include: [gone.yaml]\n", "gone.yaml"), ("include: [bad.yaml]\n", "bad.yaml")],
)
def test_what_mends_a_wrong_configuration_is_noticed(folder, models, text, mended):
    folder.write("bad.yaml", "aliases: [")
    main, seen = folder.write("main.yaml", text + models), Seen()
    with pytest.raises(ConfigError):
        load_config(main, {}, seen)
    assert noticed(seen.stamps, lambda: folder.write(mended, "aliases: {x: m}"))


def test_a_prompt_file_that_is_not_there_yet_is_waited_for(folder, models):
    graph = (
        "graphs:\n  g:\n    layers: [{nodes: {n: {model: m, system: q.md}}}]\n    aggregator: m\n"
    )
    main, seen = folder.write("main.yaml", models + graph), Seen()
    with pytest.raises(ConfigError):
        load_config(main, {}, seen)
    assert noticed(seen.stamps, lambda: folder.write("q.md", "Be brief."))
