"""What the tests share: the embedded API, and an environment without settings of the user."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import overmind_export as oe

ROWS = 5_000
#: `.ci/run` names the libraries that must be importable, and no others.
CONSUMERS = os.environ.get("CONSUMERS")


def needed(item: pytest.Item) -> set[str]:
    """The libraries without which a test is skipped."""
    return {library for mark in item.iter_markers("consumer") for library in mark.args}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for library in sorted(needed(item)):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A test of libraries that are there is never skipped."""
    report = yield
    if CONSUMERS is None or not report.skipped:
        return report
    libraries = needed(item) | set(re.findall(r"could not import '(\w+)'", str(report.longrepr)))
    if libraries and libraries <= set(CONSUMERS.split(",")):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {CONSUMERS} must be there: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_not_ignored() -> None:
    # A shell starts a program in the background with SIGINT ignored, and so would be the programs of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_user() -> None:
    for name in list(os.environ):
        if name.startswith("OVERMIND_"):  # A key must not reach a test.
            del os.environ[name]


@pytest.fixture(scope="session")
def demo() -> Iterator[oe.Demo]:
    """An API with 5,000 rows."""
    with oe.demo(rows=ROWS) as demo:
        yield demo


@pytest.fixture(scope="session")
def slow() -> Iterator[oe.Demo]:
    """An API that takes minutes for a dataset."""
    with oe.demo(rows=1_000_000, latency=0.5) as demo:
        yield demo


@pytest.fixture
def client(demo: oe.Demo) -> oe.Client:
    return oe.Client(base_url=demo.url, api_key="demo")


@pytest.fixture
def command() -> str:
    """The command that `cargo test` has built. `.ci/run` names it."""
    binary = os.environ.get("BINARY")
    if not binary:
        pytest.skip("BINARY does not name the command")
    return binary
