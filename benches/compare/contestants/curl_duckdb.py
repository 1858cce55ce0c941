"""curl downloads the pages in parallel, then DuckDB reads the files.

DuckDB reads the files in name order (`10.json` before `2.json`), so the row order is lost.
"""

import tempfile
from pathlib import Path

import duckdb

from common import parse_arguments
from curl_download import download_pages
from duckdb_pages import copy_to_parquet, select_rows

arguments = parse_arguments()
with tempfile.TemporaryDirectory(dir=Path(arguments.out).parent) as folder:
    download_pages(arguments, folder)
    copy_to_parquet(duckdb.connect(), select_rows(f"{folder}/*.json"), arguments.out)
