"""The Dockerfile, carried out in a scratch folder: no container engine, same steps.

Absolute paths in its steps are moved into the folder, `apt-get` is a stand-in, and each stage
starts from an empty folder, so that a step that relies on something not copied fails here too.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSOLUTE = re.compile(r"(?<![^\s=:'\"])/(?=\w)")
KEPT = ("PATH", "HOME", "LANG", "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy")
DEADLINE = 60.0


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's steps, continued lines joined and comments dropped."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    steps = lines.replace("\\\n", " ").splitlines()
    return [(step.split()[0], step.split(None, 1)[1]) for step in steps if step.strip()]


STEPS = instructions((ROOT / "Dockerfile").read_text())
FINAL = STEPS[max(i for i, (name, _) in enumerate(STEPS) if name == "FROM") :]


def argument(name: str) -> str:
    """The argument of the final stage's last such instruction."""
    return [value for key, value in FINAL if key == name][-1]


def test_the_base_is_pinned_to_a_release_and_its_digest() -> None:
    bases = {value.split()[0] for name, value in STEPS if name == "FROM"}
    pinned = dict(value.split("=", 1) for name, value in STEPS if name == "ARG")
    assert bases == {"${PYTHON}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", pinned["PYTHON"])


def test_every_package_comes_with_a_hash() -> None:
    installs = [
        command
        for name, value in STEPS
        if name == "RUN"
        for command in value.split("&&")
        if "pip" in command and " install " in command and "--no-index" not in command
    ]
    assert installs
    assert all("--require-hashes" in command for command in installs)


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", argument("USER"))


def test_signals_reach_the_gateway() -> None:
    assert json.loads(argument("ENTRYPOINT")) == ["moa"]
    assert json.loads(argument("CMD")) == ["serve", "--host", "0.0.0.0"]  # noqa: S104 - the point


@dataclass
class Image:
    """What the steps leave: `root` is the final stage's file system."""

    scratch: Path
    root: Path = field(init=False)
    stage: str = ""
    workdir: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    stages: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.scratch / "root"
        self.context = self.scratch / "context"
        copy_context(self.context)
        stand_ins = self.scratch / "bin"
        stand_ins.mkdir()
        for name, target in (("python", sys.executable), ("apt-get", "true")):
            (stand_ins / name).write_text(f'#!/bin/sh\nexec {target} "$@"\n')
            (stand_ins / name).chmod(0o755)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.env = {**kept, "PATH": f"{stand_ins}:/usr/bin:/bin"}

    def path(self, inside: str) -> Path:
        """Where a path of the image lies; relative ones start at its working directory."""
        return self.root / str(Path(self.workdir, inside)).lstrip("/")

    def moved(self, text: str) -> str:
        """`text` with every absolute path in it moved into the folder."""
        return ABSOLUTE.sub(f"{self.root}/", text)

    def carry_out(self, name: str, value: str) -> None:
        """One instruction. Those that only describe the image do nothing."""
        step = getattr(self, f"step_{name.lower()}", None)
        if step is not None:
            step(value)

    def step_from(self, value: str) -> None:
        if self.root.exists():
            self.root.rename(self.stages[self.stage])
        self.root.mkdir()
        self.stage = value.rpartition(" AS ")[2]
        self.stages[self.stage] = self.scratch / f"stage-{len(self.stages)}"
        self.workdir = "/"

    def step_workdir(self, value: str) -> None:
        self.workdir = value
        self.path(".").mkdir(parents=True, exist_ok=True)

    def step_arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self.env.setdefault(name, default)

    def step_env(self, value: str) -> None:
        for pair in shlex.split(value):
            name, _, text = pair.partition("=")
            if name != "PIP_NO_CACHE_DIR":  # the machine's cache spares every run the downloads
                self.env[name] = self.moved(text).replace("$PATH", self.env["PATH"])

    def step_copy(self, value: str) -> None:
        *sources, target = value.split()
        origin = self.context
        if sources[0].startswith("--from="):
            origin = self.stages[sources.pop(0).removeprefix("--from=")]
        for source in sources:
            here = origin / source.lstrip("/")
            there = self.path(target)
            if here.is_dir():
                shutil.copytree(here, there, symlinks=True, dirs_exist_ok=True)
            else:
                there.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, there)

    def step_run(self, value: str) -> None:
        self.run(["sh", "-e", "-c", self.moved(value)], check=True)

    def run(self, command: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command in the image."""
        done = subprocess.run(  # noqa: S603 - commands of our own Dockerfile
            command,
            cwd=self.path("."),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def moa(self, *arguments: str) -> list[str]:
        """The entry point with these arguments."""
        (entry,) = json.loads(argument("ENTRYPOINT"))
        return [shutil.which(entry, path=self.env["PATH"]) or entry, *arguments]

    def files(self) -> set[Path]:
        """Every file in the image."""
        return {file for file in self.root.rglob("*") if file.is_file()}


def copy_context(target: Path) -> None:
    """The build context: the repository less what .dockerignore leaves out."""
    rules = (ROOT / ".dockerignore").read_text().split()
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    hidden = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    assert rules[0] == "*", "the test reads a list of exceptions only"
    target.mkdir()
    for name in allowed:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns(*hidden))
        else:
            shutil.copy(ROOT / name, target)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    for name, value in STEPS:
        image.carry_out(name, value)
    return image


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_types_and_its_configuration(image: Image) -> None:
    (wheel,) = next(iter(image.stages.values())).glob("src/dist/*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "app").rglob("*")
        if file.is_file() and not fnmatch(str(file), "*__pycache__*")
    }
    assert sources <= held
    assert "app/py.typed" in held
    assert "app/config/shipped/local.yaml" in held
    assert not [name for name in held if name.startswith(("tests/", "bench/", "config/"))]


@pytest.mark.slow
def test_the_image_holds_no_build_tools(image: Image) -> None:
    names = {file.name for file in image.files()}
    assert "moa" in names
    assert not {"pip", "hatchling", "pytest", "ruff"} & names


@pytest.mark.slow
def test_it_refuses_to_start_without_keys(image: Image) -> None:
    done = image.run(image.moa(*json.loads(argument("CMD"))))
    assert done.returncode != 0
    assert "MOA_API_KEYS" in done.stdout + done.stderr


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


@pytest.fixture
def served(image: Image, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The image, serving with a key, on loopback."""
    image.env |= {"MOA_PORT": str(port), "MOA_API_KEYS": "sk-planted"}
    command = image.moa("serve", "--host", "127.0.0.1")
    with subprocess.Popen(command, cwd=image.path("."), env=image.env) as gateway:  # noqa: S603
        try:
            yield gateway
        finally:
            gateway.terminate()
            gateway.wait(timeout=DEADLINE)
    del image.env["MOA_PORT"], image.env["MOA_API_KEYS"]


@pytest.mark.slow
def test_it_starts_becomes_healthy_asks_for_a_key_and_writes_its_books_only(
    image: Image, served: subprocess.Popen[bytes], port: int
) -> None:
    books = image.root / "var/lib/moa"
    before = {file for file in image.files() if books not in file.parents}
    check = json.loads(argument("HEALTHCHECK").partition(" CMD ")[2])
    until = time.monotonic() + DEADLINE
    while image.run(check).returncode != 0:
        assert served.poll() is None, "it ended"
        assert time.monotonic() < until, "it did not become healthy"
        time.sleep(0.2)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/v1/models")
    assert connection.getresponse().status == 401
    connection.close()
    served.terminate()
    assert served.wait(timeout=DEADLINE) == 0
    assert {file for file in image.files() if books not in file.parents} == before
