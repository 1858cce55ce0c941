"""Pages about exports, in a notebook or in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from . import _native
from ._errors import DataError
from ._options import HasArrow, HasLocation, Path, ReportOptions, StoreOptions, checked, place, with_options
from ._tables import require
from ._text import plural

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: The columns of an export that are JSON.
_JSON = ("input", "expected_output", "tags", "additional_properties")

#: Height of the page in a notebook, in pixels.
_HEIGHT = 640


class Report:
    """A page about an export: what it holds, whether it is complete, and some of its rows.

    A notebook shows it in a frame of its own, which can run only the script of the page, and reach nothing else.
    """

    def __init__(self, page: _native.Page) -> None:
        self._page = page

    @property
    def html(self) -> str:
        """The page as one HTML document."""
        return self._page.html

    @property
    def rows(self) -> int:
        """Number of rows that were read."""
        return self._page.rows

    @with_options(StoreOptions)
    def save(self, output: Path, overwrite: bool = False, **options: Unpack[StoreOptions]) -> int:
        """Writes the page in one step, to a path or URL that ends in ``.html``. Returns its size in bytes."""
        return self._page.save(output, overwrite, checked("save", options, StoreOptions))

    def __repr__(self) -> str:
        return f"<Report: {plural(self.rows, 'row')}>"

    def _repr_html_(self) -> str:
        page = escape(self.html)
        frame = f'style="width:100%;height:{_HEIGHT}px;border:0" sandbox="allow-scripts" title="Report"'
        return f'<iframe {frame} srcdoc="{page}"></iframe>'

    def __reduce__(self) -> Any:
        raise TypeError("a report cannot be pickled: save it")


@contextmanager
def _stored(
    source: Path | HasLocation | HasArrow, name: str, folder: Path | None, drop: Sequence[str]
) -> Iterator[Path]:
    """Gives the place of an export. A table is written into a temporary file, which is removed afterwards."""
    kind = type(source).__module__.partition(".")[0]
    is_table = kind in ("pandas", "polars", "pyarrow")
    # A column of a DataFrame is an attribute, too.
    if not is_table and (hasattr(source, "location") or isinstance(source, (str, os.PathLike))):
        yield place(cast("Path | HasLocation", source))
        return
    if not is_table and not hasattr(source, "__arrow_c_stream__"):
        raise TypeError(f"a report is of an export or of a table, not of {type(source).__name__}")
    with TemporaryDirectory(dir=None if folder is None else os.fspath(folder), prefix="overmind-report-") as made:
        path = os.path.join(made, f"{name}.parquet")
        _write(source, kind, path, drop)
        yield path


def _write(source: Any, kind: str, path: str, drop: Sequence[str]) -> None:
    """Writes a table with the library that it comes from. The values of columns in `drop` can be of any type."""
    if kind == "polars":
        errors: Any = require("polars", "polars").exceptions.PolarsError
    else:
        errors = require("pyarrow", "arrow").ArrowException
    try:
        if kind == "polars":
            frame = source.collect() if hasattr(source, "collect") else source
            frame.write_parquet(path)
            return
        pyarrow = require("pyarrow", "arrow")
        if kind == "pandas":
            table = pyarrow.Table.from_pandas(_with_json_text(source, drop), preserve_index=False)
        elif isinstance(source, pyarrow.Table):
            table = source
        else:
            table = pyarrow.table(source)
        require("pyarrow.parquet", "arrow").write_table(table, path)
    except errors as error:
        hint = "give JSON columns as text, each value with json.dumps, or leave the column out of the table"
        raise DataError(f"the table cannot be written as Parquet: {error}", hint=hint) from error


def _with_json_text(frame: Any, drop: Sequence[str]) -> Any:
    """Encodes the columns that `to_pandas(json="objects")` has decoded. Empties columns that are left out."""
    changed: dict[str, Any] = {}
    for name in frame.columns:
        if name in drop:
            changed[name] = None
        elif frame[name].dtype == object:
            values = [None if _is_missing(value) else value for value in frame[name]]
            if _are_decoded(values, name in _JSON):
                changed[name] = [None if value is None else _text(value, name) for value in values]
    if not changed:
        return frame
    frame = frame.copy(deep=False)
    for name, values in changed.items():
        frame[name] = values
    return frame


def _is_missing(value: object) -> bool:
    """Whether a value is none: None, NaN or NA."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _are_decoded(values: list[Any], is_json: bool) -> bool:
    """Whether values are decoded JSON, and not its text. Strings are its text if each of them is JSON."""
    if any(isinstance(value, (dict, list)) for value in values):
        return True
    return is_json and not all(value is None or _is_json(value) for value in values)


def _is_json(value: object) -> bool:
    try:
        json.loads(cast("str", value))
    except (TypeError, ValueError):
        return False
    return True


def _text(value: object, name: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {name} has a value that is not JSON: {error}") from error


@with_options(ReportOptions)
def report(
    location: Path | HasLocation | HasArrow,
    before: Path | HasLocation | HasArrow | None = None,
    **options: Unpack[ReportOptions],
) -> Report:
    """Makes a page about an export, or about a table with the columns of an export.

    Parameters
    ----------
    location : str, os.PathLike, Export, or a table
        The export. Of an :class:`Export`, only the location is used. A table is one of pandas, Polars or pyarrow, or
        :class:`Rows`. It is written into a temporary file, which is removed afterwards. Columns that pandas holds as
        objects, as ``to_pandas(json="objects")`` makes them, become JSON text again.
    before : str, os.PathLike, Export, or a table, optional
        An earlier export of the same dataset. The page then begins with what changed since it.
    **options
        ``rows`` (how many rows to show: 200 by default, 0 for no value of any row), ``seed``, ``mask`` (jq paths whose
        values become null), ``drop`` (columns to leave out), ``by`` (the column that identifies a row of both exports:
        ``id``, ``order`` or ``input``), ``ignore_spelling`` (rows are equal if only the spelling of their JSON differs),
        ``temp_dir``, and those of :func:`open`.

    Examples
    --------
    >>> import overmind_export as oe, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     _ = oe.export(demo.dataset, f"{folder}/rows.parquet", base_url=demo.url, api_key="demo")
    ...     page = oe.report(f"{folder}/rows.parquet", mask=".persona")
    ...     _ = page.save(f"{folder}/rows.html")
    >>> page
    <Report: 1,000 rows>
    """
    given = checked("report", options, ReportOptions)
    folder = options.get("temp_dir")
    dropped = given.get("drop") or []
    drop = [dropped] if isinstance(dropped, str) else dropped
    with _stored(location, "table", folder, drop) as export:
        if before is None:
            return Report(_native.report(export, None, given))
        with _stored(before, "earlier", folder, drop) as earlier:
            return Report(_native.report(export, earlier, given))
