"""Checks every value of a Parquet output against the digests of the dataset.

usage: check.py OUT EXPECTED

OUT is a Parquet file or a folder of Parquet files. EXPECTED is the expected.json of the page files. Prints a JSON
object: `problems`, `in_order`, `columns`, `codecs`. `problems` is empty if the output has every row exactly once,
with the expected values.
"""

import json
import sys
from pathlib import Path

import orjson
import pyarrow
import pyarrow.parquet

from digest import COLUMNS, JSON_COLUMNS, Digest

ROWS_PER_BATCH = 2000


def batches(files):
    for file in files:
        yield from file.iter_batches(batch_size=ROWS_PER_BATCH, columns=COLUMNS)


def to_lists(batch):
    columns = {}
    for name in COLUMNS:
        column = batch.column(batch.schema.names.index(name))
        # DuckDB writes the type JSON into the file. pyarrow reads it as an extension type over strings.
        column = column.storage if isinstance(column, pyarrow.ExtensionArray) else column
        columns[name] = column.to_pylist()
    return columns


def digest_files(files):
    """Return the digest of all rows, and the number of invalid values of each JSON column."""
    digest = Digest()
    invalid = dict.fromkeys(JSON_COLUMNS, 0)
    for batch in batches(files):
        columns = to_lists(batch)
        for name in JSON_COLUMNS:
            columns[name] = [parse(text, name, invalid) for text in columns[name]]
        for values in zip(*columns.values()):
            digest.add(dict(zip(columns, values)))
    return digest.result(), invalid


def parse(text, column, invalid):
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        invalid[column] += 1
        return text


def find_problems(found, expected, invalid):
    if found["rows"] != expected["rows"]:
        return [f"{found['rows']:,} rows instead of {expected['rows']:,}"]
    if found["columns"]["id"] != expected["columns"]["id"]:
        return ["the ids differ from the dataset"]
    problems = []
    for column in COLUMNS[1:]:
        if invalid.get(column):
            problems.append(f"{invalid[column]:,} values of {column} are not JSON")
        elif found["columns"][column] != expected["columns"][column]:
            problems.append(f"values of {column} differ from the dataset")
    return problems


def main():
    out, expected = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    paths = sorted(out.rglob("*.parquet")) if out.is_dir() else [out]
    files = [pyarrow.parquet.ParquetFile(path) for path in paths]
    if not files:
        sys.exit(f"check.py: no Parquet file in {out}")
    names = files[0].schema_arrow.names
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        result = {"problems": [f"column {name} is missing" for name in missing], "in_order": False}
    else:
        found, invalid = digest_files(files)
        result = {
            "problems": find_problems(found, expected, invalid),
            "in_order": found["ids_in_order"] == expected["ids_in_order"],
        }
    group = files[0].metadata.row_group(0)
    codecs = {group.column(index).compression.lower() for index in range(group.num_columns)}
    print(json.dumps({**result, "columns": names, "codecs": sorted(codecs)}))


main()
