"""Compares every value of a Parquet file with nested columns with the page files.

usage: check_nested.py OUT PAGES

A JSON column of OUT has structs and lists, or JSON text. Null and a missing key are the same. Prints the JSON object
of check.py.
"""

import itertools
import json
import sys
from pathlib import Path

import orjson
import pyarrow
import pyarrow.parquet

from digest import COLUMNS, JSON_COLUMNS

ROWS_PER_BATCH = 2000


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def same(found, expected):
    """Compare values like ==, but tell false from 0."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)


def rows_of(pages):
    for page in sorted(pages.glob("[0-9]*.json"), key=lambda path: int(path.stem)):
        yield from orjson.loads(page.read_bytes())["results"]


def rows_of_file(file):
    texts = [name for name in JSON_COLUMNS if pyarrow.types.is_string(storage_type(file.schema_arrow.field(name).type))]
    for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=COLUMNS):
        for row in batch.to_pylist():
            for name in texts:
                row[name] = None if row[name] is None else orjson.loads(row[name])
            yield row


def storage_type(kind):
    return kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind


def find_problems(file, pages):
    for number, (found, expected) in enumerate(itertools.zip_longest(rows_of_file(file), rows_of(pages)), 1):
        if found is None or expected is None:
            return ["its number of rows differs from the dataset"]
        for name in COLUMNS:
            if not same(without_nulls(found[name]), without_nulls(expected.get(name))):
                return [f"{name} of row {number:,} differs from the dataset"]
    return []


def main():
    file = pyarrow.parquet.ParquetFile(sys.argv[1])
    names = file.schema_arrow.names
    missing = [name for name in COLUMNS if name not in names]
    problems = [f"column {name} is missing" for name in missing] or find_problems(file, Path(sys.argv[2]))
    group = file.metadata.row_group(0)
    codecs = {group.column(index).compression.lower() for index in range(group.num_columns)}
    print(json.dumps({"problems": problems, "in_order": True, "columns": names, "codecs": sorted(codecs)}))


main()
