"""Reads directories, prefixes and patterns as a whole, each with the call that its library documents.

A reader returns the column `id` of every row that it finds. It gets a local path, or an `s3://` URL and the
endpoint of the store. This module knows neither the command nor its layout. A library is imported when its
reader is made, because no environment has all of them.
"""

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEY = "test"
REGION = "us-east-1"

Ids = list[str]


@dataclass(frozen=True)
class DirectoryReader:
    """A way to read `parquet`, `jsonl` or `arrow` from a path."""

    name: str
    # The arguments are the format and the path.
    read: Callable[[str, str], Ids]
    # What the library cannot read even if there is nothing but parts: a pattern of "PLACE FORMAT FORM", and why.
    cannot: dict[str, str]

    def why_not(self, place: str, format: str, form: str) -> str | None:
        """Returns the reason why the library cannot read a form."""
        case = f"{place} {format} {form}"
        return next((why for pattern, why in self.cannot.items() if re.search(pattern, case)), None)


def pandas(endpoint: str) -> DirectoryReader:
    import pandas as pd

    def read(format: str, path: str) -> Ids:
        if format == "jsonl":
            return pd.read_json(path, lines=True)["id"].tolist()
        files, path = arrow_place(endpoint, path)
        if format == "arrow":
            return pd.read_feather(path)["id"].tolist()
        return pd.read_parquet(path, filesystem=files)["id"].tolist()

    return DirectoryReader("pandas", read, {"jsonl|arrow": "reads one file a call", r"\*": "takes no pattern"})


def pyarrow(endpoint: str) -> DirectoryReader:
    import pyarrow.dataset

    def read(format: str, path: str) -> Ids:
        files, path = arrow_place(endpoint, path)
        format = {"jsonl": "json", "arrow": "ipc"}.get(format, format)
        return pyarrow.dataset.dataset(path, format=format, filesystem=files).to_table()["id"].to_pylist()

    return DirectoryReader("pyarrow", read, {r"\*": "takes no pattern"})


def arrow_place(endpoint: str, path: str):
    """Returns the file system of pyarrow for a path, and the path in it."""
    if not path.startswith("s3://"):
        return None, path
    from pyarrow.fs import S3FileSystem

    files = S3FileSystem(access_key=KEY, secret_key=KEY, region=REGION, endpoint_override=endpoint)
    return files, path.removeprefix("s3://")


def polars(endpoint: str) -> DirectoryReader:
    import polars as pl

    options = {
        "aws_access_key_id": KEY,
        "aws_secret_access_key": KEY,
        "aws_region": REGION,
        "aws_endpoint_url": endpoint,
        "aws_allow_http": "true",
    }

    def read(format: str, path: str) -> Ids:
        scan = {"parquet": pl.scan_parquet, "jsonl": pl.scan_ndjson, "arrow": pl.scan_ipc}[format]
        rows = scan(path, storage_options=options if path.startswith("s3://") else None)
        return rows.select("id").collect()["id"].to_list()

    return DirectoryReader("Polars", read, {r"store [^*]*\w$": "takes a URL without a slash at its end for an object"})


def duckdb(endpoint: str) -> DirectoryReader:
    import duckdb as library
    from fsspec.implementations.arrow import ArrowFSWrapper

    class Store(ArrowFSWrapper):
        """The extension httpfs is not in the wheel. This is the way of DuckDB to read through another client."""

        protocol = "s3"

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("s3://").rstrip("/")

    connection = library.connect()
    connection.execute("SET autoinstall_known_extensions = false")
    connection.register_filesystem(Store(arrow_place(endpoint, "s3://")[0]))

    def read(format: str, path: str) -> Ids:
        function = {"parquet": "read_parquet", "jsonl": "read_json", "arrow": "read_arrow"}[format]
        # In JSON Lines, DuckDB recognizes UUIDs.
        return [str(row[0]) for row in connection.execute(f"SELECT id FROM {function}('{path}')").fetchall()]

    cannot = {
        " arrow ": "reads Arrow IPC only with an extension that is not in the wheel",
        r"local jsonl [^*]+$": "read_json takes files and patterns",
        r"store \w+ [^*]+$": "takes files and patterns through a client of Python",
    }
    return DirectoryReader("DuckDB", read, cannot)


