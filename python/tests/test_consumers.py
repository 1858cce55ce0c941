"""pandas, Polars, pyarrow and DuckDB: all values, and what each does with a stream that is not proven."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS
from faulty import DATASET, repeating, serving


@pytest.fixture(scope="module")
def rows(demo: oe.Demo) -> oe.Rows:
    return oe.read(demo.dataset, base_url=demo.url, api_key="demo")


@pytest.fixture(scope="module")
def values(rows: oe.Rows) -> list[list[Any]]:
    return rows._inner.head(ROWS)


def test_pyarrow_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    pa = pytest.importorskip("pyarrow")
    for table in [rows.to_arrow(), pa.table(rows)]:
        assert [list(row.values()) for row in table.to_pylist()] == values
        assert table.schema.types == [pa.string(), pa.int64(), *[pa.string()] * 5]
        assert not table.schema.field("id").nullable


def test_polars_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    pl = pytest.importorskip("polars")
    for frame in [rows.to_polars(), pl.DataFrame(rows)]:
        assert [list(row) for row in frame.rows()] == values


def test_duckdb_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    assert [list(row) for row in rows.to_duckdb().fetchall()] == values
    assert [list(row) for row in duckdb.sql("from rows").fetchall()] == values
    with duckdb.connect() as connection:
        relation = rows.to_duckdb(connection)
        assert relation.aggregate("count(*)").fetchall() == [(ROWS,)]


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_pandas_has_every_value(rows: oe.Rows, values: list[list[Any]], backend: Any) -> None:
    pd = pytest.importorskip("pandas")
    frame = rows.to_pandas(dtype_backend=backend)
    assert list(frame.columns) == rows.column_names
    for name, column in zip(rows.column_names, zip(*values), strict=True):
        seen = [None if pd.isna(value) else value for value in frame[name]]
        assert seen == list(column)
    # Integers stay exact although some are missing.
    assert "int" in str(frame["order"].dtype).lower()


@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_pandas_decodes_json(rows: oe.Rows, values: list[list[Any]], backend: Any) -> None:
    pytest.importorskip("pandas")
    frame = rows.to_pandas(json="objects", dtype_backend=backend)
    place = rows.column_names.index("input")
    expected = [None if row[place] is None else json.loads(row[place]) for row in values]
    assert list(frame["input"]) == expected
    with pytest.raises(ValueError, match="`json` must be 'text' or 'objects', not 'yes'"):
        rows.to_pandas(json="yes")  # type: ignore[arg-type]


def test_streams_convert_too(demo: oe.Demo, client: oe.Client) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    stream = client.stream(demo.dataset, columns=["order"])
    assert stream.to_arrow().num_rows == ROWS
    assert stream.summary.completeness == "proven"
    assert client.stream(demo.dataset).to_polars().height == ROWS
    batch = next(client.stream(demo.dataset))
    assert batch.to_polars().height == batch.num_rows == 4_000
    stream = client.stream(demo.dataset)
    assert duckdb.sql("select count(*) from stream").fetchall() == [(ROWS,)]


def test_lazy_frame_asks_only_for_what_it_needs(demo: oe.Demo, client: oe.Client) -> None:
    pl = pytest.importorskip("polars")
    lazy = client.scan(demo.dataset)
    before = demo.requests
    head = lazy.select("persona", "id").head(150).collect()
    assert (head.columns, head.height) == (["persona", "id"], 150)
    assert demo.requests - before < 10
    whole = client.read(demo.dataset).to_polars()
    query = lambda frame: frame.filter(pl.col("order") >= 9_990).select("id", "order")  # noqa: E731
    assert query(lazy).collect().equals(query(whole))
    assert query(lazy).head(3).collect().equals(query(whole).head(3))
    assert lazy.select(pl.len()).collect().item() == ROWS
    assert client.scan(demo.dataset, columns=["id"], limit=7).collect().shape == (7, 1)


def test_opened_export_scans(tmp_path: Any, demo: oe.Demo, client: oe.Client) -> None:
    pytest.importorskip("polars")
    client.export(demo.dataset, tmp_path / "out", rows_per_file=3_000, columns=["id", "order"])
    lazy = oe.open(tmp_path / "out").scan()
    assert lazy.collect_schema().names() == ["id", "order"]
    assert lazy.select("order").head(5).collect()["order"].to_list() == [0, 1, 2, 3, 4]
    assert lazy.collect().height == ROWS


@pytest.mark.parametrize(
    ("module", "consume", "kind"),
    [
        ("pyarrow", "module.table(stream)", "ArrowInvalid"),
        ("pyarrow", "stream.to_arrow()", "IncompleteError"),
        ("polars", "module.DataFrame(stream)", "ComputeError"),
        ("polars", "stream.to_polars()", "IncompleteError"),
        ("pandas", "stream.to_pandas()", "IncompleteError"),
        ("duckdb", "module.sql('create table t as from stream')", "InvalidInputException"),
    ],
)
def test_stream_without_proof_raises_in_every_consumer(module: str, consume: str, kind: str) -> None:
    names = {"module": pytest.importorskip(module)}
    with serving(1_000, repeating) as url:
        names["stream"] = oe.stream(DATASET, base_url=url, api_key="k", concurrency=1)
        with pytest.raises(Exception, match="changed during the export") as raised:
            exec(consume, names)
        assert type(raised.value).__name__ == kind


def test_missing_library_names_the_extra() -> None:
    program = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "polars", "pyarrow", "duckdb", "numpy"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import overmind_export as oe
with oe.demo(rows=10) as demo:
    client = oe.Client(base_url=demo.url, api_key="demo")
    rows = client.read(demo.dataset)
    calls = [rows.to_pandas, rows.to_polars, rows.to_arrow, rows.to_duckdb, lambda: client.scan(demo.dataset)]
    for call in calls:
        try:
            call()
        except ImportError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "pandas is not installed: pip install 'overmind-export[pandas]'",
            "polars is not installed: pip install 'overmind-export[polars]'",
            "pyarrow is not installed: pip install 'overmind-export[arrow]'",
            "duckdb is not installed: pip install 'overmind-export[duckdb]'",
            "polars is not installed: pip install 'overmind-export[polars]'",
        ],
    )
