"""curl downloads the pages in parallel, then DuckDB reads the files. Files come in the order of their names."""

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
