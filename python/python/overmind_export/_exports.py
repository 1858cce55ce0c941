"""Exports on disk or in an object store: reading them back and converting them, without the API."""

from __future__ import annotations

import json
from os import fspath
from typing import TYPE_CHECKING, Any, cast

from . import _native
from ._client import _lazy
from ._options import ConvertOptions, HasLocation, OpenOptions, Path, checked, place, with_options, without_secrets
from ._progress import display
from ._summary import Summary
from ._tables import Rows, Stream
from ._text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars
    from typing_extensions import Self, Unpack

    from ._progress import ProgressOption


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
        columns.

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

    def read(
        self, *, columns: Iterable[str] | None = None, progress: ProgressOption = "auto"
    ) -> Rows:
        """Reads the rows into memory. ``progress`` is as in :class:`RowOptions`."""
        return Rows(self._begun(columns, progress).read_all())

    def stream(
        self, *, columns: Iterable[str] | None = None, progress: ProgressOption = "auto"
    ) -> Stream:
        """Begins to read the rows, in bounded memory. ``progress`` is as in :class:`RowOptions`."""
        return Stream(self._begun(columns, progress))

    def scan(self) -> polars.LazyFrame:
        """Returns a lazy frame of Polars, which reads only the columns that a query needs.

        Needs the extra ``polars``.
        """
        with self.stream(progress=False) as stream:
            types = dict(zip(stream.column_names, stream._inner.column_types, strict=True))

        def begin(columns: list[str], limit: int | None) -> Stream:
            return self.stream(columns=columns)

        return _lazy(types, begin)

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

    def _begun(
        self, columns: Iterable[str] | None, progress: ProgressOption
    ) -> _native.Stream:
        chosen = columns if columns is None or isinstance(columns, str) else list(columns)
        options = self._options | {"columns": chosen, "progress": display(progress)}
        return _native.stream_export(self._location, options)

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
    """Opens an export, in any format and at any place. Reads nothing yet.

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
