"""Rows in memory, streams of rows, and their conversion to the types of other libraries."""

from __future__ import annotations

import importlib
import json as json_module
import re
from collections.abc import Callable, Iterator
from operator import index
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import _native, _signals
from ._errors import UsageError
from ._summary import Summary
from ._text import plural

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow
    from typing_extensions import Self

T = TypeVar("T")


def require(module: str, extra: str) -> Any:
    """Imports a library that is not required, or says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        text = f"{module} is not installed: pip install 'overmind-export[{extra}]'"
        raise ImportError(text, name=module) from error


class ArrowSource:
    """What all objects with rows have. They speak the Arrow PyCapsule interface."""

    _inner: _native.Table | _native.Stream

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return self._inner.column_names

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._inner.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._inner.__arrow_c_schema__()

    def _consumed(self, consume: Callable[[], T]) -> T:
        """Calls another library. An error of this package comes as itself, not as an error of that library."""
        try:
            return consume()
        except Exception:
            if isinstance(self._inner, _native.Stream):
                try:
                    self._inner.raise_error()
                except BaseException as own:
                    raise own from None
            raise

    def to_arrow(self) -> pyarrow.Table:
        """Returns a ``pyarrow.Table``, without a copy.

        Needs the extra ``arrow``.
        """
        pa = require("pyarrow", "arrow")
        read = lambda: pa.RecordBatchReader.from_stream(self).read_all()  # noqa: E731
        table: pyarrow.Table = self._consumed(read)
        return table

    def to_polars(self) -> polars.DataFrame:
        """Returns a ``polars.DataFrame``.

        Needs the extra ``polars``. JSON columns are strings.
        """
        pl = require("polars", "polars")
        frame: polars.DataFrame = self._consumed(lambda: pl.DataFrame(self))
        return frame

    def to_pandas(
        self,
        *,
        dtype_backend: Literal["numpy_nullable", "pyarrow"] | None = None,
        json: Literal["text", "objects"] = "text",
    ) -> pandas.DataFrame:
        """Returns a ``pandas.DataFrame``.

        Needs the extra ``pandas``.

        Parameters
        ----------
        dtype_backend : {"numpy_nullable", "pyarrow"}, optional
            As in ``pandas.read_parquet``. By default, strings have the default type of pandas, and integers have
            ``Int64`` and booleans ``boolean``, which keep them exact also if some are missing.
        json : {"text", "objects"}, default "text"
            ``"objects"`` decodes the JSON columns, and the elements of columns of JSON lists, to Python objects. A missing
            value is None.
        """
        if json not in ("text", "objects"):
            raise UsageError(f"`json` must be 'text' or 'objects', not {json!r}")
        if dtype_backend not in (None, "numpy_nullable", "pyarrow"):
            what = "'numpy_nullable', 'pyarrow' or None"
            raise UsageError(f"`dtype_backend` must be {what}, not {dtype_backend!r}")
        pd = require("pandas", "pandas")
        pa = require("pyarrow", "pandas")
        exact = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        if dtype_backend == "pyarrow":
            mapper = pd.ArrowDtype
        elif dtype_backend == "numpy_nullable":
            nullable = {pa.string(): pd.StringDtype(), pa.float64(): pd.Float64Dtype()}
            mapper = (exact | nullable).get
        else:
            mapper = exact.get
        table = self.to_arrow()
        objects: dict[str, list[Any]] = {}
        if json == "objects":
            loads = _json_loads()
            for name, kind in zip(self.column_names, self._inner.column_types, strict=True):
                if kind in ("json", "json[]"):
                    objects[name] = [_decoded(value, loads) for value in table.column(name).to_pylist()]
        frame: pandas.DataFrame = table.to_pandas(types_mapper=mapper)
        for name, values in objects.items():
            frame[name] = pd.Series(values, index=frame.index, dtype=object)
        return frame

    def to_duckdb(
        self, connection: duckdb.DuckDBPyConnection | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Returns a relation of DuckDB, for this connection or for the default one.

        Needs the extra ``duckdb``. A relation over a stream can be used once.
        """
        db = require("duckdb", "duckdb")
        rows = self  # DuckDB finds it by its name.
        relation: duckdb.DuckDBPyRelation = (db if connection is None else connection).sql("from rows")
        del rows
        return relation


def _decoded(value: str | list[str | None] | None, loads: Callable[[str], Any]) -> Any:
    """Decodes JSON text, or the JSON texts in a list."""
    if isinstance(value, list):
        return [_decoded(item, loads) for item in value]
    return None if value is None else loads(value)


def _json_loads() -> Callable[[str], Any]:
    """Returns a decoder of JSON: orjson if it is installed."""
    try:
        orjson = importlib.import_module("orjson")
    except ImportError:
        return json_module.loads
    # orjson turns integers beyond 64 bits into floats, and refuses NaN.
    is_special = re.compile(r"[0-9]{19}|NaN|Infinity").search

    def loads(text: str) -> Any:
        try:
            return json_module.loads(text) if is_special(text) else orjson.loads(text)
        except orjson.JSONDecodeError:
            # It also refuses numbers such as 1e400, and half a surrogate pair.
            return json_module.loads(text)

    return loads


