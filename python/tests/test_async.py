"""The client for asyncio."""

from __future__ import annotations

import asyncio
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS
from faulty import DATASET, repeating, serving

#: A cancelled call may need this long: one second, and what a loaded machine adds.
SECONDS = 3.0


@pytest.fixture
def aclient(demo: oe.Demo) -> oe.AsyncClient:
    return oe.AsyncClient(base_url=demo.url, api_key="demo")


@pytest.fixture
def waiting(slow: oe.Demo) -> oe.AsyncClient:
    """A client whose calls take minutes."""
    return oe.AsyncClient(base_url=slow.url, api_key="demo", concurrency=1)


def test_calls_give_what_those_of_a_client_give(
    demo: oe.Demo, client: oe.Client, aclient: oe.AsyncClient, tmp_path: Path
) -> None:
    async def main() -> None:
        async with aclient as entered:
            assert entered is aclient
            assert await aclient.datasets(source="synthetic") == client.datasets(source="synthetic")
            rows = await aclient.read(demo.dataset, columns=["id"])
            assert rows.summary.digest == client.read(demo.dataset, columns=["id"]).summary.digest
            wanted = {"where": ".order != 1", "rows": 3}
            explained = await aclient.explain(demo.dataset, **wanted)
            assert explained == client.explain(demo.dataset, **wanted) and not explained[1].kept
            written = await aclient.export(demo.dataset, tmp_path / "rows.parquet")
            assert (written.rows, written.completeness) == (ROWS, "proven")
            seen = 0
            async with aclient.stream(demo.dataset) as stream:
                async for batch in stream:
                    seen += batch.num_rows
                with pytest.raises(oe.UsageError, match="has been read to its end"):
                    aiter(stream)
            assert seen == ROWS
            assert stream.summary.digest == client.read(demo.dataset).summary.digest

    asyncio.run(main())


def test_fifty_calls_run_at_once(waiting: oe.AsyncClient, slow: oe.Demo) -> None:
    async def main() -> list[oe.Rows]:
        return await asyncio.gather(*(waiting.read(slow.dataset, limit=1) for _ in range(50)))

    begun = time.monotonic()
    rows = asyncio.run(main())
    assert [it.num_rows for it in rows] == [1] * 50
    # One after the other takes 25 seconds, and in the loop's own executor at least four.
    assert time.monotonic() - begun < 15


def test_event_loop_runs_during_calls(
    waiting: oe.AsyncClient, slow: oe.Demo, tmp_path: Path
) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await waiting.read(slow.dataset, limit=100)
        await waiting.export(slow.dataset, tmp_path / "rows.parquet", limit=100)
        async with waiting.stream(slow.dataset) as stream:
            next_batch = asyncio.create_task(anext_of(stream))
            await asyncio.sleep(0.5)
        with pytest.raises(oe.UsageError):
            await next_batch
        ticking.cancel()

    asyncio.run(main())
    # These take two seconds.
    assert len(ticks) > 80
    assert max(after - before for before, after in zip(ticks, ticks[1:])) < 0.5


async def anext_of(stream: oe.AsyncStream) -> oe.Batch:
    return await stream.__anext__()


def calls(client: oe.AsyncClient, dataset: str, folder: Path) -> dict[str, Any]:
    return {
        "read": lambda: client.read(dataset),
        "export": lambda: client.export(dataset, folder / "rows.parquet"),
        "directory": lambda: client.export(dataset, folder / "out/"),
        "stream": lambda: anext_of(client.stream(dataset)),
        "datasets": lambda: client.datasets(),
    }


CALLS = ["read", "export", "directory", "stream", "datasets"]


