"""DuckDB compares two Parquet files: a full outer join by id, which it runs as a hash join."""

import json
import sys

import duckdb

from common import COLUMNS

before, after = sys.argv[1:]
changed = " OR ".join(f'a."{name}" IS DISTINCT FROM b."{name}"' for name in COLUMNS if name != "id")
connection = duckdb.connect()
connection.execute("SET enable_progress_bar = false")
counts = connection.execute(f"""
    SELECT
        count(*) FILTER (a.id IS NULL),
        count(*) FILTER (b.id IS NULL),
        count(*) FILTER (a.id IS NOT NULL AND b.id IS NOT NULL AND ({changed}))
    FROM '{before}' AS a FULL OUTER JOIN '{after}' AS b ON a.id = b.id""").fetchone()
print(json.dumps(dict(zip(("added", "removed", "changed"), counts))))
