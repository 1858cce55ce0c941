"""A notebook that uses the package as the guide does, in a real kernel: its outputs and its interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import overmind_export as oe

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the user reach the kernel."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[oe.Demo]:
    """An API that serves a row with a script."""
    path = tmp_path / "hostile.jsonl"
    row = f'{{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","input":{{"text":"{HOSTILE}"}},"persona":"{HOSTILE}"}}'
    path.write_text(row + "\n")
    with oe.demo(rows=1000, files=[path]) as demo:
        yield demo


def executed(
    cells: list[str], interrupt: dict[int, Callable[[], bool]], *, again: bool = False
) -> list[list[Any]]:
    """Runs the cells. Interrupts some of them when they are ready for it, once or until they end.

    Returns the outputs but progress bars.
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True)

    async def interrupted(is_ready: Callable[[], bool]) -> None:
        while not is_ready():
            await asyncio.sleep(0.05)
        await client.km.interrupt_kernel()
        for _ in range(10 if again else 0):
            await asyncio.sleep(1)
            await client.km.interrupt_kernel()

    async def main() -> None:
        async with client.async_setup_kernel():
            for index, cell in enumerate(notebook.cells):
                task = asyncio.create_task(interrupted(interrupt[index])) if index in interrupt else None
                await client.async_execute_cell(cell, index)
                if task is not None and again:
                    task.cancel()
                    await asyncio.wait([task])
                elif task is not None:
                    await task

    asyncio.run(main())
    return [[it for it in cell.outputs if it.output_type != "display_data"] for cell in notebook.cells]


def first_cell(demo: oe.Demo, imports: str = "") -> str:
    client = f'client = oe.Client(base_url="{demo.url}", api_key="demo")'
    return f'{imports}\nimport overmind_export as oe\n{client}\nID = "{demo.dataset}"'


@pytest.mark.consumer("pandas", "polars", "pyarrow", "duckdb")
def test_notebook(kernel: None, hostile: oe.Demo) -> None:
    outputs = executed(
        [
            first_cell(hostile),
            "rows = client.read(ID)\nrows",
            f'client.read("{hostile.datasets[0]}")',
            "rows.summary",
            "rows.to_pandas(json='objects').head(3)",
            "rows.to_polars().shape, rows.to_arrow().num_rows, rows.to_duckdb().shape",
            "len([batch for batch in client.stream(ID)])",
        ],
        {},
    )
    # Nothing but the value of each cell: no warning, no trace of a thread.
    assert [[output.output_type for output in cell] for cell in outputs] == [[]] + [["execute_result"]] * 6
    shown = [cell[0].data if cell else {} for cell in outputs]
    table = Tags(shown[1]["text/html"])
    assert "table" in table.tags and "1,000 rows, complete" in table.text
    assert all(name in table.text for name in ("id", "order", "input", "expected_output"))
    assert "1,000 rows, complete" in shown[1]["text/plain"]
    page = Tags(shown[2]["text/html"])
    assert not page.tags & {"img", "script"} and "<img src=x onerror" in page.text
    assert "1,000 rows, complete" in shown[3]["text/plain"]
    assert "<table" in shown[4]["text/html"]
    assert shown[5]["text/plain"] == "((1000, 7), 1000, (1000, 7))"
    assert shown[6]["text/plain"] == "1"


@pytest.mark.consumer("pandas", "polars", "pyarrow")
def test_interrupts_of_the_kernel_end_cells(kernel: None, slow: oe.Demo) -> None:
    calls = [
        "client.read(ID)",
        "[batch for batch in client.stream(ID)]",
        "client.stream(ID).to_pandas()",
        "client.stream(ID).to_polars()",
    ]
    cells = [first_cell(slow, "import pandas, polars, pyarrow")]
    interrupt: dict[int, Callable[[], bool]] = {}
    for call in calls:
        interrupt[len(cells)] = more_requests(slow)
        # The next call works.
        cells += [call, "client.read(ID, limit=1).num_rows"]
    outputs = executed(cells, interrupt)
    for interrupted, after in zip(outputs[1::2], outputs[2::2], strict=True):
        # A library can also print that its own clean-up was interrupted.
        outcomes = [output for output in interrupted if output.output_type != "stream"]
        assert [(output.output_type, output.ename) for output in outcomes] == [("error", "KeyboardInterrupt")]
        assert after[0].data["text/plain"] == "1"


def more_requests(demo: oe.Demo) -> Callable[[], bool]:
    """Whether a request has come since the first question."""
    before: list[int] = []

    def is_ready() -> bool:
        before.append(demo.requests)
        return before[-1] > before[0]

    return is_ready


@pytest.mark.long
@pytest.mark.consumer("duckdb")
def test_interrupt_of_the_kernel_reaches_duckdb(kernel: None, slow: oe.Demo) -> None:
    # DuckDB swallows a KeyboardInterrupt before it reads. Then the second interrupt ends it, also before the first batch.
    query = 'duckdb.sql("select count(*) from stream").fetchall()'
    cells = [first_cell(slow, "import duckdb")]
    interrupt: dict[int, Callable[[], bool]] = {}
    for _ in range(3):
        interrupt[len(cells)] = more_requests(slow)
        cells += [f"stream = client.stream(ID)\n{query}", "client.read(ID, limit=1).num_rows"]
    outputs = executed(cells, interrupt, again=True)
    for interrupted, after in zip(outputs[1::2], outputs[2::2], strict=True):
        # A late interrupt can reach the kernel while it prints the error. The query has no result in any case.
        assert interrupted and "execute_result" not in [output.output_type for output in interrupted]
        assert after[-1].data["text/plain"] == "1"
