"""The client: the settings of the connection, and the calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from . import _native, _signals
from ._explanations import Explanation, explanations
from ._options import (
    ClientOptions,
    ConnectionOptions,
    DatasetsCall,
    ExplainCall,
    ExplainOptions,
    ExportCall,
    FileOptions,
    FilterOptions,
    JobOptions,
    Path,
    ReadCall,
    RowOptions,
    checked,
    dataset_id,
    names_of,
    without_secrets,
    with_options,
)
from ._progress import check, display
from ._summary import Summary
from ._tables import Rows, Stream, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    import polars
    from typing_extensions import Self, Unpack

    from ._snapshots import JobResult


@dataclass(frozen=True)
class Dataset:
    """A dataset in the list of datasets. What the API omits is None.

    Attributes
    ----------
    id : str
        Each version of a dataset has its own id.
    name, source, created, agent, generator_model, policy_hash : str or None
    version, rows : int or None
    metadata : object
        Any JSON value.
    """

    id: str
    name: str | None = None
    version: int | None = None
    source: str | None = None
    rows: int | None = None
    created: str | None = None
    agent: str | None = None
    generator_model: str | None = None
    metadata: Any = field(default=None, compare=False)
    policy_hash: str | None = None


def _dataset(text: str) -> Dataset:
    values = json.loads(text)
    values["rows"] = values.pop("num_datapoints", None)
    values["created"] = values.pop("created_at", None)
    return Dataset(**values)


class Client:
    """The settings of the connection, for several calls.

    Every call has its own connections, so a client can be shared by threads and by forked processes. A rate limit
    holds for each call. A pickle of a client has no key: the other process takes it from its environment. It has no
    callable for the progress either.

    Parameters
    ----------
    **options
        See :class:`ClientOptions`: ``api_key``, ``base_url``, ``concurrency``, ``rate_limit``, ``timeout``,
        ``progress``, …

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=100) as demo:
    ...     with oe.Client(base_url=demo.url, api_key="demo", rate_limit="50/s") as client:
    ...         rows = client.read(demo.dataset, limit=10)
    >>> rows
    <Rows: 10 rows of 100, a part of the dataset; id, order, input, expected_output, persona, tags, additional_properties>
    """

    @with_options(ClientOptions)
    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._settings: dict[str, Any] = {}  # A traceback may show the object before the next line has ended.
        self._settings = checked("Client", options, ClientOptions)
        check(options.get("progress"))

    @with_options(FilterOptions)
    def datasets(self, **filters: Unpack[FilterOptions]) -> list[Dataset]:
        """Lists the datasets that the key can see. See :func:`overmind_export.datasets`."""
        return self._datasets(checked("datasets", filters, FilterOptions))

    def _datasets(self, options: dict[str, Any]) -> list[Dataset]:
        options = self._settings | options | {"progress": None}
        return [_dataset(text) for text in _native.datasets(options)]

    @with_options(RowOptions)
    def read(self, dataset: str | UUID | Dataset, **options: Unpack[RowOptions]) -> Rows:
        """Reads a dataset into memory. See :func:`overmind_export.read`."""
        given = self._shown(checked("read", options, RowOptions)) | {"counts_pages": True}
        return Rows(_native.stream_dataset(dataset_id(dataset), given).read_all())

    @with_options(RowOptions)
    def stream(self, dataset: str | UUID | Dataset, **options: Unpack[RowOptions]) -> Stream:
        """Begins to read a dataset. See :func:`overmind_export.stream`."""
        given = self._shown(checked("stream", options, RowOptions))
        return Stream(_native.stream_dataset(dataset_id(dataset), given))

    @with_options(RowOptions)
    def scan(self, dataset: str | UUID | Dataset, **options: Unpack[RowOptions]) -> polars.LazyFrame:
        """Returns a lazy frame of Polars. See :func:`overmind_export.scan`."""
        given = checked("scan", options, RowOptions)
        types = dict(_native.column_types(given))
        # A limit counts the rows that are read. A computed column can decide which rows are kept, also one that a query
        # does not need.
        is_chosen = any(given.get(name) is not None for name in ("where", "sample", "dedupe", "mask", "pseudonymise", "column"))
        is_computed = given.get("column") is not None

        def begin(columns: list[str], limit: int | None) -> Stream:
            wanted: dict[str, Any] = {} if is_computed else {"columns": columns, "drop": None}
            if not is_chosen:
                own = given.get("limit")
                wanted["limit"] = min((it for it in (own, limit) if it is not None), default=None)
            return self.stream(dataset, **cast("RowOptions", given | wanted))

        return _lazy(types, begin)

    @with_options(ExplainOptions)
    def explain(self, dataset: str | UUID | Dataset, **options: Unpack[ExplainOptions]) -> list[Explanation]:
        """Says for the first rows whether they are kept, and why not. See :func:`overmind_export.explain`."""
        given = self._settings | checked("explain", options, ExplainOptions) | {"progress": None}
        return explanations(_native.explain_dataset(dataset_id(dataset), given))

    @with_options(FileOptions)
    def export(self, dataset: str | UUID | Dataset, output: Path, **options: Unpack[FileOptions]) -> Summary:
        """Exports a dataset to files. See :func:`overmind_export.export`."""
        given = checked("export", options, FileOptions)
        return Summary(**_native.export(dataset_id(dataset), output, self._shown(given)))

    @with_options(JobOptions)
    def snapshot(
        self,
        config: Path | None = None,
        jobs: Iterable[str] | None = None,
        *,
        check: bool = True,
        **options: Unpack[JobOptions],
    ) -> list[JobResult]:
        """Runs jobs of a configuration file now. See :func:`overmind_export.snapshot`."""
        given = checked("snapshot", options, JobOptions)
        from ._snapshots import run_jobs

        return run_jobs(config, jobs, check, self._settings | given | {"progress": None})

    def close(self) -> None:
        """Does nothing: every call closes its own connections."""

    def _shown(self, given: dict[str, Any]) -> dict[str, Any]:
        """Adds the settings to the options of a call, and chooses where its progress is shown."""
        options = {"progress": "auto"} | self._settings | given
        return options | {"progress": display(options["progress"])}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        settings = without_secrets(self._settings).items()
        return {name: value for name, value in settings if not callable(value)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._settings = state

    def __copy__(self) -> Self:
        # A copy in this process keeps the key.
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.__getstate__().items()]
        return f"Client({', '.join(shown)})"


def _lazy(types: dict[str, str], begin: Any) -> polars.LazyFrame:
    """Makes a lazy frame. Polars passes the columns, the number of rows and a filter."""
    pl = require("polars", "polars")
    require("polars.io.plugins", "polars")
    known = {
        "int": pl.Int64(),
        "float": pl.Float64(),
        "bool": pl.Boolean(),
        "timestamp": pl.Datetime("us", "UTC"),
    }
    names = list(types)

    def dtype(kind: str) -> polars.DataType:
        """Returns the type of a column. The name of a type of lists is that of its elements and brackets."""
        plain: polars.DataType = known.get(kind.removesuffix("[]"), pl.String())
        lists: polars.DataType = pl.List(plain)
        return lists if kind.endswith("[]") else plain

    schema = {name: dtype(kind) for name, kind in types.items()}

    def source(
        with_columns: list[str] | None,
        predicate: polars.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[polars.DataFrame]:
        if n_rows == 0:
            return
        wanted = names if with_columns is None else with_columns
        # Without a column, Polars only counts rows.
        left = n_rows
        with begin(wanted or names[:1], n_rows) as stream:
            stream._inner.read_by_library()
            for batch in stream:
                frame = batch.to_polars().select(wanted or names[:1])
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                yield frame if predicate is None else frame.filter(predicate)
                if left == 0:
                    return

    # Polars begins the stream on another thread, which cannot watch.
    _signals.watch()
    lazy: polars.LazyFrame = pl.io.plugins.register_io_source(source, schema=schema)
    return lazy


def _split(call: str, options: Any, allowed: type[Any]) -> tuple[Client, dict[str, Any]]:
    """Separates the settings of the connection from the options of a call."""
    given = checked(call, options, allowed)
    connection = names_of(ConnectionOptions)
    client = Client(**cast("ConnectionOptions", {it: given[it] for it in given if it in connection}))
    return client, {it: given[it] for it in given if it not in connection}


@with_options(DatasetsCall)
def datasets(**options: Unpack[DatasetsCall]) -> list[Dataset]:
    """Lists the datasets that the key can see: all of them, or an error.

    Parameters
    ----------
    **options
        Filters (``agent``, ``generator_model``, ``ordering``, ``search``, ``source``, ``version``, ``version_min``,
        ``version_max``) and the settings of :class:`Client`.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=100) as demo:
    ...     [(dataset.name, dataset.rows) for dataset in oe.datasets(base_url=demo.url, api_key="demo")]
    [('support-chat-100', 100)]
    """
    client, filters = _split("datasets", options, DatasetsCall)
    return client.datasets(**cast("FilterOptions", filters))


@with_options(ReadCall)
def read(dataset: str | UUID | Dataset, **options: Unpack[ReadCall]) -> Rows:
    """Reads a dataset into memory: every row once, or an error.

    Parameters
    ----------
    dataset : str, uuid.UUID or Dataset
        Id of the dataset.
    **options
        ``columns``, ``limit``, ``pages``, ``page_size``, ``prefetch_bytes``, ``progress``, the filters of
        :func:`datasets`, and the settings of :class:`Client`. ``where``, ``sample``, ``seed``, ``dedupe``, ``mask``,
        ``pseudonymise``, ``pseudonym_key_file``, ``on_error``, ``expression_timeout``, ``column`` and ``drop`` choose
        rows, replace values and compute columns: see :class:`TransformOptions`.

    Raises
    ------
    Error
        One class for each reason, such as :class:`NotFoundError`.
    KeyboardInterrupt
        Ctrl-C ends the call within a second.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=1000) as demo:
    ...     rows = oe.read(demo.dataset, columns=["id", "order"], base_url=demo.url, api_key="demo")
    >>> rows.column_names
    ['id', 'order']

    Only some rows, with a computed column. All rows are read, and the proof counts them:

    >>> with oe.demo(rows=1000) as demo:
    ...     rows = oe.read(
    ...         demo.dataset, where=".order < 10", column={"turns": ("int", ".input.messages | length")},
    ...         columns=["id", "turns"], base_url=demo.url, api_key="demo",
    ...     )
    >>> print(rows.summary)
    10 rows of 1,000 read, complete: every row read once
    """
    client, given = _split("read", options, ReadCall)
    return client.read(dataset, **cast("RowOptions", given))


@with_options(ReadCall)
def stream(dataset: str | UUID | Dataset, **options: Unpack[ReadCall]) -> Stream:
    """Begins to read a dataset, in bounded memory. The options are those of :func:`read`.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=5000) as demo:
    ...     for batch in oe.stream(demo.dataset, columns=["id"], base_url=demo.url, api_key="demo"):
    ...         print(batch)
    <Batch: 4,000 rows; id>
    <Batch: 1,000 rows; id>
    """
    client, given = _split("stream", options, ReadCall)
    return client.stream(dataset, **cast("RowOptions", given))


@with_options(ReadCall)
def scan(dataset: str | UUID | Dataset, **options: Unpack[ReadCall]) -> polars.LazyFrame:
    """Returns a lazy frame of Polars. Only the columns and rows that a query needs are kept or requested.

    Needs the extra ``polars``. The options are those of :func:`read`. A query that needs only the first rows reads
    only their pages, so it proves nothing about the others.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=1000) as demo:
    ...     lazy = oe.scan(demo.dataset, base_url=demo.url, api_key="demo")
    ...     lazy.select("id").head(3).collect().shape
    (3, 1)
    """
    client, given = _split("scan", options, ReadCall)
    return client.scan(dataset, **cast("RowOptions", given))


@with_options(ExplainCall)
def explain(dataset: str | UUID | Dataset, **options: Unpack[ExplainCall]) -> list[Explanation]:
    """Says for the first rows of a dataset whether a transformation keeps them, and why not. Writes nothing.

    An expression that fails on a row is a reason here, and ends nothing.

    Parameters
    ----------
    dataset : str, uuid.UUID or Dataset
        Id of the dataset. For an export, see :meth:`Export.explain`.
    **options
        ``rows`` (how many, default 20), the options of :func:`read` that choose rows and columns, and ``split``.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=100) as demo:
    ...     rows = oe.explain(demo.dataset, where=".order < 1", rows=2, base_url=demo.url, api_key="demo")
    >>> [(row.kept, row.reason) for row in rows]
    [(True, None), (False, '`where` ".order < 1" does not hold')]
    """
    client, given = _split("explain", options, ExplainCall)
    return client.explain(dataset, **cast("ExplainOptions", given))


@with_options(ExportCall)
def export(dataset: str | UUID | Dataset, output: Path, **options: Unpack[ExportCall]) -> Summary:
    """Exports a dataset to a file, a directory of parts, or an object store: all or nothing.

    Parameters
    ----------
    dataset : str, uuid.UUID or Dataset
        Id of the dataset.
    output : str or os.PathLike
        ``rows.parquet``, ``rows.arrow``, ``rows.jsonl``, ``rows.jsonl.gz``, ``rows.jsonl.zst``, a directory
        (``out/``), or a URL of either (``s3://``, ``gs://``, ``az://``).
    **options
        The flags of ``overmind-export export`` with underscores: ``overwrite=True``, ``rows_per_file=100_000``,
        ``compression="zstd:9"``, …, the options of :func:`read`, and ``storage_options`` for an object store.

    Examples
    --------
    >>> import overmind_export as oe, tempfile, pathlib
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "rows.parquet")
    ...     print(oe.export(demo.dataset, path, base_url=demo.url, api_key="demo"))
    1,000 rows, complete: every row once
    """
    client, given = _split("export", options, ExportCall)
    return client.export(dataset, output, **cast("FileOptions", given))