@pytest.mark.parametrize("call", CALLS)
def test_cancelled_call_stops_its_requests(
    waiting: oe.AsyncClient, slow: oe.Demo, tmp_path: Path, call: str
) -> None:
    begin = calls(waiting, slow.dataset, tmp_path)[call]

    async def main() -> float:
        # The answer takes half a second.
        task = asyncio.create_task(begin())
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    assert asyncio.run(main()) < SECONDS
    _no_requests(slow)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    assert not [it for it in threading.enumerate() if it.name == "overmind-export"]


def _no_requests(demo: oe.Demo) -> None:
    # A request that was sent before the end may arrive late. A call that goes on sends one every half second.
    for _ in range(5):
        before = demo.requests
        time.sleep(0.7)
        if demo.requests == before:
            return
    raise AssertionError("the requests go on")


def test_batch_that_nobody_takes_is_not_forgotten(demo: oe.Demo) -> None:
    async def main() -> None:
        for delay in range(1, 40):
            stream = oe.AsyncClient(base_url=demo.url, api_key="demo").stream(demo.dataset, columns=["id"])
            async with stream:
                rows, cancelled = 0, False
                with pytest.raises((StopAsyncIteration, oe.UsageError)) as ended:
                    while True:
                        try:
                            rows += (await asyncio.wait_for(anext(stream), delay / 1000)).num_rows
                        except asyncio.TimeoutError:
                            cancelled = True
                # After a cancelled wait the stream has no end, so nothing is called complete.
                assert cancelled == (ended.type is oe.UsageError)
                assert cancelled or rows == ROWS

    asyncio.run(main())


def test_timeout_stops_a_call(waiting: oe.AsyncClient, slow: oe.Demo) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting.read(slow.dataset), 0.3)
        stream = waiting.stream(slow.dataset)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext_of(stream), 0.3)
        with pytest.raises(oe.UsageError):
            await anext_of(stream)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await waiting.read(slow.dataset)

    asyncio.run(main())
    _no_requests(slow)


def test_failed_call_of_a_group_cancels_the_others(waiting: oe.AsyncClient, slow: oe.Demo) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("needs task groups")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting.read(slow.dataset))
            group.create_task(waiting.read("182bd5e5-0000-4fe4-a799-aa6d9a6ab26e"))

    with pytest.raises(BaseExceptionGroup) as raised:
        asyncio.run(main())
    assert [type(it) for it in raised.value.exceptions] == [oe.NotFoundError]
    _no_requests(slow)


def test_stream_ends_early_with_its_block(demo: oe.Demo) -> None:
    async def main(client: oe.AsyncClient, dataset: str) -> oe.AsyncStream:
        async with client.stream(dataset) as stream:
            async for _ in stream:
                break
        with pytest.raises(oe.UsageError):
            await anext_of(stream)
        return stream

    with oe.demo(rows=1_000_000) as big:
        client = oe.AsyncClient(base_url=big.url, api_key="demo")
        assert asyncio.run(main(client, big.dataset)).summary.completeness == "partial"
        time.sleep(0.3)
        _no_requests(big)


def test_stream_that_nothing_entered_has_sent_nothing(demo: oe.Demo, aclient: oe.AsyncClient) -> None:
    before = demo.requests
    stream = aclient.stream(demo.dataset)
    assert (stream.summary.rows, stream.summary.completeness) == (0, "partial")
    asyncio.run(stream.aclose())
    assert demo.requests == before


def test_slow_consumer_holds_requests_back() -> None:
    async def main() -> int:
        async with oe.AsyncClient(base_url=big.url, api_key="demo").stream(big.dataset) as stream:
            await anext_of(stream)
            before, now = -1, big.requests
            while before != now:
                await asyncio.sleep(0.3)
                before, now = now, big.requests
            return now

    with oe.demo(rows=1_000_000) as big:
        assert asyncio.run(main()) < 2_000


