"""Options that choose rows and compute columns, in each call that reads a dataset."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe

from conftest import ROWS

COMPUTED: dict[str, Any] = {"column": {"twice": ("int", ".order * 2"), "first": ".id[:4]"}}


def test_read_keeps_rows_and_proves_all(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset, where=".order < 10", columns=["order", "id"])
    summary = rows.summary
    assert [row[0] for row in rows._inner.head(20)] == list(range(10))
    assert (summary.rows, summary.rows_read, summary.failed_rows) == (10, ROWS, 0)
    assert (summary.count, summary.completeness) == (ROWS, "proven")
    assert summary.transform is not None and summary.transform["where"] == [".order < 10"]
    assert str(summary) == f"10 rows of {ROWS:,} read, complete: every row read once"


def test_several_conditions_must_all_hold(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset, where=(it for it in (".order < 10", ".order > 6")), columns=["order"])
    assert rows._inner.head(9) == [[7], [8], [9]]


def test_columns_are_computed_ordered_and_dropped(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset, limit=3, columns=("twice", "first", "order"), **COMPUTED)
    assert rows.column_names == ["twice", "first", "order"]
    assert [row[::2] for row in rows._inner.head(9)] == [[0, 0], [2, 1], [4, 2]]
    dropped = client.read(demo.dataset, limit=3, drop=["input", "tags"], **COMPUTED).column_names
    assert dropped == ["id", "order", "expected_output", "persona", "additional_properties", "twice", "first"]


def test_every_call_gives_the_same_rows(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    options: dict[str, Any] = {"where": ".order > 9", "sample": 0.3, "seed": 2**64 - 1} | COMPUTED
    read = client.read(demo.dataset, **options).summary
    assert 0 < read.rows < ROWS
    stream = client.stream(demo.dataset, **options)
    assert sum(batch.num_rows for batch in stream) == read.rows
    exported = client.export(demo.dataset, tmp_path / "rows.parquet", **options)

    async def main() -> list[oe.Summary]:
        aclient = oe.AsyncClient(base_url=demo.url, api_key="demo")
        rows = await aclient.read(demo.dataset, **options)
        return [rows.summary, await aclient.export(demo.dataset, tmp_path / "async.parquet", **options)]

    for summary in (stream.summary, exported, *asyncio.run(main())):
        assert (summary.rows, summary.rows_read, summary.digest) == (read.rows, ROWS, read.digest)
        assert summary.transform == read.transform
    other = client.read(demo.dataset, **options | {"seed": 1}).summary
    assert other.digest != read.digest


def test_masked_values_are_null_and_counted(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    options: dict[str, Any] = {"mask": (".persona", ".input.messages[].content"), "columns": ["persona", "input"]}
    rows = client.read(demo.dataset, **options)
    assert all(row[0] is None and '"content":null' in str(row[1]) for row in rows._inner.head(ROWS))
    summary = rows.summary
    assert summary.transform is not None and summary.transform["mask"] == list(options["mask"])
    assert summary.replaced_rows is not None and 0 < summary.replaced_rows[0] < summary.replaced_rows[1] == ROWS
    exported = client.export(demo.dataset, tmp_path / "rows.parquet", **options)
    assert (exported.digest, exported.replaced_rows) == (summary.digest, summary.replaced_rows)
    with pytest.raises(oe.DataError, match="matches no value in"):
        client.read(demo.dataset, mask=".persona,.tags.emial")
    with pytest.raises(oe.DataError, match="matches no value in"):
        client.export(demo.dataset, tmp_path / "a.parquet", mask=".persona,.tags.emial")
    assert not (tmp_path / "a.parquet").exists()


def test_pseudonyms_are_equal_for_equal_values(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    key = tmp_path / "key"
    key.write_text("canary00c0ffee0123456789abcdef0123456789abcdef0123456789abcdef01\n")
    key.chmod(0o600)
    options: dict[str, Any] = {"columns": ["persona"], "pseudonymise": [".persona"], "pseudonym_key_file": key}
    before = [row[0] for row in client.read(demo.dataset, columns=["persona"])._inner.head(ROWS)]
    rows = client.read(demo.dataset, **options)
    after = [row[0] for row in rows._inner.head(ROWS)]
    pairs = set(zip(before, after, strict=True))
    assert len(pairs) == len({name for name, _ in pairs}) == len({name for _, name in pairs}) > 2
    assert all((name is None) == (pseudonym is None) for name, pseudonym in pairs)
    assert rows.summary.transform is not None and rows.summary.transform["pseudonymise"] == [".persona"]
    assert "canary" not in repr(rows.summary.to_dict())
    key.chmod(0o644)
    with pytest.raises(oe.Error, match="cannot use the key file of pseudonyms"):
        client.read(demo.dataset, **options)


def test_equal_rows_are_left_out_and_counted(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    options: dict[str, Any] = {"dedupe": ".order % 7", "columns": ["order"]}
    rows = client.read(demo.dataset, **options)
    assert rows._inner.head(9) == [[it] for it in range(7)]
    summary = rows.summary
    assert (summary.rows, summary.rows_read, summary.duplicate_rows) == (7, ROWS, ROWS - 7)
    assert summary.transform is not None and summary.transform["dedupe"] == ".order % 7"
    exported = client.export(demo.dataset, tmp_path / "rows.parquet", **options)
    assert (exported.digest, exported.duplicate_rows) == (summary.digest, ROWS - 7)


def test_failed_rows_end_the_call_or_are_counted(demo: oe.Demo, client: oe.Client) -> None:
    column = {"odd": ("int", 'if .order % 2 == 0 then "even" else .order end')}
    with pytest.raises(oe.DataError, match=r"page 1, row 1 \(id "):
        client.read(demo.dataset, column=column)
    for on_error, kept in (("skip", ROWS // 2), ("null", ROWS)):
        options: dict[str, Any] = {"column": column, "on_error": on_error}
        summary = client.read(demo.dataset, **options).summary
        assert (summary.rows, summary.failed_rows) == (kept, ROWS // 2)


def test_endless_expression_ends_the_call(demo: oe.Demo, client: oe.Client) -> None:
    stuck = 'reduce range(1) as $i ("a" * 20000000; indices("a" * 10000000 + "b")) | true'
    with pytest.raises(oe.DataError, match="did not end within"):
        client.read(demo.dataset, where=stuck, expression_timeout=0.2)


@pytest.mark.consumer("polars")
def test_scan_keeps_rows_whatever_the_query(demo: oe.Demo, client: oe.Client) -> None:
    late = f".order >= {ROWS - 5}"
    # A limit of a query counts rows that were kept, so it is no limit of the rows to read.
    lazy = client.scan(demo.dataset, where=late)
    assert lazy.select("order").head(3).collect()["order"].to_list() == [ROWS - 5, ROWS - 4, ROWS - 3]
    lazy = client.scan(demo.dataset, where=late, drop=["input"], **COMPUTED)
    assert lazy.select("twice").collect()["twice"].to_list() == [2 * it for it in range(ROWS - 5, ROWS)]
    assert lazy.select("order").collect().height == 5
    # A query that leaves out a column has the rows of the others.
    failing: dict[str, Any] = {"odd": ("int", 'if .order % 2 == 0 then "even" else .order end')}
    lazy = client.scan(demo.dataset, on_error="skip", column=failing, limit=100)
    assert lazy.select("id").collect().height == 50


def test_bad_options_send_no_request(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    before = demo.requests
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"where": ".persona | foo"}, oe.UsageError, "there is no function foo"),
        ({"where": [".id", 5]}, TypeError, "`where` must be an expression or a list of expressions, not list"),
        ({"mask": ".tags | .email"}, oe.UsageError, "only paths are allowed here"),
        ({"mask": [5]}, TypeError, "`mask` must be a path or a list of paths, not list"),
        ({"pseudonymise": ".persona"}, oe.UsageError, "`pseudonymise` needs `pseudonym_key_file`"),
        ({"pseudonymise": ".persona", "pseudonym_key_file": 5}, TypeError, "`pseudonym_key_file` must be a path"),
        ({"dedupe": ".input |"}, oe.UsageError, "is not a valid expression"),
        ({"sample": 1.5}, oe.UsageError, "use a number above 0 and up to 1"),
        ({"sample": True}, TypeError, "`sample` must be a number, not bool"),
        ({"sample": 0.5, "seed": -1}, oe.UsageError, "give a whole number from 0 to"),
        ({"sample": 0.5, "seed": 2**64}, oe.UsageError, "give a whole number from 0 to"),
        ({"seed": 1}, oe.UsageError, "`seed` has no effect without `sample` or `split`"),
        ({"split_by": ".id"}, oe.UsageError, "`split_by` has no effect without `split` or `sample`"),
        ({"on_error": "ignore"}, oe.UsageError, "use fail, null or skip"),
        ({"on_error": "skip"}, oe.UsageError, "`on_error` has no effect"),
        ({"where": ".id", "expression_timeout": 0}, oe.UsageError, "above zero"),
        ({"column": {"a": ("text", ".id")}}, oe.UsageError, '"text"'),
        ({"column": {"a": (".id",)}}, TypeError, "a pair of a type and an expression"),
        ({"column": [".id"]}, TypeError, "a dictionary of names and expressions"),
        ({"column": {"a": ".id"}, "columns": ["id"]}, oe.UsageError, "it is computed, but not among"),
        ({"columns": ["id"], "drop": ["tags"]}, oe.UsageError, "`drop` has no effect"),
        ({"columns": ["id", "id"]}, oe.UsageError, "it is given twice"),
        ({"drop": "tags"}, TypeError, "a list of names"),
    ]
    for options, kind, why in refused:
        for call in (
            lambda: client.read(demo.dataset, **options),
            lambda: client.stream(demo.dataset, **options),
            lambda: client.export(demo.dataset, tmp_path / "a.parquet", **options),
        ):
            with pytest.raises(kind) as caught:
                call()
            assert why in str(caught.value), options
    assert demo.requests == before
    assert list(tmp_path.iterdir()) == []


def test_splits_are_written_and_opened(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    out = tmp_path / "out"
    summary = client.export(demo.dataset, out, split={"train": 0.8, "test": 0.2}, split_by=".id")
    splits = {split["name"]: split["rows"] for split in json.loads((tmp_path / "out.manifest.json").read_text())["splits"]}
    assert list(splits) == ["train", "test"]
    assert sum(splits.values()) == summary.rows
    assert summary.splits is not None and {it["name"]: it["rows"] for it in summary.splits} == splits
    whole, train, test = (oe.open(path).read() for path in (out, out / "train", out / "test"))
    assert (train.num_rows, test.num_rows) == (splits["train"], splits["test"])
    ids = [[row["id"] for row in rows.to_arrow().to_pylist()] for rows in (whole, train, test)]
    assert ids[0] == ids[1] + ids[2]
    assert oe.verify(out / "test").ok
    explained = oe.open(tmp_path / "out").explain(rows=summary.rows, split={"train": 0.8, "test": 0.2}, split_by=".id")
    assert [row.split for row in explained] == ["train"] * splits["train"] + ["test"] * splits["test"]
    assert str(explained[0]).endswith(" kept in train")
    first = client.explain(demo.dataset, split={"train": 0.8, "test": 0.2}, split_by=".id")
    assert len(first) == 20 and all((row.split == "test") == (row.id in ids[2]) for row in first)
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"split": {"a": 0.5}}, oe.UsageError, "give from 2 to 16 splits"),
        ({"split": {"a": 0.5, "b": 0.6}}, oe.UsageError, "the fractions sum to 1.1, not to 1"),
        ({"split": {"a": 0.5, "b": True}}, TypeError, "a dictionary of names and fractions"),
        ({"split": "a=0.5,b=0.5"}, TypeError, "a dictionary of names and fractions"),
    ]
    for options, kind, why in refused:
        with pytest.raises(kind) as caught:
            client.export(demo.dataset, tmp_path / "other", **options)
        assert why in str(caught.value), options


def test_map_writes_lines(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    path = tmp_path / "chat.jsonl"
    summary = client.export(demo.dataset, path, map="{id, roles: [.input.messages[].role]}", manifest=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == summary.rows == summary.rows_read == ROWS
    assert set(lines[0]) == {"id", "roles"}
    assert oe.verify(path).ok
    with pytest.raises(oe.UsageError, match="`map` writes JSON Lines, not Parquet"):
        client.export(demo.dataset, tmp_path / "rows.parquet", map=".id")
    with pytest.raises(TypeError, match="map"):
        client.read(demo.dataset, map=".id")  # type: ignore[call-arg]


def test_explain_says_why_rows_are_left_out(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    wanted = {"where": ".order != 1", "column": {"n": ("int", "if .order == 2 then .id else 1 end")}}
    rows = client.explain(demo.dataset, rows=3, **wanted)
    assert [(row.kept, row.ends) for row in rows] == [(True, False), (False, False), (False, True)]
    assert rows[1].reason == '`where` ".order != 1" does not hold'
    assert rows[2].reason is not None and rows[2].reason.startswith('`column` "n=if .order == 2')
    assert str(rows[0]) == f"{rows[0].id} kept" and str(rows[1]).startswith(f"{rows[1].id} left out: `where`")
    client.export(demo.dataset, tmp_path / "rows.parquet")
    assert oe.open(tmp_path / "rows.parquet").explain(rows=3, **wanted) == rows
    assert oe.explain(demo.dataset, base_url=demo.url, api_key="demo", where="true", rows=5)[4].kept
    assert len(client.explain(demo.dataset, sample=0.5)) == 20


def test_explain_warns_of_misspelled_fields(
    tmp_path: Path, demo: oe.Demo, client: oe.Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.export(demo.dataset, tmp_path / "rows.parquet")
    stored = oe.open(tmp_path / "rows.parquet")
    start = "no row that was read has the field"
    notes = [
        f"{start} .persna, which `where` reads: did you mean .persona?",
        f"{start} .input.mesages, which `where` reads: did you mean .input.messages?",
    ]
    for explain in (lambda **given: client.explain(demo.dataset, **given), stored.explain):
        caplog.clear()
        rows = explain(where=".persna == 1 or (.input.mesages | length) > 0", rows=3)
        assert [row.kept for row in rows] == [False] * 3
        assert [it.getMessage() for it in caplog.records if it.levelname == "WARNING"] == notes


def test_explain_refuses_what_it_cannot_explain(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "rows.parquet")
    stored = oe.open(tmp_path / "rows.parquet")
    for explain in (lambda **given: client.explain(demo.dataset, **given), stored.explain):
        with pytest.raises(oe.UsageError, match="no transformation to explain: give `where`"):
            explain()
        with pytest.raises(oe.UsageError, match="`rows`|rows"):
            explain(where="true", rows=0)
        with pytest.raises(TypeError, match="unexpected keyword argument 'wher'. Did you mean 'where'"):
            explain(wher="true")
        with pytest.raises(oe.Error, match="where"):
            explain(where=".order ==")


def test_misspelled_fields_are_warned_of(
    tmp_path: Path, demo: oe.Demo, client: oe.Client, caplog: pytest.LogCaptureFixture
) -> None:
    field = "no row has the field .tag, which `where` reads: did you mean .tags?"
    result = "no row has the field .input.mesages, which `column` n reads: did you mean .input.messages?"
    calls = [
        lambda: client.read(demo.dataset, where='.tag[0]? == "x"').summary,
        lambda: client.export(demo.dataset, tmp_path / "none.parquet", where='.tag[0]? == "x"'),
    ]
    for call in calls:
        caplog.clear()
        summary = call()
        assert (summary.rows, summary.missing) == (0, [field])
        assert [(it.name, it.levelname, it.getMessage()) for it in caplog.records] == [
            ("overmind_export.transform", "WARNING", field)
        ]
    client.export(demo.dataset, tmp_path / "rows.parquet")
    for summary in (
        oe.convert(tmp_path / "rows.parquet", tmp_path / "n.parquet", column={"n": ".input.mesages"}),
        oe.open(tmp_path / "rows.parquet").read(column={"n": ".input.mesages"}).summary,
    ):
        assert summary.missing == [result]
    assert client.read(demo.dataset, where=".order < 3").summary.missing == []
