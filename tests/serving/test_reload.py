"""Taking up a configuration: what is swapped, what stays, what is refused, and when files count."""

import logging

import anyio
import pytest

from app.config import load_config
from app.config.files import looks
from app.errors import ConfigError
from app.serving.reload import CurrentRuntime, Reloader, watch
from app.serving.runtime import runtime_of
from app.upstream.fake import FakeModel

CONFIG = """
upstreams: {up: {base_url: "http://127.0.0.1:9/v1"}}
models:
  a: {upstream: up, model: x}
"""
MORE = "  b: {upstream: up, model: y}\n"
PATIENCE = 10.0


class Bench:
    """A configuration in a folder and a reloader that builds a fake of every model in it."""

    def __init__(self, folder):
        self.file = folder / "gateway.yaml"
        self.file.write_text(CONFIG)
        self.ended, self.built, self.building, self.most = [], 0, 0, 0
        self.hold, self.refusal = None, None
        self.current = CurrentRuntime(runtime_of({"a": FakeModel("a")}, created=1))
        loaded = load_config(self.file, {})
        self.reloader = Reloader(loaded, {}, self.current, self.build, self.ended.append)

    async def build(self, loaded):
        self.building += 1
        self.most = max(self.most, self.building)
        try:
            if self.hold is not None:
                await self.hold.wait()
            if self.refusal is not None:
                raise self.refusal
            self.built += 1
            models = {name: FakeModel(name) for name in loaded.config.models}
            return runtime_of(models, created=100)
        finally:
            self.building -= 1

    @property
    def created(self):
        return {name: each.created for name, each in self.current().served.items()}

    async def until(self, reached):
        with anyio.fail_after(PATIENCE):
            while not reached():  # noqa: ASYNC110 - files have no events
                await anyio.sleep(0.001)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_new_names_are_served_and_old_ones_keep_the_time_of_their_creation(bench):
    before = bench.current()
    bench.file.write_text(CONFIG + MORE)
    await bench.reloader.reload("test")
    assert bench.created == {"a": 1, "b": 100}
    assert list(before.served) == ["a"]  # a request that runs has this one
    assert bench.ended == ["ok"]


async def test_a_file_that_says_the_same_in_other_words_builds_nothing(bench):
    before = bench.current()
    bench.file.write_text("# a remark\n" + CONFIG)
    await bench.reloader.reload("test")
    assert (bench.ended, bench.built) == (["unchanged"], 0)
    assert bench.current() is before


@pytest.mark.parametrize("text", ["models: {", CONFIG + "  c: {upstream: none, model: y}\n"])
async def test_a_wrong_file_changes_nothing_and_is_named(bench, caplog, text):
    before = bench.current()
    bench.file.write_text(text)
    await bench.reloader.reload("test")
    assert bench.current() is before
    assert bench.ended == ["refused"]
    assert "refused, all is as before" in caplog.text
    assert f"{bench.file}:" in caplog.text
    bench.file.write_text(CONFIG + MORE)
    await bench.reloader.reload("test")
    assert list(bench.created) == ["a", "b"]


@pytest.mark.parametrize("refusal", [ConfigError("no such thing"), RuntimeError("oh no")])
async def test_what_cannot_be_built_changes_nothing_and_may_be_tried_again(bench, caplog, refusal):
    bench.refusal = refusal
    bench.file.write_text(CONFIG + MORE)
    await bench.reloader.reload("test")
    assert list(bench.created) == ["a"]
    assert str(refusal) in caplog.text
    bench.refusal = None
    await bench.reloader.reload("test")
    assert bench.ended == ["refused", "ok"]


async def test_one_reload_at_a_time_and_the_last_one_sees_the_last_file(bench):
    bench.hold = anyio.Event()
    async with anyio.create_task_group() as tasks:
        bench.file.write_text(CONFIG + MORE)
        tasks.start_soon(bench.reloader.reload, "first")
        await bench.until(lambda: bench.building)
        bench.file.write_text(CONFIG + MORE + MORE.replace("b:", "c:"))
        tasks.start_soon(bench.reloader.reload, "second")
        bench.hold.set()
    assert list(bench.created) == ["a", "b", "c"]
    assert bench.most == 1


async def test_a_cancelled_reload_leaves_the_next_one_free(bench):
    bench.hold = anyio.Event()
    bench.file.write_text(CONFIG + MORE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.reloader.reload, "first")
        await bench.until(lambda: bench.building)
        tasks.cancel_scope.cancel()
    bench.hold.set()
    await bench.reloader.reload("second")
    assert bench.ended == ["ok"]


@pytest.fixture
async def watched(bench):
    async with anyio.create_task_group() as tasks:

        async def look():
            await watch(bench.reloader, every=0.001, settled=0.001)

        tasks.start_soon(look)
        yield bench
        tasks.cancel_scope.cancel()


async def test_a_changed_file_is_taken_up(watched):
    watched.file.write_text(CONFIG + MORE)
    await watched.until(lambda: "b" in watched.created)


async def test_a_wrong_file_is_refused_once_and_the_mended_one_taken_up(watched, caplog):
    caplog.set_level(logging.ERROR, "moa.reload")
    watched.file.write_text("models: {")
    await watched.until(lambda: "refused" in watched.ended)
    assert looks(watched.reloader.files) == watched.reloader.files
    watched.file.write_text(CONFIG + MORE)
    await watched.until(lambda: "b" in watched.created)
    assert watched.ended.count("refused") == 1


async def test_a_file_that_went_and_came_back_is_taken_up(watched):
    watched.file.unlink()
    await watched.until(lambda: "refused" in watched.ended)
    watched.file.write_text(CONFIG + MORE)
    await watched.until(lambda: "b" in watched.created)


async def test_a_file_that_is_still_being_written_is_left_alone(bench):
    async with anyio.create_task_group() as tasks:

        async def look():
            await watch(bench.reloader, every=0.001, settled=0.05)

        tasks.start_soon(look)
        for number in range(200):
            bench.file.write_text(CONFIG + "#" * number)
            await anyio.sleep(0.001)
        assert bench.ended == []
        bench.file.write_text(CONFIG + MORE)
        await bench.until(lambda: "b" in bench.created)
        tasks.cancel_scope.cancel()
