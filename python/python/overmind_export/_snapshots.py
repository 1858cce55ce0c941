"""Snapshots: finding and opening them, and running jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from os import fspath, getcwd, path
from typing import TYPE_CHECKING, Any, Literal, cast

from . import _native
from ._client import _split
from ._exports import Export
from ._errors import Error, NotFoundError, SnapshotError, UsageError, from_native
from ._options import JobOptions, JobsCall, Path, SnapshotOptions, StoreOptions, checked, with_options
from ._text import harmless, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

Status = Literal["stored", "unchanged", "failed"]

#: Names in an error.
_NAMED = 10


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot of a job. Made by :func:`snapshots`.

    Attributes
    ----------
    job : str
    taken : datetime.datetime
        Start of the run that began the snapshot, as in the name of its folder: to the second, in UTC.
    dataset : str
    version : int or None
        The version of the dataset, if the job has seen it.
    rows, bytes : int
    location : str
        The path or the URL.
    """

    job: str
    taken: datetime
    dataset: str
    version: int | None
    rows: int
    bytes: int
    location: str
    _options: dict[str, Any] = field(repr=False, compare=False)

    def open(self) -> Export:
        """Opens the snapshot. Reads nothing yet."""
        return Export(self.location, self._options)

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as a dictionary, with the time in RFC 3339."""
        names = ("job", "dataset", "version", "rows", "bytes", "location")
        return {"taken": _shown(self.taken), **{name: getattr(self, name) for name in names}}

    def __getstate__(self) -> dict[str, Any]:
        # Like a pickle of the export.
        options = self.open().__getstate__()["_options"]
        return {**self.__dict__, "_options": options}

    def __copy__(self) -> Snapshot:
        # A copy in this process keeps the settings.
        return self

    def __deepcopy__(self, memo: object) -> Snapshot:
        return self

    def __repr__(self) -> str:
        what = f"{self.job}, {_shown(self.taken)}: {plural(self.rows, 'row')}, {self.location}"
        return f"<Snapshot: {harmless(what)}>"


@dataclass(frozen=True)
class SnapshotResult:
    """The result of a run for one dataset.

    Attributes
    ----------
    dataset : str
    name : str or None
    version : int or None
        As in the list of datasets, if the job has seen it.
    status : {"stored", "unchanged", "failed"}
    taken : datetime.datetime or None
        The time of the snapshot that now represents the data: of the new one, or of the unchanged one.
    location : str or None
        Its path or URL. :func:`overmind_export.open` reads it.
    unchanged_by : {"metadata", "content"} or None
        The comparison that found the data unchanged.
    rows, bytes : int
        Of the snapshot.
    rows_read : int or None
        Number of rows that were read: more than ``rows`` if the job's transformation left some out.
    failed_rows : int
        Number of rows on which an expression failed.
    rescued_rows : int
        Number of rows with a value that does not fit the pinned schema of nested columns. The column ``_rescued`` has it.
    duplicate_rows : int
        Number of rows that were left out because they equal an earlier one.
    replaced_rows : list of int
        Number of rows in which each path of ``mask`` and then of ``pseudonymise`` has replaced a value.
    splits : list of dict
        The splits, each with its ``name``, ``rows`` and ``digest``.
    digest : str or None
    error : Error or None
        Why the run failed for this dataset.
    """

    dataset: str
    name: str | None
    version: int | None
    status: Status
    taken: datetime | None
    location: str | None
    unchanged_by: str | None
    rows: int
    bytes: int
    rows_read: int | None
    failed_rows: int
    rescued_rows: int
    duplicate_rows: int
    replaced_rows: list[int]
    splits: list[dict[str, Any]]
    digest: str | None
    error: Error | None = field(compare=False)


@dataclass(frozen=True)
class JobResult:
    """The result of one run of a job. Made by :func:`snapshot`.

    Attributes
    ----------
    job : str
    status : {"stored", "unchanged", "failed"}
        Failed if the run or any dataset failed, otherwise stored if any dataset was stored.
    rows, bytes, rows_read, failed_rows, duplicate_rows, rescued_rows : int
        Of the snapshots that this run stored.
    replaced_rows : list of int
        As in :class:`SnapshotResult`.
    snapshots : list of SnapshotResult
        One for each dataset. There is at most one unless the job has ``select = "all"``.
    pruned : list of str
        Expired snapshots that retention deleted, as paths below ``folder``.
    folder : str
        The folder or the prefix of the job's snapshots.
    error : Error or None
        The error that determines ``exit_code``: of the run, or else of the first dataset that failed.
    exit_code : int
        0 if nothing failed.
    requests, retries : int
    seconds : float
    started_at, finished_at : str
        RFC 3339, UTC.
    """

    job: str
    status: Status
    rows: int
    bytes: int
    rows_read: int
    failed_rows: int
    rescued_rows: int
    duplicate_rows: int
    replaced_rows: list[int]
    snapshots: list[SnapshotResult]
    pruned: list[str]
    folder: str
    error: Error | None = field(compare=False)
    exit_code: int
    requests: int
    retries: int
    seconds: float
    started_at: str
    finished_at: str
    _line: dict[str, Any] = field(repr=False, compare=False)

    @property
    def location(self) -> str | None:
        """The path or URL of the snapshot that now represents the data; None if there is none or more than one."""
        return self.snapshots[0].location if len(self.snapshots) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Returns what the history of the job has about this run, and ``folder``. It is ready for JSON."""
        return {**self._line, "folder": self.folder}

    def __str__(self) -> str:
        if self.error is not None:
            what = f"failed (exit {self.exit_code}): {self.error.message}"
        elif self.status == "stored":
            what = f"stored {plural(self.rows, 'row')}"
        else:
            what = "unchanged"
        return harmless(f"{self.job}: {what}") + (f", {harmless(self.location)}" if self.location else "")

    def __repr__(self) -> str:
        return f"<JobResult: {self}>"


