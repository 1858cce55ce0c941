"""Polars copies a file to a Parquet file. It reads JSON Lines with the types that it finds in the whole file.

usage: polars_convert.py IN OUT
"""

import sys

import polars

from common import ZSTD_LEVEL

source, out = sys.argv[1:]
if source.endswith(".jsonl"):
    frame = polars.scan_ndjson(source, infer_schema_length=None)
else:
    frame = polars.scan_parquet(source)
frame.sink_parquet(out, compression="zstd", compression_level=ZSTD_LEVEL)
