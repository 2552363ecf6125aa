import pytest

from app.config.prompts import MAX_BYTES

GRAPH = """
graphs:
  g:
    layers: [{nodes: {a: {model: m, system: %s}}}]
    output: {model: m}
"""


def system_of(loaded) -> str:
    return loaded.config.graphs["g"].layers[0].nodes["a"].system


def test_a_line_that_ends_like_a_text_file_is_read_from_it(folder, models):
    folder.write("prompts/a.md", "\nLook on the bright side.\n\n${NOT_A_VARIABLE}\n")
    text = system_of(folder.load(models + GRAPH % "prompts/a.md"))
    assert text == "Look on the bright side.\n\n${NOT_A_VARIABLE}"


def test_every_other_text_is_the_prompt_itself(folder, models):
    assert system_of(folder.load(models + GRAPH % "Be brief.")) == "Be brief."
    block = '"See the README.md\\n"'
    assert system_of(folder.load(models + GRAPH % block)) == "See the README.md\n"


def test_a_prompt_is_looked_for_beside_the_file_that_names_it_first(folder, models, monkeypatch):
    monkeypatch.chdir(folder.write("work/here.txt", "working folder").parent)
    folder.write("sub/p.txt", "beside the include")
    folder.write("p.txt", "beside the main file")
    folder.write("sub/graph.yaml", GRAPH % "p.txt")
    main = "include: [sub/graph.yaml]\n" + models
    assert system_of(folder.load(main)) == "beside the include"
    (folder.path / "sub/p.txt").unlink()
    assert system_of(folder.load(main)) == "beside the main file"
    assert system_of(folder.load(models + GRAPH % "here.txt")) == "working folder"


def test_the_instruction_of_a_graph_may_be_a_file_too(folder, models):
    folder.write("merge.txt", "Merge them.")
    text = models + (GRAPH % "Hi.") + "    instruction: merge.txt\n"
    assert folder.load(text).config.graphs["g"].instruction == "Merge them."


def test_a_variable_may_name_the_folder(folder, models):
    folder.write("de/a.md", "Kurz.")
    loaded = folder.load(models + GRAPH % "'${LANGUAGE}/a.md'", {"LANGUAGE": "de"})
    assert system_of(loaded) == "Kurz."


def test_a_description_is_never_a_file(folder, models):
    text = models + (GRAPH % "Hi.") + "    description: notes.md\n"
    assert folder.load(text).config.graphs["g"].description == "notes.md"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, 'nodes.a.system: found "p.md", but there is no such file; looked for p.md'),
        (b" \n", 'nodes.a.system: found "p.md", which is empty'),
        (b"\xff\xfe", 'nodes.a.system: found "p.md", which is not UTF-8 text'),
        (b"x" * (MAX_BYTES + 1), 'nodes.a.system: found "p.md", which is larger than'),
    ],
)
def test_a_prompt_file_that_cannot_be_used_is_refused(folder, models, content, message):
    if content is not None:
        (folder.path / "p.md").write_bytes(content)
    refusal = folder.refusal(models + GRAPH % "p.md")
    assert refusal.startswith("main.yaml:6: graphs.g.layers[0].")
    assert message in refusal
