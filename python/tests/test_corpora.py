"""Real datasets, and rows that are hard to preserve: every value is the source's JSON token.

The expected values are cut out of the text of the source, without a JSON parser that would change them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / ".ci"))

from expected import COLUMNS, Source, compare, hostile_lines  # noqa: E402

#: They are not part of the project.
CORPORA = PROJECT.parent / "shared" / "corpora"

pytestmark = [pytest.mark.corpus, pytest.mark.consumer("pyarrow")]


@dataclass
class Corpus:
    source: Source
    client: oe.Client
    dataset: str
    rows: oe.Rows


@pytest.fixture(scope="module", params=["hostile", "gsm8k", "bfcl-core"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    path = CORPORA / f"{request.param}.jsonl"
    if request.param == "hostile":
        path = tmp_path_factory.mktemp("corpus") / "hostile.jsonl"
        path.write_bytes("".join(f"{line}\n" for line in hostile_lines()).encode())
    elif not path.exists():
        pytest.skip(f"{path} does not exist")
    with oe.demo(rows=0, files=[path]) as demo:
        client = oe.Client(base_url=demo.url, api_key="demo")
        dataset = demo.datasets[0]
        yield Corpus(Source(path), client, dataset, client.read(dataset))


def test_read(corpus: Corpus) -> None:
    assert corpus.rows.summary.completeness == "proven"
    compare(corpus.rows.to_arrow().to_pydict(), corpus.source, json_is_text=True)


def test_stream(corpus: Corpus) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for batch in corpus.client.stream(corpus.dataset, page_size=37):
        for name, values in batch.to_arrow().to_pydict().items():
            columns[name] += values
    compare(columns, corpus.source, json_is_text=True)


@pytest.mark.consumer("polars")
def test_polars(corpus: Corpus) -> None:
    compare(corpus.rows.to_polars().to_dict(as_series=False), corpus.source, json_is_text=True)


@pytest.mark.consumer("polars")
def test_scan(corpus: Corpus) -> None:
    frame = corpus.client.scan(corpus.dataset).collect()
    compare(frame.to_dict(as_series=False), corpus.source, json_is_text=True)


@pytest.mark.consumer("duckdb")
def test_duckdb(corpus: Corpus) -> None:
    relation = corpus.rows.to_duckdb()
    columns = zip(*relation.fetchall(), strict=True)
    values = {name: list(column) for name, column in zip(relation.columns, columns, strict=True)}
    compare(values, corpus.source, json_is_text=True)


def of_series(series: Any) -> list[Any]:
    """The values of a column of pandas, with None for missing ones."""
    values = series.astype(object)
    return list(values.where(values.notna(), None))


@pytest.mark.consumer("pandas")
@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_pandas(corpus: Corpus, backend: Any) -> None:
    frame = corpus.rows.to_pandas(dtype_backend=backend)
    compare({name: of_series(frame[name]) for name in frame}, corpus.source, json_is_text=True)


@pytest.mark.consumer("pandas")
@pytest.mark.parametrize("decoder", [pytest.param("orjson", marks=pytest.mark.consumer("orjson")), "json"])
def test_pandas_objects(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, decoder: str) -> None:
    if decoder == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    frame = corpus.rows.to_pandas(json="objects")
    columns = {name: list(frame[name]) for name in frame}
    columns |= {name: of_series(frame[name]) for name in ("id", "order", "persona")}
    compare(columns, corpus.source, json_is_text=False)


FORMATS: dict[str, dict[str, Any]] = {
    "rows.parquet": {},
    "plain.parquet": {"parquet_encoding": "plain"},
    "rows.arrow": {},
    "rows.jsonl": {},
    "text.jsonl": {"json_columns": "text"},
    "rows.jsonl.gz": {},
    "rows.jsonl.zst": {},
    "rows.csv": {"csv_bom": True},
    "rows.csv.zst": {},
    "parts/": {"rows_per_file": 400, "format": "parquet"},
    "lines/": {"rows_per_file": 400, "format": "jsonl", "compression": "zstd"},
    "cells/": {"rows_per_file": 400, "format": "csv", "compression": "gzip"},
    "batches/": {"rows_per_file": 400, "format": "arrow", "compression": "none"},
}


@pytest.mark.parametrize(("output", "options"), FORMATS.items(), ids=FORMATS)
def test_export_and_open(corpus: Corpus, tmp_path: Path, output: str, options: dict[str, Any]) -> None:
    place = f"{tmp_path}/{output}"
    summary = corpus.client.export(corpus.dataset, place, **options)
    assert (summary.rows, summary.completeness) == (corpus.source.rows, "proven")
    rows = oe.open(place).read()
    assert rows.summary.digest == corpus.rows.summary.digest
    compare(rows.to_arrow().to_pydict(), corpus.source, json_is_text=True)
