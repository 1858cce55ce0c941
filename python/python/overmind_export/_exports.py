"""Exports on disk or in an object store: reading them back and converting them, without the API."""

from __future__ import annotations

import json
from os import fspath
from typing import TYPE_CHECKING, Any, cast

from . import _native
from ._client import _lazy
from ._explanations import Explanation, explanations
from ._options import (
    ConvertOptions,
    HasLocation,
    OpenOptions,
    Path,
    StoredExplainOptions,
    StoredRowOptions,
    TransformOptions,
    checked,
    place,
    with_options,
    without_secrets,
)
from ._progress import display
from ._summary import Summary
from ._tables import Rows, Stream
from ._text import harmless

if TYPE_CHECKING:
    import polars
    from typing_extensions import Self, Unpack


@with_options(ConvertOptions, progress="auto")
def convert(source: Path | HasLocation, output: Path, **options: Unpack[ConvertOptions]) -> Summary:
    """Converts an export to another format, layout or place, without the API: all or nothing.

    Parameters
    ----------
    source : str, os.PathLike or Export
        A directory of parts, a single file, or the URL of either. The file can also be one of another program, with columns
        of an export.
    output : str or os.PathLike
        As for :func:`export`.
    **options
        The flags of ``overmind-export convert`` with underscores, and the options of :func:`read` that choose rows and
        columns. ``split`` is a dictionary, such as ``{"train": 0.9, "test": 0.1}``.

    Examples
    --------
    >>> import overmind_export as oe, tempfile, pathlib
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "rows.parquet")
    ...     exported = oe.export(demo.dataset, path, base_url=demo.url, api_key="demo")
    ...     converted = oe.convert(path, pathlib.Path(folder, "rows.csv"))
    >>> converted.digest == exported.digest
    True
    """
    given = {"progress": "auto"} | checked("convert", options, ConvertOptions)
    given |= {"progress": display(given["progress"])}
    return Summary(**_native.convert(place(source), output, given))


class Export:
    """An export on disk or in an object store. Made by :func:`open` and :func:`open_snapshot`.

    A pickle has the location and the options, but of ``storage_options`` only what is no secret (region, endpoint,
    names of buckets and accounts). The other process takes the rest from its environment.
    """

    def __init__(self, location: Path, options: dict[str, Any]) -> None:
        self._location = location
        self._options = options

    @property
    def location(self) -> str:
        """The path or the URL."""
        return fspath(self._location)

    @with_options(StoredRowOptions, progress="auto")
    def read(self, **options: Unpack[StoredRowOptions]) -> Rows:
        """Reads the rows into memory.

        Parameters
        ----------
        **options
            The options of :func:`read` that choose rows and columns, and ``progress``. Expressions see the fields of the
            API, but not the computed columns of the export.

        Examples
        --------
        >>> import overmind_export as oe, tempfile
        >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
        ...     _ = oe.export(demo.dataset, f"{folder}/rows.parquet", base_url=demo.url, api_key="demo")
        ...     rows = oe.open(f"{folder}/rows.parquet").read(where=".order < 3", columns=["order"])
        >>> rows.to_arrow().to_pydict()
        {'order': [0, 1, 2]}
        """
        return Rows(self._begun(checked("read", options, StoredRowOptions)).read_all())

    @with_options(StoredRowOptions, progress="auto")
    def stream(self, **options: Unpack[StoredRowOptions]) -> Stream:
        """Begins to read the rows, in bounded memory. The options are those of :meth:`read`."""
        return Stream(self._begun(checked("stream", options, StoredRowOptions)))

    @with_options(TransformOptions)
    def scan(self, **options: Unpack[TransformOptions]) -> polars.LazyFrame:
        """Returns a lazy frame of Polars. Without options, it reads only the columns that a query needs.

        Needs the extra ``polars``.

        Parameters
        ----------
        **options
            The options of :meth:`read`.
        """
        given = checked("scan", options, TransformOptions)
        with Stream(self._begun({"progress": False} | given)) as stream:
            types = dict(zip(stream.column_names, stream._inner.column_types, strict=True))
        is_computed = given.get("column") is not None

        def begin(columns: list[str], limit: int | None) -> Stream:
            # Polars stops to read after a limit. A computed column can decide which rows are kept, also one that a query
            # does not need.
            wanted: dict[str, Any] = {} if is_computed else {"columns": columns, "drop": None}
            return Stream(self._begun(given | wanted))

        return _lazy(types, begin)

    @with_options(StoredExplainOptions)
    def explain(self, **options: Unpack[StoredExplainOptions]) -> list[Explanation]:
        """Says for the first rows whether a transformation keeps them, and why not. See :func:`explain`."""
        given = checked("explain", options, StoredExplainOptions)
        return explanations(_native.explain_stored(self._location, self._options | given))

    @property
    def summary(self) -> Summary:
        """What the export says about itself. JSON Lines without a manifest say nothing: they are read and counted."""
        facts = _native.facts(self._location, self._options)
        if facts is not None:
            return Summary(**facts)
        with self.stream(progress=False) as stream:
            for _ in stream:
                pass
            return stream.summary

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The record of the export, or None: a single file has one only if it was asked for."""
        text = _native.manifest(self._location, self._options)
        return None if text is None else cast("dict[str, Any]", json.loads(text))

    def _begun(self, given: dict[str, Any]) -> _native.Stream:
        options = self._options | {"progress": "auto"} | given
        return _native.stream_export(self._location, options | {"progress": display(options["progress"])})

    def __getstate__(self) -> dict[str, Any]:
        return {"_location": self._location, "_options": without_secrets(self._options)}

    def __copy__(self) -> Self:
        # A copy in this process keeps the settings.
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Export: {harmless(self.location)}>"


@with_options(OpenOptions)
def open(location: Path, **options: Unpack[OpenOptions]) -> Export:
    """Opens an export, in any format and at any place. Only looks whether a local path exists: a store is asked later.

    Parameters
    ----------
    location : str or os.PathLike
        A file, a directory of parts, or a URL.
    **options
        ``record`` (where the record of a directory is, if not next to it), ``max_value_bytes`` and
        ``storage_options``.

    Examples
    --------
    >>> import overmind_export as oe, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     _ = oe.export(demo.dataset, f"{folder}/out/", base_url=demo.url, api_key="demo")
    ...     out = oe.open(f"{folder}/out")
    ...     out.read(columns=["id"]), out.manifest["rows"]
    (<Rows: 1,000 rows, complete: every row once; id>, 1000)
    """
    given = checked("open", options, OpenOptions)
    _native.check_location(location, given)
    return Export(location, given)