@with_options(SnapshotOptions)
def open_snapshot(
    root: Path,
    job: str,
    *,
    at: str | date | datetime | None = None,
    **options: Unpack[SnapshotOptions],
) -> Export:
    """Opens the newest snapshot of a job, or the one that was the newest at a time. Needs no configuration file.

    The time of a snapshot is the start of its run, as in the name of its folder ``snapshot=20261120T020000Z``. It is in
    UTC. Runs that found the data unchanged stored no snapshot: the snapshot before them was still the newest.

    Parameters
    ----------
    root : str or os.PathLike
        The folder with the folders of the jobs, or a prefix of an object store (``s3://``, ``gs://``, ``az://``). Also
        the configuration file of the jobs, which has the root and the settings of its object store.
    job : str
        The name of the job.
    at : str, datetime.date or datetime.datetime, optional
        Opens the newest snapshot that was not taken later. A date means the end of that day in UTC. A time without a
        time zone is in UTC, too. As a text: ``"2026-11-20"``, ``"2026-11-20 02:00"``, ``"2026-11-20T03:00:00+01:00"``
        or ``"20261120T020000Z"``.
    **options
        ``dataset`` (only snapshots of this dataset), ``max_value_bytes`` and ``storage_options``.

    Raises
    ------
    NotFoundError
        There is no such root, no such job, or no snapshot that early. The hint has what there is.
    UsageError
        The job has ``select = "all"``, and ``dataset`` does not choose one of its datasets.

    Examples
    --------
    >>> import overmind_export as oe, pathlib, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     config = pathlib.Path(folder, "snapshots.toml")
    ...     job = f'[[job]]\\nname = "nightly"\\nroot = "out"\\ndataset = "{demo.dataset}"'
    ...     _ = config.write_text(job)
    ...     _ = oe.snapshot(config, base_url=demo.url, api_key="demo")
    ...     newest = oe.open_snapshot(f"{folder}/out", "nightly")
    ...     newest.read(columns=["id"])
    <Rows: 1,000 rows, complete: every row once; id>
    """
    given = checked("open_snapshot", options, SnapshotOptions)
    wanted = {"at": _moment(at), "dataset": given.pop("dataset", None)}
    found = _found(root, job, given | wanted, all=False)
    if not found:
        raise _nothing(root, job, given, wanted)
    if len({snapshot.dataset for snapshot in found}) > 1:
        ids = _list(snapshot.dataset for snapshot in found)
        raise UsageError(
            f"job {job!r} has snapshots of {plural(len(found), 'dataset')}",
            hint=f"choose one with `dataset`: {ids}",
        )
    return max(found, key=lambda snapshot: snapshot.taken).open()


