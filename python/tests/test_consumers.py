"""pandas, Polars, pyarrow and DuckDB: all values, and what each does with a stream that is not proven."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from conftest import CONSUMERS, ROWS
from faulty import DATASET, repeating, serving


@pytest.mark.consumer()
@pytest.mark.skipif(CONSUMERS is None, reason="CONSUMERS names no libraries")
def test_only_the_named_libraries_are_there() -> None:
    known = ["duckdb", "numpy", "orjson", "pandas", "polars", "pyarrow"]
    there = {name for name in known if importlib.util.find_spec(name)} - {"numpy"}
    assert CONSUMERS is not None and there == set(CONSUMERS.split(","))
    # Only pandas needs numpy.
    assert (importlib.util.find_spec("numpy") is not None) == ("pandas" in there)


@pytest.fixture(scope="module")
def rows(demo: oe.Demo) -> oe.Rows:
    return oe.read(demo.dataset, base_url=demo.url, api_key="demo")


@pytest.fixture(scope="module")
def values(rows: oe.Rows) -> list[list[Any]]:
    return rows._inner.head(ROWS)


@pytest.mark.consumer("pyarrow")
def test_pyarrow_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    import pyarrow as pa

    for table in [rows.to_arrow(), pa.table(rows)]:
        assert [list(row.values()) for row in table.to_pylist()] == values
        assert table.schema.types == [pa.string(), pa.int64(), *[pa.string()] * 5]
        assert not table.schema.field("id").nullable


@pytest.mark.consumer("polars")
def test_polars_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    import polars as pl

    for frame in [rows.to_polars(), pl.DataFrame(rows)]:
        assert [list(row) for row in frame.rows()] == values


@pytest.mark.consumer("duckdb")
def test_duckdb_has_every_value(rows: oe.Rows, values: list[list[Any]]) -> None:
    import duckdb

    assert [list(row) for row in rows.to_duckdb().fetchall()] == values
    assert [list(row) for row in duckdb.sql("from rows").fetchall()] == values
    with duckdb.connect() as connection:
        relation = rows.to_duckdb(connection)
        assert relation.aggregate("count(*)").fetchall() == [(ROWS,)]


@pytest.mark.consumer("pandas", "pyarrow")
@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_pandas_has_every_value(rows: oe.Rows, values: list[list[Any]], backend: Any) -> None:
    import pandas as pd

    frame = rows.to_pandas(dtype_backend=backend)
    assert list(frame.columns) == rows.column_names
    for name, column in zip(rows.column_names, zip(*values), strict=True):
        seen = [None if pd.isna(value) else value for value in frame[name]]
        assert seen == list(column)
    # Integers stay exact although some are missing.
    assert "int" in str(frame["order"].dtype).lower()


@pytest.mark.consumer("pandas", "pyarrow")
@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_pandas_decodes_json(rows: oe.Rows, values: list[list[Any]], backend: Any) -> None:
    frame = rows.to_pandas(json="objects", dtype_backend=backend)
    place = rows.column_names.index("input")
    expected = [None if row[place] is None else json.loads(row[place]) for row in values]
    assert list(frame["input"]) == expected
    with pytest.raises(ValueError, match="`json` must be 'text' or 'objects', not 'yes'"):
        rows.to_pandas(json="yes")  # type: ignore[arg-type]


@pytest.mark.consumer("pyarrow")
def test_pyarrow_takes_a_stream(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset, columns=["order"])
    assert stream.to_arrow().num_rows == ROWS
    assert stream.summary.completeness == "proven"
    assert next(client.stream(demo.dataset)).to_arrow().num_rows == 4_000


@pytest.mark.consumer("polars")
def test_polars_takes_a_stream(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    assert stream.to_polars().height == ROWS
    assert stream.summary.completeness == "proven"
    assert next(client.stream(demo.dataset)).to_polars().height == 4_000


@pytest.mark.consumer("pandas", "pyarrow")
def test_pandas_takes_a_stream(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    assert len(stream.to_pandas(json="objects")) == ROWS
    assert stream.summary.completeness == "proven"


@pytest.mark.consumer("duckdb")
def test_duckdb_takes_a_stream_once(demo: oe.Demo, client: oe.Client) -> None:
    import duckdb

    stream = client.stream(demo.dataset)
    query = "select count(*) from stream"
    assert duckdb.sql(query).fetchall() == [(ROWS,)]
    assert stream.summary.completeness == "proven"
    with pytest.raises(Exception, match="already read"):
        duckdb.sql(query).fetchall()


@pytest.mark.consumer("polars")
def test_lazy_frame_asks_only_for_what_it_needs(demo: oe.Demo, client: oe.Client) -> None:
    import polars as pl

    lazy = client.scan(demo.dataset)
    before = demo.requests
    head = lazy.select("persona", "id").head(150).collect()
    assert (head.columns, head.height) == (["persona", "id"], 150)
    assert demo.requests - before < 10
    whole = client.read(demo.dataset).to_polars()
    query = lambda frame: frame.filter(pl.col("order") >= 4_990).select("id", "order")  # noqa: E731
    assert query(lazy).collect().equals(query(whole))
    assert query(lazy).head(3).collect().equals(query(whole).head(3))
    assert lazy.select(pl.len()).collect().item() == ROWS
    assert client.scan(demo.dataset, columns=["id"], limit=7).collect().shape == (7, 1)


@pytest.mark.consumer("polars")
def test_scan_checks_its_columns(demo: oe.Demo, client: oe.Client) -> None:
    with pytest.raises(oe.UsageError, match='"inptu"'):
        client.scan(demo.dataset, columns=["id", "inptu"])
    with pytest.raises(TypeError, match="a list of names"):
        client.scan(demo.dataset, columns="order,id")  # type: ignore[arg-type]


def test_opened_export_scans(tmp_path: Any, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "out", rows_per_file=3_000, columns=["id", "order"])
    lazy = oe.open(tmp_path / "out").scan()
    assert lazy.collect_schema().names() == ["id", "order"]
    assert lazy.select("order").head(5).collect()["order"].to_list() == [0, 1, 2, 3, 4]
    assert lazy.collect().height == ROWS


@pytest.fixture
def unproven() -> Iterator[oe.Stream]:
    """A stream of three batches, at the end of which an error comes instead of the proof."""
    with serving(9_000, repeating) as url:
        yield oe.stream(DATASET, base_url=url, api_key="k", concurrency=1)


def raised_by(consume: Callable[[], object]) -> str:
    """The kind of the exception that reports the missing proof."""
    with pytest.raises(Exception, match="changed during the export") as raised:
        consume()
    return type(raised.value).__name__


def test_loop_has_rows_before_the_missing_proof(unproven: oe.Stream) -> None:
    seen: list[int] = []
    assert raised_by(lambda: seen.extend(batch.num_rows for batch in unproven)) == "IncompleteError"
    assert seen and unproven.summary.completeness == "partial"


@pytest.mark.consumer("pyarrow")
def test_pyarrow_raises_without_proof(unproven: oe.Stream) -> None:
    import pyarrow as pa

    assert raised_by(lambda: pa.table(unproven)) == "ArrowInvalid"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("to_arrow", marks=pytest.mark.consumer("pyarrow")),
        pytest.param("to_polars", marks=pytest.mark.consumer("polars")),
        pytest.param("to_pandas", marks=pytest.mark.consumer("pandas", "pyarrow")),
    ],
)
def test_conversion_raises_without_proof(unproven: oe.Stream, call: str) -> None:
    assert raised_by(getattr(unproven, call)) == "IncompleteError"


@pytest.mark.consumer("polars")
def test_polars_raises_without_proof(unproven: oe.Stream) -> None:
    import polars as pl

    assert raised_by(lambda: pl.DataFrame(unproven)) == "ComputeError"


@pytest.mark.consumer("polars")
def test_lazy_frame_raises_without_proof() -> None:
    with serving(9_000, repeating) as url:
        lazy = oe.scan(DATASET, base_url=url, api_key="k", concurrency=1)
        # Before 2.0, Polars makes a ComputeError of it.
        expected = "IncompleteError" if importlib.import_module("polars").__version__ >= "2" else "ComputeError"
        assert raised_by(lazy.collect) == expected
        assert lazy.head(5).collect().height == 5


@pytest.mark.consumer("duckdb")
def test_duckdb_keeps_nothing_without_proof(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "rows.csv"
    statements = ["create table made as from stream", "insert into old from stream", f"copy (from stream) to '{path}'"]
    with serving(9_000, repeating) as url, duckdb.connect() as connection:
        connection.execute("create table old (id text, n bigint, a text, b text, c text, d text, e text)")

        def execute(statement: str) -> None:
            # DuckDB finds it by its name.
            stream = oe.stream(DATASET, base_url=url, api_key="k", concurrency=1)
            connection.execute(statement)
            del stream

        for statement in statements:
            assert raised_by(lambda: execute(statement)) == "InvalidInputException"
        assert connection.execute("select table_name from duckdb_tables").fetchall() == [("old",)]
        assert connection.execute("select count(*) from old").fetchall() == [(0,)]
    # Before 2.0, DuckDB keeps the file.
    assert not list(tmp_path.iterdir()) or duckdb.__version__ < "2"


@pytest.mark.consumer("duckdb")
def test_limit_of_duckdb_never_reaches_the_proof(unproven: oe.Stream) -> None:
    import duckdb

    assert len(duckdb.sql("select id from unproven limit 5").fetchall()) == 5
    assert unproven.summary.completeness == "partial"


@pytest.mark.consumer("pyarrow")
def test_pyarrow_writers_keep_rows_without_proof(tmp_path: Path, unproven: oe.Stream) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write() -> None:
        reader = pa.RecordBatchReader.from_stream(unproven)
        with pq.ParquetWriter(tmp_path / "rows.parquet", reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)

    assert raised_by(write) == "ArrowInvalid"
    # The file looks complete. `export` writes all or nothing.
    assert pq.read_table(tmp_path / "rows.parquet").num_rows > 0


@pytest.mark.consumer("pyarrow")
def test_pyarrow_datasets_raise_without_proof(tmp_path: Path, unproven: oe.Stream) -> None:
    import pyarrow as pa
    import pyarrow.dataset as ds

    reader = pa.RecordBatchReader.from_stream(unproven)
    write = lambda: ds.write_dataset(reader, tmp_path / "out", format="ipc", max_rows_per_file=2_000, max_rows_per_group=2_000)  # noqa: E731
    # Its threads write behind the reader. Whether files stay depends on how far they were at the error.
    assert raised_by(write) == "ArrowInvalid"


@pytest.mark.consumer()
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
