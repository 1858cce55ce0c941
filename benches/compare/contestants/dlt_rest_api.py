"""dlt loads from its rest_api source into its filesystem destination, as Parquet.

The script first converts the values of JSON columns to text. Otherwise dlt splits a column with values of
several types into several columns.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.sources.rest_api import rest_api_source

from common import API_KEY, JSON_COLUMNS, parse_arguments


def with_json_text(row):
    for column in JSON_COLUMNS:
        value = row.get(column)
        row[column] = None if value is None else json.dumps(value, ensure_ascii=False)
    return row


arguments = parse_arguments()
folder = Path(tempfile.mkdtemp(prefix="dlt-", dir=Path(arguments.out).parent))
source = rest_api_source({
    "client": {
        "base_url": arguments.base_url + "/api/",
        "auth": {"type": "api_key", "name": "X-Api-Key", "api_key": API_KEY, "location": "header"},
    },
    "resources": [{
        "name": "datapoints",
        "max_table_nesting": 0,
        "columns": {column: {"data_type": "text"} for column in JSON_COLUMNS},
        "processing_steps": [{"map": with_json_text}],
        "endpoint": {
            "path": f"datasets/{arguments.dataset}/datapoints/",
            "params": {"page_size": arguments.page_size},
            "data_selector": "results",
            "paginator": {"type": "json_link", "next_url_path": "next"},
        },
    }],
})
destination = dlt.destinations.filesystem(bucket_url=f"file://{folder}/destination")
pipeline = dlt.pipeline("compare", pipelines_dir=str(folder / "pipelines"), destination=destination, dataset_name="data")
pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
shutil.move(folder / "destination/data/datapoints", arguments.out)
shutil.rmtree(folder)
