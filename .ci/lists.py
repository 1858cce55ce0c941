"""Reads exports with columns of lists with the libraries that people use, and compares the values.

The expected lists are computed here, from the text of the source. JSON Lines have JSON arrays, and CSV their text.
"""

import json
from collections.abc import Callable
from datetime import datetime, timezone

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from expected import Columns, Different, Source
from libraries import Export, ipc_table
from nested import plain

COLUMNS = {
    "said:string[]": '[.input.messages[].content, null, ""]',
    "tokens:int[]": "if .order % 5 == 0 then null else [.input.messages[].tokens] end",
    "scores:float[]": "[.input.messages[].score, null]",
    "flags:bool[]": "[.order % 2 == 0]",
    "times:timestamp[]": '["2026-01-31T12:00:00.000001Z", null]',
    "messages:json[]": ".input.messages + [.input.mixed]",
}
OPTIONS = [
    "--columns",
    ",".join(["order", *(name.split(":")[0] for name in COLUMNS)]),
    *(word for name, expression in COLUMNS.items() for word in ("--column", f"{name}={expression}")),
]
TIME = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=timezone.utc)

Read = Callable[[Export], Columns]


def expected(source: Source) -> Columns:
    columns: Columns = {name: [] for name in ("order", *(name.split(":")[0] for name in COLUMNS))}
    for order, text in zip(source.columns["order"], source.columns["input"]):
        given = json.loads(text)
        messages = given["messages"]
        row = {
            "order": order,
            "said": [message["content"] for message in messages] + [None, ""],
            "tokens": None if order % 5 == 0 else [message["tokens"] for message in messages],
            "scores": [message["score"] for message in messages] + [None],
            "flags": [order % 2 == 0],
            "times": [TIME, None],
            "messages": [*messages, given["mixed"]],
        }
        for name, value in row.items():
            columns[name].append(value)
    return columns


def pandas_columns(frame: pd.DataFrame) -> Columns:
    return {name: [plain(value) for value in frame[name]] for name in frame}


def duckdb_columns(relation: duckdb.DuckDBPyRelation) -> Columns:
    # As Arrow: without the package pytz, DuckDB returns no times with a zone to Python.
    return pa.table(relation).to_pydict()


def lines(export: Export) -> Columns:
    rows = [json.loads(line) for line in export.path.read_text().split("\n")[:-1]]
    return {name: [row[name] for row in rows] for name in rows[0]}


def parsed_cells(columns: Columns) -> Columns:
    """Parses the cells of CSV, which have the JSON text of their list."""
    parse = lambda cell: json.loads(cell) if isinstance(cell, str) else None
    return {name: cells if name == "order" else [parse(cell) for cell in cells] for name, cells in columns.items()}


READERS: dict[str, dict[str, Read]] = {
    "parquet": {
        "pyarrow": lambda it: pa.parquet.read_table(it.path).to_pydict(),
        "pandas": lambda it: pandas_columns(pd.read_parquet(it.path)),
        "Polars": lambda it: pl.read_parquet(it.pattern).to_dict(as_series=False),
        "DuckDB": lambda it: duckdb_columns(duckdb.read_parquet(it.pattern)),
    },
    "arrow": {
        "pyarrow": lambda it: ipc_table(it).to_pydict(),
        "pandas": lambda it: pandas_columns(pd.concat(map(pd.read_feather, it.files))),
        "Polars": lambda it: pl.read_ipc(it.pattern).to_dict(as_series=False),
        "DuckDB over pyarrow": lambda it: duckdb_columns(duckdb.from_arrow(ipc_table(it))),
    },
    "jsonl": {
        "json": lines,
        "pandas": lambda it: pandas_columns(pd.read_json(it.path, lines=True, precise_float=True)),
    },
    "csv": {
        "pandas": lambda it: parsed_cells(pandas_columns(pd.read_csv(it.path))),
        "Polars": lambda it: parsed_cells(pl.read_csv(it.path).to_dict(as_series=False)),
        "DuckDB": lambda it: parsed_cells(duckdb_columns(duckdb.read_csv(str(it.path)))),
    },
}


def element(column: str, value: object) -> object:
    """Returns an element in the form in which it is compared."""
    if column == "messages" and isinstance(value, str) and value[:1] in '{"0123456789':
        return json.loads(value)
    if column == "times" and value is not None:
        time = datetime.fromisoformat(value) if isinstance(value, str) else pd.Timestamp(value).to_pydatetime()
        return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    return value


def compare(read: Columns, source: Source) -> None:
    """Raises `Different` at the first list that differs from the one that the source gives."""
    wanted = expected(source)
    if list(read) != list(wanted):
        raise Different(f"columns are {list(read)}")
    if [int(value) for value in read.pop("order")] != wanted.pop("order"):
        raise Different("the order of the rows differs")
    for name, lists in wanted.items():
        have = [None if it is None else [element(name, value) for value in it] for it in read[name]]
        if len(have) != len(lists):
            raise Different(f"{name} has {len(have):,} rows, not {len(lists):,}")
        for row, (one, other) in enumerate(zip(have, lists)):
            if one != other:
                raise Different(f"{name}, row {row}: {one!r:.200} instead of {other!r:.200}")
