"""What make does, with a stand-in for Python that writes down how it was called."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
STAND_IN = """#!/bin/sh
# {log} gets a line for every call; `-m venv DIR` makes DIR/bin with this script in it.
echo "$*" >> {log}
case "$*" in
  *version_info*) exit {old};;
  *ensurepip*) exit {bare};;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/bin/pip";;
  *requirements/local.txt*) exit {no_wheel};;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the Makefile reads, in a folder of its own."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, folder)
    return folder


def stand_in(
    checkout: Path, *, old: bool = False, bare: bool = False, no_wheel: bool = False
) -> Path:
    python = checkout.parent / "python"
    log = checkout.parent / "log"
    script = STAND_IN.format(log=log, old=int(old), bare=int(bare), no_wheel=int(no_wheel))
    python.write_text(script)
    python.chmod(0o755)
    return python


def make(
    checkout: Path, *arguments: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - make and the arguments above
        [MAKE, *arguments],
        cwd=checkout,
        env={"PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def calls(checkout: Path) -> list[str]:
    log = checkout.parent / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line for line in lines if not line.startswith(("-c", "--version"))]


@pytest.fixture
def without_python(tmp_path: Path) -> str:
    """A search path with the tools the Makefile uses and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "cat", "cksum", "cut", "rm", "touch"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return str(folder)


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    listed = re.findall(r"^make ([a-z-]+)", make(ROOT, "help").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(declared[1].split())
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set(listed)


def test_make_alone_explains_itself() -> None:
    assert make(ROOT).stdout == make(ROOT, "help").stdout


def test_install_takes_pinned_packages_then_the_project_then_the_model(checkout: Path) -> None:
    result = make(checkout, "install", f"PYTHON={stand_in(checkout)}")
    assert result.returncode == 0, result.stderr
    venv, packages, project, model = calls(checkout)
    assert venv == "-m venv .venv"
    assert "--require-hashes -r requirements/runtime.txt -r requirements/build.txt" in packages
    assert "--no-deps --no-build-isolation --editable ." in project
    assert "--no-deps --only-binary :all: --require-hashes -r requirements/local.txt" in model


def test_nothing_is_installed_twice(checkout: Path) -> None:
    python = stand_in(checkout)
    make(checkout, "install", f"PYTHON={python}")
    calls(checkout)
    assert make(checkout, "install", f"PYTHON={python}").returncode == 0
    assert calls(checkout) == []


def test_a_touched_file_with_the_same_content_installs_nothing(checkout: Path) -> None:
    python = stand_in(checkout)
    make(checkout, "install", f"PYTHON={python}")
    calls(checkout)
    (checkout / "requirements/runtime.txt").touch()
    make(checkout, "install", f"PYTHON={python}")
    assert calls(checkout) == []


def test_a_changed_lock_installs_again(checkout: Path) -> None:
    python = stand_in(checkout)
    make(checkout, "install", f"PYTHON={python}")
    calls(checkout)
    with (checkout / "requirements/runtime.txt").open("a") as lock:
        lock.write("# changed\n")
    make(checkout, "install", f"PYTHON={python}")
    assert any("requirements/runtime.txt" in call for call in calls(checkout))


def test_development_tools_come_only_where_they_are_needed(checkout: Path) -> None:
    python = stand_in(checkout)
    make(checkout, "install", f"PYTHON={python}")
    assert not any("dev.txt" in call for call in calls(checkout))
    make(checkout, "test", f"PYTHON={python}")
    assert any("--require-hashes -r requirements/dev.txt" in call for call in calls(checkout))


def test_a_platform_without_the_model_is_served_all_the_same(checkout: Path) -> None:
    result = make(checkout, "install", f"PYTHON={stand_in(checkout, no_wheel=True)}")
    assert result.returncode == 0
    assert "all else works without it" in result.stderr
    assert "OLLAMA_BASE_URL" in result.stderr


def test_an_old_python_is_refused_with_the_way_out(checkout: Path, without_python: str) -> None:
    python = stand_in(checkout, old=True)
    result = make(checkout, "install", f"PYTHON={python}", path=without_python)
    assert result.returncode != 0
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "make install PYTHON=" in result.stderr


def test_a_python_without_venv_is_refused_with_the_way_out(
    checkout: Path, without_python: str
) -> None:
    python = stand_in(checkout, bare=True)
    result = make(checkout, "install", f"PYTHON={python}", path=without_python)
    assert result.returncode != 0
    assert "python3-venv" in result.stderr


def test_ci_runs_what_a_developer_runs_and_nothing_else() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    commands = [line for line in script if line and not line.startswith("#")]
    assert commands == [
        "set -euo pipefail",
        'cd "$(dirname "$0")/.."',
        "make check",
        "make test",
        "make chaos",
        "make test-clients",
        "make test-services",
    ]
