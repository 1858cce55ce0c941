"""Progress: what a callable gets, and where a bar is shown."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nbformat
import pytest

import overmind_export as oe
from conftest import ROWS

BEGIN = """
import sys
import overmind_export as oe
client = oe.Client(base_url=sys.argv[1], api_key="demo", concurrency=1)
dataset = sys.argv[2]
"""


class Seen:
    """Keeps what a callable gets."""

    def __init__(self) -> None:
        self.all: list[oe.Progress] = []
        self.threads: set[int] = set()

    def __call__(self, progress: oe.Progress) -> None:
        self.all.append(progress)
        self.threads.add(threading.get_ident())

    def check(self, rows: int, total: int | None) -> oe.Progress:
        """Expects calls on this thread alone, numbers that rise, and these at the end."""
        last = self.all[-1]
        assert (last.rows, last.total) == (rows, total)
        assert self.threads == {threading.get_ident()}
        assert self.all == sorted(self.all, key=lambda it: (it.rows, it.requests, it.seconds))
        return last


@pytest.fixture
def paced() -> Any:
    """An API of which 1,000 rows take half a second, one request after the other."""
    with oe.demo(rows=1000, latency=0.05) as demo:
        yield demo, oe.Client(base_url=demo.url, api_key="demo", concurrency=1)


def test_callable_sees_a_read(paced: Any) -> None:
    demo, client = paced
    seen = Seen()
    rows = client.read(demo.dataset, progress=seen)
    last = seen.check(1000, 1000)
    # A page is counted when it comes, long before it is a part of a batch.
    assert len({progress.rows for progress in seen.all}) > 2
    summary = rows.summary
    assert (last.received_bytes, last.requests, last.retries) == (
        summary.received_bytes, summary.requests, summary.retries,
    )  # fmt: skip
    assert 0 < last.seconds < 60


def test_callable_sees_an_export_and_reading_it_back(paced: Any, tmp_path: Path) -> None:
    demo, client = paced
    seen, again = Seen(), Seen()
    summary = client.export(demo.dataset, tmp_path / "out/", progress=seen)
    last = seen.check(1000, 1000)
    assert len(seen.all) > 2
    assert (last.requests, last.received_bytes) == (summary.requests, summary.received_bytes)
    oe.open(tmp_path / "out").read(progress=again)
    assert again.check(1000, 1000).requests == 0


def test_stream_moves_as_batches_are_taken(demo: oe.Demo, client: oe.Client) -> None:
    seen = Seen()
    stream = client.stream(demo.dataset, progress=seen)
    taken = 0
    for batch in stream:
        taken += batch.num_rows
        assert all(progress.rows <= taken for progress in seen.all)
    seen.check(ROWS, ROWS)


def test_total_knows_limit_and_pages(demo: oe.Demo, client: oe.Client) -> None:
    seen = Seen()
    client.read(demo.dataset, limit=150, progress=seen)
    seen.check(150, 150)
    client.read(demo.dataset, pages="49-200", progress=seen)
    assert seen.all[-1][:2] == (200, 200)


def test_client_has_a_setting_and_a_call_overrides_it(demo: oe.Demo) -> None:
    seen = Seen()
    client = oe.Client(base_url=demo.url, api_key="demo", progress=seen)
    client.datasets()
    client.read(demo.dataset, limit=10, progress=False)
    assert seen.all == []
    client.read(demo.dataset, limit=10)
    seen.check(10, 10)
    assert "Seen" not in repr(client)


@pytest.mark.parametrize("progress", ["always", 3, {}])
def test_wrong_progress(demo: oe.Demo, client: oe.Client, progress: Any) -> None:
    with pytest.raises(TypeError, match="`progress` must be 'auto', True, False or a callable"):
        client.read(demo.dataset, progress=progress)
    with pytest.raises(TypeError, match="`progress` must be"):
        oe.Client(progress=progress)


class Stopped(Exception):
    pass


def stop(progress: oe.Progress) -> None:
    raise Stopped(progress.rows)


def test_exception_of_the_callable_ends_the_call(slow: oe.Demo, tmp_path: Path) -> None:
    client = oe.Client(base_url=slow.url, api_key="demo", concurrency=1, progress=stop)
    with pytest.raises(Stopped):
        client.read(slow.dataset)
    with pytest.raises(Stopped):
        client.export(slow.dataset, tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()
    stream = client.stream(slow.dataset)
    with pytest.raises(Stopped):
        next(stream)
    with pytest.raises(oe.UsageError, match="closed"):
        next(stream)
    # The next call works.
    assert client.read(slow.dataset, limit=1, progress=None).num_rows == 1


def test_exception_at_the_end_is_raised(demo: oe.Demo, client: oe.Client) -> None:
    with pytest.raises(Stopped):
        client.read(demo.dataset, limit=1, progress=stop)


@pytest.mark.parametrize("module", ["pyarrow", "polars", "duckdb"])
def test_other_library_calls_it_on_this_thread_alone(paced: Any, module: str) -> None:
    pytest.importorskip(module)
    demo, client = paced
    seen = Seen()
    stream = client.stream(demo.dataset, progress=seen)
    if module == "pyarrow":
        assert stream.to_arrow().num_rows == 1000
    elif module == "polars":
        assert stream.to_polars().height == 1000
    else:
        assert stream.to_duckdb().count("*").fetchall() == [(1000,)]
    assert seen.threads <= {threading.get_ident()}
    # DuckDB may read on its own threads only.
    assert seen.all or module == "duckdb"


def test_exception_passes_through_another_library(paced: Any) -> None:
    pytest.importorskip("pyarrow")
    demo, client = paced
    with pytest.raises(Stopped):
        client.stream(demo.dataset, progress=stop).to_arrow()


def run(demo: oe.Demo, program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-X", "dev", "-c", BEGIN + program, demo.url, demo.dataset]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, **options)


def test_pipe_gets_nothing(paced: Any) -> None:
    demo, _ = paced
    done = run(demo, "client.read(dataset); list(client.stream(dataset))")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def on_terminal(demo: oe.Demo, program: str) -> tuple[str, list[str]]:
    """Runs a program whose standard error is a terminal. Returns what it wrote, and the lines that stay."""
    master, terminal = os.openpty()
    arguments = [sys.executable, "-c", BEGIN + program, demo.url, demo.dataset]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=terminal, env=environment
    )
    os.close(terminal)
    written = b""
    try:
        while data := _read(master):
            written += data
    finally:
        process.wait(60)
        os.close(master)
    text = written.decode()
    return text, _screen(text)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # The other end was closed.
        return b""


def _screen(text: str) -> list[str]:
    """Returns the lines on a terminal after this output. It knows what bars need: up, erase, return and line ends."""
    import re

    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif part.startswith("\x1b["):
            count = int(re.sub(r"\D", "", part) or 1)
            if part.endswith("A"):
                row = max(0, row - count)
            elif part.endswith("B"):
                row = min(len(lines) - 1, row + count)
            elif part.endswith("K"):
                lines[row] = ""
            elif part.endswith("J"):
                del lines[row + 1 :]
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
    return [line for line in lines if line]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    "call",
    [
        "client.read(dataset)",
        "client.export(dataset, __import__('tempfile').mkdtemp() + '/rows.parquet')",
        "[None for _ in client.stream(dataset)]",
        "next(client.stream(dataset))",
    ],
)
def test_terminal_has_a_bar_that_disappears(paced: Any, call: str) -> None:
    demo, _ = paced
    text, lines = on_terminal(demo, call)
    assert "rows/s" in text and "░" in text
    assert lines == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    "program",
    [
        # In the call.
        "import os, signal, threading\n"
        "threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "client.read(dataset)",
        # Between two batches, with the stream still open.
        "stream = client.stream(dataset, page_size=100)\n"
        "for batch in stream: raise KeyboardInterrupt",
        # In a library.
        "import pyarrow, os, signal, threading\n"
        "threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "client.stream(dataset).to_arrow()",
    ],
    ids=["call", "loop", "library"],
)
def test_error_is_not_written_into_a_bar(program: str) -> None:
    if "pyarrow" in program:
        pytest.importorskip("pyarrow")
    with oe.demo(rows=6000, latency=0.03) as demo:
        text, lines = on_terminal(demo, program)
    assert "rows/s" in text and "░" in text
    assert lines[0] == "Traceback (most recent call last):", lines
    assert lines[-1].startswith("KeyboardInterrupt")
    assert not [line for line in lines if "rows/s" in line]


NOTEBOOK = """
import overmind_export as oe
demo = oe.demo(rows=2000, latency=0.05)
client = oe.Client(base_url=demo.url, api_key="demo", concurrency=1)
{hide}
"""
HIDE_WIDGETS = "import sys; sys.modules['ipywidgets'] = None"


#: Its own process: the sockets of a kernel's client are closed by the garbage collector.
EXECUTE = """
import sys
import nbclient, nbformat
from jupyter_client import KernelManager
manager = KernelManager()
manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
book = nbformat.reads(sys.stdin.read(), 4)
nbclient.NotebookClient(book, km=manager, timeout=60, allow_errors=True).execute()
sys.stdout.write(nbformat.writes(book))
"""


def executed(hide: str, *cells: str) -> tuple[list[Any], str]:
    """Runs a notebook. Returns the outputs of its cells, and the state of its widgets as text."""
    book = nbformat.v4.new_notebook()
    sources = [NOTEBOOK.format(hide=hide), *cells]
    book.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    arguments = [sys.executable, "-c", EXECUTE]
    done = subprocess.run(
        arguments, input=nbformat.writes(book), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    book = nbformat.reads(done.stdout, 4)
    assert book.cells[0].outputs == []
    return [cell.outputs for cell in book.cells[1:]], str(book.metadata.get("widgets"))


def test_notebook_has_a_bar_that_is_updated() -> None:
    (read, failed, silent), _ = executed(
        HIDE_WIDGETS,
        "client.read(demo.dataset).num_rows",
        "for batch in client.stream(demo.dataset): raise ValueError",
        "client.read(demo.dataset, progress=False).num_rows",
    )
    # One display, which was updated: not one for each update.
    (bar, result) = read
    assert bar.data["text/html"].startswith('<progress value="2000" max="2000"></progress> 2,000 of 2,000 rows')
    assert result.data["text/plain"] == "2000"
    assert failed[0].data["text/html"].endswith("stopped")
    assert [output.output_type for output in failed] == ["display_data", "error"]
    assert [output.output_type for output in silent] == ["execute_result"]


def test_notebook_uses_tqdm_if_it_is_there() -> None:
    ((outputs,), widgets) = executed("", "client.read(demo.dataset).num_rows")
    (bar, _) = outputs
    assert "application/vnd.jupyter.widget-view+json" in bar.data
    assert "2.00k/2.00k" in widgets and "'value': 2000.0" in widgets


def test_notebook_bar_moves_while_a_library_reads() -> None:
    pytest.importorskip("duckdb")
    # Its worker threads take the batches, and update the bar.
    cell = "client.stream(demo.dataset).to_duckdb().count('*').fetchall()"
    ((outputs,), _) = executed(HIDE_WIDGETS, cell)
    (bar, result) = outputs
    assert "2,000 of 2,000 rows" in bar.data["text/html"]
    assert result.data["text/plain"] == "[(2000,)]"
