"""curl downloads the pages in parallel, then orjson parses them and Polars writes the rows.

Polars cannot read these pages itself. Its JSON reader can convert objects, arrays and strings to a text column,
but this text is often not JSON.
"""

import tempfile
from pathlib import Path

import orjson
import polars

from common import COLUMNS, JSON_COLUMNS, ZSTD_LEVEL, parse_arguments
from curl_download import download_pages

SCHEMA = {name: polars.Int64 if name == "order" else polars.String for name in COLUMNS}


def to_json_text(value):
    return None if value is None else orjson.dumps(value).decode()


arguments = parse_arguments()
columns = {name: [] for name in COLUMNS}
with tempfile.TemporaryDirectory(dir=Path(arguments.out).parent) as folder:
    for page in range(1, download_pages(arguments, folder) + 1):
        rows = orjson.loads((Path(folder) / f"{page}.json").read_bytes())["results"]
        for name, values in columns.items():
            column = (row.get(name) for row in rows)
            values.extend(map(to_json_text, column) if name in JSON_COLUMNS else column)
polars.DataFrame(columns, schema=SCHEMA).write_parquet(
    arguments.out, compression="zstd", compression_level=ZSTD_LEVEL
)
