"""What fuzzing has found, a test each."""

import orjson
import pytest

from app.config import load_config
from app.errors import ConfigError, InvalidRequest, UpstreamError, UpstreamMalformed
from app.protocol.completion import ToolNumbers, chunk_from_event
from app.protocol.request import parse_chat
from app.protocol.sse import EventTooLong, SseDecoder
from app.upstream.answer_reader import AnswerReader
from app.upstream.errors import ErrorTranslator
from tests.fuzz.config_properties import ENVIRON, SECRETS, leaks

MODELS = "upstreams: {up: {base_url: https://up.example}}\nmodels: {m: {upstream: up, model: m}}\n"
GRAPH = MODELS + "graphs: {g: {layers: [{nodes: {a: {kind: %s, model: m}}}], aggregator: m}}\n"
PROMPT = MODELS + (
    "graphs: {g: {layers: [{nodes: {a: {kind: propose, model: m, system: %s}}}], aggregator: m}}\n"
)
STOP = b'data: {"choices":[{"index":0,"delta":{"content":"x"%b},"finish_reason":"stop"}]}\n\n'


def reader(*, whole: bool = False) -> AnswerReader:
    return AnswerReader(ErrorTranslator("up"), whole=whole)


@pytest.fixture
def refusal(tmp_path):
    def load(text: str) -> str:
        file = tmp_path / "main.yaml"
        file.write_text(text, "utf-8")
        with pytest.raises(ConfigError) as caught:
            load_config(file, ENVIRON)
        assert str(caught.value).encode()
        return str(caught.value).replace(f"{tmp_path}/", "")

    return load


def test_an_event_above_the_limit_is_refused_also_when_it_comes_in_one_read():
    with pytest.raises(EventTooLong):
        SseDecoder(10).feed(b"data: 12345\n\n")
    assert SseDecoder(10).feed(b"data: 1234\n\n") == [b"1234"]


def test_the_line_end_of_an_event_does_not_count_towards_the_limit():
    decoder = SseDecoder(10)
    assert [*decoder.feed(b"\n"), *decoder.feed(b"data: 1234\n"), *decoder.feed(b"\n")] == [b"1234"]


def test_events_before_one_that_is_too_long_are_not_lost():
    reads = reader()
    long = b"data: " + b"x" * (9 * 1024 * 1024)
    chunks = reads.feed(STOP % b"" + long)
    assert [chunk.choices[0]["delta"] for chunk in chunks] == [{"content": "x"}]
    assert reads.done
    with pytest.raises(UpstreamMalformed, match="an event without an end"):
        reads.end()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("depth", [200, 300, 1000])
def test_an_answer_too_deep_to_be_written_again_is_malformed(whole, depth):
    deep = b',"vendor":' + b'{"a":' * depth + b"1" + b"}" * depth
    with pytest.raises(UpstreamMalformed):
        reader(whole=whole).feed(STOP % deep)


def test_an_error_message_nested_too_deep_is_an_error_all_the_same():
    deep = b"[" * 1000 + b"]" * 1000
    for body in (b'{"error":{"message":%b}}', b'{"error":%b}'):
        error = ErrorTranslator("up").status(500, lambda _: None, body % deep)
        assert isinstance(error, UpstreamError)


def test_the_number_of_a_tool_call_fits_into_json():
    numbers = ToolNumbers()
    largest = 2**64 - 1
    fragments = [{"index": largest, "id": each} for each in ("a", "b", "c")]
    numbers.put_right(0, fragments)
    assert orjson.loads(orjson.dumps([each["index"] for each in fragments])) == [0, 1, 2]


@pytest.mark.parametrize("index", [True, -1, 2**31])
def test_a_strange_index_of_a_tool_call_is_none(index):
    fragments = [{"index": index, "id": "a"}, {"id": "b"}]
    ToolNumbers().put_right(0, fragments)
    assert [(type(each["index"]), each["index"]) for each in fragments] == [(int, 0), (int, 1)]


def test_numbering_tool_calls_takes_one_step_for_each():
    # With a step for every call before it, this would take minutes.
    fragments = [{"index": 0, "id": f"call_{number}"} for number in range(50_000)]
    chunk_from_event({"choices": [{"delta": {"tool_calls": fragments}}]}, ToolNumbers())
    assert [each["index"] for each in fragments] == list(range(50_000))


def test_a_duration_has_the_digits_of_its_schema():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(InvalidRequest) as refused:
        parse_chat(orjson.dumps(body | {"moa": {"timeout": "\u0665s"}}))
    assert refused.value.param == "moa.timeout"


@pytest.mark.parametrize(
    "text", ['a: 1\nb: "\\UFFFFFFFF"', 'a: 1\nb: "\\U00110000"', f"\n%YAML {'9' * 5000}.1\n---\n"]
)
def test_a_number_that_the_yaml_parser_cannot_take_is_refused_with_its_line(refusal, text):
    assert refusal(text).startswith("main.yaml:2: is not valid YAML: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('aliases: {"\\ud800": m}\n', "main.yaml:1: aliases: "),
        ('aliases: {a: "\\ud800"}\n', "main.yaml:1: aliases.a: "),
        ('include: ["\\ud800.yaml"]\n', "main.yaml:1: include[0]: "),
    ],
)
def test_half_a_character_is_refused_where_it_stands(refusal, text, place):
    assert refusal(text + MODELS) == place + "is not valid Unicode text"


def test_a_variable_with_half_a_character_is_refused_in_text_that_can_be_printed(tmp_path):
    file = tmp_path / "main.yaml"
    file.write_text(MODELS + "aliases: {a: '${ODD}'}\n")
    with pytest.raises(ConfigError) as refused:
        load_config(file, {"ODD": "\udcff"})
    assert str(refused.value).encode()


@pytest.mark.parametrize("name", ["a" * 400 + ".yaml", "a\\0.yaml", "a\\0/**/b.yaml"])
def test_an_include_no_file_can_be_called_is_refused(refusal, name):
    assert refusal(f'include: ["{name}"]\n').startswith("main.yaml:1: include[0]: found ")


@pytest.mark.parametrize("name", ["a" * 400 + ".md", "a\\0.md"])
def test_a_prompt_file_no_file_can_be_called_is_refused(refusal, name):
    assert "but there is no such file" in refusal(PROMPT % f'"{name}"')


def test_a_configuration_that_is_a_link_to_itself_is_refused(tmp_path):
    file = tmp_path / "main.yaml"
    file.symlink_to(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(file, {})


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "text",
    [
        GRAPH % '"${%s}"',
        GRAPH % '"x ${%s}"',
        'include: ["${%s}.yaml"]\n',
        MODELS.replace("model: m", 'model: m, hedge: "${%s}"'),
        MODELS.replace("model: m", 'model: m, fallback: ["a ${%s}"]'),
        MODELS + 'aliases: {a: "${%s}", b: "${SHORT_SECRET}", c: "${SECRET_AROUND}"}\n',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_told(refusal, text, name):
    told = refusal(text.replace("%s", name))
    assert not leaks(told), told


def test_a_secret_as_a_prompt_file_is_not_told(refusal):
    told = refusal(PROMPT % '"${LONG_SECRET}.md"')
    assert "${LONG_SECRET}.md" in told
    assert not leaks(told), told
