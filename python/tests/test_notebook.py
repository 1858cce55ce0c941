"""What objects show in a notebook, and what is only a part."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import overmind_export as oe
from conftest import ROWS

#: They control a terminal, or the direction of text.
CONTROLS = "\x1b\x7f\x85\u061c\u200e\u200f\u202a\u202e\u2066\u2069\u2028"


class Page(HTMLParser):
    """Collects the elements, the attributes and the text of a page, and checks that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(shown: Any) -> Page:
    found = Page(shown._repr_html_())
    assert found.tags <= {"div", "table", "thead", "tbody", "tr", "th", "td", "br", "span", "p"}
    assert found.attributes <= {"class", "style"}
    return found


def test_rows_show_types_and_completeness(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset)
    found = page(rows)
    assert found.texts[-1] == "5,000 rows, complete; the first 10 are shown"
    heads = [text for text in found.texts if text.strip()][: 2 * len(rows.column_names)]
    assert heads[:6] == ["id", "text", "order", "int64", "input", "JSON text"]
    assert rows._repr_html_().count("<tr>") == 11
    assert "…" in rows._repr_html_() and len(rows._repr_html_()) < 20_000


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"limit": 3}, "3 rows of 5,000, a part of the dataset: 4,997 rows are missing"),
        ({"limit": ROWS - 1}, "4,999 rows of 5,000, a part of the dataset: 1 row is missing; the first 10 are shown"),
        ({"limit": ROWS}, "5,000 rows, complete; the first 10 are shown"),
    ],
)  # fmt: skip
def test_part_says_what_is_missing(
    demo: oe.Demo, client: oe.Client, options: Any, note: str
) -> None:
    assert page(client.read(demo.dataset, columns=["id"], **options)).texts[-1] == note


def test_values_cannot_act(tmp_path: Path) -> None:
    bad = f"<script>alert(1)</script>&amp;\"'$x$ {CONTROLS}<img src=x onerror=y>"
    row = {"id": "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", "input": {bad: bad}, "persona": bad}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    with oe.demo(rows=1, files=[path]) as demo:
        client = oe.Client(base_url=demo.url, api_key="demo")
        rows = client.read(demo.datasets[0])
        for shown in [rows, next(client.stream(demo.datasets[0]))]:
            html = shown._repr_html_()
            assert not any(character in html for character in CONTROLS)
            # A persona is one text, as it was served.
            harmless = bad.replace("\u2028", " ")
            harmless = "".join("\ufffd" if character in CONTROLS else character for character in harmless)
            assert harmless in page(shown).texts
            # MathJax leaves it alone.
            assert html.startswith('<div class="tex2jax_ignore mathjax_ignore"')


def test_empty_rows_show_columns(client: oe.Client) -> None:
    with oe.demo(rows=0) as demo:
        rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo")
    assert page(rows).texts[-1] == "0 rows, complete"
    assert page(rows.head()).texts[-1] == "0 rows, complete"


