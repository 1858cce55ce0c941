"""Checks of exports: damage and differences are results, not exceptions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from . import _native
from ._options import DiffOptions, HasLocation, OpenOptions, Path, checked, place, with_options
from ._summary import Completeness
from ._text import harmless, plural

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Verification:
    """The result of :func:`verify`. True if ``ok`` is.

    Attributes
    ----------
    ok : bool
        Whether the export was checked and is what was written.
    path : str
    files, rows : int
        What was read.
    rows_read : int or None
        Rows that were read for the export, as recorded. More than ``rows`` if the export was filtered.
    completeness : {"proven", "partial", "unknown"}
        As recorded.
    checked : list of {"sha256", "xxh3", "rows"}
        The checks that were made on every file.
    unchecked : str or None
        Why the export could not be checked, such as that JSON Lines have no manifest. Then ``ok`` is False, too.
    problems, unread : list of str
        The damage, and the files that could not be read.
    """

    ok: bool
    path: str
    files: int
    rows: int
    completeness: Completeness
    checked: list[str] = field(default_factory=list)
    unchecked: str | None = None
    problems: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    rows_read: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as a dictionary."""
        return asdict(self)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            is_filtered = self.rows_read is not None and self.rows_read != self.rows
            of = f" of {self.rows_read:,} read" if is_filtered else ""
            return f"{harmless(self.path)}: ok, {plural(self.rows, 'row')}{of}, {self.completeness}"
        reasons = [*self.problems, *self.unread, *([self.unchecked] if self.unchecked else [])]
        return "\n".join(harmless(f"{self.path}: {reason}") for reason in reasons)

    def __repr__(self) -> str:
        first, *more = str(self).split("\n")
        return f"<Verification: {first}{f'; and {len(more):,} more' if more else ''}>"

    def _repr_html_(self) -> str:
        from ._html import verification_html

        return verification_html(self)


@dataclass(frozen=True)
class Difference:
    """A row that differs. Values are JSON texts."""

    kind: Literal["added", "removed", "changed"]
    key: str | None
    before: dict[str, str] | None
    after: dict[str, str] | None


@dataclass(frozen=True)
class Diff:
    """The result of :func:`diff`. True if there is a difference.

    Attributes
    ----------
    added, removed, changed, unchanged : int
        Numbers of rows.
    respelled : int
        The changed rows that differ only in the spelling of their JSON, such as ``1`` and ``1.0``; 0 if it is ignored.
    columns : dict of str to int
        The compared columns, each with the number of changed rows that differ in it.
    by : {"id", "order", "input"}
        The key that identified rows.
    ignore_spelling : bool
        Whether JSON was compared by value.
    before, after : dict
        Facts about the two exports.
    differences : list of Difference
        The first differences of each kind.
    """

    added: int
    removed: int
    changed: int
    respelled: int
    unchanged: int
    columns: dict[str, int]
    by: str
    ignore_spelling: bool
    shared_keys: int
    before: dict[str, Any]
    after: dict[str, Any]
    differences: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no row was added, removed or changed."""
        return not (self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as a dictionary."""
        return asdict(self)

    def __bool__(self) -> bool:
        return not self.equal

    def __str__(self) -> str:
        counts = [f"{getattr(self, kind):,} {kind}" for kind in ("added", "removed", "changed", "unchanged")]
        if self.respelled:
            counts[2] += f" ({self.respelled:,} only in spelling)"
        return ", ".join(counts)

    def __repr__(self) -> str:
        return f"<Diff: {self}>"

    def _repr_html_(self) -> str:
        from ._html import diff_html

        return diff_html(self)


@with_options(OpenOptions)
def verify(location: Path | HasLocation, **options: Unpack[OpenOptions]) -> Verification:
    """Checks whether an export is still what was written, without the API. Damage is no exception.

    The options are those of :func:`open`.

    Examples
    --------
    >>> import overmind_export as oe, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     _ = oe.export(demo.dataset, f"{folder}/out/", base_url=demo.url, api_key="demo")
    ...     oe.verify(f"{folder}/out").ok
    True
    """
    text, ok = _native.verify(place(location), checked("verify", options, OpenOptions))
    found = json.loads(text)
    found["completeness"] = found["completeness"] or "unknown"
    return Verification(ok=ok, **found)


@with_options(DiffOptions, show=3)
def diff(before: Path | HasLocation, after: Path | HasLocation, **options: Unpack[DiffOptions]) -> Diff:
    """Compares two exports, also of different formats. Another order of the same rows is no difference.

    Parameters
    ----------
    before, after : str, os.PathLike or Export
        Two exports. Of an :class:`Export`, only the location is used.
    **options
        ``by`` (``"id"``, ``"order"`` or ``"input"``), ``ignore_spelling`` (JSON is compared by value: ``1`` equals
        ``1.0``), ``show`` (how many differences of each kind to return: 3 by default, ``None`` for all), ``temp_dir``,
        ``record_a``, ``record_b``, ``max_value_bytes``, ``storage_options``.

    Examples
    --------
    >>> import overmind_export as oe, tempfile
    >>> with oe.demo(rows=1000) as demo, tempfile.TemporaryDirectory() as folder:
    ...     for name, limit in [("a.parquet", 990), ("b.jsonl", 1000)]:
    ...         _ = oe.export(demo.dataset, f"{folder}/{name}", limit=limit, base_url=demo.url, api_key="demo")
    ...     found = oe.diff(f"{folder}/a.parquet", f"{folder}/b.jsonl")
    >>> print(found)
    10 added, 0 removed, 0 changed, 990 unchanged
    >>> len(found.differences), found.differences[0].kind
    (3, 'added')
    """
    counts, shown = _native.diff(place(before), place(after), {"show": 3} | checked("diff", options, DiffOptions))
    differences = [
        Difference(found["kind"], found["key"], _values(found["before"]), _values(found["after"]))
        for found in json.loads(shown)
    ]
    return Diff(**json.loads(counts), differences=differences)


def _values(row: dict[str, Any] | None) -> dict[str, str] | None:
    return None if row is None else row["values"]
