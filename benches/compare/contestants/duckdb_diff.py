"""DuckDB compares two Parquet files with a full outer join by id. It executes this as a hash join.

By default the query compares 64-bit hashes of the values, so that the join does not hold texts. With --values it
compares the values themselves. This is exact and takes more memory.
"""

import json
import sys

import duckdb

from common import COLUMNS

before, after = sys.argv[1:3]
values = [f'"{name}"' for name in COLUMNS if name != "id"]
if sys.argv[3:] == ["--values"]:
    selected = ", ".join(["id", *values])
    changed = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in values)
else:
    selected = f"CAST(id AS UUID) AS id, hash({', '.join(values)}) AS digest"
    changed = "a.digest <> b.digest"
connection = duckdb.connect()
connection.execute("SET enable_progress_bar = false")
counts = connection.execute(f"""
    SELECT
        count(*) FILTER (a.id IS NULL),
        count(*) FILTER (b.id IS NULL),
        count(*) FILTER (a.id IS NOT NULL AND b.id IS NOT NULL AND ({changed}))
    FROM (SELECT {selected} FROM '{before}') AS a
    FULL OUTER JOIN (SELECT {selected} FROM '{after}') AS b ON a.id = b.id""").fetchone()
print(json.dumps(dict(zip(("added", "removed", "changed"), counts))))
