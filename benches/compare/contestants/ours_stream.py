"""The Python package of overmind-export streams the dataset to a consumer, which only adds up the rows."""

import json

import overmind_export

from common import API_KEY, COLUMNS, parse_arguments

arguments = parse_arguments(("--consumer", {"choices": ["python", "pyarrow", "duckdb"], "required": True}))
stream = overmind_export.stream(
    arguments.dataset, base_url=arguments.base_url, api_key=API_KEY,
    page_size=arguments.page_size, columns=COLUMNS,
)
if arguments.consumer == "python":
    rows = sum(batch.num_rows for batch in stream)
elif arguments.consumer == "pyarrow":
    import pyarrow

    rows = sum(batch.num_rows for batch in pyarrow.RecordBatchReader.from_stream(stream))
else:
    import duckdb

    # Every value is read.
    sums = ", ".join(f'sum(length("{name}"::varchar))' for name in COLUMNS)
    rows = duckdb.sql(f"select count(*), {sums} from stream").fetchone()[0]
print(json.dumps({"rows": rows}))
