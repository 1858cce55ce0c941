"""Overmind Lab datasets in pandas, Polars, pyarrow and DuckDB: every row once, proven, without a copy.

Examples
--------
>>> import overmind_export as oe
>>> with oe.demo(rows=1000) as demo:            # an embedded API: no account, no network
...     rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo")
>>> print(rows.summary)
1,000 rows, complete: every row once
"""

import atexit

# A type checker reads these imports. At run time, a module is imported when one of its names is used for the first
# time, so that `import overmind_export` takes a millisecond.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import cluster, ray, spark
    from ._async import AsyncClient, AsyncStream
    from ._checks import Diff, Difference, Verification, diff, verify
    from ._client import Client, Dataset, datasets, explain, export, read, scan, stream
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
    from ._explanations import Explanation
    from ._exports import Export, convert, open
    from ._native import __version__
    from ._options import (
        ClientOptions,
        ConnectionOptions,
        ConvertOptions,
        DiffOptions,
        ExplainOptions,
        FileOptions,
        FilterOptions,
        JobOptions,
        OpenOptions,
        OutputOptions,
        ReportOptions,
        RowOptions,
        SnapshotOptions,
        StoreOptions,
        TransformOptions,
    )
    from ._progress import Progress
    from ._reports import Report, report
    from ._snapshots import JobResult, Snapshot, SnapshotResult, open_snapshot, snapshot, snapshots
    from ._summary import Summary
    from ._tables import Batch, Rows, Stream

#: The public names of each module.
_NAMES = {
    "_async": "AsyncClient AsyncStream",
    "_checks": "Diff Difference Verification diff verify",
    "_client": "Client Dataset datasets explain export read scan stream",
    "_demo": "Demo demo",
    "_errors": "AuthenticationError ConfigurationError DataError Error IncompleteError InternalError LockedError "
    "NotFoundError OutputError ReadWriteError SnapshotError UnavailableError UsageError",
    "_explanations": "Explanation",
    "_exports": "Export convert open",
    "_native": "__version__",
    "_options": "ClientOptions ConnectionOptions ConvertOptions DiffOptions ExplainOptions FileOptions FilterOptions JobOptions OpenOptions "
    "OutputOptions ReportOptions RowOptions "
    "SnapshotOptions StoreOptions TransformOptions",
    "_progress": "Progress",
    "_reports": "Report report",
    "_snapshots": "JobResult Snapshot SnapshotResult open_snapshot snapshot snapshots",
    "_summary": "Summary",
    "_tables": "Batch Rows Stream",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [  # noqa: F822
    "AsyncClient",
    "AsyncStream",
    "AuthenticationError",
    "Batch",
    "Client",
    "ClientOptions",
    "ConfigurationError",
    "ConnectionOptions",
    "ConvertOptions",
    "DataError",
    "Dataset",
    "Demo",
    "Diff",
    "DiffOptions",
    "Difference",
    "Error",
    "ExplainOptions",
    "Explanation",
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
    "OutputOptions",
    "Progress",
    "ReadWriteError",
    "Report",
    "ReportOptions",
    "RowOptions",
    "Rows",
    "Snapshot",
    "SnapshotError",
    "SnapshotOptions",
    "SnapshotResult",
    "StoreOptions",
    "Stream",
    "Summary",
    "TransformOptions",
    "UnavailableError",
    "UsageError",
    "Verification",
    "__version__",
    "cluster",
    "convert",
    "datasets",
    "demo",
    "diff",
    "explain",
    "export",
    "open",
    "open_snapshot",
    "read",
    "report",
    "scan",
    "snapshot",
    "snapshots",
    "stream",
    "verify",
]


def _end() -> None:
    """Tells the extension module, if it was loaded, that the interpreter ends."""
    import sys

    native = sys.modules.get("overmind_export._native")
    if native is not None:
        native.end()


# Now, not when the module is loaded: the functions that a program registers later still work.
atexit.register(_end)


def __getattr__(name: str) -> object:
    if name in ("cluster", "ray", "spark"):
        # Modules of their own, with short names. Those of engines need an extra.
        import importlib

        return importlib.import_module(f".{name}", __name__)
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'overmind_export' has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
