"""What the code does not do: templates on a caller's text, processes on his word, open secrets.

Where behaviour shows it, behaviour is asked; that a thing is nowhere is read in the source.
"""

import ast
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.config import Settings
from app.upstream.fake import FakeModel
from app.upstream.spec_upstream import UpstreamSpec

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"
STARTERS = ("subprocess", "multiprocessing", "pty", "anyio.run_process", "anyio.open_process")
MAY_START = {"app/cli/workers.py", "app/cli/server.py", "app/upstream/local_process.py"}
"""The command's own workers, and the embedded model of the operator's configuration."""
ENGINES = {"jinja2", "mako", "chevron", "pystache", "django", "tornado", "string.Template"}
CODE = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
ROOMS = ("api", "serving", "engine", "protocol", "upstream")
SECRET_NAMES = ("key", "keys", "pepper", "secret", "token", "password", "url")
PUBLIC = {"require_keys"}
TEMPLATES = ["{0.__class__}", "{{7*7}}", "${HOME}", "%(x)s %s", "{% raw %}", "<%= 7*7 %>", "{text}"]


def sources():
    """Every file of the application, with its syntax tree."""
    for file in sorted((ROOT / "app").rglob("*.py")):
        yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def imported(tree):
    """The dotted names that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def calls(tree):
    """What a file calls, as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def names_one_of(name, known):
    return any(name == each or name.startswith(f"{each}.") for each in known)


def test_no_file_imports_a_template_engine_or_runs_text_as_code():
    found = set()
    for file, tree in sources():
        found |= {(file, name) for name in imported(tree) if names_one_of(name, ENGINES | UNSAFE)}
        found |= {(file, name) for name, _ in calls(tree) if name in CODE}
        found |= {(file, name) for name, _ in calls(tree) if name in {"yaml.load", "os.system"}}
    assert found == set()


def test_format_is_called_on_constants_of_ours_only():
    """A text that comes from a variable could be a caller's, and its fields reach attributes."""
    for file, tree in sources():
        if file.split("/")[1] not in ROOMS:
            continue
        for name, node in calls(tree):
            if isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "format_map"}:
                owner = node.func.value
                is_constant = isinstance(owner, ast.Constant)
                is_named = isinstance(owner, ast.Name) and owner.id.isupper()
                assert is_constant or is_named, (file, name)


@pytest.mark.parametrize("model", ["plain", "panel"])
def test_a_caller_s_text_goes_through_as_text_whatever_template_it_looks_like(
    gateway_with, fake_upstream, model
):
    text = " ".join(TEMPLATES)
    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    with gateway_with() as gateway:
        answer = httpx.post(gateway.url + CHAT, json={"model": model, "messages": messages})
    assert answer.status_code == 200
    for asked in fake_upstream.log.entries:
        contents = [each["content"] for each in asked.body["messages"]]
        assert any(text in content for content in contents)
        assert "49" not in str(contents)


def test_only_the_command_and_the_embedded_model_can_start_a_process():
    starting = set()
    for file, tree in sources():
        names = {*imported(tree), *(name for name, _ in calls(tree))}
        if any(names_one_of(name, (*STARTERS, "asyncio.create_subprocess")) for name in names):
            starting.add(file)
        assert not {name for name in names if name.startswith(("os.exec", "os.spawn", "os.fork"))}
    assert starting <= MAY_START


class Starts:
    """Hears of every process that this one starts. An audit hook cannot be taken out again."""

    EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")

    def __init__(self):
        self.is_on, self.heard = False, []
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.is_on and event in self.EVENTS:
            self.heard.append((event, arguments))


async def test_no_address_of_the_api_starts_a_process(serve, client_of):
    words = {"model": "m; touch x", "prompt": "$(id)", "input": "`id`", "name": "|id"}
    words["messages"] = [{"role": "user", "content": "$(id)"}]
    starts = Starts()
    async with serve({"m": FakeModel("m")}) as app, client_of(app) as client:
        starts.is_on = True
        try:
            for route in app.router.routes:
                path = route.path.replace("{", "").replace("}", "").replace(":path", "")
                for method in route.methods:
                    for model in ("m", "m; touch x"):
                        await client.request(method, path, json={**words, "model": model})
        finally:
            starts.is_on = False
    assert starts.heard == []


def holds_secret(annotation):
    return "SecretStr" in str(annotation)


def test_every_setting_that_may_hold_a_secret_is_a_secret_string():
    named = {
        name: field
        for name, field in Settings.model_fields.items()
        if name.rsplit("_", 1)[-1] in SECRET_NAMES and name not in PUBLIC
    }
    assert {"api_keys", "key_pepper", "user_hash_key", "database_url", "redis_url"} <= set(named)
    assert [name for name, field in named.items() if not holds_secret(field.annotation)] == []


def test_an_upstream_shows_none_of_its_secrets():
    fields = UpstreamSpec.model_fields
    assert holds_secret(fields["api_key"].annotation)
    assert holds_secret(fields["proxy"].annotation)
    spec = UpstreamSpec(
        base_url="https://api.example.com/v1",
        api_key=SecretStr("planted-1"),
        proxy=SecretStr("http://user:planted-2@proxy.example:3128"),
        headers={"x-team": "planted-3"},
        query={"key": "planted-4"},
        extra_body={"key": "planted-5"},
    )
    assert "planted" not in repr(spec)
    assert "planted" not in str(spec)
