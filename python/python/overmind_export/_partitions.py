"""The page ranges of a dataset, for engines that take rows instead of files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import IncompleteError, UsageError
from ._options import (
    ConnectionOptions,
    FilterOptions,
    _may_hold_a_secret,
    checked,
    dataset_id,
    names_of,
    with_options,
    without_secrets,
)
from ._tables import Rows, Stream
from ._text import plural

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Self, Unpack

    from ._client import Dataset

#: Pages of a partition: 20,000 rows in pages of 100.
DEFAULT_PAGES = 200


class PartitionOptions(ConnectionOptions, FilterOptions, total=False):
    """All options of :func:`partitions`."""

    columns: Iterable[str] | None
    """All columns of the result, in their order. Default: those of the API."""
    drop: Iterable[str] | None
    """Columns to leave out."""
    page_size: int | None
    """Rows to request per page. The API allows at most 100, which is the default."""
    prefetch_bytes: int | None
    """Bytes of pages to prefetch. Default: 8 MiB."""
    share: int | None
    """Takes only this share of ``rate_limit``: the number of tasks that run at the same time."""


@dataclass(frozen=True)
class Partition:
    """A range of pages of a dataset, to be read by a task of an engine, anywhere and any number of times.

    A task raises :class:`overmind_export.IncompleteError` if the dataset no longer has the planned number of rows, or
    if a row of these pages is missing or came twice. It does not see the rows of other partitions: count the distinct
    ids of all of them in the engine.

    A pickle of a partition has no key: the other process takes it from its environment, or from ``api_key_file`` there.

    Attributes
    ----------
    dataset : str
        Id of the dataset.
    index : int
        Number of the partition, from 0.
    first_page, last_page, rows : int
        Its pages, and the number of their rows.
    count, rows_per_page : int
        The planned number of rows of the dataset, and of a full page.
    """

    dataset: str
    index: int
    first_page: int
    last_page: int
    rows: int
    count: int
    rows_per_page: int
    options: Mapping[str, Any] = field(repr=False, compare=False)

    def stream(self) -> Stream:
        """Begins to read the rows, in bounded memory."""
        planned = {
            "pages": f"{self.first_page}-{self.last_page}",
            "planned_count": self.count,
            "planned_rows_per_page": self.rows_per_page,
            "progress": None,
        }
        return Stream(_native.stream_dataset(self.dataset, {**self.options, **planned}))

    def read(self) -> Rows:
        """Reads the rows into memory."""
        with self.stream() as stream:
            return Rows(stream._inner.read_all())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"options": without_secrets(dict(self.options))}

    def __copy__(self) -> Self:
        # A copy in this process keeps the key.
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


@with_options(PartitionOptions)
def partitions(
    dataset: str | UUID | Dataset, pages: int = DEFAULT_PAGES, **options: Unpack[PartitionOptions]
) -> list[Partition]:
    """Divides a dataset into ranges of pages, which the tasks of an engine read. Requests page 1.

    Use it with engines that take rows. :func:`begin` is for those that write files, and proves more.

    Parameters
    ----------
    dataset : str, uuid.UUID or Dataset
        Id of the dataset.
    pages : int
        Pages of a partition; the last one can have fewer.
    **options
        Filters of the API, ``columns``, ``drop``, ``page_size``, ``prefetch_bytes``, ``share``, and the settings of
        :class:`overmind_export.Client`.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=1000) as demo:
    ...     parts = oe.cluster.partitions(demo.dataset, 4, columns=["id"], base_url=demo.url, api_key="demo")
    ...     rows = sum(part.read().num_rows for part in parts)      # each in a task
    >>> len(parts), rows
    (3, 1000)
    """
    given = checked("partitions", options, PartitionOptions)
    if not isinstance(pages, int) or isinstance(pages, bool) or pages < 1:
        raise UsageError(f"`pages` is {pages!r}: give a whole number above zero")
    found = dataset_id(dataset)
    base_url, count, rows_per_page, ranges = _native.cluster_pages(found, pages, given)
    # A worker with another base URL in its environment would read another API.
    settings = {"base_url": base_url} | {name: value for name, value in given.items() if value is not None}
    return [
        Partition(found, index, first, last, rows, count, rows_per_page, settings)
        for index, (first, last, rows) in enumerate(ranges)
    ]


#: Names of options that hold credentials. Engines show options in plans, logs and web pages.
_CREDENTIAL = re.compile(r"key|token|secret|passw|credential|auth|bearer|signature|sas", re.IGNORECASE)
#: What :class:`PartitionOptions` takes, by the texts of its annotations.
_PARSERS = {"int | None": int, "float | None": float}


def refuse_credentials(options: Mapping[str, Any]) -> None:
    """Refuses options that hold a credential, or seem to. The engine shows and stores options."""
    for name, value in options.items():
        if value is None:
            continue
        is_place = name == "api_key_file"
        is_key = isinstance(value, _native.Secret) or (isinstance(value, str) and value.strip().startswith("ovr_"))
        has_password = name == "base_url" and _may_hold_a_secret(value)
        if is_key or has_password or (_CREDENTIAL.search(name) is not None and not is_place):
            raise UsageError(
                f"the option {name!r} may hold a credential, which the engine would show in its plans and logs",
                hint="set OVERMIND_LAB_API_KEY in the environment of the driver and of the workers, or give "
                "`api_key_file`, a file that each of them has",
            )


def options_of_texts(texts: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Reads options that an engine passes as texts. Returns the pages of a partition and the other options."""
    names = names_of(PartitionOptions) - {"api_key", "columns", "drop"} | {"pages_per_partition"}
    lower = {name.lower(): value for name, value in texts.items()}
    refuse_credentials(lower)
    options: dict[str, Any] = {}
    for name, text in lower.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else "columns are chosen by the schema, and rows by the engine"
            raise UsageError(f"there is no option {name!r}", hint=hint)
        options[name] = _parsed(name, text)
    return options.pop("pages_per_partition", DEFAULT_PAGES), options


def _parsed(name: str, text: str) -> Any:
    kind = "int | None" if name == "pages_per_partition" else PartitionOptions.__annotations__[name]
    kind = getattr(kind, "__forward_arg__", kind)
    if kind == "bool | None":
        if text.lower() not in ("true", "false"):
            raise UsageError(f"the option {name!r} is {text!r}: give true or false")
        return text.lower() == "true"
    try:
        return _PARSERS.get(kind, str)(text)
    except ValueError:
        what = "a whole number" if kind == "int | None" else "a number"
        raise UsageError(f"the option {name!r} is {text!r}: give {what}") from None


def require_distinct(what: str, rows: int, ids: int, expected: int | None) -> int:
    """Checks that a table has every row once. Returns the number of rows."""
    problem = not_distinct(rows, ids, expected)
    if problem is not None:
        raise IncompleteError(
            f"{what} does not have every row once: {problem}",
            hint="read the dataset again when it no longer changes, or give the option `ordering` the value id if the "
            "API's default order is not stable",
        )
    return rows


def not_distinct(rows: int, ids: int, expected: int | None) -> str | None:
    """Says why rows are not every row once; None if they are."""
    if rows != ids:
        return f"{plural(rows, 'row')} with {plural(ids, 'distinct id')}"
    if expected is not None and rows != expected:
        return f"{plural(rows, 'row')}, and {expected:,} expected"
    return None
