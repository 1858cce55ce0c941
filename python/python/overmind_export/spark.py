"""Datasets in Spark 4: a data source whose tasks read ranges of pages, and an export by the executors.

Needs the extra ``spark`` on the driver, and this package with pyarrow on each executor. The key comes from
``OVERMIND_LAB_API_KEY`` in the environment of the driver and of the executors, or from a file that each of them has
(``api_key_file``). An option that looks like a key is refused: Spark shows options in its plans and logs.

Examples
--------
::

    from overmind_export.spark import OvermindDataSource
    spark.dataSource.register(OvermindDataSource)
    df = spark.read.format("overmind").schema("id string, input string").load(ID)

    import overmind_export as oe
    oe.spark.export(spark, ID, "s3://lake/eval/")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import (
    AuthenticationError,
    ConfigurationError,
    DataError,
    Error,
    LockedError,
    NotFoundError,
    OutputError,
    UsageError,
)
from ._options import ExportCall, Path, _is_open, checked, names_of, with_options
from ._partitions import Partition, options_of_texts, partitions, refuse_credentials, require_distinct
from ._summary import Summary
from ._tables import require

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Unpack

    from ._client import Dataset

# A missing library is an error that says how to install it.
require("pyarrow", "spark")
require("pyspark", "spark")
require("pyspark.sql.datasource", "spark")

import pyarrow as pa  # noqa: E402
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition  # noqa: E402
from pyspark.sql.types import LongType, StringType, StructField, StructType  # noqa: E402

__all__ = ["OvermindDataSource", "SparkExportOptions", "export", "prove"]

#: Number of ranges of an export. A task that runs again repeats at most a 64th of the pages.
DEFAULT_RANGES = 64
#: Errors that a retry of the task cannot mend.
_FINAL = (
    AuthenticationError,
    ConfigurationError,
    DataError,
    LockedError,
    NotFoundError,
    OutputError,
    UsageError,
)


class OvermindDataSource(DataSource):
    """The rows of a dataset: ``spark.read.format("overmind").load(ID)``.

    A partition is a range of pages, which a task reads in bounded memory. It fails if the dataset no longer has the
    number of rows that the driver saw, or if a row of its pages is missing or came twice. Only :func:`prove` sees the
    rows of all partitions.

    Every action reads the dataset again. Use :func:`export` for rows that are read twice.

    The options are the filters of the API (``agent``, ``version``, …), ``page_size``, ``prefetch_bytes``, the settings
    of the connection (``base_url``, ``rate_limit``, ``timeout``, …), and:

    - ``pages_per_partition``: default 200, which is 20,000 rows.
    - ``share``: each task takes this share of ``rate_limit``. Give it the number of tasks that run at the same time.

    The schema chooses the columns: ``.schema("id string, input string")``. JSON columns are strings. All columns are
    nullable.
    """

    def __init__(self, options: MutableMapping[str, str]) -> None:
        texts = dict(options)
        self._dataset = texts.pop("path", None)
        # A key must not become a part of the plan.
        self._pages, self._options = options_of_texts(texts)
        super().__init__(options)

    @classmethod
    def name(cls) -> str:
        """Returns the name for ``format``."""
        return "overmind"

    def schema(self) -> Any:
        """Returns all columns of the API."""
        return StructType([StructField(name, kind) for name, kind in _columns().items()])

    def reader(self, schema: Any) -> OvermindReader:
        """Returns a reader of the columns of a schema."""
        if self._dataset is None:
            raise UsageError("no dataset is given", hint='give its id: spark.read.format("overmind").load(ID)')
        return OvermindReader(self._dataset, self._pages, self._options, _checked_columns(schema))


class OvermindReader(DataSourceReader):
    """Plans the partitions on the driver, and reads them on the executors."""

    def __init__(self, dataset: str, pages: int, options: dict[str, Any], columns: list[str]) -> None:
        self._dataset, self._pages, self._options, self._columns = dataset, pages, options, columns

    def partitions(self) -> list[Any]:
        """Requests page 1, and returns the ranges of pages."""
        found = partitions(self._dataset, self._pages, columns=self._columns, **self._options)
        return [InputPartition(partition) for partition in found]

    def read(self, partition: Any) -> Iterator[Any]:
        """Reads the pages of a partition as record batches."""
        found: Partition = partition.value
        with found.stream() as stream:
            for batch in stream:
                yield _nullable(pa.RecordBatchReader.from_stream(batch).read_next_batch(), self._columns)


def _nullable(batch: Any, columns: list[str]) -> Any:
    """Returns a batch in which all columns may have nulls: Spark compares the schemas."""
    fields = [batch.schema.field(name).with_nullable(True).remove_metadata() for name in columns]
    return pa.RecordBatch.from_arrays([batch.column(name) for name in columns], schema=pa.schema(fields))


def _columns() -> dict[str, Any]:
    """Returns the columns of the API with their types in Spark."""
    return {
        name: LongType() if kind == "int" else StringType()
        for name, kind in _native.column_types({})
    }


def _checked_columns(schema: Any) -> list[str]:
    """Returns the names of the columns of a schema, which must be those of the API with their types."""
    known = _columns()
    if not schema.fields:
        raise UsageError("the schema has no column", hint='declare one: .schema("id string")')
    for field in schema.fields:
        kind = known.get(field.name)
        if kind is None:
            raise UsageError(f"there is no column {field.name!r}", hint=f"the columns are {', '.join(known)}")
        if field.dataType != kind:
            seen, wanted = field.dataType.simpleString(), kind.simpleString()
            raise UsageError(f"the column {field.name!r} is declared as {seen}: declare it as {wanted}")
        if not field.nullable:
            raise UsageError(f"the column {field.name!r} is declared as NOT NULL: leave that out")
    return [field.name for field in schema.fields]


def prove(df: Any, rows: int | None = None) -> int:
    """Proves that a data frame has every row once: it has as many distinct ids as rows. Returns the number of rows.

    Each partition has proven its own pages, so the rows are complete if no id came in two partitions. Every action
    reads the dataset again, so prove rows that stay: those that were written, read back from there, or a persisted data
    frame.

    Parameters
    ----------
    df : pyspark.sql.DataFrame
        With the column ``id``, and without a filter.
    rows : int, optional
        Number of rows that it must have, for rows that somebody else wrote.

    Raises
    ------
    IncompleteError
        An id is null or came twice, or the number of rows is another one.
    """
    functions = require("pyspark.sql.functions", "spark")
    if "id" not in df.columns:
        raise UsageError("the data frame has no column 'id'", hint="read it with the column id")
    counted = [functions.count(functions.lit(1)), functions.count_distinct(functions.col("id"))]
    found, ids = df.agg(*counted).first()
    return require_distinct("the data frame", int(found), int(ids), rows)


class SparkExportOptions(ExportCall, total=False):
    """All options of :func:`export`."""

    share: int | None
    """Takes only this share of ``rate_limit``: the number of tasks that run at the same time."""


@with_options(SparkExportOptions)
def export(
    spark: Any,
    dataset: str | UUID | Dataset,
    output: Path,
    ranges: int = DEFAULT_RANGES,
    **options: Unpack[SparkExportOptions],
) -> Summary:
    """Exports a dataset with the executors of Spark: every row once, published once, or an error.

    Begins and commits on the driver, and writes the ranges in tasks. See :mod:`overmind_export.cluster`. A task that
    Spark runs again changes nothing. After an error, a second call continues: finished ranges are kept.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
    dataset : str, uuid.UUID or Dataset
        Id of the dataset.
    output : str or os.PathLike
        A prefix in an object store (``s3a://`` is ``s3://``), or a directory that the driver and all executors share.
    ranges : int
        Number of tasks. A range begins where a part begins, so a task can have nothing to do.
    **options
        As for :func:`overmind_export.export`, without keys. An executor encodes on one thread, unless
        ``encode_threads`` says more.

    Raises
    ------
    Error
        As :func:`overmind_export.export`. If the tasks of a range fail too often, the error of Spark.
    """
    from . import cluster

    given = checked("export", options, SparkExportOptions)
    _refuse_secrets(given)
    place = _store_url(output)
    given = {name: value for name, value in given.items() if value is not None}
    planned: Any = {name: value for name, value in given.items() if name in names_of(ExportCall) - {"progress"}}
    for_tasks = {name: value for name, value in given.items() if name in names_of(cluster.PartOptions)}
    for_commit: Any = {name: value for name, value in given.items() if name in names_of(cluster.CommitOptions)}
    plan = cluster.begin(dataset, place, ranges, **planned)
    task = _task(place, {"encode_threads": 1} | for_tasks | {"progress": False})
    count = len(plan.ranges)
    rows = spark.range(0, count, 1, count).mapInArrow(task, "range long, error binary").collect()
    import pickle

    for row in rows:
        if row["error"] is not None:
            error: Error = pickle.loads(row["error"])
            raise error
    return cluster.commit(place, **for_commit)


def _task(output: Path, options: dict[str, Any]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Makes the function that writes the ranges of a partition."""

    def write(batches: Iterator[Any]) -> Iterator[Any]:
        import pickle

        import pyarrow

        from overmind_export import cluster
        from overmind_export.spark import _FINAL

        for batch in batches:
            indices = batch.column(0).to_pylist()
            errors: list[bytes | None] = []
            for index in indices:
                try:
                    cluster.part(output, index, **options)
                    errors.append(None)
                except _FINAL as error:
                    # Spark would run the task again, and show the error as a text.
                    errors.append(pickle.dumps(error))
            columns = {"range": pyarrow.array(indices, "int64"), "error": pyarrow.array(errors, "binary")}
            yield pyarrow.RecordBatch.from_pydict(columns)

    return write


def _store_url(output: Path) -> Path:
    """Returns the output. The scheme of Hadoop for S3 is that of S3."""
    return "s3://" + output[6:] if isinstance(output, str) and output[:6].lower() == "s3a://" else output


def _refuse_secrets(options: dict[str, Any]) -> None:
    """Refuses what the closure of a task would carry to the executors."""
    # The key of pseudonyms is a path.
    refuse_credentials({name: value for name, value in options.items() if name != "pseudonym_key_file"})
    settings = options.get("storage_options")
    # Another type is refused in `begin`.
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        if not _is_open(name, value):
            raise UsageError(
                f"the storage option {name!r} may hold a credential, which would travel in the closures of tasks",
                hint="set it in the environment of the driver and of the executors, or give the executors a role",
            )
