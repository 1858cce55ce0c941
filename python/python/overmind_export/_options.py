"""The names and types of options, and the check of their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from uuid import UUID

    from ._progress import ProgressOption

    from typing_extensions import TypeAlias

Path: TypeAlias = "str | PathLike[str]"
Column: TypeAlias = Literal[
    "id", "order", "input", "expected_output", "persona", "tags", "additional_properties"
]
Source: TypeAlias = Literal["seed", "synthetic", "augmented", "production"]
Format: TypeAlias = Literal["parquet", "arrow", "jsonl"]


class ConnectionOptions(TypedDict, total=False):
    """How to reach the API. A missing option comes from the environment, or else has its default."""

    api_key: str | None
    """The key. Default: ``OVERMIND_LAB_API_KEY`` or ``OVERMIND_API_KEY``."""
    api_key_file: Path | None
    """A file whose first line is the key."""
    base_url: str | None
    """Default: ``OVERMIND_LAB_BASE_URL``, ``OVERMIND_API_URL``, or ``https://api.overmindlab.ai``."""
    ca_cert: Path | None
    """A PEM file with certificates to trust, in addition to those of the system."""
    allow_http: bool | None
    """Allow plain http to another machine. The key then crosses the network unencrypted."""
    concurrency: Literal["auto"] | int | None
    """Requests in flight: ``"auto"`` (default), or 1 to 64."""
    rate_limit: str | None
    """Largest rate of requests of one call, such as ``"20/s"`` or ``"600/min"``."""
    timeout: float | None
    """Seconds for one request, body included. Default: 60."""
    connect_timeout: float | None
    """Seconds for connecting. Default: 10."""
    idle_timeout: float | None
    """Seconds without a new byte of a body. Default: 30."""
    max_retries: int | None
    """Retries of one request. Default: 20."""
    retry_for: float | None
    """Seconds in which all requests may fail. Default: 120, or 15 if the API never answered."""
    max_page_bytes: int | None
    """Largest page to accept, after decompression. Default: 64 MiB."""


class ClientOptions(ConnectionOptions, total=False):
    """The settings of a client."""

    progress: ProgressOption
    """As for :class:`RowOptions`, for calls that do not say it."""


class FilterOptions(TypedDict, total=False):
    """Filters of the API. They select datasets, not rows."""

    agent: str | UUID | None
    generator_model: str | None
    ordering: str | None
    search: str | None
    source: Source | None
    version: int | None
    version_min: int | None
    version_max: int | None


class RowOptions(FilterOptions, total=False):
    """Which rows to read, and how."""

    columns: Iterable[Column] | None
    """Default: all. They come in the order of every format."""
    limit: int | None
    """Read only this number of rows, from the first."""
    pages: str | None
    """Read only these pages, such as ``"3-7"``, ``"3-"`` or ``"3"``."""
    page_size: int | None
    """Rows to request per page. The API allows at most 100, which is the default."""
    prefetch_bytes: int | None
    """Bytes of pages to prefetch. Default: 8 MiB."""
    progress: ProgressOption
    """``"auto"`` (default): a bar in a notebook or on a terminal, else nothing. ``True``: a bar, or a line every 5
    seconds where no bar is possible. ``False``: nothing. A callable gets a :class:`Progress` about ten times a second,
    and once at the end of a call that succeeds."""


class FileOptions(RowOptions, total=False):
    """How to write an export. The names are those of the command's flags."""

    format: Format | None
    compression: str | None
    parquet_encoding: Literal["delta-length", "plain"] | None
    json_columns: Literal["json", "text"] | None
    rows_per_file: int | None
    overwrite: bool | None
    restart: bool | None
    manifest: bool | None
    record: Path | None
    success_file: bool | None
    max_passes: int | None
    encode_threads: int | None
    temp_dir: Path | None
    storage_options: Mapping[str, str] | None


class ReadCall(RowOptions, ConnectionOptions, total=False):
    """All options of ``read`` and ``stream``."""


class DatasetsCall(FilterOptions, ConnectionOptions, total=False):
    """All options of ``datasets``."""


class ExportCall(FileOptions, ConnectionOptions, total=False):
    """All options of ``export``."""


class OpenOptions(TypedDict, total=False):
    """How to read an export back."""

    record: Path | None
    max_value_bytes: int | None
    storage_options: Mapping[str, str] | None


class DiffOptions(TypedDict, total=False):
    """How to compare two exports."""

    by: Literal["id", "order", "input"] | None
    show: int | None
    temp_dir: Path | None
    record_a: Path | None
    record_b: Path | None
    max_value_bytes: int | None
    storage_options: Mapping[str, str] | None


def names_of(options: type[Any]) -> set[str]:
    """Returns the names of options, also of the inherited ones."""
    return set(options.__annotations__)


def checked(call: str, given: Mapping[str, object], allowed: type[Any]) -> dict[str, Any]:
    """Refuses unknown names like a function without ``**options``."""
    names = names_of(allowed)
    for name in given:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}{hint}")
    options: dict[str, Any] = dict(given)
    columns = options.get("columns")
    if isinstance(columns, Iterable) and not isinstance(columns, (str, list)):
        options["columns"] = list(columns)
    if isinstance(options.get("storage_options"), Mapping):
        options["storage_options"] = dict(options["storage_options"])
    if options.get("agent") is not None:
        # It may be a UUID.
        options["agent"] = str(options["agent"])
    return options
