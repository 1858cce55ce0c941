"""The contestants of each table, with their command lines."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import places

COLUMNS = ["id", "order", "input", "expected_output", "persona", "tags"]
OURS = "overmind-export"


@dataclass(frozen=True)
class Job:
    """The input and output of one run. `out` is "-" if the contestant only builds a DataFrame in memory."""

    binary: Path
    base_url: str
    dataset: str
    page_size: int
    pages: Path
    out: str
    exports: tuple[Path, ...] = ()  # the files to compare, or the file to read


@dataclass(frozen=True)
class Contestant:
    """One line of a table: its name, its command line, and how to check its output."""

    name: str
    command: Callable[[Job], list]
    codec: str = ""  # codec and level of the Parquet file
    # "parquet" or "nested": compare the file OUT; "bytes", "rows" or "changes": compare these printed numbers;
    # "ends": compare nothing
    check: str = "parquet"
    exit_codes: tuple[int, ...] = field(default=(0,))


def python(environment, script, *options):
    """Return a function that makes the command line of a contestant script in Python."""

    def command(job):
        path = places.HERE / "contestants" / script
        arguments = [job.base_url, job.dataset, job.page_size, job.out]
        return [places.python_of(environment), path, *arguments, *options]

    return command


def overmind_export(*options):
    def command(job):
        command = [job.binary, "export", job.dataset, "--base-url", job.base_url, "--output", job.out, "--quiet"]
        settings = ["--page-size", job.page_size, "--columns", ",".join(COLUMNS), "--compression", "zstd:3"]
        return [*command, *settings, *options]

    return command


def download_only(in_flight):
    def command(job):
        return [places.release_binary("download_only"), job.base_url, job.dataset, job.page_size, in_flight]

    return Contestant(f"limit: download only, {in_flight} in flight", command, check="bytes")


def parse_and_encode(job):
    return [places.release_binary("parse_and_encode"), job.pages, job.out]


def overmind_diff(job):
    return [job.binary, "diff", "--json", *job.exports]


def overmind_verify(job):
    return [job.binary, "verify", "--json", *job.exports]


def overmind_report(job):
    return [job.binary, "report", *job.exports, "--output", f"{job.out}.html", "--quiet"]


def python_diff(environment, script, *options):
    def command(job):
        return [places.python_of(environment), places.HERE / "contestants" / script, *job.exports, *options]

    return command


def overmind_convert(*options):
    def command(job):
        settings = ["--output", job.out, "--compression", "zstd:3", "--quiet"]
        return [job.binary, "convert", *job.exports, *settings, *options]

    return command


ZSTD = "zstd 3"
SPLIT = ["--rows-per-file", "50000"]


def one_process(job):
    """Exports to a directory, like the workers."""
    return overmind_export(*SPLIT)(replace(job, out=f"{job.out}/"))


def workers(number, order="together"):
    """Return a contestant that exports to a directory by this number of processes, together or in turn."""

    def command(job):
        script = places.HERE / "contestants" / "ours_workers.sh"
        settings = ["--page-size", job.page_size, "--columns", ",".join(COLUMNS), "--compression", "zstd:3", *SPLIT]
        return ["sh", script, order, number, job.binary, job.dataset, job.base_url, f"{job.out}/", *settings]

    parts = f"{number} part{'s' if number > 1 else ''}{' in turn' if order == 'in-turn' else ''}"
    return Contestant(f"begin, {parts}, commit", command, ZSTD)


def python_convert(environment, script):
    def command(job):
        return [places.python_of(environment), places.HERE / "contestants" / script, *job.exports, job.out]

    return command


EXPORT = [
    Contestant(OURS, overmind_export(), ZSTD),
    Contestant(f"{OURS} --concurrency 64", overmind_export("--concurrency", "64"), ZSTD),
    download_only(16),
    download_only(64),
    Contestant("limit: one core, parse + encode", parse_and_encode, ZSTD),
    Contestant("aiohttp + msgspec + pyarrow", python("aiohttp", "aiohttp_pyarrow.py", "--decoder", "msgspec"), ZSTD),
    Contestant("aiohttp + orjson + pyarrow", python("aiohttp", "aiohttp_pyarrow.py", "--decoder", "orjson"), ZSTD),
    Contestant("DuckDB reading the URLs", python("duckdb", "duckdb_httpfs.py"), ZSTD),
    Contestant("DuckDB, 32 threads", python("duckdb", "duckdb_httpfs.py", "--threads", "32"), ZSTD),
    Contestant("curl, then DuckDB", python("duckdb", "curl_duckdb.py"), ZSTD),
    Contestant("curl, then orjson + Polars", python("polars", "curl_polars.py"), ZSTD),
    Contestant("vendor client + pandas", python("vendor", "vendor_client.py"), ZSTD),
    Contestant("requests + pandas", python("requests", "requests_pandas.py"), ZSTD),
    Contestant("dlt", python("dlt", "dlt_rest_api.py"), "snappy"),
]


def frames(frame):
    """Return the contestants that exist for pandas, Polars and pyarrow. `frame` selects one of them."""
    decoder = ["--decoder", "msgspec"]
    return [
        Contestant(f"{OURS} for Python", python("frames", "ours_frame.py", "--frame", frame)),
        Contestant("aiohttp + msgspec + pyarrow", python("frames", "aiohttp_pyarrow.py", *decoder, "--frame", frame)),
        Contestant("DuckDB reading the URLs", python("frames", "duckdb_httpfs.py", "--frame", frame)),
    ]


PANDAS = [
    *frames("pandas"),
    Contestant("requests + pandas", python("frames", "requests_pandas.py", "--frame", "pandas")),
    Contestant("vendor client + pandas", python("vendor", "vendor_client.py", "--frame", "pandas")),
]
POLARS = frames("polars")
PYARROW = frames("pyarrow")

STREAM = [
    *(
        Contestant(f"{OURS} for Python, {name}", python("frames", "ours_stream.py", "--consumer", consumer), check="rows")
        for name, consumer in [("for loop", "python"), ("pyarrow", "pyarrow"), ("DuckDB", "duckdb")]
    ),
    Contestant(
        "aiohttp + msgspec + pyarrow",
        python("frames", "aiohttp_pyarrow.py", "--decoder", "msgspec", "--stream"), check="rows",
    ),
]

SPARK = [
    Contestant(f"{OURS} for Spark", python("spark", "ours_spark.py"), check="rows"),
    Contestant("requests in a data source", python("spark", "requests_spark.py"), check="rows"),
]

# Every row is kept, so that all write the same rows.
TRANSFORM = [
    Contestant(OURS, overmind_export(), ZSTD),
    Contestant(f"{OURS} --where, a small column", overmind_export("--where", '.id != ""'), ZSTD),
    Contestant(f"{OURS} --where, whole rows", overmind_export("--where", "[.[]] | length > 0"), ZSTD),
    Contestant(f"{OURS} --sample", overmind_export("--sample", "0.9999999999999999"), ZSTD),
]

DIFF = [
    # Exit code 1 means that the exports differ.
    Contestant(f"{OURS} diff", overmind_diff, check="changes", exit_codes=(0, 1)),
    Contestant("DuckDB hash join", python_diff("duckdb", "duckdb_diff.py"), check="changes"),
    Contestant("DuckDB hash join of values", python_diff("duckdb", "duckdb_diff.py", "--values"), check="changes"),
    Contestant("Polars anti-joins", python_diff("polars", "polars_diff.py"), check="changes"),
]

VERIFY = [
    Contestant(f"{OURS} verify", overmind_verify, check="rows"),
    Contestant("DuckDB hashes every value", python_diff("duckdb", "duckdb_profile.py", "--read"), check="rows"),
]

REPORT = [
    Contestant(f"{OURS} report", overmind_report, check="ends"),
    Contestant("DuckDB, the same questions", python_diff("duckdb", "duckdb_profile.py"), check="rows"),
    Contestant("DuckDB SUMMARIZE", python_diff("duckdb", "duckdb_profile.py", "--summarize"), check="rows"),
]

CONVERT = [
    Contestant(f"{OURS} convert", overmind_convert(), ZSTD),
    Contestant("DuckDB COPY", python_convert("duckdb", "duckdb_convert.py"), ZSTD),
    Contestant("Polars sink_parquet", python_convert("polars", "polars_convert.py"), ZSTD),
    Contestant("pyarrow, batch by batch", python_convert("frames", "pyarrow_convert.py"), ZSTD),
]

NESTED = [
    Contestant(f"{OURS} convert", overmind_convert("--json-columns", "nested"), ZSTD, check="nested"),
    Contestant(f"{OURS} export, from the API", overmind_export("--json-columns", "nested"), ZSTD, check="nested"),
    Contestant("DuckDB read_json", python_convert("duckdb", "duckdb_convert.py"), ZSTD, check="nested"),
    Contestant("Polars scan_ndjson", python_convert("polars", "polars_convert.py"), ZSTD, check="nested"),
    Contestant("pyarrow.json", python_convert("frames", "pyarrow_convert.py"), ZSTD, check="nested"),
]

# The first line is one process. Splitting the work must not add more than 10 % of processor time. Parts in turn show the
# added work alone: parts together also share the cores and their caches, which workers on machines of their own do not.
WORKERS = [
    Contestant(f"{OURS}, one process", one_process, ZSTD),
    workers(1),
    workers(2),
    workers(4),
    workers(2, "in-turn"),
    workers(4, "in-turn"),
]

CONTESTANTS_BY_KIND = {
    "export": EXPORT, "pandas": PANDAS, "polars": POLARS, "pyarrow": PYARROW, "stream": STREAM, "transform": TRANSFORM,
    "diff": DIFF, "convert": CONVERT, "nested": NESTED, "spark": SPARK, "workers": WORKERS,
    "verify": VERIFY, "report": REPORT,
}


def of_table(table, wanted):
    """Return the contestants of a table.

    With `wanted`, these are the contestants whose names contain one of its texts, in upper or lower case.
    Otherwise these are all except `table.leave_out`.
    """
    contestants = CONTESTANTS_BY_KIND[table.kind]
    if wanted:
        return [each for each in contestants if any(part.lower() in each.name.lower() for part in wanted)]
    return [each for each in contestants if not each.name.startswith(table.leave_out)]
