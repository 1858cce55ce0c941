"""The exceptions. Each class is one meaning of the exit codes of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._snapshots import JobResult


class Error(Exception):
    """The base of all exceptions of this package.

    Attributes
    ----------
    message : str
        What failed, and why. ``str(error)`` also has the hint.
    hint : str or None
        The next step.
    causes : tuple of str
        The causes, the outermost first.
    exit_code : int
        The exit code with which the command ends for the same reason.
    status : int or None
        The HTTP status, if the API refused a request.

    Examples
    --------
    >>> import overmind_export as oe
    >>> try:
    ...     oe.read("triage-eval", api_key="ovr_example")
    ... except oe.Error as error:
    ...     print(type(error).__name__, error.exit_code)
    UsageError 2
    """

    exit_code: int = 70

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        causes: tuple[str, ...] = (),
        exit_code: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.causes = causes
        self.status = status
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  cause: {cause}" for cause in self.causes]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.message, self.hint, self.causes, self.exit_code, self.status)
        return _rebuilt, (type(self), *arguments)


class UsageError(Error, ValueError):
    """An option is wrong, or the API refused a value (exit code 2)."""

    exit_code = 2


class DataError(Error):
    """The data is wrong or damaged (exit code 65)."""

    exit_code = 65


class IncompleteError(DataError):
    """The dataset changed while it was read: rows are missing or repeated (exit code 65)."""


class NotFoundError(Error):
    """There is no such dataset or plan for many workers, or a filter excludes the dataset (exit code 66)."""

    exit_code = 66


class UnavailableError(Error):
    """The API stayed unavailable (exit code 69)."""

    exit_code = 69


class InternalError(Error):
    """A bug of this package (exit code 70)."""

    exit_code = 70


class OutputError(Error):
    """The output exists or cannot be created (exit code 73)."""

    exit_code = 73


class ReadWriteError(Error):
    """Reading or writing failed, or a limit of the machine was reached (exit code 74)."""

    exit_code = 74


class LockedError(Error):
    """Another run writes the same output (exit code 75)."""

    exit_code = 75


class AuthenticationError(Error):
    """There is no API key, or the API refused it (exit code 77)."""

    exit_code = 77


class ConfigurationError(Error):
    """A setting of the connection is wrong (exit code 78)."""

    exit_code = 78


class SnapshotError(Error):
    """At least one job of a call of :func:`snapshot` failed. The exit code is that of the first failed job.

    Attributes
    ----------
    results : list of JobResult
        The results of all jobs, also of those that did not fail.
    """

    def __init__(self, message: str, results: list[JobResult], **facts: Any) -> None:
        super().__init__(message, **facts)
        self.results = results

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: getattr(self, name) for name in ("hint", "causes", "exit_code", "status")}
        return _jobs_failed, (self.message, self.results, facts)


def _jobs_failed(message: str, results: list[JobResult], facts: dict[str, Any]) -> SnapshotError:
    return SnapshotError(message, results, **facts)


_CLASSES: dict[int, type[Error]] = {
    kind.exit_code: kind
    for kind in (
        UsageError,
        DataError,
        NotFoundError,
        UnavailableError,
        InternalError,
        OutputError,
        ReadWriteError,
        LockedError,
        AuthenticationError,
        ConfigurationError,
    )
}


#: Parts of hints that name the command, and what a caller of this package does instead.
_HINTS = {
    "or give `api_key_file`; `overmind-export demo` needs no key": "or give `api_key`; `overmind_export.demo()` needs none",
    "`overmind-export datasets`": "`overmind_export.datasets()`",
    "`dry_run` shows": "`overmind-export export --dry-run` shows",
}


def from_native(
    message: str,
    hint: str | None,
    causes: tuple[str, ...],
    exit_code: int,
    status: int | None,
    incomplete: bool,
) -> Error:
    """Returns the exception for an error of the extension module."""
    if hint is not None:
        for command, python in _HINTS.items():
            hint = hint.replace(command, python)
    kind = IncompleteError if incomplete else _CLASSES.get(exit_code, Error)
    return _rebuilt(kind, message, hint, causes, exit_code, status)


def _rebuilt(
    kind: type[Error],
    message: str,
    hint: str | None,
    causes: tuple[str, ...],
    exit_code: int,
    status: int | None,
) -> Error:
    return kind(message, hint=hint, causes=causes, exit_code=exit_code, status=status)


for _kind in (Error, IncompleteError, SnapshotError, *_CLASSES.values()):
    # Tracebacks show the public name.
    _kind.__module__ = "overmind_export"
