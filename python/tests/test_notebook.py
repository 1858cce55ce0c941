"""A notebook that uses the package as the guide does, run by a real kernel. Its outputs are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

pytestmark = pytest.mark.waits

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


def executed(cells: list[str], interrupt: dict[int, oe.Demo]) -> list[list[Any]]:
    """Runs the cells. Interrupts some of them as soon as their request has come. Returns the outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True)

    async def interrupted(demo: oe.Demo) -> None:
        before = demo.requests
        while demo.requests == before:
            await asyncio.sleep(0.05)
        await client.km.interrupt_kernel()

    async def main() -> None:
        async with client.async_setup_kernel():
            for index, cell in enumerate(notebook.cells):
                task = asyncio.create_task(interrupted(interrupt[index])) if index in interrupt else None
                await client.async_execute_cell(cell, index)
                if task is not None:
                    await task

    asyncio.run(main())
    return [cell.outputs for cell in notebook.cells]


def settings(demo: oe.Demo, name: str) -> str:
    return f'{name} = oe.Client(base_url="{demo.url}", api_key="demo")'


@pytest.mark.consumer("pandas", "polars", "pyarrow", "duckdb")
def test_notebook(kernel: None, hostile: oe.Demo, slow: oe.Demo) -> None:
    small, large = hostile.datasets[1], slow.dataset
    outputs = executed(
        [
            f"import overmind_export as oe\n{settings(hostile, 'client')}",
            f'rows = client.read("{small}")\nrows',
            f'client.read("{hostile.datasets[0]}")',
            "rows.summary",
            "rows.to_pandas(json='objects').head(3)",
            "rows.to_polars().shape, rows.to_arrow().num_rows, rows.to_duckdb().shape",
            f'len([batch for batch in client.stream("{small}")])',
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


@pytest.mark.consumer("pandas", "polars", "pyarrow", "duckdb")
@pytest.mark.parametrize(
    "call",
    [
        "client.read(ID)",
        "[batch for batch in client.stream(ID)]",
        "client.stream(ID).to_pandas()",
        "client.stream(ID).to_polars()",
    ],
)
def test_interrupt_of_the_kernel_ends_a_cell(kernel: None, slow: oe.Demo, call: str) -> None:
    outputs = executed(
        [
            f'import overmind_export as oe\nID = "{slow.dataset}"\n{settings(slow, "client")}',
            call,
            "client.read(ID, limit=1).num_rows",
            call,
            "client.read(ID, limit=2).num_rows",
        ],
        {1: slow, 3: slow},
    )
    for cell in (1, 3):
        (output,) = outputs[cell]
        assert (output.output_type, output.ename) == ("error", "KeyboardInterrupt")
    (once,), (twice,) = outputs[2], outputs[4]
    assert (once.data["text/plain"], twice.data["text/plain"]) == ("1", "2")


@pytest.mark.consumer("duckdb")
def test_interrupt_of_the_kernel_reaches_duckdb(kernel: None, slow: oe.Demo) -> None:
    outputs = executed(
        [
            f'import duckdb\nimport overmind_export as oe\nID = "{slow.dataset}"\n{settings(slow, "client")}',
            "stream = client.stream(ID)\nduckdb.sql('select count(*) from stream').fetchall()",
            "client.read(ID, limit=1).num_rows",
        ],
        {1: slow},
    )
    assert outputs[1][-1].output_type == "error"
    assert outputs[2][-1].data["text/plain"] == "1"
