"""Pages about exports, in a notebook or in a file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from . import _native
from ._options import HasLocation, Path, ReportOptions, StoreOptions, checked, place, with_options
from ._text import plural

if TYPE_CHECKING:
    from typing_extensions import Unpack

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


@with_options(ReportOptions)
def report(
    location: Path | HasLocation,
    before: Path | HasLocation | None = None,
    **options: Unpack[ReportOptions],
) -> Report:
    """Makes a page about an export.

    Parameters
    ----------
    location : str, os.PathLike or Export
        The export. Of an :class:`Export`, only the location is used.
    before : str, os.PathLike or Export, optional
        An earlier export of the same dataset. The page then begins with what changed since it.
    **options
        ``rows`` (how many rows to show: 200 by default, 0 for no value of any row), ``seed``, ``mask`` (jq paths whose
        values become null), ``drop`` (columns to leave out), ``temp_dir``, and those of :func:`open`.

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
    earlier = None if before is None else place(before)
    return Report(_native.report(place(location), earlier, checked("report", options, ReportOptions)))
