"""Reads and streams: what they deliver, and what they say about it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS


def test_read_delivers_and_proves_every_row(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset)
    summary = rows.summary
    assert (rows.num_rows, len(rows), summary.rows, summary.count) == (ROWS, ROWS, ROWS, ROWS)
    assert summary.completeness == "proven"
    assert (summary.pages, summary.retries) == (ROWS // 100, 0)
    assert summary.requests is not None and summary.requests >= ROWS // 100
    assert rows.column_names == [
        "id", "order", "input", "expected_output", "persona", "tags", "additional_properties",
    ]  # fmt: skip
    assert rows.nbytes > 1_000_000


def test_limit_and_pages_are_a_part(demo: oe.Demo, client: oe.Client) -> None:
    assert client.read(demo.dataset, limit=150).summary.completeness == "partial"
    assert client.read(demo.dataset, limit=150).num_rows == 150
    assert client.read(demo.dataset, pages="2-3").num_rows == 200
    # A limit that leaves out no row proves the whole.
    assert client.read(demo.dataset, limit=ROWS).summary.completeness == "proven"


def test_columns_come_in_the_order_of_their_names(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset, columns=("input", "id"), limit=10)
    assert rows.column_names == ["input", "id"]


def test_dataset_is_text_or_uuid(demo: oe.Demo, client: oe.Client) -> None:
    assert client.read(uuid.UUID(demo.dataset), limit=1).num_rows == 1


def test_dataset_of_a_list_can_be_read(demo: oe.Demo, client: oe.Client) -> None:
    (dataset,) = client.datasets()
    assert client.read(dataset, limit=1).num_rows == 1
    for wrong in (None, 5, b"x"):
        with pytest.raises(TypeError, match="the id of a dataset must be a str, a UUID or a Dataset, not"):
            client.read(wrong)  # type: ignore[arg-type]


def test_numbers_of_other_libraries_are_whole_numbers(demo: oe.Demo, client: oe.Client) -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    limit: Any = Five()
    assert client.read(demo.dataset, limit=limit).head(limit).num_rows == 5


def test_stream_is_read_once(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset, columns=["id"])
    assert sum(batch.num_rows for batch in stream) == ROWS
    assert next(stream, None) is None
    with pytest.raises(oe.UsageError, match="has been read to its end: begin another one"):
        iter(stream)


def test_empty_dataset_has_columns(client: oe.Client) -> None:
    with oe.demo(rows=0) as demo:
        rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo")
    assert (rows.num_rows, rows.summary.completeness, len(rows.column_names)) == (0, "proven", 7)


def test_module_and_client_are_equal(demo: oe.Demo, client: oe.Client) -> None:
    ours = client.read(demo.dataset, limit=500).summary.digest
    assert oe.read(demo.dataset, limit=500, base_url=demo.url, api_key="demo").summary.digest == ours


def test_environment_has_key_and_url(demo: oe.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERMIND_LAB_API_KEY", "demo")
    monkeypatch.setenv("OVERMIND_LAB_BASE_URL", demo.url)
    assert oe.read(demo.dataset, limit=1).num_rows == 1


def test_datasets_are_listed(demo: oe.Demo, client: oe.Client) -> None:
    (dataset,) = client.datasets()
    assert (dataset.id, dataset.rows) == (demo.dataset, ROWS)
    assert client.datasets(version_min=99) == []


def test_served_values_arrive_unchanged(tmp_path, client: oe.Client) -> None:
    line = '{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","order":9007199254740993,"input":{"b":1.10,"a":123456789012345678901234567890},"persona":"\\u00e9<b>"}'
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    with oe.demo(rows=1, files=[path]) as demo:
        rows = oe.read(demo.datasets[0], base_url=demo.url, api_key="demo")
    ((row_id, order, text, expected, persona, _, _),) = rows._inner.head(9)
    assert (row_id, order) == ("182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", 9007199254740993)
    assert text == '{"b":1.10,"a":123456789012345678901234567890}'
    assert (expected, persona) == (None, "é<b>")
    assert "&lt;b&gt;" in rows._repr_html_() and "<b>" not in rows._repr_html_()


def test_stream_delivers_batches_and_proves_at_end(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    seen = 0
    for batch in stream:
        seen += batch.num_rows
        if seen < ROWS:
            assert stream.summary.completeness == "partial"
    assert seen == ROWS
    assert stream.summary.completeness == "proven"
    assert stream.summary.digest == client.read(demo.dataset).summary.digest
    assert next(stream, None) is None


def test_slow_consumer_holds_requests_back(demo: oe.Demo) -> None:
    with oe.demo(rows=1_000_000) as big:
        with oe.stream(big.dataset, base_url=big.url, api_key="demo") as stream:
            next(stream)
            # The number of requests stops to grow long before the last of 10,000 pages.
            before, now = -1, big.requests
            while before != now:
                time.sleep(0.3)
                before, now = now, big.requests
        assert now < 2_000


def test_closed_stream_ends_and_refuses(demo: oe.Demo, client: oe.Client) -> None:
    with client.stream(demo.dataset) as stream:
        next(stream)
    with pytest.raises(oe.UsageError, match="closed before its end"):
        next(stream)
    assert stream.summary.completeness == "partial"


def test_stream_is_exported_once(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    capsule = stream.__arrow_c_stream__()
    with pytest.raises(oe.UsageError, match="already read"):
        stream.__arrow_c_stream__()
    del capsule


def test_other_threads_run_during_a_read(slow: oe.Demo) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.01):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    oe.read(slow.dataset, limit=100, base_url=slow.url, api_key="demo")
    done.set()
    thread.join()
    # The answer takes half a second.
    assert ticks > 20


def test_threads_read_at_the_same_time(demo: oe.Demo, client: oe.Client) -> None:
    digests = []
    threads = [
        threading.Thread(target=lambda: digests.append(client.read(demo.dataset).summary.digest))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4 and len(set(digests)) == 1


def test_summary_is_text_and_dictionary(demo: oe.Demo, client: oe.Client) -> None:
    summary = client.read(demo.dataset, limit=10).summary
    assert str(summary) == "10 rows of 5,000, a part of the dataset"
    assert json.loads(json.dumps(summary.to_dict()))["rows"] == 10
