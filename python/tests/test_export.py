"""Exports to files, and reading them back."""

from __future__ import annotations

from pathlib import Path

import pytest

import overmind_export as oe
from conftest import ROWS


@pytest.mark.parametrize(
    "output",
    ["rows.parquet", "rows.arrow", "rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.csv", "rows.csv.gz", "out/"],
)
def test_export_reads_back_with_its_digest(
    tmp_path: Path, demo: oe.Demo, client: oe.Client, output: str
) -> None:
    place = f"{tmp_path}/{output}"
    summary = client.export(demo.dataset, place)
    assert (summary.rows, summary.completeness, summary.files) == (ROWS, "proven", 1)
    assert summary.output is not None and summary.output.startswith(str(tmp_path))
    rows = oe.open(place).read()
    assert (rows.num_rows, rows.summary.digest) == (ROWS, summary.digest)
    says = "unknown" if "jsonl" in output or "csv" in output else "proven"
    assert rows.summary.completeness == says
    assert oe.open(place).summary.to_dict() | {"seconds": 0} == rows.summary.to_dict() | {"seconds": 0}


def test_export_has_the_options_of_the_command(
    tmp_path: Path, demo: oe.Demo, client: oe.Client
) -> None:
    out = tmp_path / "out"
    summary = client.export(
        demo.dataset, out, format="jsonl", compression="gzip", rows_per_file=1_500, limit=4_500,
        columns=["id"], success_file=True,
    )  # fmt: skip
    assert (summary.files, summary.rows, summary.completeness) == (3, 4_500, "partial")
    assert sorted(path.name for path in out.iterdir()) == [
        "_SUCCESS", "part-00000.jsonl.gz", "part-00001.jsonl.gz", "part-00002.jsonl.gz",
    ]  # fmt: skip
    with pytest.raises(oe.OutputError, match="overwrite"):
        client.export(demo.dataset, out)
    assert client.export(demo.dataset, out, overwrite=True).rows == ROWS


def test_protected_csv_is_checked_but_not_opened(
    tmp_path: Path, demo: oe.Demo, client: oe.Client
) -> None:
    path = tmp_path / "rows.csv"
    client.export(demo.dataset, path, csv_safe=True, csv_bom=True, manifest=True)
    assert path.read_bytes().startswith('\ufeff"id","order",'.encode())
    assert oe.verify(path).ok
    with pytest.raises(oe.DataError, match="csv_safe"):
        oe.open(path).read()
    with pytest.raises(oe.UsageError, match="`csv_bom` is for CSV"):
        client.export(demo.dataset, tmp_path / "rows.parquet", csv_bom=True)


def test_opened_export_has_manifest_and_columns(
    tmp_path: Path, demo: oe.Demo, client: oe.Client
) -> None:
    client.export(demo.dataset, tmp_path / "out", columns=["id", "input"], rows_per_file=4_000)
    export = oe.open(tmp_path / "out")
    manifest = export.manifest
    assert manifest is not None
    assert (manifest["rows"], len(manifest["parts"])) == (ROWS, 2)
    with export.stream(columns=["input"]) as stream:
        assert stream.column_names == ["input"]
        assert sum(batch.num_rows for batch in stream) == ROWS
    with pytest.raises(oe.UsageError, match="did you mean input"):
        export.read(columns=["inptu"])
    client.export(demo.dataset, tmp_path / "rows.parquet", limit=10)
    assert oe.open(tmp_path / "rows.parquet").manifest is None


def test_damaged_export_raises(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "out")
    (tmp_path / "out" / "part-00000.parquet").write_bytes(b"nothing")
    with pytest.raises(oe.DataError):
        oe.open(tmp_path / "out").read()


def test_missing_export_raises_when_it_is_opened(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    with pytest.raises(oe.ReadWriteError) as raised:
        oe.open(tmp_path / "missing.parquet")
    assert raised.value.hint is None
    client.export(demo.dataset, tmp_path / "rows.parquet", limit=10)
    client.export(demo.dataset, f"{tmp_path}/sp/", split={"train": 0.9, "test": 0.1}, dataset_card=True)
    for typed, meant in (("rows.parqet", "rows.parquet"), ("sp/test", "sp/data/test")):
        for call in (oe.open, oe.verify, lambda path: oe.convert(path, tmp_path / "x.csv")):
            with pytest.raises(oe.ReadWriteError) as raised:
                call(tmp_path / typed)
            assert raised.value.hint == f"did you mean {tmp_path / meant}?"
    assert oe.open(tmp_path / "sp" / "data" / "test").read().num_rows > 0


def test_one_of_several_parts_is_a_part(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "out", rows_per_file=2_000)
    part = oe.open(tmp_path / "out" / "part-00000.parquet")
    for summary in (part.summary, part.read().summary):
        assert (summary.rows, summary.count, summary.completeness) == (2_000, ROWS, "partial")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "out/"])
def test_changed_value_raises(name: str, tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / name, columns=["id", "persona"], compression="none")
    path = next(tmp_path.glob("out/part-*"), tmp_path / name)
    data = path.read_bytes()
    at = data.index(b"frustrated_customer")
    path.write_bytes(data[:at] + b"F" + data[at + 1 :])
    with pytest.raises(oe.DataError, match="recorded"):
        oe.open(tmp_path / name).read()


def test_command_and_package_write_the_same_bytes(
    tmp_path: Path, demo: oe.Demo, client: oe.Client, command: str
) -> None:
    import subprocess

    client.export(demo.dataset, tmp_path / "ours.parquet")
    environment = {"OVERMIND_LAB_API_KEY": "demo", "OVERMIND_LAB_BASE_URL": demo.url}
    arguments = [command, "export", demo.dataset, "-o", str(tmp_path / "theirs.parquet"), "-q"]
    subprocess.run(arguments, check=True, env=environment)
    assert (tmp_path / "ours.parquet").read_bytes() == (tmp_path / "theirs.parquet").read_bytes()
