"""The names and types of options, and the check of their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, cast

from . import _native

if TYPE_CHECKING:
    from uuid import UUID

    from ._progress import ProgressOption

    from typing_extensions import TypeAlias

F = TypeVar("F", bound=Callable[..., Any])

Path: TypeAlias = "str | PathLike[str]"
Column: TypeAlias = Literal[
    "id", "order", "input", "expected_output", "persona", "tags", "additional_properties"
]
Source: TypeAlias = Literal["seed", "synthetic", "augmented", "production"]
ColumnType: TypeAlias = Literal[
    "string", "int", "float", "bool", "timestamp", "json",
    "string[]", "int[]", "float[]", "bool[]", "timestamp[]", "json[]",
]
JsonForm: TypeAlias = Literal["text", "value", "nested"]
Format: TypeAlias = Literal["parquet", "arrow", "jsonl", "csv"]


class HasLocation(Protocol):
    """An :class:`Export`."""

    @property
    def location(self) -> str: ...


class HasArrow(Protocol):
    """A table that speaks the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def dataset_id(dataset: object) -> str:
    """Returns the id of a dataset, which is a text, a UUID, or a :class:`Dataset`."""
    found = getattr(dataset, "id", dataset)
    if not isinstance(found, str):
        from uuid import UUID

        if not isinstance(found, UUID):
            raise TypeError(f"the id of a dataset must be a str, a UUID or a Dataset, not {type(found).__name__}")
    return str(found)


def place(location: Path | HasLocation) -> Path:
    """Returns the path or the URL of an export."""
    found = getattr(location, "location", location)
    return cast("Path", found)


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


class TransformOptions(TypedDict, total=False):
    """Which of the rows that are read to keep, and which columns to compute. Expressions are written in jq."""

    where: str | Iterable[str] | None
    """Keeps the rows for which this expression is neither false nor null; of several expressions, all."""
    sample: float | None
    """Keeps about this fraction of the rows, such as 0.05, chosen by their input."""
    split_by: str | None
    """The key of a row, which decides about the sample and the split. Default: ``".input"``."""
    seed: int | None
    """Another seed chooses another sample and another split. Default: 0."""
    dedupe: str | None
    """Keeps only the first of the rows for which this expression is equal, such as ``".input"``."""
    mask: str | Iterable[str] | None
    """Replaces the values at these paths by null, such as ``".persona, .tags.user.email"``. A path that leads to no value
    in any row is an error."""
    pseudonymise: str | Iterable[str] | None
    """Replaces the values at these paths by pseudonyms: keyed hashes, which are equal for equal values."""
    pseudonym_key_file: Path | None
    """The file with the key of ``pseudonymise``, which ``openssl rand -hex 32`` makes."""
    on_error: Literal["fail", "null", "skip"] | None
    """What to do with a row on which an expression fails. Default: ``"fail"`` ends the call."""
    expression_timeout: float | None
    """Seconds for the expressions of one row. Default: 10."""
    column: Mapping[str, str | tuple[ColumnType, str]] | None
    """Computes columns: the name of each, with its expression, or with its type and its expression."""
    columns: Iterable[str] | None
    """All columns of the result, in their order. Default: those of the API, then the computed ones."""
    drop: Iterable[str] | None
    """Columns to leave out."""


class SplitOptions(TypedDict, total=False):
    """How to split rows."""

    split: Mapping[str, float] | None
    """Writes a folder of files for each split, such as ``{"train": 0.9, "test": 0.1}``."""


class RowOptions(FilterOptions, TransformOptions, total=False):
    """Which rows to read, and how."""

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


class ExplainOptions(FilterOptions, TransformOptions, SplitOptions, total=False):
    """What to explain."""

    rows: int | None
    """Number of rows to explain, from the first. Default: 20."""


class OutputOptions(TypedDict, total=False):
    """How to write files. The names are those of the command's flags."""

    format: Format | None
    compression: str | None
    parquet_encoding: Literal["delta-length", "plain"] | None
    json_columns: JsonForm | Mapping[str, JsonForm] | None
    """The form of all JSON columns, or of single ones: ``{"input": "nested"}``."""
    nest: str | Iterable[str] | None
    text: str | Iterable[str] | None
    max_columns: int | None
    schema: Path | Mapping[str, Any] | None
    """The types of nested columns: a file that ``overmind-export schema`` has printed, or its content."""
    rescue: bool | None
    """Adds the column ``_rescued`` for values that do not fit their types."""
    csv_bom: bool | None
    csv_safe: bool | None
    rows_per_file: int | None
    overwrite: bool | None
    restart: bool | None
    manifest: bool | None
    record: Path | None
    success_file: bool | None
    dataset_card: bool | None
    """Writes ``README.md`` into a directory, so that ``datasets.load_dataset`` reads it. The parts are in its ``data``."""
    encode_threads: int | None
    temp_dir: Path | None
    storage_options: Mapping[str, str] | None
    map: str | None
    """Writes the outputs of this jq expression instead of rows, each as a line of JSON Lines."""


class FileOptions(RowOptions, OutputOptions, SplitOptions, total=False):
    """How to write an export."""

    max_passes: int | None


class ConvertOptions(TransformOptions, OutputOptions, SplitOptions, total=False):
    """How to convert an export."""

    source_record: Path | None
    """Where the record of the source is, if it is not next to it."""
    max_value_bytes: int | None
    """Largest value to accept in the source, after decompression. Default: 64 MiB."""
    progress: ProgressOption
    """As for :class:`RowOptions`."""


class ReadCall(RowOptions, ConnectionOptions, total=False):
    """All options of ``read`` and ``stream``."""


class ExplainCall(ExplainOptions, ConnectionOptions, total=False):
    """All options of ``explain``."""