@with_options(StoreOptions)
def snapshots(root: Path, job: str, **options: Unpack[StoreOptions]) -> list[Snapshot]:
    """Lists the complete snapshots of a job, oldest first. Needs no configuration file.

    Parameters
    ----------
    root, job
        As for :func:`open_snapshot`.
    **options
        ``storage_options``.

    Examples
    --------
    >>> import overmind_export as oe, pathlib, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     config = pathlib.Path(folder, "snapshots.toml")
    ...     job = f'[[job]]\\nname = "nightly"\\nroot = "out"\\ndataset = "{demo.dataset}"'
    ...     _ = config.write_text(job)
    ...     _ = oe.snapshot(config, base_url=demo.url, api_key="demo")
    ...     [snapshot.rows for snapshot in oe.snapshots(f"{folder}/out", "nightly")]
    [1000]
    """
    return _found(root, job, checked("snapshots", options, StoreOptions), all=True)


@with_options(JobsCall)
def snapshot(
    config: Path | None = None,
    jobs: Iterable[str] | None = None,
    *,
    check: bool = True,
    **options: Unpack[JobsCall],
) -> list[JobResult]:
    """Runs jobs of a configuration file now, such as from Airflow, Dagster or Prefect.

    It does what ``overmind-export snapshot`` does: lock, comparison with the last snapshot, history, ``latest.json`` and
    retention are the same. A job that fails does not stop the others. All jobs have ended when the call returns or
    raises. An orchestrator marks a task as failed if it raises. So by default the call raises if any job failed. The
    exception has the results of all jobs, and the exit code that the command would have.

    Parameters
    ----------
    config : str or os.PathLike, optional
        The configuration file. Default: ``overmind-export/snapshots.toml`` in ``XDG_CONFIG_HOME`` or ``~/.config``.
    jobs : iterable of str, optional
        Names of jobs. Default: all. They run in the order of the file.
    check : bool, default True
        Whether to raise :class:`SnapshotError` after the runs if a job failed. With False, look at ``error`` of each
        result.
    **options
        ``parallel`` (jobs at the same time, 4 by default), ``storage_options``, and the settings of :class:`Client`,
        which take precedence over the environment, and that over the file.

    Returns
    -------
    list of JobResult
        In the order of the file.

    Raises
    ------
    SnapshotError
        At least one job failed.
    UsageError, ConfigurationError
        A name is unknown, or the file is wrong. No request was sent.
    KeyboardInterrupt
        Ctrl-C ends the runs within two seconds. The next run resumes an interrupted snapshot.

    Examples
    --------
    >>> import overmind_export as oe, pathlib, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     config = pathlib.Path(folder, "snapshots.toml")
    ...     job = f'[[job]]\\nname = "nightly"\\nroot = "out"\\ndataset = "{demo.dataset}"'
    ...     _ = config.write_text(job)
    ...     for _ in range(2):
    ...         (result,) = oe.snapshot(config, jobs=["nightly"], base_url=demo.url, api_key="demo")
    ...         print(result.status, result.rows)
    stored 1000
    unchanged 0
    """
    client, given = _split("snapshot", options, JobsCall)
    return client.snapshot(config, jobs, check=check, **cast("JobOptions", given))


def run_jobs(
    config: Path | None, jobs: Iterable[str] | None, check: bool, settings: dict[str, Any]
) -> list[JobResult]:
    """Runs jobs. The settings are checked."""
    names = jobs if jobs is None or isinstance(jobs, str) else list(jobs)
    found = json.loads(_native.run_snapshots(settings | {"config": config, "jobs": names}))
    results = [_result(it["folder"], it["result"]) for it in found]
    failed = [result for result in results if result.error is not None]
    if check and failed:
        first = failed[0].error
        raise SnapshotError(
            f"{len(failed):,} of {plural(len(results), 'job')} failed",
            results,
            hint=first.hint if first else None,
            causes=tuple(_reason(result) for result in failed),
            exit_code=failed[0].exit_code,
        )
    return results


def _reason(result: JobResult) -> str:
    error = result.error
    parts = (result.job, error.message, *error.causes) if error else (result.job,)
    return ": ".join(parts)


def _result(folder: str, line: dict[str, Any]) -> JobResult:
    datasets = [_dataset_result(folder, it) for it in line["snapshots"]]
    own = _error(line["error"])
    error = own or next((it.error for it in datasets if it.error), None)
    counts = ("rows", "rows_read", "failed_rows", "duplicate_rows", "rescued_rows", "bytes", "requests", "retries")
    names = ("job", "status", "pruned", "exit_code", "seconds", "started_at", "finished_at")
    plain = {name: line[name] for name in (*names, *counts)}
    replaced = line.get("replaced_rows", [])
    return JobResult(
        folder=folder, snapshots=datasets, error=error, replaced_rows=replaced, _line=line, **plain
    )