class Rows(ArrowSource):
    """The rows of a dataset or of an export, in memory.

    pandas, Polars, pyarrow, DuckDB and every other library with the Arrow PyCapsule interface take it as it is:
    ``pl.DataFrame(rows)``, ``pa.table(rows)``, ``duckdb.sql("from rows")``. JSON columns are text. A pickle of rows is an
    Arrow IPC stream with their summary.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=1000) as demo:
    ...     rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo", columns=["id", "persona"])
    >>> rows
    <Rows: 1,000 rows, complete: every row once; id, persona>
    >>> rows.num_rows, rows.summary.completeness
    (1000, 'proven')
    """

    _inner: _native.Table

    def __init__(self, native: _native.Table, summary: Summary | None = None) -> None:
        self._inner = native
        self._summary = summary or Summary(**(native.summary or {}))

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self._inner.num_rows

    @property
    def nbytes(self) -> int:
        """The size of the buffers in bytes. The first rows of other rows share their buffers."""
        return self._inner.nbytes

    @property
    def summary(self) -> Summary:
        """What is known about the rows, such as whether they are all rows of the dataset."""
        return self._summary

    def head(self, n: int = 5) -> Rows:
        """Returns the first rows, without a copy.

        If that leaves out a row, ``summary.completeness`` is ``"partial"``, and there is no digest.

        Examples
        --------
        >>> import overmind_export as oe
        >>> with oe.demo(rows=1000) as demo:
        ...     rows = oe.read(demo.dataset, base_url=demo.url, api_key="demo", columns=["id"])
        >>> rows.head(3)
        <Rows: 3 rows of 1,000, a part of the dataset; id>
        """
        n = index(n)
        if n < 0:
            raise UsageError(f"`n` is {n}: it must not be negative")
        first = self._inner.first(min(n, self.num_rows))
        if first.num_rows == self.num_rows:
            return Rows(first, self._summary)
        facts = self._summary.to_dict() | {"rows": first.num_rows, "completeness": "partial", "digest": None}
        return Rows(first, Summary(**facts))

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"<Rows: {self.summary}; {', '.join(self.column_names)}>"

    def __reduce__(self) -> Any:
        return _unpickled, (Rows, self._inner.to_ipc(), self._summary)

    def _repr_html_(self) -> str:
        from ._html import rows_html

        return rows_html(self)


def _unpickled(kind: Callable[..., T], data: bytes, *more: object) -> T:
    """Makes rows or a batch from an Arrow IPC stream."""
    return kind(_native.Table.from_ipc(data), *more)


class Batch(ArrowSource):
    """Some consecutive rows of a stream."""

    _inner: _native.Table

    def __init__(self, native: _native.Table) -> None:
        self._inner = native

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self._inner.num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"<Batch: {plural(self.num_rows, 'row')}; {', '.join(self.column_names)}>"

    def __reduce__(self) -> Any:
        return _unpickled, (Batch, self._inner.to_ipc())

    def _repr_html_(self) -> str:
        from ._html import batch_html

        return batch_html(self)


class Stream(ArrowSource):
    """A one-shot stream of rows, in bounded memory.

    Iterate over it for one :class:`Batch` after the other, or give it to a library that takes an Arrow stream. The
    stream waits for a slow consumer (back-pressure). Only its end proves that every row came: the last step of the
    iteration raises :class:`IncompleteError` otherwise, and a consumer of another library raises its own error.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=10_000) as demo:
    ...     with oe.stream(demo.dataset, base_url=demo.url, api_key="demo") as stream:
    ...         rows = sum(batch.num_rows for batch in stream)
    >>> rows, stream.summary.completeness
    (10000, 'proven')
    """

    _inner: _native.Stream

    def __init__(self, native: _native.Stream) -> None:
        self._inner = native
        self._ended = False
        _signals.watch()

    @property
    def summary(self) -> Summary:
        """What is known so far. Before the end of the stream, ``completeness`` is ``"partial"``."""
        return Summary(**self._inner.summary)

    def __iter__(self) -> Iterator[Batch]:
        if self._ended:
            raise UsageError("this stream has been read to its end: begin another one")
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        while (batch := next(self, None)) is not None:
            yield batch

    def __next__(self) -> Batch:
        try:
            batch = self._inner.next_batch()
        finally:
            # The caller may print, or fail: neither must begin in the middle of a bar.
            self._inner.hide_progress()
        if batch is None:
            self._ended = True
            raise StopIteration
        return Batch(batch)

    def close(self) -> None:
        """Stops the stream and its requests. Later reads raise :class:`UsageError`."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream: {', '.join(self.column_names)}>"

    def __reduce__(self) -> Any:
        raise TypeError("a stream cannot be pickled: begin it in the process that reads it")
