"""Polars compares two Parquet files: anti-joins for rows added and removed, an inner join for rows changed."""

import json
import sys

import polars

from common import COLUMNS

before, after = (polars.scan_parquet(path).select(COLUMNS) for path in sys.argv[1:])
values = [name for name in COLUMNS if name != "id"]
changed = polars.any_horizontal(polars.col(name).ne_missing(polars.col(f"{name}_after")) for name in values)
results = polars.collect_all([
    after.join(before, on="id", how="anti").select(polars.len()),
    before.join(after, on="id", how="anti").select(polars.len()),
    before.join(after, on="id", how="inner", suffix="_after").filter(changed).select(polars.len()),
])
print(json.dumps({name: frame.item() for name, frame in zip(("added", "removed", "changed"), results)}))
