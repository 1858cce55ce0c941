"""Other processes, threads and event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import overmind_export as oe
from conftest import ROWS


POOL = """
import multiprocessing, os, sys
import overmind_export as oe

def count(client, dataset):
    # The pickle of the client has no key: it comes from the environment.
    read = client.read(dataset, limit=100).num_rows
    return read, sum(batch.num_rows for batch in client.stream(dataset))

if __name__ == "__main__":
    method, url, dataset = sys.argv[1:]
    client = oe.Client(base_url=url)
    before = client.stream(dataset)
    next(before)
    with multiprocessing.get_context(method).Pool(2) as pool:
        print(pool.starmap(count, [(client, dataset)] * 2))
    # The parent's own stream goes on.
    print(sum(batch.num_rows for batch in before))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pool_of_processes_reads(tmp_path: Path, demo: oe.Demo, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(POOL)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), method, demo.url, demo.dataset],
        capture_output=True, text=True, timeout=120,
        env={"OVERMIND_LAB_API_KEY": "demo", "PATH": ""},
    )  # fmt: skip
    expected = [f"{[(100, ROWS)] * 2}", str(ROWS - 4_000)]
    assert (done.stderr, done.stdout.splitlines()) == ("", expected)


def test_threads_share_a_client_but_no_stream(demo: oe.Demo, client: oe.Client) -> None:
    counts: list[int] = []
    count = lambda: counts.append(sum(batch.num_rows for batch in client.stream(demo.dataset)))  # noqa: E731
    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [ROWS] * 3


def test_thread_takes_over_a_stream(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    counts = [next(stream).num_rows]
    thread = threading.Thread(target=lambda: counts.extend(batch.num_rows for batch in stream))
    thread.start()
    thread.join()
    assert sum(counts) == ROWS and stream.summary.completeness == "proven"


def test_thread_closes_a_stream_that_another_reads(slow: oe.Demo) -> None:
    before = slow.requests
    stream = oe.stream(slow.dataset, base_url=slow.url, api_key="demo", concurrency=1)
    errors: list[str] = []

    def read() -> None:
        try:
            list(stream)
        except oe.UsageError as error:
            errors.append(error.message)

    thread = threading.Thread(target=read)
    thread.start()
    while slow.requests == before:
        time.sleep(0.01)
    stream.close()
    thread.join(20)
    assert errors == ["the stream was closed before its end"]


def test_event_loop_runs_other_tasks_during_a_read(slow: oe.Demo) -> None:
    async def main() -> int:
        ticks = 0
        read = asyncio.create_task(
            asyncio.to_thread(oe.read, slow.dataset, limit=100, base_url=slow.url, api_key="demo")
        )
        while not read.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert (await read).num_rows == 100
        return ticks

    # The answer takes half a second.
    assert asyncio.run(main()) > 5


def test_every_call_works_inside_an_event_loop(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    async def main() -> None:
        assert client.read(demo.dataset, limit=5).num_rows == 5
        assert len(client.datasets()) == 1
        assert sum(batch.num_rows for batch in client.stream(demo.dataset, limit=7)) == 7
        assert client.export(demo.dataset, tmp_path / "rows.parquet", limit=9).rows == 9
        assert oe.open(tmp_path / "rows.parquet").read().num_rows == 9
        assert oe.verify(tmp_path / "rows.parquet").rows == 9

    asyncio.run(main())
