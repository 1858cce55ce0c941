"""Converts a list of rows to a DataFrame and writes it as Parquet, as in a notebook."""

import json

import pandas

from common import COLUMNS, JSON_COLUMNS, ZSTD_LEVEL, save_for_check


def to_json_text(value):
    if value is None or value != value:  # pandas marks missing values with NaN
        return None
    return json.dumps(value, ensure_ascii=False)


def finish(rows, arguments):
    frame = pandas.DataFrame(rows)[COLUMNS]
    if arguments.frame:
        save_for_check(frame, arguments)
        return
    for column in JSON_COLUMNS:
        frame[column] = frame[column].map(to_json_text)
    frame["order"] = frame["order"].astype("Int64")
    frame.to_parquet(arguments.out, compression="zstd", compression_level=ZSTD_LEVEL, index=False)
