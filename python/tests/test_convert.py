"""Conversions of exports."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS


@pytest.fixture
def source(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> Path:
    path = tmp_path / "source.parquet"
    client.export(demo.dataset, path)
    return path


@pytest.mark.parametrize("output", ["rows.arrow", "rows.jsonl.gz", "rows.csv", "out/"])
def test_conversion_keeps_the_rows(tmp_path: Path, source: Path, output: str) -> None:
    place = f"{tmp_path}/{output}"
    summary = oe.convert(source, place)
    assert (summary.rows, summary.rows_read, summary.completeness) == (ROWS, ROWS, "proven")
    assert summary.digest == summary.source_digest == oe.open(source).summary.digest
    assert summary.requests is None
    # An `Export` is a source, too.
    again = oe.convert(oe.open(place), tmp_path / "again.parquet")
    assert again.digest == summary.digest
    known = output == "out/" or output == "rows.arrow"
    assert again.completeness == ("proven" if known else "unknown")
    assert (again.dataset is None) != known
    assert ((tmp_path / "again.parquet").read_bytes() == source.read_bytes()) == known


def test_conversion_has_the_options_of_the_command(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    summary = oe.convert(
        source, out, format="jsonl", rows_per_file=100, columns=["id", "n"], where=".order < 250",
        column={"n": ("int", ".order * 2")}, success_file=True,
    )  # fmt: skip
    assert (summary.files, summary.rows, summary.rows_read) == (3, 250, ROWS)
    assert summary.transform is not None and summary.transform["where"] == [".order < 250"]
    assert oe.verify(out).ok
    assert (out / "_SUCCESS").exists()
    manifest = oe.open(out).manifest
    assert manifest is not None and manifest["converted_from"]["format"] == "parquet"
    assert oe.convert(source, tmp_path / "m.jsonl", map="{id}", manifest=True).rows == ROWS


def test_conversion_splits_as_an_export_does(tmp_path: Path, demo: oe.Demo, client: oe.Client, source: Path) -> None:
    split = {"train": 0.8, "test": 0.2}
    exported = client.export(demo.dataset, tmp_path / "exported", split=split, seed=3)
    summary = oe.convert(source, tmp_path / "out", split=split, seed=3, rows_per_file=100)
    assert summary.splits == exported.splits and summary.splits is not None
    assert (summary.rows, summary.digest) == (ROWS, exported.digest)
    assert oe.verify(tmp_path / "out").ok
    card = oe.convert(source, tmp_path / "card", split=split, seed=3, dataset_card=True)
    assert card.splits == exported.splits and (tmp_path / "card/README.md").exists()
    assert oe.verify(tmp_path / "card/data/test").ok
    assert oe.open(tmp_path / "out" / "test").read().num_rows == summary.splits[1]["rows"]
    with pytest.raises(oe.UsageError, match="`split` needs a directory"):
        oe.convert(source, tmp_path / "one.parquet", split=split)
    with pytest.raises(TypeError, match="a dictionary of names and fractions"):
        oe.convert(source, tmp_path / "x", split="train=0.8,test=0.2")  # type: ignore[arg-type]


def test_conversion_makes_nested_columns(tmp_path: Path, source: Path) -> None:
    nested = tmp_path / "nested.parquet"
    summary = oe.convert(source, nested, json_columns="nested", text=".tags", manifest=True)
    assert summary.digest == summary.source_digest
    manifest = oe.open(nested).manifest
    assert manifest is not None and manifest["json_columns"] == "nested"
    assert {it["name"]: it["type"] for it in manifest["nested"]}["input"] == "struct"
    assert oe.verify(nested).ok and oe.open(nested).read(where=".order < 3").num_rows == 3


def test_single_columns_are_nested(tmp_path: Path, source: Path) -> None:
    def types(output: str, **options: Any) -> dict[str, str]:
        oe.convert(source, tmp_path / output, manifest=True, **options)
        manifest = oe.open(tmp_path / output).manifest
        assert manifest is not None
        return {it["name"]: it["type"] for it in manifest["nested"]}

    single = types("single.parquet", json_columns={"input": "nested"})
    assert (single["input"], single["tags"]) == ("struct", "json")
    fields = [{"name": "role", "type": "int"}]
    schema = {"columns": [{"name": "tags", "type": "struct", "fields": fields}]}
    given = types("given.parquet", schema=schema, rescue=True)
    assert (given["tags"], given["_rescued"]) == ("struct", "json")
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    assert types("file.parquet", schema=tmp_path / "schema.json", rescue=True) == given
    with pytest.raises(oe.DataError, match="but the `schema` has"):
        oe.convert(source, tmp_path / "x.parquet", schema=schema)
    with pytest.raises(TypeError, match="schema"):
        oe.convert(source, tmp_path / "x.parquet", schema=3)  # type: ignore[arg-type]
    with pytest.raises(oe.UsageError, match="the JSON columns are"):
        oe.convert(source, tmp_path / "x.parquet", json_columns={"inptu": "nested"})


def test_schemas_are_read_like_the_commands(tmp_path: Path, source: Path) -> None:
    def convert(schema: Any) -> oe.Summary:
        return oe.convert(source, tmp_path / "x.parquet", json_columns="nested", schema=schema, overwrite=True)

    with pytest.raises(oe.Error, match="it is an export: give the output of"):
        convert(source)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(oe.Error, match="not a regular file|is a"):
        convert(tmp_path / "fifo")
    with pytest.raises(oe.Error, match="cannot read"):
        convert(tmp_path / "missing.json")
    columns = [{"name": "order", "type": "timestamp"}, {"name": "tags", "type": "json"}]
    with pytest.raises(oe.Error, match="the column order has the type int"):
        convert({"columns": columns})
    assert convert(MappingProxyType({"columns": columns[1:]})).rows > 0


def test_wrong_conversions_are_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(oe.UsageError, match="is the source"):
        oe.convert(source, source, overwrite=True)
    with pytest.raises(oe.UsageError, match="standard output"):
        oe.convert(source, "-")
    with pytest.raises(TypeError, match="Did you mean 'rows_per_file'"):
        oe.convert(source, "x/", rows_per_files=3)  # type: ignore[call-arg]
    with pytest.raises(oe.ReadWriteError):
        oe.convert(tmp_path / "missing.parquet", tmp_path / "x.csv")
    with pytest.raises(oe.DataError, match='".input.mesages" matches no value in'):
        oe.convert(source, tmp_path / "x.parquet", json_columns="nested", nest=".input.mesages")
    damaged = bytearray(source.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    with pytest.raises(oe.DataError):
        oe.convert(tmp_path / "damaged.parquet", tmp_path / "x.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.parquet", "source.parquet"]


def test_progress_counts_the_rows(tmp_path: Path, source: Path) -> None:
    seen: list[oe.Progress] = []
    oe.convert(source, tmp_path / "rows.csv", progress=seen.append)
    assert (seen[-1].rows, seen[-1].total) == (ROWS, ROWS)


OPTIONS: list[dict[str, Any]] = [
    {"where": ".order < 10", "columns": ["order", "id"]},
    {"sample": 0.2, "seed": 7, "drop": ["input"]},
    {"column": {"twice": ("int", ".order * 2"), "words": ("string[]", "[.id[:4], null]")}},
    {"dedupe": ".order % 100", "mask": ".persona"},
    {"where": 'if .order == 3 then error("x") else true end', "on_error": "skip"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_opened_exports_are_transformed(
    tmp_path: Path, demo: oe.Demo, client: oe.Client, source: Path, name: str, options: dict[str, Any]
) -> None:
    path = tmp_path / name
    oe.convert(source, path)
    expected, found = client.read(demo.dataset, **options), oe.open(path).read(**options)
    assert found.column_names == expected.column_names
    assert found._inner.head(ROWS) == expected._inner.head(ROWS)
    one, other = found.summary, expected.summary
    for field in ("rows", "rows_read", "failed_rows", "duplicate_rows", "replaced_rows", "transform", "digest"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.completeness == ("proven" if name == "rows.parquet" else "unknown")
    with oe.open(path).stream(**options) as stream:
        assert sum(batch.num_rows for batch in stream) == other.rows
        assert stream.summary.digest == other.digest


def test_wrong_transformations_of_exports_are_refused(source: Path) -> None:
    export = oe.open(source)
    with pytest.raises(oe.UsageError, match="the expression should end before this"):
        export.read(where=".a b")
    with pytest.raises(oe.UsageError, match="nothing"):
        export.read(where=".order", columns=["nothing"])
    with pytest.raises(oe.DataError, match="matches no value in"):
        export.read(mask=".persna")
    with pytest.raises(oe.DataError, match="row 1 "):
        list(export.stream(where='.order | error("x")'))
    with pytest.raises(TypeError, match="Did you mean 'where'"):
        export.read(were=".order")  # type: ignore[call-arg]


def test_closed_stream_of_a_transformation_ends(source: Path) -> None:
    stream = oe.open(source).stream(where=".order >= 0")
    next(iter(stream))
    stream.close()
    with pytest.raises(oe.UsageError, match="closed before its end"):
        list(stream)


@pytest.mark.consumer("polars")
def test_scan_of_an_export_is_transformed(source: Path) -> None:
    import polars as pl

    lazy = oe.open(source).scan(where=".order < 50", column={"twice": ("int[]", "[.order * 2]")})
    assert lazy.collect_schema()["twice"] == pl.List(pl.Int64)
    found = lazy.filter(pl.col("order") > 47).select("twice").collect()
    assert found["twice"].to_list() == [[96], [98]]
    assert oe.open(source).scan(where=".order < 50").select("id").collect().height == 50
