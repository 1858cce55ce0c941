"""Reads exports with nested JSON columns with the libraries that people use, and compares the values.

The types come from the command `schema`: they say which parts are JSON text. Every other value must be the value of
the source. A null and a missing member are the same.
"""

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
from expected import JSON_COLUMNS, Columns, Different, Source
from libraries import Export, ipc_table

Read = Callable[[Export], Columns]

# The column of the values that do not fit their types.
RESCUED = "_rescued"

# Types that hold only some values of the conversations.
NARROW = {
    "columns": [
        {
            "name": "input",
            "type": "struct",
            "fields": [
                {
                    "name": "messages",
                    "type": "list",
                    "item": {
                        "type": "struct",
                        "fields": [
                            {"name": "role", "type": "string"},
                            {"name": "content", "type": "string"},
                            {"name": "score", "type": "int"},
                        ],
                    },
                },
                {"name": "mixed", "type": "string"},
            ],
        },
        {"name": "tags", "type": "struct", "fields": [{"name": "topic", "type": "string"}]},
    ]
}


def conversation_lines() -> Iterator[str]:
    """Returns datapoints of one shape, with null, missing and empty values."""
    for number in range(1_200):
        messages = [
            {"role": "user", "content": f"turn {turn} of {number}: é\n\"", "tokens": number + turn, "score": turn / 8}
            for turn in range(number % 4)
        ]
        # One member has several kinds, one is only sometimes there.
        given = {"messages": messages, "mixed": number if number % 2 else "text"}
        given |= {} if number % 3 else {"options": {"deep": [[], [number % 2 == 0, None]]}}
        tags = [None, {}, {"topic": "billing"}][number % 3]
        row = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"nested {number}")), "order": number}
        yield json.dumps(row | {"input": given, "tags": tags, "trace": {"n": number}})


def pandas_columns(frame: pd.DataFrame) -> Columns:
    return {name: [plain(value) for value in frame[name]] for name in frame if name in (*JSON_COLUMNS, RESCUED)}


def plain(value: object) -> object:
    """Turns the arrays of NumPy into lists."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return None if value is None or value is pd.NA or value is pd.NaT or value != value else value


def duckdb_columns(relation: duckdb.DuckDBPyRelation) -> Columns:
    rows = relation.fetchall()
    return {name: [row[at] for row in rows] for at, name in enumerate(relation.columns)}


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
}


def types(binary: str, export: Export) -> dict[str, dict]:
    """Returns the type of each JSON column."""
    done = subprocess.run([binary, "schema", str(export.path)], capture_output=True, text=True, check=True)
    return {column["name"]: column for column in json.loads(done.stdout)["columns"]}


def typed(value: object, kind: dict) -> object:
    """Parses the parts of a value that are JSON text."""
    if value is None:
        return None
    match kind["type"]:
        case "json":
            return json.loads(value)
        case "list":
            return [typed(item, kind["item"]) for item in value]
        case "struct":
            return {field["name"]: typed(value[field["name"]], field) for field in kind["fields"]}
    wanted = {"string": str, "int": int, "float": float, "bool": bool}[kind["type"]]
    if type(value) is not wanted:
        raise Different(f"{value!r} is not of the type {kind['type']}")
    return value


def without_nulls(value: object) -> object:
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return value


def compare(read: Columns, kinds: dict[str, dict], source: Source) -> None:
    """Raises `Different` at the first value that differs from the source."""
    for name in JSON_COLUMNS:
        have = [without_nulls(typed(value, kinds[name])) for value in read[name]]
        wanted = [without_nulls(text and json.loads(text)) for text in source.columns[name]]
        if len(have) != len(wanted):
            raise Different(f"{name} has {len(have):,} rows, not {len(wanted):,}")
        for row, (one, other) in enumerate(zip(have, wanted)):
            if one != other:
                raise Different(f"{name}, row {row}: {one!r:.200} instead of {other!r:.200}")


def restored(read: Columns, kinds: dict[str, dict]) -> Columns:
    """Puts the rescued values back, and returns the columns as JSON text of their values."""
    columns = {name: [typed(value, kinds[name]) for value in read[name]] for name in JSON_COLUMNS}
    for row, rescued in enumerate(read[RESCUED]):
        for path, value in json.loads(rescued or "{}").items():
            _, column, *steps = [int(index) if index else name for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", "._" + path)]
            place, last = columns[column], row
            for step in steps:
                place, last = place[last], step
            if (place.get(last) if isinstance(place, dict) else place[last]) is not None:
                raise Different(f"row {row} has a value at {path} already")
            place[last] = value
    return columns


def compare_rescued(read: Columns, kinds: dict[str, dict], source: Source) -> None:
    """Raises `Different` if the columns and the rescued values together are not those of the source."""
    if not 0 < sum(value is not None for value in read[RESCUED]) < len(read[RESCUED]):
        raise Different("all rows have rescued values, or none")
    plain_text = {name: {"type": "json"} for name in kinds}
    texts = {name: [json.dumps(value) for value in values] for name, values in restored(read, kinds).items()}
    compare(texts, plain_text, source)


def first_contents(source: Source) -> list:
    """Returns the content of the first message of each row, in the order of the rows."""
    inputs = [json.loads(text) for text in source.columns["input"]]
    return [next((message["content"] for message in it["messages"]), None) for it in inputs]


# Ways to address a value in a nested column.
PATHS: dict[str, Callable[[Export], list]] = {
    "DuckDB": lambda it: [
        row[0]
        for row in duckdb.sql(
            f"select input.messages[1].content from read_parquet('{it.pattern}') order by \"order\""
        ).fetchall()
    ],
    "Polars": lambda it: pl.read_parquet(it.pattern)
    .select(pl.col("input").struct.field("messages").list.get(0, null_on_oob=True).struct.field("content"))
    .to_series()
    .to_list(),
    "pyarrow": lambda it: [
        messages[0]["content"] if messages else None
        for messages in pa.parquet.read_table(it.path, columns=["input"])["input"].combine_chunks().field("messages").to_pylist()
    ],
}
