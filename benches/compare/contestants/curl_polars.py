"""curl downloads the pages in parallel, then Polars reads them as JSON Lines, one page a line."""

import tempfile
from pathlib import Path

import polars

from common import COLUMNS, ZSTD_LEVEL, parse_arguments
from curl_download import download_pages

ROW = polars.Struct({name: polars.Int64 if name == "order" else polars.String for name in COLUMNS})
PAGE = {"count": polars.Int64, "next": polars.String, "previous": polars.String, "results": polars.List(ROW)}


def join_pages(folder, pages):
    path = Path(folder) / "pages.jsonl"
    with open(path, "wb") as lines:
        for page in range(1, pages + 1):
            lines.write((Path(folder) / f"{page}.json").read_bytes() + b"\n")
    return path


arguments = parse_arguments()
with tempfile.TemporaryDirectory(dir=Path(arguments.out).parent) as folder:
    pages = join_pages(folder, download_pages(arguments, folder))
    rows = polars.scan_ndjson(pages, schema=PAGE).select(polars.col("results").explode()).unnest("results")
    rows.sink_parquet(arguments.out, compression="zstd", compression_level=ZSTD_LEVEL)
