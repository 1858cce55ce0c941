"""Shared code of the contestant scripts: arguments, columns and page URLs."""

import argparse

API_KEY = "bench-key"
HEADERS = {"X-Api-Key": API_KEY}
COLUMNS = ["id", "order", "input", "expected_output", "persona", "tags"]
# These columns hold any JSON value. An export writes the values as JSON text.
JSON_COLUMNS = ["input", "expected_output", "tags"]
ZSTD_LEVEL = 3


def parse_arguments(*options):
    """Parse the arguments of a contestant: BASE_URL DATASET PAGE_SIZE OUT and its own options.

    OUT is the Parquet file to write. With `--frame`, the contestant builds a DataFrame or a pyarrow table. OUT is
    then `-` in timed runs, and in the check the file for the DataFrame.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("dataset")
    parser.add_argument("page_size", type=int)
    parser.add_argument("out")
    parser.add_argument("--frame", choices=["pandas", "polars", "pyarrow"])
    for name, settings in options:
        parser.add_argument(name, **settings)
    arguments = parser.parse_args()
    arguments.url = f"{arguments.base_url}/api/datasets/{arguments.dataset}/datapoints/"
    return arguments


def page_url(arguments, page):
    return f"{arguments.url}?page={page}&page_size={arguments.page_size}"


def page_count(arguments, rows):
    return -(-rows // arguments.page_size)


def save_for_check(frame, arguments):
    """Write a DataFrame to OUT, unless OUT is `-`. Convert Python objects in JSON columns to JSON text."""
    if arguments.out == "-":
        return
    if arguments.frame == "polars":
        frame.write_parquet(arguments.out)
        return
    if arguments.frame == "pyarrow":
        import pyarrow.parquet

        pyarrow.parquet.write_table(frame, arguments.out)
        return
    import json

    def text(value):
        if value is None or value != value:  # pandas marks missing values with NaN
            return None
        return value if isinstance(value, str) and not holds_objects else json.dumps(value)

    for column in JSON_COLUMNS:
        # In a column without objects, strings are JSON text already. Otherwise a string is a JSON value to convert.
        holds_objects = any(isinstance(value, (dict, list)) for value in frame[column])
        frame[column] = frame[column].map(text).astype("string")
    frame["order"] = frame["order"].astype("Int64")
    frame.to_parquet(arguments.out, index=False)