def test_facts_show_as_tables(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    summary = client.export(demo.dataset, tmp_path / "out")
    found = page(summary)
    assert {"rows", "5,000", "completeness", "proven", "digest", "received bytes"} <= set(found.texts)
    assert "kept rows" in found.texts and found.texts[-1] == "5,000 rows, complete"
    assert re.fullmatch(
        r"<Summary: 5,000 rows, complete: every row once; \d+ requests; \d+\.\d s>", repr(summary)
    )
    verification = oe.verify(tmp_path / "out")
    assert {"result", "ok", str(tmp_path / "out")} <= set(page(verification).texts)
    assert repr(verification) == f"<Verification: {tmp_path}/out: ok, 5,000 rows, proven>"
    (tmp_path / "out" / "part-00000.parquet").write_bytes(b"nothing")
    verification = oe.verify(tmp_path / "out")
    assert {"result", "not ok", "problem", verification.problems[0]} <= set(page(verification).texts)
    assert repr(verification).startswith(f"<Verification: {tmp_path}/out: part-00000.parquet")


def test_differences_show_as_a_table(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "a.parquet")
    client.export(demo.dataset, tmp_path / "b.parquet", pages="2-")
    diff = oe.diff(tmp_path / "a.parquet", tmp_path / "b.parquet", show=None)
    assert repr(diff) == "<Diff: 0 added, 100 removed, 0 changed, 4,900 unchanged>"
    found = page(diff)
    assert {"removed", "100", "unchanged", "4,900", "compared by", "id", "and 90 more"} <= set(found.texts)
    assert f"removed: {diff.differences[0].key}" in found.texts


def test_head_is_a_part(demo: oe.Demo, client: oe.Client) -> None:
    rows = client.read(demo.dataset)
    head = rows.head(4_500)
    assert (len(head), head.summary.rows, head.summary.count) == (4_500, 4_500, ROWS)
    assert (head.summary.completeness, head.summary.digest) == ("partial", None)
    assert head._inner.head(ROWS) == rows._inner.head(4_500)
    assert head.column_names == rows.column_names
    # Without a row left out, they are what they were.
    assert rows.head(ROWS).summary == rows.head(10**30).summary == rows.summary
    assert rows.head(ROWS)._inner.head(ROWS) == rows._inner.head(ROWS)
    assert (len(rows.head()), len(rows.head(0)), rows.head(0).summary.completeness) == (5, 0, "partial")
    # A part stays a part.
    part = client.read(demo.dataset, limit=10)
    assert part.head(10).summary.completeness == "partial"
    with pytest.raises(oe.UsageError, match="`n` is -1: it must not be negative"):
        rows.head(-1)


def test_head_of_unknown_rows_is_a_part(tmp_path: Path, demo: oe.Demo, client: oe.Client) -> None:
    client.export(demo.dataset, tmp_path / "rows.jsonl")
    rows = oe.open(tmp_path / "rows.jsonl").read()
    assert (rows.summary.completeness, rows.head(7).summary.completeness) == ("unknown", "partial")
    assert page(rows).texts[-1] == "5,000 rows, completeness unknown; the first 10 are shown"
    assert page(rows.head(7)).texts[-1] == "7 rows, a part of the dataset"


@pytest.mark.consumer("polars")
def test_head_converts(demo: oe.Demo, client: oe.Client) -> None:
    import polars as pl

    rows = client.read(demo.dataset)
    assert pl.DataFrame(rows.head(4_321)).equals(pl.DataFrame(rows).head(4_321))


def test_limit_is_a_part(demo: oe.Demo, client: oe.Client) -> None:
    assert client.read(demo.dataset, limit=ROWS - 1).summary.completeness == "partial"
    stream = client.stream(demo.dataset, limit=500)
    assert sum(batch.num_rows for batch in stream) == 500
    assert stream.summary.completeness == "partial"


def test_consumer_that_stops_early_has_a_part(demo: oe.Demo, client: oe.Client) -> None:
    stream = client.stream(demo.dataset)
    for _ in stream:
        break
    assert (stream.summary.completeness, stream.summary.digest) == ("partial", None)
    stream.close()
    assert stream.summary.completeness == "partial"
    # All rows came, but not the end, which is the proof.
    stream = client.stream(demo.dataset)
    seen = 0
    while seen < ROWS:
        seen += next(stream).num_rows
    assert (stream.summary.rows, stream.summary.completeness) == (ROWS, "partial")
    assert next(stream, None) is None
    assert stream.summary.completeness == "proven"


@pytest.mark.consumer("duckdb")
def test_query_with_a_limit_has_a_part(demo: oe.Demo, client: oe.Client) -> None:
    import duckdb

    stream = client.stream(demo.dataset)
    assert len(duckdb.sql("select id from stream limit 3").fetchall()) == 3
    assert stream.summary.completeness == "partial"
