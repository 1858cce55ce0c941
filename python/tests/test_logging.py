"""Logging: the library's events are records of ``logging``."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from faulty import DATASET, serving
from test_progress import on_terminal

KEY = "ovr_canary"


def failing(times: int, status: int = 503, detail: str = "why") -> Any:
    """Page 2 fails this many times."""
    left = iter(range(times))

    def answer(page: int, *_: Any) -> tuple[int, object]:
        if page == 2 and next(left, None) is not None:
            return status, {"detail": detail}
        return 200, None

    return answer


@pytest.fixture
def client() -> Iterator[oe.Client]:
    with serving(300, failing(1)) as url:
        yield oe.Client(base_url=url, api_key=KEY, concurrency=1)


def test_retry_is_a_warning(client: oe.Client, caplog: pytest.LogCaptureFixture) -> None:
    assert client.read(DATASET).num_rows == 300
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("overmind_export.client", "WARNING")
    assert record.getMessage().startswith("attempt failed url=http://127.0.0.1:")
    assert "page=2" in record.getMessage() and "503" in record.getMessage()


def test_failures_beyond_the_first_are_debug(caplog: pytest.LogCaptureFixture) -> None:
    with serving(300, failing(1, 429)) as url:
        with caplog.at_level(logging.DEBUG, "overmind_export"):
            oe.read(DATASET, base_url=url, api_key=KEY, concurrency=1)
    failed = [record for record in caplog.records if "attempt failed" in record.getMessage()]
    # The API sets the pace with it: this is no fault.
    assert [(record.levelname, "429" in record.getMessage()) for record in failed] == [("DEBUG", True)]


def test_level_is_read_by_each_call(client: oe.Client, caplog: pytest.LogCaptureFixture) -> None:
    def requests() -> int:
        caplog.clear()
        client.read(DATASET, limit=100)
        return sum("request url=" in record.getMessage() for record in caplog.records)

    assert requests() == 0
    with caplog.at_level(logging.DEBUG, "overmind_export"):
        assert requests() >= 1
        logging.disable(logging.CRITICAL)
        try:
            assert requests() == 0
        finally:
            logging.disable(logging.NOTSET)
        assert requests() >= 1
    assert requests() == 0
    # One part alone.
    with caplog.at_level(logging.DEBUG, "overmind_export.client"):
        assert requests() >= 1
    with caplog.at_level(logging.DEBUG, "overmind_export.paginator"):
        assert requests() == 0


def test_notes_of_an_export_are_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed = iter([True])

    def answer(page: int, size: int, results: list[dict[str, object]]) -> tuple[int, object]:
        if page == 2 and next(changed, False):
            results[0] = {**results[0], "id": "00000000-0000-0000-0000-000000000001"}
        return 200, None

    with serving(300, answer) as url, caplog.at_level(logging.INFO, "overmind_export"):
        client = oe.Client(base_url=url, api_key=KEY, concurrency=1)
        assert client.export(DATASET, tmp_path / "rows.parquet").rows == 300
    (record,) = [it for it in caplog.records if "starting again" in it.getMessage()]
    assert (record.name, record.levelname) == ("overmind_export.export", "INFO")


def test_key_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serving(300, failing(2, 500, f"what is {KEY}?")) as url, caplog.at_level(1):
        oe.read(DATASET, base_url=url, api_key=KEY, concurrency=1)
    with serving(300, failing(1, 401, KEY)) as url, caplog.at_level(1):
        with pytest.raises(oe.AuthenticationError):
            oe.read(DATASET, base_url=url, api_key=KEY, concurrency=1)
    assert len(caplog.records) > 5
    assert "canary" not in caplog.text and "canary" not in str([it.__dict__ for it in caplog.records])


def test_text_of_a_server_controls_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    with serving(300, failing(1, 500, "\x1b[2J\u202e\nroot: hello")) as url:
        oe.read(DATASET, base_url=url, api_key=KEY, concurrency=1)
    (record,) = caplog.records
    assert record.getMessage().isprintable() and "root: hello" in record.getMessage()


def test_many_threads_log_at_the_same_time(
    demo: oe.Demo, caplog: pytest.LogCaptureFixture
) -> None:
    client = oe.Client(base_url=demo.url, api_key=KEY)
    read: list[int] = []
    with caplog.at_level(logging.DEBUG, "overmind_export"):
        threads = [
            threading.Thread(target=lambda: read.append(client.read(demo.dataset, limit=2000).num_rows))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert read == [2000] * 8
    assert len(caplog.records) >= 160


def test_another_library_reads_while_events_are_logged(
    demo: oe.Demo, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("duckdb")
    client = oe.Client(base_url=demo.url, api_key=KEY)
    with caplog.at_level(logging.DEBUG, "overmind_export"):
        assert client.stream(demo.dataset).to_duckdb().count("*").fetchall() == [(5_000,)]
    assert len(caplog.records) >= 50


BEGIN = """
import sys
import overmind_export as oe
client = oe.Client(base_url=sys.argv[1], api_key="ovr_canary", concurrency=1)
dataset = sys.argv[2]
"""


def run(url: str, program: str, dataset: str = DATASET) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-X", "dev", "-c", BEGIN + program, url, dataset]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


def test_logging_is_imported_only_for_a_record(demo: oe.Demo) -> None:
    program = "client.read(dataset, limit=1); assert 'logging' not in sys.modules"
    done = run(demo.url, program, demo.dataset)
    assert (done.stderr, done.returncode) == ("", 0)
    with serving(300, failing(1)) as url:
        done = run(url, "client.read(dataset)")
    # What Python does without any configuration.
    assert done.stderr.startswith("attempt failed url=") and done.stderr.count("\n") == 1


def test_forked_child_logs(demo: oe.Demo) -> None:
    program = """
import logging, os
logging.basicConfig(level="DEBUG", stream=sys.stdout, format="%(process)d %(name)s")
client.read(dataset, limit=300)
sys.stdout.flush()
child = os.fork()
if child == 0:
    client.read(dataset, limit=300)
    sys.stdout.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    done = run(demo.url, program, demo.dataset)
    assert (done.stderr, done.returncode) == ("", 0)
    processes = {line.split()[0] for line in done.stdout.splitlines() if "overmind_export" in line}
    assert len(processes) == 2


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import os; os.kill(os.getpid(), 2)"])
def test_process_ends_while_events_come(demo: oe.Demo, end: str) -> None:
    program = f"""
import logging, threading
logging.basicConfig(level="DEBUG", filename="/dev/null")
stream = client.stream(dataset)
sink = iter(stream)
next(sink)
for _ in range(4):
    threading.Thread(target=client.read, args=(dataset,), daemon=True).start()
{end}
"""
    begun = time.monotonic()
    with oe.demo(rows=1_000_000) as big:
        done = run(big.url, program, big.dataset)
    assert done.returncode == (-2 if "kill" in end else 0), done.stderr
    assert ("KeyboardInterrupt" in done.stderr) == ("kill" in end)
    assert time.monotonic() - begun < 20


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_record_is_not_written_into_a_bar() -> None:
    program = "import logging; logging.basicConfig(level='DEBUG', format='%(message)s'); client.read(dataset)"
    with oe.demo(rows=1000, latency=0.05) as demo:
        text, lines = on_terminal(demo, program)
    assert "rows/s" in text
    assert len(lines) >= 10
    assert not [line for line in lines if "rows/s" in line]
