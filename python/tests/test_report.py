"""`report`: the page in a notebook and in a file."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

import overmind_export as oe
from conftest import ROWS


def test_report_is_shown_in_a_frame_and_saved(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    out = tmp_path / "rows.parquet"
    exported = client.export(demo.dataset, out)
    page = oe.report(out)
    assert page.rows == exported.rows == ROWS
    assert "5,000 of 5,000 rows, proven" in page.html
    assert repr(page) == "<Report: 5,000 rows>"
    frame = page._repr_html_()
    # The document is an attribute, and runs without the origin of the notebook.
    assert frame.count("<") == 2 and 'sandbox="allow-scripts"' in frame
    assert html.unescape(frame.split('srcdoc="')[1].split('"')[0]) == page.html
    saved = tmp_path / "page.html"
    assert page.save(saved) == len(page.html.encode())
    assert saved.read_text(encoding="utf-8") == page.html
    with pytest.raises(oe.OutputError):
        page.save(saved)
    page.save(saved, overwrite=True)
    with pytest.raises(oe.UsageError, match="ends in .html"):
        page.save(tmp_path / "page.txt")


def test_report_masks_drops_and_compares(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "a.parquet", limit=990)
    client.export(demo.dataset, tmp_path / "b", limit=1000)
    page = oe.report(tmp_path / "b", tmp_path / "a.parquet", mask=[".persona"], drop=["tags"], rows=9, seed=7)
    assert "What changed" in page.html and "Masked in this report" in page.html
    assert 'id="column-tags"' not in page.html
    assert 'id="rows"' not in oe.report(tmp_path / "b", rows=0).html
    with pytest.raises(oe.DataError, match=".input.missing"):
        oe.report(tmp_path / "b", mask=".input.missing")
    with pytest.raises(TypeError, match="Did you mean 'rows'"):
        oe.report(tmp_path / "b", row=1)  # type: ignore[call-arg]


@pytest.mark.consumer("pyarrow")
@pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars"])
def test_report_of_a_table(tmp_path: Path, demo: oe.Demo, client: oe.Client, library: str) -> None:
    pytest.importorskip(library)
    client.export(demo.dataset, tmp_path / "rows.parquet")
    rows = oe.open(tmp_path / "rows.parquet").read()
    table = {"pyarrow": rows.to_arrow, "pandas": rows.to_pandas, "polars": rows.to_polars}[library]()
    folder = tmp_path / "temporary"
    folder.mkdir()
    page = oe.report(table, rows=20, temp_dir=folder)
    assert page.rows == ROWS and 'id="column-input"' in page.html
    # A later state of the same table, and an export.
    both = oe.report(table[10:], tmp_path / "rows.parquet", by="order", temp_dir=folder)
    assert "Rows are compared by order." in both.html and "<dt>Removed</dt><dd>10 " in both.html
    assert not list(folder.iterdir())


def test_report_of_rows_and_of_something_else(demo: oe.Demo, client: oe.Client) -> None:
    pytest.importorskip("pyarrow")
    assert oe.report(client.read(demo.dataset), rows=0).rows == ROWS
    with pytest.raises(TypeError, match="not of int"):
        oe.report(3)  # type: ignore[arg-type]


@pytest.mark.consumer("pandas", "pyarrow")
def test_report_of_decoded_columns(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "rows.parquet")
    rows = oe.open(tmp_path / "rows.parquet").read()
    frame = rows.to_pandas(json="objects")
    page = oe.report(frame, tmp_path / "rows.parquet", rows=0)
    assert page.rows == ROWS and 'id="column-input"' in page.html
    assert type(frame["input"][0]) is dict
    # Strings that are no JSON text are values.
    frame["expected_output"] = ["no"] * ROWS
    assert oe.report(frame).rows == ROWS
    frame["persona"] = [7] + ["a"] * (ROWS - 1)
    with pytest.raises(oe.DataError) as raised:
        oe.report(frame)
    assert "cannot be written as Parquet" in str(raised.value) and raised.value.hint is not None
    assert oe.report(frame, drop=["persona"]).rows == ROWS
    frame["tags"] = [{"at": object()}] * len(frame)
    with pytest.raises(oe.DataError, match="the column tags has a value that is not JSON"):
        oe.report(frame, drop="persona")
    assert oe.report(frame, drop=["persona", "tags"]).rows == ROWS
