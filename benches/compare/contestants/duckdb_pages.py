"""The DuckDB query that reads pages from URLs or from downloaded files."""

from common import ZSTD_LEVEL

ROW = 'STRUCT(id VARCHAR, "order" BIGINT, input JSON, expected_output JSON, persona VARCHAR, tags JSON)'


def select_rows(sources):
    """Return the query that converts pages to rows. `sources` is a list of URLs, or a glob."""
    return f"""
        SELECT datapoint.* FROM (
            SELECT unnest(results) AS datapoint
            FROM read_json({sources!r}, format = 'unstructured', columns = {{results: '{ROW}[]'}})
        )"""


def copy_to_parquet(connection, query, out):
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL})")
