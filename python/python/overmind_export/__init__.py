"""Overmind Lab datasets in pandas, Polars, pyarrow and DuckDB: every row once, proven, without a copy.

Examples
--------
>>> import overmind_export as oe
>>> with oe.demo(rows=1000) as demo:            # an embedded API: no account, no network
...     rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo")
>>> print(rows.summary)
1,000 rows, complete: every row once
"""

from ._checks import Diff, Difference, Verification, diff, verify
from ._client import Client, Dataset, Export, datasets, export, open, read, scan, stream
from ._demo import Demo, demo
from ._errors import (
    AuthenticationError,
    ConfigurationError,
    DataError,
    Error,
    IncompleteError,
    InternalError,
    LockedError,
    NotFoundError,
    OutputError,
    ReadWriteError,
    UnavailableError,
    UsageError,
)
from ._native import __version__
from ._options import ConnectionOptions, DiffOptions, FileOptions, FilterOptions, OpenOptions, RowOptions
from ._summary import Summary
from ._tables import Batch, Rows, Stream

__all__ = [
    "AuthenticationError",
    "Batch",
    "Client",
    "ConfigurationError",
    "ConnectionOptions",
    "DataError",
    "Dataset",
    "Demo",
    "Diff",
    "DiffOptions",
    "Difference",
    "Error",
    "Export",
    "FileOptions",
    "FilterOptions",
    "IncompleteError",
    "InternalError",
    "LockedError",
    "NotFoundError",
    "OpenOptions",
    "OutputError",
    "ReadWriteError",
    "RowOptions",
    "Rows",
    "Stream",
    "Summary",
    "UnavailableError",
    "UsageError",
    "Verification",
    "__version__",
    "datasets",
    "demo",
    "diff",
    "export",
    "open",
    "read",
    "scan",
    "stream",
    "verify",
]
