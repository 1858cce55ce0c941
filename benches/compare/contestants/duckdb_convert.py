"""DuckDB copies a file to a Parquet file. It reads JSON Lines with the types that it finds in the whole file.

usage: duckdb_convert.py IN OUT
"""

import sys

import duckdb

from duckdb_pages import copy_to_parquet

source, out = sys.argv[1:]
if source.endswith(".jsonl"):
    # The ids look like UUIDs. As text they are equal to the ids of the other contestants.
    query = f"SELECT * REPLACE (id::VARCHAR AS id) FROM read_json('{source}', format = 'newline_delimited', sample_size = -1)"
else:
    query = f"SELECT * FROM '{source}'"
copy_to_parquet(duckdb.connect(), query, out)
