"""Reads exports with the libraries that people use, and returns the values as Python objects.

Each reader calls its library as a notebook would. If a library cannot represent a value, the table of
readers names the dataset and the reason. This module knows neither the command nor the expected values.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import duckdb
import fastparquet
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet
from expected import COLUMNS, JSON_COLUMNS, Columns, Different, members, parsed

SCHEMA = pa.schema(
    pa.field(name, pa.int64() if name == "order" else pa.string(), nullable=name != "id")
    for name in COLUMNS
)
# Without explicit types, DuckDB infers one nested type for all the JSON in a column.
DUCKDB_COLUMNS = {
    name: "BIGINT" if name == "order" else "JSON" if name in JSON_COLUMNS else "VARCHAR"
    for name in COLUMNS
}
# Do not download extensions: an extension outside the wheel counts as missing.
duckdb.execute("SET autoinstall_known_extensions = false")


@dataclass(frozen=True)
class Export:
    """The output of one run of the command."""

    path: Path
    extension: str

    @property
    def files(self) -> list[Path]:
        return sorted(self.path.glob("part-*")) if self.path.is_dir() else [self.path]

    @property
    def pattern(self) -> str:
        """Returns a path for readers that take a glob pattern instead of a directory."""
        return str(self.path / f"*.{self.extension}" if self.path.is_dir() else self.path)

    def digest(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)} ".encode() + content)
        return digest.hexdigest()


@dataclass(frozen=True)
class Reader:
    """A way to read a format, from an export or from a pipe."""

    format: str
    name: str
    read: Callable[[Export | IO[bytes]], Columns]
    json_is_text: bool = True
    # The datasets that the library cannot read without loss, with the reason.
    cannot: dict[str, str] = field(default_factory=dict)


def of_arrow(table: pa.Table) -> Columns:
    if not table.schema.equals(SCHEMA):
        raise Different(f"the schema is {table.schema}")
    return table.to_pydict()


def of_pandas(frame: pd.DataFrame, text: str = "str", integer: str = "int64") -> Columns:
    check_types(frame.dtypes.to_dict(), text, integer)
    return pandas_values(frame)


def of_polars(frame: pl.DataFrame) -> Columns:
    check_types(frame.schema, "String", "Int64")
    return frame.to_dict(as_series=False)


def of_duckdb(relation: duckdb.DuckDBPyRelation) -> Columns:
    check_types(dict(zip(relation.columns, relation.types)), "VARCHAR", "BIGINT")
    return duckdb_values(relation)


def check_types(types: dict, text: str, integer: str) -> None:
    found = {name: str(type) for name, type in types.items()}
    if found != {name: integer if name == "order" else text for name in COLUMNS}:
        raise Different(f"the types are {found}")


def pandas_values(frame: pd.DataFrame) -> Columns:
    objects = frame.astype(object).where(frame.notna(), None)
    return {name: objects[name].tolist() for name in objects}


def duckdb_values(relation: duckdb.DuckDBPyRelation) -> Columns:
    rows = relation.fetchall()
    return {name: [row[at] for row in rows] for at, name in enumerate(relation.columns)}


def ipc_table(export: Export) -> pa.Table:
    return pa.dataset.dataset(export.path, format="ipc").to_table()


def mapped_table(export: Export) -> pa.Table:
    """Reads the files through memory maps. Uncompressed data must not be copied."""
    before = pa.total_allocated_bytes()
    tables = []
    for file in export.files:
        with pa.memory_map(str(file)) as bytes, pa.ipc.open_file(bytes) as reader:
            tables.append(reader.read_all())
    if export.path.stem == "uncompressed" and pa.total_allocated_bytes() > before:
        raise Different("an uncompressed file was copied instead of mapped")
    return pa.concat_tables(tables)


def lines(text: bytes) -> Columns:
    """Reads JSON Lines token by token. This is the only reader that changes nothing."""
    if text and not text.endswith(b"\n"):
        raise Different("the last line has no line break")
    columns = {name: [] for name in COLUMNS}
    for line in text.decode().split("\n")[:-1]:
        fields = list(members(line))
        if [name for name, _ in fields] != COLUMNS:
            raise Different(f"a line has the fields {[name for name, _ in fields]}")
        for name, token in fields:
            is_text = name in JSON_COLUMNS and token != "null"
            columns[name].append(token if is_text else json.loads(token))
    return columns


def decompressed(export: Export) -> bytes:
    texts = []
    for file in export.files:
        if export.extension.endswith(".gz"):
            texts.append(one_member(file.read_bytes()))
            continue
        with pa.input_stream(str(file), compression="detect") as stream:
            texts.append(stream.read())
    return b"".join(texts)


def one_member(content: bytes) -> bytes:
    """Decompresses a gzip file. Some readers stop after the first member without an error."""
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = decoder.decompress(content) + decoder.flush()
    if not decoder.eof or decoder.unused_data:
        raise Different("the file is not one gzip member")
    return text


def duckdb_lines(path: str) -> Columns:
    # DuckDB writes numbers in its own way (1e-9 for 1e-09), so compare them as values.
    return parsed(duckdb_values(duckdb.read_json(path, columns=DUCKDB_COLUMNS)))


def text_lines(text: bytes) -> Columns:
    """Reads JSON Lines with text columns. A JSON parser changes nothing in them."""
    rows = [json.loads(line) for line in text.decode().split("\n")[:-1]]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def fastparquet_values(export: Export) -> Columns:
    frame = fastparquet.ParquetFile(str(export.path)).to_pandas()
    values = pandas_values(frame)
    # An order column with nulls becomes float64.
    values["order"] = [None if at is None else int(at) for at in values["order"]]
    return values


def pandas_lines(lines: Path | IO[bytes]) -> pd.DataFrame:
    # Without precise_float, pandas does not always return the nearest floating point number.
    return pd.read_json(lines, lines=True, precise_float=True)


def pyarrow_lines(export: Export) -> Columns:
    # A JSON dataset of pyarrow detects gzip by the file extension, but not zstd.
    if export.path.is_dir() and export.extension != "jsonl.zst":
        return pa.dataset.dataset(export.path, format="json").to_table().to_pydict()
    return pa.concat_tables(pa.json.read_json(file) for file in export.files).to_pydict()


def csv_cells(text: bytes) -> Columns:
    """Reads CSV cell by cell, as RFC 4180 defines it. An empty cell is null, and two quotes are the empty text."""
    rows, at, text = [[]], 0, text.decode("utf-8-sig")
    cell = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')
    while at < len(text):
        if not (found := cell.match(text, at)):
            raise Different(f"no cell begins at {text[at : at + 40]!r}")
        quoted, plain, end = found.groups()
        rows[-1].append(plain or None if quoted is None else quoted.replace('""', '"'))
        if end != ",":
            rows.append([])
        at = found.end()
    header, *rows = rows[:-1]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(header)}
    return columns | {"order": [None if at is None else int(at) for at in columns["order"]]}


def csv_texts(export: Export) -> list[bytes]:
    """Returns the text of each file. A directory has a header in each part."""
    return [decompressed(Export(file, export.extension)) for file in export.files]


def joined(tables: Iterable[Columns]) -> Columns:
    first, *others = tables
    for table in others:
        for name, values in table.items():
            first[name].extend(values)
    return first


def pandas_csv(file: Path | IO[bytes]) -> pd.DataFrame:
    types = {name: "Int64" if name == "order" else "str" for name in COLUMNS}
    # Otherwise texts such as "null" and "NA" would be missing values, too.
    return pd.read_csv(file, dtype=types, keep_default_na=False, na_values=[""])


def polars_csv(source: str | IO[bytes]) -> Columns:
    types = {name: pl.Int64 if name == "order" else pl.String for name in COLUMNS}
    return of_polars(pl.read_csv(source, schema_overrides=types))


def duckdb_csv(path: str) -> Columns:
    types = {name: "BIGINT" if name == "order" else "VARCHAR" for name in COLUMNS}
    # A line of the hostile rows has 3 MB.
    return of_duckdb(duckdb.read_csv(
        path, columns=types, header=True, auto_detect=False, quotechar='"', escapechar='"',
        allow_quoted_nulls=False, max_line_size=8 << 20,
    ))  # fmt: skip


def pyarrow_csv(source: Path | IO[bytes]) -> Columns:
    table = pa.csv.read_csv(
        source,
        # A line must fit into a block.
        read_options=pa.csv.ReadOptions(block_size=8 << 20),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=SCHEMA, null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    # All columns of CSV are nullable.
    return of_arrow(table.cast(SCHEMA))


ARROW_TYPES = ("string[pyarrow]", "int64[pyarrow]")
FLOAT_ORDER = {"hostile": "turns an order column with nulls into float64; Arrow types avoid this"}
PARTLY_JSON = {"hostile": "rejects numbers outside the range of a double, and half a surrogate pair"}
NO_COLUMNS = {"empty": "a file without lines has no columns"}
NO_EMPTY = {"hostile": "reads an empty text as a missing value"}
ONE_TYPE = {"bfcl-core": "needs one type per key, but keys of this dataset have several types"}

# fmt: off
READERS = [
    Reader("parquet", "pyarrow", lambda it: of_arrow(pa.parquet.read_table(it.path))),
    Reader("parquet", "pandas", lambda it: of_pandas(pd.read_parquet(it.path)), cannot=FLOAT_ORDER),
    Reader("parquet", "pandas with Arrow types", lambda it: of_pandas(
        pd.read_parquet(it.path, dtype_backend="pyarrow"), *ARROW_TYPES)),
    Reader("parquet", "Polars", lambda it: of_polars(pl.read_parquet(it.pattern))),
    Reader("parquet", "DuckDB", lambda it: of_duckdb(duckdb.read_parquet(it.pattern))),

    Reader("parquet plain", "fastparquet", fastparquet_values, cannot=FLOAT_ORDER),
    Reader("parquet plain", "pyarrow", lambda it: of_arrow(pa.parquet.read_table(it.path))),

    Reader("arrow", "pyarrow", lambda it: of_arrow(ipc_table(it))),
    Reader("arrow", "pyarrow by memory map", lambda it: of_arrow(mapped_table(it))),
    Reader("arrow", "pandas", lambda it: of_pandas(
        pd.concat(map(pd.read_feather, it.files))), cannot=FLOAT_ORDER),
    Reader("arrow", "pandas with Arrow types", lambda it: of_pandas(
        pd.concat(pd.read_feather(file, dtype_backend="pyarrow") for file in it.files),
        *ARROW_TYPES)),
    Reader("arrow", "Polars", lambda it: of_polars(pl.read_ipc(it.pattern))),
    Reader("arrow", "DuckDB over pyarrow", lambda it: of_duckdb(duckdb.from_arrow(ipc_table(it)))),

    Reader("jsonl text", "json", lambda it: text_lines(decompressed(it))),
    Reader("jsonl text", "pandas", lambda it: pandas_values(
        pd.read_json(it.path, lines=True, dtype=False)), cannot=FLOAT_ORDER | NO_COLUMNS),
    Reader("jsonl text", "Polars",
        lambda it: pl.read_ndjson(it.pattern).to_dict(as_series=False), cannot=NO_COLUMNS),
    Reader("jsonl text", "pyarrow",
        lambda it: pa.json.read_json(it.path).to_pydict(), cannot=NO_COLUMNS),

    Reader("jsonl", "tokens", lambda it: lines(decompressed(it))),
    Reader("jsonl", "DuckDB", lambda it: duckdb_lines(it.pattern),
        json_is_text=False, cannot=PARTLY_JSON),
    Reader("jsonl", "pandas", lambda it: pandas_values(pd.concat(map(pandas_lines, it.files))),
        json_is_text=False, cannot=PARTLY_JSON | NO_COLUMNS),
    Reader("jsonl", "Polars", lambda it: pl.read_ndjson(it.pattern).to_dict(as_series=False),
        json_is_text=False, cannot=PARTLY_JSON | NO_COLUMNS | ONE_TYPE),
    Reader("jsonl", "pyarrow", pyarrow_lines,
        json_is_text=False, cannot=PARTLY_JSON | NO_COLUMNS | ONE_TYPE),

    Reader("csv", "RFC 4180", lambda it: joined(map(csv_cells, csv_texts(it)))),
    Reader("csv", "pandas", lambda it: pandas_values(pd.concat(map(pandas_csv, it.files))), cannot=NO_EMPTY),
    Reader("csv", "Polars", lambda it: polars_csv(it.pattern)),
    Reader("csv", "DuckDB", lambda it: duckdb_csv(it.pattern)),
    Reader("csv", "pyarrow", lambda it: joined(map(pyarrow_csv, it.files))),
]

PIPE_READERS = [
    Reader("arrow", "pyarrow", lambda pipe: of_arrow(pa.ipc.open_stream(pipe).read_all())),
    Reader("arrow", "Polars", lambda pipe: of_polars(pl.read_ipc_stream(pipe))),
    Reader("jsonl", "tokens", lambda pipe: lines(pipe.read())),
    Reader("jsonl", "DuckDB", lambda pipe: duckdb_lines(f"/dev/fd/{pipe.fileno()}"),
        json_is_text=False, cannot=PARTLY_JSON),
    Reader("jsonl", "pandas", lambda pipe: pandas_values(pandas_lines(pipe)),
        json_is_text=False, cannot=PARTLY_JSON | NO_COLUMNS),
    Reader("csv", "RFC 4180", lambda pipe: csv_cells(pipe.read())),
    Reader("csv", "pandas", lambda pipe: pandas_values(pandas_csv(pipe)), cannot=NO_EMPTY),
    Reader("csv", "DuckDB", lambda pipe: duckdb_csv(f"/dev/fd/{pipe.fileno()}")),
]
