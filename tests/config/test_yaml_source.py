import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.config import yaml_source
from app.config.yaml_source import read_source
from app.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes):
        file = tmp_path / "c.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_source(file)

    return read


@pytest.fixture
def refused(read, tmp_path):
    def refused(text: str | bytes) -> str:
        with pytest.raises(ConfigError) as refusal:
            read(text)
        return str(refusal.value).replace(f"{tmp_path}/", "")

    return refused


def test_every_path_knows_its_line(read):
    source = read("a:\n  b:\n    - x\n    - c: 1\n")
    lines = {path: place.line for path, place in source.places.items()}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1): 4,
        ("a", "b", 1, "c"): 4,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("true", True),
        ("~", None),
        ("", None),
        ("0x1F", 31),
        ("0o17", 15),
        ("-7", -7),
        ("1_000", "1_000"),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        (".nan", ".nan"),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_yaml_1_2(read, text, value):
    assert read(f"k: {text}").tree == {"k": value}


def test_keys_are_text_whatever_they_look_like(read):
    assert read("1: a\ntrue: b\n").tree == {"1": "a", "true": "b"}


def test_aliases_are_followed(read):
    assert read("a: &x [1]\nb: *x").tree == {"a": [1], "b": [1]}


def test_a_byte_order_mark_is_no_text(read):
    assert read("\ufeffa: 1").tree == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "c.yaml:4: b.c: defined twice, first in line 3"),
        ("a: 1\n\tb: 2\n", "c.yaml:2:1: is not valid YAML: while scanning for the next token"),
        ("a: [1\nb: 2\n", "c.yaml:2:2: is not valid YAML"),
        ("a: *nowhere", "c.yaml:1:4: is not valid YAML: found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 1\n", "c.yaml:2:1: is not valid YAML"),
        ("- a\n- b\n", "c.yaml:1: found a list, expected a mapping"),
        ("just text", "c.yaml:1: found a scalar, expected a mapping"),
        ("# nothing\n", "c.yaml:1: found nothing, expected a mapping"),
        ("a: !!python/object:os.system x", "c.yaml:1: a: the tag"),
        ("a: !secret x", "c.yaml:1: a: the tag !secret is not accepted"),
        ("a: !!int x", "c.yaml:1: a: the tag"),
        ("a: !!bool yes", "c.yaml:1: a: the tag"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "c.yaml:3: c: merge keys (<<) are not accepted"),
        ("? [a]\n: b\n", "c.yaml:1: found a list or mapping as a key, expected text"),
        ("a: 99999999999999999999", "c.yaml:1: a: the number is too large"),
        ("a: 1e999", "c.yaml:1: a: the number is too large"),
        ("a: 1\nb: \x07\n", "c.yaml:2: contains the character U+0007"),
        (b"a: 1\nb: \xff\n", "c.yaml:2: is not UTF-8 text"),
        ("a: &x [*x]", "c.yaml:1: a"),
        ("a: " + "[" * 60 + "]" * 60, "c.yaml:1:43: is not valid YAML: more than 40 levels deep"),
    ],
)  # fmt: skip
def test_what_is_no_plain_mapping_is_refused_with_its_line(refused, text, message):
    assert refused(text).startswith(message)


def test_tabs_are_named_as_the_cause(refused):
    assert refused("a:\n\tb: 2\n").endswith("; indent with spaces, not tabs")


def test_all_duplicate_keys_are_reported_at_once(refused):
    message = refused("a: 1\na: 2\nb: 1\nb: 2\n")
    assert message.startswith("2 problems\nc.yaml:2: a: defined twice")
    assert "\nc.yaml:4: b: defined twice" in message


def test_aliases_that_multiply_are_refused(refused):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too large once aliases are followed" in refused("\n".join(lines))


def test_a_long_text_that_aliases_multiply_is_refused(refused):
    text = "a: &a " + "x" * 500_000 + "\nb: [" + ", ".join(["*a"] * 20) + "]"
    assert "too large once aliases are followed" in refused(text)


def test_a_file_above_the_limit_is_refused(refused):
    assert "is larger than" in refused("#" * (yaml_source.MAX_BYTES + 1))


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file"):
        read_source(Path("nowhere.yaml"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_source(tmp_path)


written = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\x7f"),
    max_size=20,
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | written,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(written, inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(written, trees, max_size=5))
@example({"$\ue000\ue001": "$\ue000x\ue001"})
@settings(deadline=None)
def test_whatever_is_written_as_json_is_read_back(tmp_path_factory, tree):
    file = tmp_path_factory.mktemp("yaml") / "c.yaml"
    file.write_text(json.dumps(tree), "utf-8")
    assert read_source(file).tree == tree


@pytest.mark.parametrize("braces", ["\ue000\ue001", "\U000f0000\U000f0001", "\U000f0001"])
def test_a_private_character_is_no_brace(read, braces):
    escaped = "".join(f"\\U{ord(each):08X}" for each in braces)
    text = f'a: "$x{braces[0]}N{braces[-1]}"\nb: "${escaped}"\nc: ${{N}}\n'
    assert read(text).tree == {"a": f"$x{braces[0]}N{braces[-1]}", "b": f"${braces}", "c": "${N}"}
