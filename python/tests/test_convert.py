"""Conversions of exports."""

from __future__ import annotations

from pathlib import Path

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


def test_wrong_conversions_are_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(oe.UsageError, match="is the source"):
        oe.convert(source, source, overwrite=True)
    with pytest.raises(oe.UsageError, match="standard output"):
        oe.convert(source, "-")
    with pytest.raises(TypeError, match="Did you mean 'rows_per_file'"):
        oe.convert(source, "x/", rows_per_files=3)  # type: ignore[call-arg]
    with pytest.raises(oe.ReadWriteError):
        oe.convert(tmp_path / "missing.parquet", tmp_path / "x.csv")
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
