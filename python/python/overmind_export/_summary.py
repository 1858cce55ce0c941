"""The result of a read or of an export."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ._text import plural

Completeness = Literal["proven", "partial", "unknown"]


@dataclass(frozen=True)
class Summary:
    """What is known about the rows of a read or of an export.

    Attributes
    ----------
    rows : int
        Number of rows.
    count : int or None
        Number of rows of the dataset, as the API says.
    completeness : {"proven", "partial", "unknown"}
        ``"proven"``: every row of the dataset was read, each once, and these are all of them, or those that
        ``transform`` kept. ``"partial"``: only some rows were asked for, or the stream has not ended. ``"unknown"``: the file does not say it (JSON Lines without a manifest).
    digest : str or None
        Digest of the content. Equal rows have an equal digest in any format.
    dataset, output : str or None
        Id of the dataset, and the path or URL of an export.
    rows_read, failed_rows : int or None
        Rows that were read for these, and rows on which an expression failed. They were left out, or a computed column
        is null.
    transform : dict or None
        How the rows were chosen from those read, and which columns were computed. None if nothing was asked for.
    duplicate_rows : int or None
        Rows that were left out because they equal an earlier one.
    replaced_rows : list of int or None
        Rows in which each path of ``mask`` and then of ``pseudonymise`` has replaced a value, in the order of the paths
        in ``transform``.
    missing : list of str or None
        Warnings: a field of an expression that no row has, probably misspelled, or an expression that is null on every
        row. They are logged, too.
    splits : list of dict or None
        With ``split``: the splits, each with its ``name``, ``rows`` and ``digest``.
    source_digest : str or None
        Of a conversion: the digest of the rows that were read. Without a transformation, it is ``digest``.
    pages, requests, retries, received_bytes : int or None
        Pages read, requests sent (retries included), retries, and bytes of pages after decompression.
    files, bytes, kept_rows : int or None
        Of an export: files, their size, and rows in parts of an interrupted run.
    seconds : float
        Time that it took.
    """

    rows: int
    count: int | None
    completeness: Completeness
    digest: str | None
    seconds: float
    dataset: str | None = None
    output: str | None = None
    pages: int | None = None
    requests: int | None = None
    retries: int | None = None
    received_bytes: int | None = None
    files: int | None = None
    bytes: int | None = None
    kept_rows: int | None = None
    rows_read: int | None = None
    failed_rows: int | None = None
    transform: dict[str, Any] | None = None
    duplicate_rows: int | None = None
    replaced_rows: list[int] | None = None
    splits: list[dict[str, Any]] | None = None
    source_digest: str | None = None
    missing: list[str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes as a dictionary."""
        return asdict(self)

    def __str__(self) -> str:
        rows = plural(self.rows, "row")
        if self.transform is not None and self.completeness == "proven":
            return f"{rows} of {self.rows_read or 0:,} read, complete: every row read once"
        of = f" of {self.count:,}" if self.count is not None and self.count != self.rows else ""
        words = {"proven": "complete: every row once", "partial": "a part of the dataset"}
        return f"{rows}{of}, {words.get(self.completeness, 'completeness unknown')}"

    def __repr__(self) -> str:
        facts = [plural(self.requests, "request")] if self.requests is not None else []
        facts += [plural(self.retries, "retry", "retries")] if self.retries else []
        return f"<Summary: {'; '.join([str(self), *facts, f'{self.seconds:.1f} s'])}>"

    def _repr_html_(self) -> str:
        from ._html import summary_html

        return summary_html(self)