def datafusion(endpoint: str) -> DirectoryReader:
    from datafusion import SessionContext
    from datafusion.object_store import AmazonS3

    def read(format: str, path: str) -> Ids:
        context = SessionContext()
        if path.startswith("s3://"):
            bucket = path.split("/")[2]
            store = AmazonS3(
                bucket_name=bucket,
                endpoint=endpoint,
                region=REGION,
                access_key_id=KEY,
                secret_access_key=KEY,
                allow_http=True,
            )
            context.register_object_store("s3://", store, bucket)
        if format == "jsonl":
            rows = context.read_json(path, file_extension=".jsonl")
        else:
            rows = {"parquet": context.read_parquet, "arrow": context.read_arrow}[format](path)
        return [id for batch in rows.select("id").collect() for id in batch.column(0).to_pylist()]

    cannot = {
        r"local .*/\*/": "finds nothing for a pattern of a directory",
        r"store .*\*": "takes no pattern in a store",
        r"store [^*]*\w$": "takes a URL without a slash at its end for an object",
        "store arrow": "cannot read the schema of an IPC file in a store",
    }
    return DirectoryReader("DataFusion", read, cannot)


def daft(endpoint: str) -> DirectoryReader:
    import daft as library
    from daft.io import IOConfig, S3Config

    store = IOConfig(s3=S3Config(endpoint_url=endpoint, region_name=REGION, key_id=KEY, access_key=KEY))

    def read(format: str, path: str) -> Ids:
        function = getattr(library, {"jsonl": "read_json"}.get(format, f"read_{format}"))
        return function(path, io_config=store).select("id").to_pydict()["id"]

    cannot = {" arrow ": "has no reader of Arrow IPC", r"root/\w+/?$": "looks for files in the directory itself only"}
    return DirectoryReader("Daft", read, cannot)


def datasets(endpoint: str) -> DirectoryReader:
    # Nothing is downloaded: the hub is a closed port.
    os.environ |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ["HF_HOME"] = tempfile.mkdtemp()
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    client = {"endpoint_url": endpoint, "region_name": REGION}
    # Otherwise s3fs remembers the listings of a prefix as long as the process lives.
    store = {"key": KEY, "secret": KEY, "client_kwargs": client, "use_listings_cache": False}

    def read(format: str, path: str) -> Ids:
        place = {"data_files" if "*" in path else "data_dir": path}
        if path.startswith("s3://"):
            place["storage_options"] = store
        format = {"jsonl": "json"}.get(format, format)
        # A fresh cache: the library must look at the files.
        with tempfile.TemporaryDirectory() as cache:
            return list(load_dataset(format, split="train", cache_dir=cache, **place)["id"])

    return DirectoryReader("HF datasets", read, {r"store \w+ [^*]+$": "takes data_dir for a local folder"})


def chdb(endpoint: str) -> DirectoryReader:
    import chdb as library

    def read(format: str, path: str) -> Ids:
        format = {"parquet": "Parquet", "jsonl": "JSONEachRow", "arrow": "Arrow"}[format]
        place = f"file('{path}', {format})"
        if path.startswith("s3://"):
            place = f"s3('{path.replace('s3:/', endpoint)}', '{KEY}', '{KEY}', {format})"
        return library.query(f"SELECT id FROM {place}", "ArrowTable")["id"].to_pylist()

    cannot = {
        r"local .*root/\w+/?$": "looks for files in the directory itself only",
        r"store \w+ [^*]+$": "takes objects and patterns",
    }
    return DirectoryReader("chdb", read, cannot)


def spark(endpoint: str) -> DirectoryReader:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    session = SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("OFF")

    def read(format: str, path: str) -> Ids:
        format = {"jsonl": "json"}.get(format, format)
        return [row[0] for row in session.read.format(format).load(path).select("id").collect()]

    cannot = {
        " arrow ": "has no reader of Arrow IPC",
        "store ": "has no client of S3 in its package",
        r" \w+/\*\*/": "reads ** as *: one directory",
    }
    return DirectoryReader("Spark", read, cannot)


SETS = {
    "light": [pandas, pyarrow, polars, duckdb],
    "complete": [datafusion, daft, datasets, chdb, spark],
}


def readers(name: str, endpoint: str) -> list[DirectoryReader]:
    """Returns the readers of a set."""
    return [make(endpoint) for make in SETS[name]]


def copy_parts(source: str, target: str, endpoint: str) -> None:
    """Copies the parts below a path, and nothing else."""
    from pyarrow import fs

    store, source = arrow_place(endpoint, source)
    files, target = store or fs.LocalFileSystem(), arrow_place(endpoint, target)[1]
    for info in files.get_file_info(fs.FileSelector(source, recursive=True)):
        if info.is_file and info.base_name.startswith("part-"):
            copy = target + info.path.removeprefix(source)
            files.create_dir(str(Path(copy).parent), recursive=True)
            files.copy_file(info.path, copy)
