"""Overmind Lab datasets in pandas, Polars, pyarrow and DuckDB: every row once, proven, without a copy.

Examples
--------
>>> import overmind_export as oe
>>> with oe.demo(rows=1000) as demo:            # an embedded API: no account, no network
...     rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo")
>>> print(rows.summary)
1,000 rows, complete: every row once
"""

from typing import TYPE_CHECKING

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
    SnapshotError,
    UnavailableError,
    UsageError,
)
from ._native import __version__
from ._options import (
    ConnectionOptions,
    DiffOptions,
    FileOptions,
    FilterOptions,
    JobOptions,
    OpenOptions,
    RowOptions,
    SnapshotOptions,
    StoreOptions,
)
from ._summary import Summary
from ._tables import Batch, Rows, Stream

if TYPE_CHECKING:
    from ._snapshots import (
        JobResult,
        Snapshot,
        SnapshotResult,
        open_snapshot,
        snapshot,
        snapshots,
    )
else:
    #: Names that are imported when they are used first, because they need more modules.
    _LATER = ("JobResult", "Snapshot", "SnapshotResult", "open_snapshot", "snapshot", "snapshots")

    def __getattr__(name):
        if name in _LATER:
            from . import _snapshots

            value = globals()[name] = getattr(_snapshots, name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_LATER})

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
    "JobOptions",
    "JobResult",
    "LockedError",
    "NotFoundError",
    "OpenOptions",
    "OutputError",
    "ReadWriteError",
    "RowOptions",
    "Rows",
    "Snapshot",
    "SnapshotError",
    "SnapshotOptions",
    "SnapshotResult",
    "StoreOptions",
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
    "open_snapshot",
    "read",
    "scan",
    "snapshot",
    "snapshots",
    "stream",
    "verify",
]
