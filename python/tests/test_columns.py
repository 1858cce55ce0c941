"""Computed columns: what each library gets from an export that has them."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe

COLUMNS = (
    "topic=.id[:4]",
    "twice:int=if .order == 1 then null else .order * 2 end",
    "third:float=.order / 3",
    "even:bool=if .order == 2 then null else .order % 2 == 0 end",
    'at:timestamp="2026-01-01T00:00:00.25Z"',
    "pair:json=[.order, {a: null}]",
    "lists:int[]=if .order == 3 then null else [.order, null] end",
    "words:string[]=[.id[:4], \"\"]",
    'days:timestamp[]=["2026-01-01T00:00:00.25Z"]',
    "pairs:json[]=[{a: .order}, null, \"x\"]",
)
AT = dt.datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=dt.timezone.utc)


def exported(demo: oe.Demo, output: Path) -> Path:
    """An export with a record, in the format of its name."""
    command = [sys.executable, "-m", "overmind_export", "export", demo.dataset, "-o", str(output), "--manifest"]
    for column in COLUMNS:
        command += ["--column", column]
    command += ["--columns", "id,order,topic,twice,third,even,at,pair,lists,words,days,pairs"]
    key = {"OVERMIND_LAB_API_KEY": "demo", "OVERMIND_LAB_BASE_URL": demo.url}
    subprocess.run(command, check=True, capture_output=True, env=os.environ | key)
    return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    with oe.demo(rows=50) as demo:
        for name in ("a.parquet", "b.arrow", "c.jsonl"):
            exported(demo, folder / name)
    return folder


@pytest.mark.parametrize("name", ["a.parquet", "b.arrow", "c.jsonl"])
def test_rows_are_read_whole_and_by_column(folder: Path, name: str) -> None:
    record = folder / f"{name}.manifest.json"
    export = oe.open(folder / name, record=record)
    rows = export.read(progress=False)
    assert rows.num_rows == 50
    assert rows.summary.completeness == "proven"
    assert rows.column_names == [
        "id", "order", "topic", "twice", "third", "even", "at", "pair", "lists", "words", "days", "pairs",
    ]  # fmt: skip
    assert export.read(columns=["third", "topic"], progress=False).column_names == ["third", "topic"]
    with pytest.raises(oe.UsageError, match='"nothing" is not a valid column'):
        export.read(columns=["nothing"], progress=False)
    html = rows._repr_html_()
    assert "float64" in html and "JSON text" in html and "2026-01-01T00:00:00.250000Z" in html
    assert "<td>0.3333333333333333</td>" in html
    assert "list of int64" in html and "list of JSON text" in html and ">[1, null]<" in html
    assert rows._inner.head(2)[1][-4:] == [[1, None], ["7716", ""], ["2026-01-01T00:00:00.250000Z"], ['{"a":1}', None, '"x"']]


@pytest.mark.consumer("pandas", "pyarrow")
def test_pandas_has_exact_types(folder: Path) -> None:
    rows = oe.open(folder / "a.parquet").read(progress=False)
    frame = rows.to_pandas(json="objects")
    types = {name: str(frame[name].dtype) for name in ("twice", "third", "even", "at")}
    assert types == {"twice": "Int64", "third": "float64", "even": "boolean", "at": "datetime64[us, UTC]"}
    assert frame["twice"].isna().sum() == 1 and frame["twice"][3] == 6
    assert frame["third"][1] == 1 / 3
    assert frame["at"][0].to_pydatetime() == AT
    assert frame["pair"][4] == [4, {"a": None}]
    assert frame["pairs"][4] == [{"a": 4}, None, "x"] and frame["lists"][3] is None
    assert list(frame["words"][4]) == [frame["id"][4][:4], ""]
    for backend in ("numpy_nullable", "pyarrow"):
        other: Any = rows.to_pandas(dtype_backend=backend)
        assert other["third"][1] == 1 / 3 and bool(other["even"][4]), backend


@pytest.mark.consumer("polars")
def test_polars_scan_knows_the_types(folder: Path) -> None:
    import polars as pl

    lazy = oe.open(folder / "b.arrow").scan()
    schema = lazy.collect_schema()
    assert [schema[name] for name in ("twice", "third", "even")] == [pl.Int64, pl.Float64, pl.Boolean]
    assert schema["at"] == pl.Datetime("us", "UTC")
    found = lazy.filter(pl.col("third") > 15).select("order", "at", "pair").collect()
    assert found["order"].to_list() == [46, 47, 48, 49]
    assert found["at"].to_list() == [AT] * 4
    assert json.loads(found["pair"][0]) == [46, {"a": None}]
    assert schema["lists"] == pl.List(pl.Int64) and schema["days"] == pl.List(pl.Datetime("us", "UTC"))
    lists = lazy.select("order", "lists", "words", "days", "pairs").collect()
    assert lists["lists"].to_list()[2:5] == [[2, None], None, [4, None]]
    assert lists["days"].to_list()[0] == [AT] and lists["pairs"].to_list()[4] == ['{"a":4}', None, '"x"']


@pytest.mark.consumer("duckdb")
def test_duckdb_reads_lists(folder: Path) -> None:
    import duckdb

    rows = oe.open(folder / "a.parquet").read(progress=False)
    query = "select lists[1], len(words), epoch_us(days[1]), pairs[3] from rows where \"order\" = 4"
    assert duckdb.sql(query).fetchall() == [(4, 2, int(AT.timestamp() * 1_000_000), '"x"')]
    del rows


@pytest.mark.consumer("duckdb")
def test_duckdb_has_the_types(folder: Path) -> None:
    rows = oe.open(folder / "a.parquet").read(progress=False)
    relation = rows.to_duckdb()
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    wanted = {"twice": "BIGINT", "third": "DOUBLE", "even": "BOOLEAN", "at": "TIMESTAMP WITH TIME ZONE"}
    assert {name: types[name] for name in wanted} == wanted
    assert relation.filter("third > 15").count("*").fetchall() == [(4,)]
