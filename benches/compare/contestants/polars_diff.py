"""Polars compares two Parquet files. Anti-joins find added and removed rows, an inner join finds changed rows.

The joins hold 64-bit hashes of the values instead of the values.
"""

import json
import sys

import polars

from common import COLUMNS

digest = polars.struct(name for name in COLUMNS if name != "id").hash().alias("digest")
before, after = (polars.scan_parquet(path).select("id", digest) for path in sys.argv[1:])
changed = polars.col("digest") != polars.col("digest_after")
queries = [
    after.join(before, on="id", how="anti").select(polars.len()),
    before.join(after, on="id", how="anti").select(polars.len()),
    before.join(after, on="id", how="inner", suffix="_after").filter(changed).select(polars.len()),
]
results = polars.collect_all(queries, engine="streaming")
print(json.dumps({name: frame.item() for name, frame in zip(("added", "removed", "changed"), results)}))
