from string import ascii_letters, digits

from hypothesis import given
from hypothesis import strategies as st

from app.config.environment import expand, map_texts, texts, variables

names = st.text(ascii_letters + "_", min_size=1, max_size=5)
values = st.text(min_size=1).filter(lambda text: text.strip())
environments = st.dictionaries(names, values, max_size=5)
anything = st.text(alphabet=st.sampled_from("${}abAB_1 :-\n"), max_size=40)


def test_a_variable_is_put_in_wherever_it_stands():
    environ = {"HOST": "h", "PORT": "1"}
    assert expand("http://${HOST}:${PORT}/v1", environ).text == "http://h:1/v1"


def test_blanks_around_a_value_are_not_part_of_it():
    assert expand("${KEY}", {"KEY": " k\n"}).text == "k"


def test_unset_and_blank_variables_are_named_and_left_as_written():
    expansion = expand("${A}${B}${C}", {"B": " ", "C": "c"})
    assert expansion.unset == ("A", "B")
    assert expansion.text == "${A}${B}c"


def test_a_doubled_dollar_stands_for_the_characters_themselves():
    expansion = expand("$${A} costs $5 or $$5", {"A": "x"})
    assert expansion.text == "${A} costs $5 or $$5"
    assert expansion.names == ()


def test_what_is_no_reference_is_reported():
    text = "${A:-b} ${} ${1A} ${open"
    assert expand(text, {}).malformed == ("${A:-b}", "${}", "${1A}", "${open")


def test_a_value_is_not_expanded_again():
    assert expand("${A}", {"A": "${B}", "B": "never"}).text == "${B}"


@given(anything, environments)
def test_text_without_references_stays_as_it_is(text, environ):
    text = text.replace("${", "")
    assert expand(text, environ).text == text


@given(
    st.lists(
        st.one_of(
            names.map(lambda name: ("name", name)),
            st.tuples(st.just("text"), st.text(alphabet=ascii_letters + digits + " -", max_size=8)),
        )
    ),
    environments,
)
def test_every_reference_becomes_its_value_and_nothing_else_changes(parts, environ):
    environ = {name.upper(): value for name, value in environ.items()}
    text = "".join(f"${{{part}}}" if kind == "name" else part for kind, part in parts)
    wanted = "".join(
        environ.get(part, "").strip() or f"${{{part}}}" if kind == "name" else part
        for kind, part in parts
    )
    assert expand(text, environ).text == wanted


@given(anything, environments)
def test_escaping_every_reference_gives_the_text_back(text, environ):
    escaped = text.replace("${", "$${")
    if "$$${" not in escaped:
        assert expand(escaped, environ).text == text


@given(anything)
def test_any_text_is_expanded_or_reported_but_never_fails(text):
    expansion = expand(text, {})
    assert expansion.unset == expansion.names == variables(text)


def test_texts_of_a_tree_are_found_and_changed_by_their_path():
    tree = {"a": ["x", 1, {"b": "y"}], "c": None}
    assert list(texts(tree)) == [(("a", 0), "x"), (("a", 2, "b"), "y")]
    changed = map_texts(tree, lambda path, text: f"{text}@{len(path)}")
    assert changed == {"a": ["x@2", 1, {"b": "y@3"}], "c": None}