def test_errors_are_those_of_a_client(demo: oe.Demo, aclient: oe.AsyncClient) -> None:
    async def main(url: str) -> None:
        with pytest.raises(oe.NotFoundError):
            await aclient.read(DATASET)
        with pytest.raises(oe.UsageError, match="a UUID"):
            await aclient.read("triage-eval")
        with pytest.raises(TypeError, match="Did you mean 'limit'"):
            await aclient.read(demo.dataset, limits=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            aclient.stream(demo.dataset, overwrite=True)  # type: ignore[call-arg]
        client = oe.AsyncClient(base_url=url, api_key="k", concurrency=1)
        with pytest.raises(oe.IncompleteError):
            async for _ in client.stream(DATASET):
                pass

    with serving(1_000, repeating) as url:
        asyncio.run(main(url))


def test_progress_is_called_by_the_event_loop(demo: oe.Demo, tmp_path: Path) -> None:
    seen: list[oe.Progress] = []
    threads = set()

    def show(progress: oe.Progress) -> None:
        asyncio.get_running_loop()
        threads.add(threading.get_ident())
        seen.append(progress)

    async def main() -> None:
        client = oe.AsyncClient(base_url=demo.url, api_key="demo", progress=show)
        await client.read(demo.dataset)
        assert (seen[-1].rows, seen[-1].total) == (ROWS, ROWS)
        await client.export(demo.dataset, tmp_path / "rows.parquet", limit=500)
        assert (seen[-1].rows, seen[-1].total) == (500, 500)
        async for _ in client.stream(demo.dataset, limit=300):
            pass
        assert (seen[-1].rows, seen[-1].total) == (300, 300)

    asyncio.run(main())
    assert threads == {threading.get_ident()}


def test_exception_of_the_callable_ends_the_call(waiting: oe.AsyncClient, slow: oe.Demo) -> None:
    def stop(progress: oe.Progress) -> None:
        raise LookupError(progress.rows)

    async def main() -> None:
        with pytest.raises(LookupError):
            await waiting.read(slow.dataset, progress=stop)
        with pytest.raises(LookupError):
            await anext_of(waiting.stream(slow.dataset, progress=stop))

    asyncio.run(main())
    _no_requests(slow)


def test_client_pickles_without_its_key() -> None:
    client = oe.AsyncClient(base_url="https://x.test", api_key="ovr_canary", rate_limit="50/s", progress=print)
    data = pickle.dumps(client)
    assert b"canary" not in data and "canary" not in repr(client)
    assert repr(pickle.loads(data)) == "AsyncClient(base_url='https://x.test', rate_limit='50/s')"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client.stream(DATASET))


CTRL_C = """
import asyncio, sys
import overmind_export as oe
client = oe.AsyncClient(base_url=sys.argv[1], api_key="demo", concurrency=1)
dataset = sys.argv[2]

async def main():
    print("ready", flush=True)
    {call}

try:
    asyncio.run(main())
except KeyboardInterrupt:
    # The next call works.
    assert asyncio.run(client.read(dataset, limit=1)).num_rows == 1
    print("clean", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    [
        "await client.read(dataset)",
        "await client.export(dataset, sys.argv[3])",
        "[None async for batch in client.stream(dataset)]",
        "await asyncio.gather(*(client.read(dataset) for _ in range(5)))",
        # A stream of the other client takes over the descriptor of the event loop.
        "oe.stream(dataset, base_url=sys.argv[1], api_key='demo').close(); await client.read(dataset)",
    ],
)
def test_ctrl_c(slow: oe.Demo, tmp_path: Path, call: str) -> None:
    program = CTRL_C.format(call=call)
    arguments = [sys.executable, "-X", "dev", "-c", program, slow.url, slow.dataset, str(tmp_path / "out")]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # The call is in its wait: the first answers take half a second each.
            time.sleep(0.7)
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (out, process.returncode) == ("clean\n", 0), err
    assert err == ""
    assert time.monotonic() - sent < SECONDS + 1.5
    assert not (tmp_path / "out").exists()


def test_package_imports_no_asyncio() -> None:
    program = "import sys, overmind_export as oe; oe.Client(); assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