def _dataset_result(folder: str, line: dict[str, Any]) -> SnapshotResult:
    rows = ("rows", "rows_read", "failed_rows", "duplicate_rows", "rescued_rows", "bytes", "digest")
    names = ("dataset", "name", "version", "status", "unchanged_by", *rows)
    stored = line["path"] is not None
    return SnapshotResult(
        taken=_taken(line["snapshot"]) if stored else None,
        location=f"{folder}/{line['path']}" if stored else None,
        error=_error(line["error"]),
        replaced_rows=line.get("replaced_rows", []),
        splits=line.get("splits", []),
        **{name: line[name] for name in names},
    )


def _error(failure: dict[str, Any] | None) -> Error | None:
    """Returns the exception for an error in a result."""
    if failure is None:
        return None
    hint, causes = failure["hint"], tuple(harmless(cause) for cause in failure["causes"])
    hint = None if hint is None else harmless(hint)
    status, incomplete = failure.get("http_status"), failure.get("incomplete", False)
    return from_native(harmless(failure["message"]), hint, causes, failure["exit_code"], status, incomplete)


def _moment(at: object) -> object:
    """Returns a time as the extension module reads it."""
    if isinstance(at, datetime):
        return at.isoformat() if at.tzinfo is None else at.astimezone(timezone.utc).isoformat()
    return at.isoformat() if isinstance(at, date) else at


def _taken(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def _shown(taken: datetime) -> str:
    return f"{taken:%Y-%m-%dT%H:%M:%SZ}"


def _found(root: Path, job: str, given: dict[str, Any], *, all: bool) -> list[Snapshot]:
    """Returns complete snapshots of a job: all, or the newest of each of its folders."""
    if not isinstance(job, str):
        raise TypeError(f"`job` must be a name, not {type(job).__name__}")
    found = json.loads(_native.find_snapshots(root, job, given, all))
    place, jobs = found["root"], found["jobs"]
    if job not in jobs:
        raise _no_job(place, job, jobs, found["exists"])
    kept = ("max_value_bytes", "storage_options")
    options: dict[str, Any] = {name: given[name] for name in kept if name in given}
    if found["configured"]:
        options |= {"_config": path.abspath(root), "_job": job}
    names = ("dataset", "version", "rows", "bytes", "location")
    return [
        Snapshot(
            job=job, taken=_taken(it["stamp"]), _options=options, **{name: it[name] for name in names}
        )
        for it in found["snapshots"]
    ]


def _no_job(root: str, job: str, jobs: list[str], exists: bool) -> NotFoundError:
    if not exists:
        hint = None if path.isabs(root) else f"a relative path begins in {getcwd()!r}"
        return NotFoundError(f"there is no folder {root!r}", hint=hint)
    if not jobs:
        hint = "`root` is the folder or prefix that the configuration of the jobs names"
        return NotFoundError(f"there are no snapshots below {root!r}", hint=hint)
    import difflib

    near = difflib.get_close_matches(job, jobs, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return NotFoundError(f"there is no job {job!r} below {root!r}", hint=f"{meant}it has {_list(jobs)}")


def _nothing(root: Path, job: str, given: dict[str, Any], wanted: dict[str, Any]) -> NotFoundError:
    """Returns the error for a job without a wanted snapshot."""
    dataset, every = wanted["dataset"], _found(root, job, given, all=True)
    if not every:
        return NotFoundError(f"job {job!r} has no complete snapshot yet")
    of_dataset = [it for it in every if dataset is None or it.dataset == dataset.strip().lower()]
    if not of_dataset:
        ids = _list({it.dataset: None for it in every})
        return NotFoundError(
            f"job {job!r} has no snapshot of dataset {dataset}", hint=f"it has snapshots of {ids}"
        )
    return NotFoundError(
        f"job {job!r} has no snapshot that was taken until {wanted['at']} (UTC)",
        hint=f"the oldest was taken at {_shown(of_dataset[0].taken)}",
    )


def _list(names: Iterable[str]) -> str:
    texts = [repr(name) for name in names]
    more = [f"and {len(texts) - _NAMED:,} more"] if len(texts) > _NAMED else []
    return ", ".join(texts[:_NAMED] + more)
