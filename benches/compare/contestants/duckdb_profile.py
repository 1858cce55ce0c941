"""DuckDB answers questions about a Parquet file, as a report does.

By default it asks what the page of a report says of each column: rows, nulls, distinct values, lengths, the most
common values, and the structures of JSON with their numbers of rows. With --summarize it runs only SUMMARIZE, which
knows nothing of JSON. With --read it reads every value once.
"""

import json
import sys

import duckdb

from common import COLUMNS

path = sys.argv[1]
texts = [name for name in COLUMNS if name != "order"]
structured = ["input", "expected_output", "tags"]
connection = duckdb.connect()
connection.execute("SET enable_progress_bar = false")


def ask(query):
    return connection.execute(query).fetchall()


if sys.argv[2:] == ["--summarize"]:
    ask(f"SUMMARIZE SELECT * FROM '{path}'")
elif sys.argv[2:] == ["--read"]:
    values = ", ".join(f'"{name}"' for name in COLUMNS)
    ask(f"SELECT bit_xor(hash({values})) FROM '{path}'")
else:
    figures = [
        f"count({name}), count(DISTINCT {name}), min(length({name})), max(length({name})), "
        f"approx_quantile(length({name}), 0.5)"
        for name in texts
    ]
    ask(f"SELECT {', '.join(figures)} FROM '{path}'")
    for name in structured:
        ask(f"SELECT json_structure({name}) AS structure, count(*) FROM '{path}' GROUP BY structure")
    for name in ["persona", "expected_output"]:
        ask(f"SELECT {name}, count(*) AS rows FROM '{path}' GROUP BY {name} ORDER BY rows DESC LIMIT 20")
rows = ask(f"SELECT count(*) FROM '{path}'")[0][0]
print(json.dumps({"rows": rows}))