class DatasetsCall(FilterOptions, ConnectionOptions, total=False):
    """All options of ``datasets``."""


class ExportCall(FileOptions, ConnectionOptions, total=False):
    """All options of ``export``."""


class OpenOptions(TypedDict, total=False):
    """How to read an export back."""

    record: Path | None
    max_value_bytes: int | None
    storage_options: Mapping[str, str] | None


class StoredRowOptions(TransformOptions, total=False):
    """Which rows and columns of an export to read."""

    progress: ProgressOption
    """As for :class:`RowOptions`."""


class StoredExplainOptions(TransformOptions, SplitOptions, total=False):
    """Which rows of an export to explain."""

    rows: int | None
    """Number of rows to explain, from the first. Default: 20."""


class StoreOptions(TypedDict, total=False):
    """How to reach an object store."""

    storage_options: Mapping[str, str] | None


class SnapshotOptions(StoreOptions, total=False):
    """Which snapshot to open, and how to read it."""

    max_value_bytes: int | None
    dataset: str | UUID | None
    """Only snapshots of this dataset. Needed for a job that stores several (``select = "all"``)."""


class JobOptions(TypedDict, total=False):
    """How to run jobs."""

    parallel: int | None
    """Jobs that run at the same time. Default: 4. All share the requests in flight."""
    storage_options: Mapping[str, str] | None


class JobsCall(JobOptions, ConnectionOptions, total=False):
    """All options of ``snapshot``."""


class DiffOptions(TypedDict, total=False):
    """How to compare two exports."""

    by: Literal["id", "order", "input"] | None
    ignore_spelling: bool | None
    show: int | None
    temp_dir: Path | None
    record_a: Path | None
    record_b: Path | None
    max_value_bytes: int | None
    storage_options: Mapping[str, str] | None


class ReportOptions(OpenOptions, total=False):
    """What a report shows."""

    rows: int | None
    seed: int | None
    mask: str | Iterable[str] | None
    drop: str | Iterable[str] | None
    by: Literal["id", "order", "input"] | None
    ignore_spelling: bool | None
    temp_dir: Path | None


def names_of(options: type[Any]) -> set[str]:
    """Returns the names of options, also of the inherited ones."""
    return set(options.__annotations__)


def with_options(options: type[Any], **defaults: object) -> Callable[[F], F]:
    """Shows each option in the signature of a function, in place of ``**options``: for ``help`` and for completion.

    None stands for the default of an option, unless ``defaults`` names another.
    """

    def decorated(function: F) -> F:
        signature = inspect.signature(function)
        named = [it for it in signature.parameters.values() if it.kind is not it.VAR_KEYWORD]
        keyword = inspect.Parameter.KEYWORD_ONLY
        for name, type_of in options.__annotations__.items():
            type_of = getattr(type_of, "__forward_arg__", type_of)
            default = defaults.get(name)
            named.append(inspect.Parameter(name, keyword, default=default, annotation=type_of))
        function.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
        return function

    return decorated


#: Settings of object stores that are no secrets. Every other one counts as a secret, also an unknown one.
_OPEN_SETTINGS = frozenset(
    "region default_region endpoint endpoint_url bucket bucket_name container_name account_name allow_http "
    "virtual_hosted_style_request skip_signature unsigned_payload timeout connect_timeout".split()
)


def _is_open(name: object, value: object) -> bool:
    """Whether a setting of an object store may be shown."""
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    plain = name.lower()
    for cloud in ("aws_", "google_", "azure_storage_", "azure_"):
        plain = plain.removeprefix(cloud)
    return plain in _OPEN_SETTINGS and not _may_hold_a_secret(value)


def _may_hold_a_secret(url: object) -> bool:
    """Whether a URL may have a password or a token. No correct one of ours has them."""
    return not isinstance(url, str) or any(mark in url for mark in "@?#")


def seal(given: dict[str, Any], names: set[str]) -> None:
    """Replaces secrets by objects that nothing can show, in this very dictionary.

    It is the dictionary of the keyword arguments of a public function. So the local variables of that function hold no
    secret when something raises later. A value under an unknown name may be a key whose name is mistyped.
    """
    secret = _native.Secret
    for name, value in given.items():
        if value is None or isinstance(value, secret):
            continue
        if name == "storage_options":
            if isinstance(value, Mapping):
                given[name] = {
                    key: it if isinstance(it, secret) or _is_open(key, it) else secret(it)
                    for key, it in value.items()
                }
            else:
                given[name] = secret(value)
        elif name == "api_key" or name not in names or (name == "base_url" and _may_hold_a_secret(value)):
            given[name] = secret(value)


def without_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options without the sealed ones, for a pickle."""
    kept = {}
    for name, value in options.items():
        if isinstance(value, dict):
            value = without_secrets(value)
        if not isinstance(value, _native.Secret):
            kept[name] = value
    return kept


def checked(call: str, given: Any, allowed: type[Any]) -> dict[str, Any]:
    """Seals the secrets, and refuses unknown names like a function without ``**options``.

    Call it in the first line of a public function.
    """
    names = names_of(allowed)
    seal(given, names)
    for name in given:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{call}() got an unexpected keyword argument {name!r}{hint}")
    options: dict[str, Any] = dict(given)
    for name in ("columns", "drop", "where", "mask", "pseudonymise", "nest", "text"):
        names_given = options.get(name)
        if isinstance(names_given, Iterable) and not isinstance(names_given, (str, list)):
            options[name] = list(names_given)
    for name in ("column", "schema"):
        if isinstance(options.get(name), Mapping):
            options[name] = dict(options[name])
    for name in ("agent", "dataset"):
        if options.get(name) is not None:
            # It may be a UUID.
            options[name] = str(options[name])
    return options
