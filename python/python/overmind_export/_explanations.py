"""Why a transformation keeps a row, or leaves it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Explanation:
    """What becomes of one row. A list of them makes a table: ``pandas.DataFrame(explanations)``.

    Attributes
    ----------
    id : str
    kept : bool
        Whether the row is kept.
    ends : bool
        Whether an export would end at this row, because an expression fails on it.
    reason : str or None
        Why the row is left out, or what failed on a row that is kept.
    split : str or None
        The split of a row that is kept, with ``split``.
    """

    id: str
    kept: bool
    ends: bool
    reason: str | None
    split: str | None = None

    def __str__(self) -> str:
        outcome = "kept" if self.kept else "error" if self.ends else "left out"
        outcome += f" in {self.split}" if self.split else ""
        reason = f": {harmless(self.reason)}" if self.reason else ""
        return f"{self.id} {outcome}{reason}"


def explanations(rows: Iterable[tuple[Any, ...]]) -> list[Explanation]:
    """Makes the explanations of the arguments that the extension module returns."""
    return [Explanation(*row) for row in rows]
