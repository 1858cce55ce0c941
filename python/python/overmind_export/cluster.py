"""One export that many workers write: begin a plan, write its ranges anywhere, commit once.

Any engine can run the steps: mapped tasks, actors, or a pool of processes. The plan is in the staging of the output, so a
worker needs only the output and the number of its range.

Examples
--------
>>> import overmind_export as oe, tempfile
>>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
...     api = {"base_url": demo.url, "api_key": "demo"}
...     plan = oe.cluster.begin(demo.dataset, f"{folder}/out/", 4, rows_per_file=100, **api)
...     for planned in plan.ranges:                      # on any machine, in any order, any number of times
...         _ = oe.cluster.part(f"{folder}/out/", planned.index, **api)
...     print(oe.cluster.commit(f"{folder}/out/", **api))
1,000 rows, complete: every row once
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import _native
from ._options import ConnectionOptions, ExportCall, Path, StoreOptions, checked, dataset_id, with_options
from ._partitions import Partition, PartitionOptions, partitions
from ._progress import display
from ._summary import Summary
from ._text import plural

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Unpack

    from ._client import Dataset
    from ._progress import ProgressOption

__all__ = [
    "CommitOptions",
    "PartOptions",
    "Partition",
    "PartitionOptions",
    "Plan",
    "PlannedRange",
    "RangeResult",
    "RangeStatus",
    "Status",
    "abort",
    "begin",
    "commit",
    "part",
    "partitions",
    "status",
]


class CommitOptions(ConnectionOptions, StoreOptions, total=False):
    """All options of :func:`commit`."""

    temp_dir: Path | None
    """Folder to sort ids in when they exceed 4 MiB. Default: that of the system."""
    progress: ProgressOption
    """As for :class:`overmind_export.RowOptions`."""


class PartOptions(CommitOptions, total=False):
    """All options of :func:`part`."""

    share: int | None
    """Takes only this share of ``rate_limit``: the number of workers that run at the same time."""
    prefetch_bytes: int | None
    """How many bytes of pages to prefetch. Default: 8 MiB."""
    encode_threads: int | None
    """Encoder threads. Default: one for each core, at most 16. The bytes do not depend on it."""


@dataclass(frozen=True)
class PlannedRange:
    """A range of pages.

    Attributes
    ----------
    range : int
        Number of the range, from 1. ``index`` counts from 0.
    first_page, last_page : int or None
        Its pages. None if it has none: there are fewer places where a range can begin than ranges.
    rows : int
        Rows to read.
    """

    range: int
    first_page: int | None
    last_page: int | None
    rows: int

    @property
    def index(self) -> int:
        """Number of the range, from 0, for :func:`part`."""
        return self.range - 1


@dataclass(frozen=True)
class Plan:
    """The plan of an export by many workers: its id, the dataset as it was, and the ranges."""

    plan: str
    output: str
    dataset: str
    count: int
    pages: int
    rows_per_page: int
    ranges: tuple[PlannedRange, ...]

    def __repr__(self) -> str:
        without = sum(it.first_page is None for it in self.ranges)
        more = f", {without} of them without pages" if without else ""
        return f"<Plan: {plural(self.count, 'row')}, {plural(len(self.ranges), 'range')}{more}>"


@dataclass(frozen=True)
class RangeResult:
    """What became of a range.

    Attributes
    ----------
    outcome : {"written", "already_done", "overtaken", "empty"}
        ``"already_done"``: a worker had finished it before. ``"overtaken"``: another one finished it during this call.
        ``"empty"``: it has no pages.
    """

    plan: str
    range: int
    ranges: int
    outcome: Literal["written", "already_done", "overtaken", "empty"]
    first_page: int | None
    last_page: int | None
    rows_read: int
    rows: int
    files: int
    bytes: int
    requests: int
    retries: int
    seconds: float


@dataclass(frozen=True)
class RangeStatus:
    """The state of a range. ``problem`` says why the parts of an ``"unusable"`` one must be written again."""

    range: int
    first_page: int | None
    last_page: int | None
    rows: int
    state: Literal["done", "missing", "unusable", "empty"]
    files: int
    bytes: int
    problem: str | None = None


@dataclass(frozen=True)
class Status:
    """The state of an export by many workers.

    ``commit_begun`` says whether a commit has begun to publish: it is active, or it was interrupted, and the next commit
    continues it.
    """

    plan: Plan
    begun_at: str
    commit_begun: bool
    finished: int
    states: tuple[RangeStatus, ...]

    @property
    def missing(self) -> list[int]:
        """The indices, from 0, of the ranges to write."""
        return [it.range - 1 for it in self.states if it.state in ("missing", "unusable")]

    def __repr__(self) -> str:
        # A range without pages has no work, and does not count.
        with_pages = sum(it.state != "empty" for it in self.states)
        return f"<Status: {self.finished} of {plural(with_pages, 'range')} finished>"


def _plan(found: dict[str, Any]) -> Plan:
    names = ("plan", "output", "dataset", "count", "pages", "rows_per_page")
    ranges = tuple(PlannedRange(**it) for it in found["ranges"])
    return Plan(**{name: found[name] for name in names}, ranges=ranges)


@with_options(ExportCall)
def begin(
    dataset: str | UUID | Dataset, output: Path, ranges: int, **options: Unpack[ExportCall]
) -> Plan:
    """Begins an export in this number of ranges. Requests page 1, and writes the plan next to the output.

    A second call with the same options is harmless. Another plan is refused, unless ``restart=True``.

    Parameters
    ----------
    dataset, output, **options
        As for :func:`overmind_export.export`. The output is a directory or a prefix. ``dedupe``, ``pages`` and ``limit``
        are refused: a worker sees only its own rows.
    ranges : int
        At most 99,999. Ranges begin where a part begins, so some can have no pages.
    """
    given = checked("begin", options, ExportCall)
    return _plan(json.loads(_native.cluster_begin(dataset_id(dataset), output, ranges, given)))


@with_options(PartOptions, progress="auto")
def part(
    output: Path, index: int, *, ranges: int | None = None, **options: Unpack[PartOptions]
) -> RangeResult:
    """Writes a range of an export that was begun: anywhere, any number of times, in any order.

    Parameters
    ----------
    output : str or os.PathLike
        As it was given to :func:`begin`.
    index : int
        Number of the range, from 0.
    ranges : int, optional
        Number of ranges, to be compared with the plan.

    Raises
    ------
    IncompleteError
        The dataset is no longer the one of the plan.
    LockedError
        The plan was committed or aborted.
    NotFoundError
        Neither a plan nor an output is there: it was never begun, its path is misspelled, or it was aborted.
    """
    given = {"progress": "auto"} | checked("part", options, PartOptions)
    given |= {"progress": display(given["progress"])}
    return RangeResult(**json.loads(_native.cluster_part(output, index, ranges, given)))


@with_options(CommitOptions, progress="auto")
def commit(output: Path, **options: Unpack[CommitOptions]) -> Summary:
    """Publishes an export whose ranges are all written, after a proof that every row came once.

    Raises
    ------
    DataError
        Ranges are missing, which the message names, or the rows are not those of the dataset. All ranges are kept.
    LockedError
        The plan was aborted, or another commit is active.
    NotFoundError
        Neither a plan nor an output is there.
    """
    given = {"progress": "auto"} | checked("commit", options, CommitOptions)
    given |= {"progress": display(given["progress"])}
    return Summary(**_native.cluster_commit(output, given))


@with_options(StoreOptions)
def status(output: Path, **options: Unpack[StoreOptions]) -> Status:
    """Returns which ranges of an export that was begun are finished. Sends no request to the API."""
    found = json.loads(_native.cluster_status(output, checked("status", options, StoreOptions)))
    states = tuple(RangeStatus(**it) for it in found["states"])
    return Status(_plan(found), found["begun_at"], found["commit_begun"], found["finished"], states)


@with_options(StoreOptions)
def abort(output: Path, **options: Unpack[StoreOptions]) -> None:
    """Gives up an export that was begun, and removes everything that its workers have staged."""
    _native.cluster_abort(output, checked("abort", options, StoreOptions))
