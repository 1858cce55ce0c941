"""What the tests share: the embedded API, and an environment without settings of the user."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import overmind_export as oe

ROWS = 10_000


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_user() -> None:
    for name in list(os.environ):
        if name.startswith("OVERMIND_"):  # A key must not reach a test.
            del os.environ[name]


@pytest.fixture(scope="session")
def demo() -> Iterator[oe.Demo]:
    """An API with 10,000 rows."""
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
