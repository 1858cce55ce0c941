"""DuckDB reads the URLs of all pages itself, with its httpfs extension.

The script first requests page 1 to compute the number of pages. --threads N sets the number of threads. Each
thread has one request in flight. The default is one thread for each core.
"""

import json
import urllib.request

import duckdb

from common import API_KEY, HEADERS, page_count, page_url, parse_arguments, save_for_check
from duckdb_pages import copy_to_parquet, select_rows

arguments = parse_arguments(("--threads", {"type": int}))
with urllib.request.urlopen(urllib.request.Request(page_url(arguments, 1), headers=HEADERS)) as response:
    rows = json.load(response)["count"]
urls = [page_url(arguments, page) for page in range(1, page_count(arguments, rows) + 1)]

connection = duckdb.connect(config={"threads": arguments.threads} if arguments.threads else {})
connection.execute("LOAD httpfs")
connection.execute(f"CREATE SECRET (TYPE http, EXTRA_HTTP_HEADERS MAP {{'X-Api-Key': '{API_KEY}'}})")
query = select_rows(urls)
if arguments.frame:
    relation = connection.sql(query)
    frame = {"pandas": relation.df, "polars": relation.pl, "pyarrow": relation.fetch_arrow_table}[arguments.frame]()
    save_for_check(frame, arguments)
else:
    copy_to_parquet(connection, query, arguments.out)
