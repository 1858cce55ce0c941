"""From a list of rows to a DataFrame and its Parquet file, as a notebook does it."""

import json

import pandas

from common import COLUMNS, JSON_COLUMNS, ZSTD_LEVEL, save_for_check


def to_json_text(value):
    if value is None or value != value:  # NaN is how pandas marks a missing value
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
