"""Faults of the API, seen through every call: which exception, how soon, and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from faulty import DATASET, Answer, serving

Call = Callable[[oe.Client], object]


@pytest.fixture(params=["read", "stream", "datasets", "export"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Call]:
    """A call that needs an answer. An export that fails leaves nothing."""
    calls: dict[str, Call] = {
        "read": lambda client: client.read(DATASET),
        "stream": lambda client: list(client.stream(DATASET)),
        "datasets": lambda client: client.datasets(),
        "export": lambda client: client.export(DATASET, tmp_path / "rows.parquet"),
    }
    yield calls[request.param]
    assert not list(tmp_path.iterdir())


def raised_by(call: Call, answer: Answer, **options: Any) -> oe.Error:
    with serving(1_000, answer) as url:
        with pytest.raises(oe.Error) as raised:
            call(oe.Client(base_url=url, api_key="ovr_canary", **options))
    error = raised.value
    assert "canary" not in f"{error} {error!r} {error.__dict__}"
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, oe.AuthenticationError),
        (403, oe.AuthenticationError),
        (404, oe.NotFoundError),
        (400, oe.UsageError),
    ],
)
def test_refusal_is_not_retried(call: Call, status: int, kind: type[oe.Error]) -> None:
    requests = []

    def answer(page: int, *_: object) -> tuple[int, object]:
        requests.append(page)
        return status, {"detail": "why"}

    error = raised_by(call, answer)
    assert error.status == status
    # The list of datasets is always there, unless the base URL is wrong.
    assert isinstance(error, kind) or isinstance(error, oe.ConfigurationError) and status == 404
    assert len(requests) == 1


def test_refusal_after_some_pages_ends_a_stream() -> None:
    answer = lambda page, *_: (403, {}) if page > 45 else (200, None)  # noqa: E731
    with serving(9_000, answer) as url:
        stream = oe.stream(DATASET, base_url=url, api_key="k", concurrency=1)
        assert next(stream).num_rows == 4_000
        with pytest.raises(oe.AuthenticationError):
            list(stream)
        # It stays what it is.
        with pytest.raises(oe.AuthenticationError):
            next(stream)
        assert stream.summary.completeness == "partial"


def test_longer_outage_is_unavailable(call: Call) -> None:
    requests = []

    def answer(page: int, *_: object) -> tuple[int, object]:
        requests.append(page)
        return 503, {"detail": "maintenance"}

    began = time.monotonic()
    error = raised_by(call, answer, retry_for=1.5)
    assert type(error) is oe.UnavailableError and "503" in str(error)
    assert len(requests) > 1
    assert time.monotonic() - began < 30


def test_shorter_outage_is_repeated() -> None:
    failures = iter([503, 502, 429])
    lock = threading.Lock()

    def answer(*_: object) -> tuple[int, object]:
        with lock:
            return next(failures, 200), None

    with serving(300, answer) as url:
        rows = oe.read(DATASET, base_url=url, api_key="k", concurrency=1)
    assert (rows.num_rows, rows.summary.completeness, rows.summary.retries) == (300, "proven", 3)


def test_body_that_stops_is_unavailable(call: Call) -> None:
    done = threading.Event()

    def stopping() -> Iterator[bytes]:
        yield b'{"count": 1000, "results": ['
        done.wait(30)

    try:
        error = raised_by(call, lambda *_: (200, stopping()), idle_timeout=0.3, max_retries=1)
    finally:
        done.set()
    assert type(error) is oe.UnavailableError


def test_body_that_trickles_is_unavailable(call: Call) -> None:
    done = threading.Event()

    def trickling() -> Iterator[bytes]:
        while not done.wait(0.05):
            yield b" "

    try:
        error = raised_by(call, lambda *_: (200, trickling()), timeout=0.6, max_retries=1)
    finally:
        done.set()
    assert type(error) is oe.UnavailableError


def test_slow_body_arrives() -> None:
    def answer(_: int, __: int, results: list[dict[str, object]]) -> tuple[int, object]:
        import json

        text = json.dumps({"count": 100, "next": None, "previous": None, "results": results}).encode()
        pieces = (text[at : at + 4_000] for at in range(0, len(text), 4_000))
        return 200, (piece for piece in pieces if not time.sleep(0.1))

    with serving(100, answer) as url:
        rows = oe.read(DATASET, base_url=url, api_key="k", idle_timeout=5, max_retries=0)
    assert (rows.num_rows, rows.summary.retries) == (100, 0)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"count": 1, "results": [{}], "next": null}'])
def test_other_body_is_wrong_data(call: Call, body: bytes) -> None:
    error = raised_by(call, lambda *_: (200, body), max_retries=1, retry_for=1)
    assert error.exit_code in (65, 69), error


def test_refused_connections_are_unavailable(call: Call) -> None:
    with serving(10, lambda *_: (200, None)) as url:
        pass
    with pytest.raises(oe.UnavailableError) as raised:
        call(oe.Client(base_url=url, api_key="k", retry_for=0.5))
    assert raised.value.status is None and raised.value.causes
