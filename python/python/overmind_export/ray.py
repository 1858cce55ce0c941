"""Datasets in Ray Data: a data source whose read tasks read ranges of pages.

Needs the extra ``ray`` on the driver, and this package with pyarrow on each worker. A task takes the key from the
environment of its worker, or from a file there (``api_key_file``). An option that looks like a key is refused.

Examples
--------
::

    import overmind_export as oe
    ds = oe.ray.read(ID, columns=["id", "input"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from ._errors import UsageError
from ._options import checked, with_options
from ._partitions import (
    DEFAULT_PAGES,
    Partition,
    PartitionOptions,
    partitions,
    refuse_credentials,
    require_distinct,
)
from ._tables import require

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Unpack

    from ._client import Dataset

# A missing library is an error that says how to install it.
require("pyarrow", "ray")
require("ray", "ray")
require("ray.data", "ray")

from ray.data import read_datasource  # noqa: E402
from ray.data.block import BlockMetadata  # noqa: E402
from ray.data.datasource import Datasource, ReadTask  # noqa: E402

__all__ = ["OvermindDatasource", "prove", "read"]


class OvermindDatasource(Datasource):
    """A data source with one read task for each partition, for ``ray.data.read_datasource``.

    A task fails if the dataset no longer has the number of rows that it had when this object was made, or if a row of
    its pages is missing or came twice. Only :func:`prove` sees the rows of all tasks.
    """

    def __init__(self, found: list[Partition]) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._partitions = found

    def get_name(self) -> str:
        """Returns the name that Ray shows."""
        return "Overmind"

    def estimate_inmemory_data_size(self) -> int | None:
        """Returns None: only the rows show their size."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        """Returns a task for each partition, whatever the wanted parallelism is."""
        return [self._task(partition, per_task_row_limit) for partition in self._partitions]

    def _task(self, partition: Partition, limit: int | None) -> Any:
        facts = BlockMetadata(
            num_rows=partition.rows, size_bytes=None, input_files=None, exec_stats=None
        )
        return ReadTask(_reader(partition), facts, per_task_row_limit=limit)


def _reader(partition: Partition) -> Callable[[], Iterator[Any]]:
    """Makes the function that reads a partition as tables of pyarrow."""

    def read() -> Iterator[Any]:
        with partition.stream() as stream:
            for batch in stream:
                yield batch.to_arrow()

    return read


@with_options(PartitionOptions)
def read(
    dataset: str | UUID | Dataset, pages: int = DEFAULT_PAGES, **options: Unpack[PartitionOptions]
) -> Any:
    """Returns a ``ray.data.Dataset`` with the rows. Requests page 1, and reads the rest in tasks.

    Every execution reads the dataset again. Materialise or write rows that are needed twice.

    Parameters
    ----------
    dataset, pages, **options
        As for :func:`overmind_export.cluster.partitions`, without keys.
    """
    given = checked("read", options, PartitionOptions)
    refuse_credentials(given)
    found = partitions(dataset, pages, **cast("PartitionOptions", given))
    # Otherwise Ray splits what each task reads into many small blocks: it does not know their size before.
    return read_datasource(OvermindDatasource(found), override_num_blocks=len(found))


def prove(ds: Any, rows: int | None = None) -> int:
    """Proves that a dataset of Ray has every row once: it has as many distinct ids as rows. Returns the number of rows.

    Every execution reads the dataset again, so give a materialised dataset, or one that was read from where it was
    written. Gathers the ids in the memory of this process, which takes about 100 bytes a row.

    Parameters
    ----------
    ds : ray.data.Dataset
        With the column ``id``, and without a filter.
    rows : int, optional
        Number of rows that it must have, for rows that somebody else wrote.

    Raises
    ------
    IncompleteError
        An id is null or came twice, or the number of rows is another one.
    """
    if "id" not in ds.columns():
        raise UsageError("the dataset has no column 'id'", hint="read it with the column id")
    import pyarrow as pa

    batches = ds.select_columns(["id"]).iter_batches(batch_size=None, batch_format="pyarrow")
    chunks = [chunk for batch in batches for chunk in batch.column("id").chunks]
    ids = pa.chunked_array(chunks, type=None if chunks else pa.string())
    found, distinct = len(ids), len(ids.drop_null().unique())
    return require_distinct("the dataset", int(found), int(distinct), rows)
