"""The examples of the docstrings run, and the types of a sample program are right."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import overmind_export
from overmind_export import (
    _async,
    _checks,
    _client,
    _demo,
    _errors,
    _exports,
    _html,
    _logs,
    _options,
    _partitions,
    _progress,
    _reports,
    _signals,
    _snapshots,
    _summary,
    _tables,
    _text,
    cluster,
)

MODULES = [
    overmind_export, _async, _checks, _client, cluster, _demo, _errors, _exports, _html, _logs, _options, _partitions, _progress,
    _reports, _signals, _snapshots, _summary, _tables, _text,
]  # fmt: skip
PROGRAM = Path(__file__).with_name("program.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    if module in (_client, _exports) and importlib.util.find_spec("polars") is None:
        pytest.skip("polars is not installed")
    if module is overmind_export:
        # Names that other tests have used are in the package, but their examples belong to their own modules.
        for name in overmind_export.__all__:
            monkeypatch.delattr(overmind_export, name, raising=False)
    if module is _errors:
        # It says that it is of the package.
        monkeypatch.setattr(_errors, "__test__", {"Error": _errors.Error}, raising=False)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)  # type: ignore[arg-type]
    assert results == (0, inspect.getsource(module).count(">>> "))  # type: ignore[arg-type]


def test_every_public_name_has_a_docstring() -> None:
    for name in overmind_export.__all__:
        if name != "__version__":
            assert getattr(overmind_export, name).__doc__, name


def test_version_is_the_version_of_the_package() -> None:
    from importlib.metadata import requires, version

    assert overmind_export.__version__ == version("overmind-export")
    # Every requirement belongs to an extra.
    assert all("extra ==" in requirement for requirement in requires("overmind-export") or [])


@pytest.mark.consumer("pandas", "polars", "pyarrow")
def test_sample_program_runs() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy_accepts_package_and_program(tmp_path: Path) -> None:
    # The settings, strict ones, and the files are in pyproject.toml.
    arguments = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=PROGRAM.parents[1])
    assert done.returncode == 0, done.stdout


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_accepts_the_program() -> None:
    arguments = ["-m", "pyright", "--pythonpath", sys.executable, str(PROGRAM)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_options_are_in_signatures() -> None:
    parameters = inspect.signature(overmind_export.read).parameters
    assert list(parameters)[0] == "dataset" and {"columns", "limit", "api_key", "source"} <= set(parameters)
    assert parameters["limit"].annotation == "int | None"
    assert not any(it.kind is it.VAR_KEYWORD for it in parameters.values())
    assert "overwrite" in inspect.signature(overmind_export.AsyncClient.export).parameters
    assert "concurrency" in inspect.signature(overmind_export.Client).parameters
    assert inspect.signature(overmind_export.diff).parameters["show"].default == 3
