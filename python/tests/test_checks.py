"""`verify` and `diff`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import overmind_export as oe
from conftest import ROWS


def test_verify_finds_damage_without_an_exception(
    tmp_path: Path, demo: oe.Demo, client: oe.Client
) -> None:
    out = tmp_path / "out"
    client.export(demo.dataset, out)
    found = oe.verify(out)
    assert (found.ok, found.rows, found.completeness, found.problems) == (True, ROWS, "proven", [])
    assert str(found) == f"{out}: ok, 5,000 rows, proven"
    part = out / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(data)
    found = oe.verify(out)
    assert not found and not found.ok and len(found.problems) == 1 and str(found).startswith(f"{out}: ")
    assert json.loads(json.dumps(found.to_dict()))["ok"] is False
    with pytest.raises(oe.ReadWriteError):
        oe.verify(tmp_path / "missing")


def test_diff_counts_and_shows_rows(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "a.parquet")
    client.export(demo.dataset, tmp_path / "b", pages="2-", format="jsonl")
    found = oe.diff(tmp_path / "a.parquet", tmp_path / "b")
    assert (found.added, found.removed, found.changed, found.equal) == (0, 100, 0, False)
    assert found.unchanged == ROWS - 100
    assert [row.kind for row in found.differences] == ["removed"] * 3
    row = found.differences[0]
    assert row.after is None and row.before is not None and "input" in row.before
    assert len(oe.diff(tmp_path / "a.parquet", tmp_path / "b", show=None).differences) == 100
    assert oe.diff(tmp_path / "b", tmp_path / "b", by="order").equal
    with pytest.raises(oe.UsageError, match="use id, order or input"):
        oe.diff(tmp_path / "b", tmp_path / "b", by="tags")  # type: ignore[arg-type]


def test_diff_counts_rows_that_differ_only_in_spelling(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one, two = (f"00000000-0000-4000-8000-00000000000{it}" for it in (1, 2))

    def write(path: Path, *inputs: str) -> None:
        lines = [f'{{"id":"{key}","input":{value}}}\n' for key, value in zip((one, two), inputs, strict=True)]
        path.write_text("".join(lines), encoding="utf-8")

    write(a, '{"a":1,"b":"é"}', "1")
    write(b, '{"b":"\\u00e9","a":1.0}', "1.0000000000000000001")
    found = oe.diff(a, b)
    assert (found.changed, found.respelled, found.unchanged, found.ignore_spelling) == (2, 1, 0, False)
    assert str(found) == "0 added, 0 removed, 2 changed (1 only in spelling), 0 unchanged"
    assert "changed only in spelling" in found._repr_html_()
    assert found.to_dict()["respelled"] == 1
    found = oe.diff(a, b, ignore_spelling=True)
    assert (found.changed, found.respelled, found.unchanged, found.ignore_spelling) == (1, 0, 1, True)
    assert [row.key for row in found.differences] == [two]
    assert str(found) == "0 added, 0 removed, 1 changed, 1 unchanged"
    assert "spelling of JSON is ignored" in oe.report(b, a, ignore_spelling=True).html
