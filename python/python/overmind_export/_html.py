"""Tables for notebooks.

The pages of JupyterLab have their own colors for tables, in a light and in a dark theme. So a table has no colors, no
style sheet and no script. Text from outside is escaped, and cannot become a formula either.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from ._text import harmless, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._checks import Diff, Verification
    from ._summary import Summary
    from ._tables import Batch, Rows

_SHOWN_ROWS = 10
_SHOWN_CHARACTERS = 120
_LONGEST_FACT = 1000
#: A text of at most this length stays on one line. An id has 36 characters.
_ON_ONE_LINE = 40

#: What a table calls a type. A type that is missing here keeps its name.
_KINDS = {"string": "text", "int": "int64", "float": "float64", "timestamp": "time, UTC", "json": "JSON text"}
_LEFT = "text-align:left"
_WIDE = f"{_LEFT};min-width:16em;max-width:32em;overflow-wrap:anywhere"
_NARROW = f"{_LEFT};white-space:nowrap"
_FAINT = "font-weight:normal;opacity:0.7"


def rows_html(rows: Rows) -> str:
    """The first rows, and whether they are all."""
    shown = min(rows.num_rows, _SHOWN_ROWS)
    state = _state(rows.summary)
    if shown < rows.num_rows:
        state += f"; the first {shown} are shown"
    return _table(rows, shown) + _note(state)


def batch_html(batch: Batch) -> str:
    """The first rows of a batch."""
    shown = min(batch.num_rows, _SHOWN_ROWS)
    state = f"a batch of {plural(batch.num_rows, 'row')}"
    if shown < batch.num_rows:
        state += f"; the first {shown} are shown"
    return _table(batch, shown) + _note(state)


def _state(summary: Summary) -> str:
    rows = plural(summary.rows, "row")
    if summary.completeness == "proven" and summary.transform is not None:
        return f"{rows} of {summary.rows_read or 0:,} read, complete"
    if summary.completeness == "proven":
        return f"{rows}, complete"
    if summary.completeness == "unknown":
        return f"{rows}, completeness unknown"
    missing = (summary.count or 0) - summary.rows
    if summary.count is None or missing <= 0:
        return f"{rows}, a part of the dataset"
    verb = "is" if missing == 1 else "are"
    return f"{rows} of {summary.count:,}, a part of the dataset: {plural(missing, 'row')} {verb} missing"


def _table(rows: Rows | Batch, shown: int) -> str:
    columns = zip(rows.column_names, rows._inner.column_types, strict=True)
    heads = "".join(_head(name, kind) for name, kind in columns)
    lines = ["".join(_cell(value) for value in values) for values in rows._inner.head(shown)]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return _around(f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>")


def _head(name: str, kind: str) -> str:
    style = "" if kind in ("int", "float") else f' style="{_LEFT}"'
    plain = kind.removesuffix("[]")
    shown = _KINDS.get(plain, plain) if plain == kind else f"list of {_KINDS.get(plain, plain)}"
    return f'<th{style}>{_text(name)}<br><span style="{_FAINT}">{shown}</span></th>'


def _cell(value: object, longest: int = _SHOWN_CHARACTERS) -> str:
    if value is None:
        return f'<td style="{_LEFT}"><span style="{_FAINT}">null</span></td>'
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, (int, float)):
        return f"<td>{value}</td>"
    # A list has values that JSON has: times are text here. The rest of a long list would not be shown.
    text = json.dumps(value[: longest + 1], ensure_ascii=False) if isinstance(value, list) else str(value)
    style = _NARROW if len(text) <= _ON_ONE_LINE else _WIDE
    return f'<td style="{style}">{_text(text, longest)}</td>'


def _text(text: str, longest: int = _SHOWN_CHARACTERS) -> str:
    """Shortens and escapes a text from outside."""
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return escape(harmless(cut))


def _around(table: str) -> str:
    # The classes keep MathJax from reading $ in a value as the begin of a formula.
    ignored = "tex2jax_ignore mathjax_ignore"
    return f'<div class="{ignored}" style="overflow-x:auto"><table>\n{table}\n</table></div>\n'


def _note(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    """A table of names and values. A missing value has no line."""
    lines = [
        f'<tr><th style="{_LEFT}">{escape(name)}</th>{_cell(_shown(value), _LONGEST_FACT)}</tr>'
        for name, value in facts
        if value is not None
    ]
    return _around("<tbody>\n" + "\n".join(lines) + "\n</tbody>")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def summary_html(summary: Summary) -> str:
    """The facts that are known."""
    facts = summary.to_dict().items()
    return _facts((name.replace("_", " "), value) for name, value in facts) + _note(_state(summary))


def verification_html(found: Verification) -> str:
    """The result, and what is wrong."""
    names = ("path", "files", "rows", "rows_read", "completeness")
    facts: list[tuple[str, object]] = [(name.replace("_", " "), getattr(found, name)) for name in names]
    facts.append(("checked", ", ".join(found.checked) or None))
    facts.append(("unchecked", found.unchecked))
    facts += _first("problem", found.problems) + _first("unread", found.unread)
    return _facts([("result", "ok" if found.ok else "not ok"), *facts])


def _first(name: str, texts: Sequence[str]) -> list[tuple[str, object]]:
    more = len(texts) - _SHOWN_ROWS
    shown: list[tuple[str, object]] = [(name, text) for text in texts[:_SHOWN_ROWS]]
    return shown + ([(name, f"and {more:,} more")] if more > 0 else [])


def diff_html(found: Diff) -> str:
    """The counts, the columns that differ, and the first differences."""
    names = ("added", "removed", "changed", "unchanged")
    facts: list[tuple[str, Any]] = [(name, getattr(found, name)) for name in names]
    facts += [("changed only in spelling", found.respelled)] if found.respelled else []
    facts += [(f"changed in {column}", rows) for column, rows in found.columns.items() if rows]
    facts += _first("first", [f"{it.kind}: {it.key}" for it in found.differences])
    facts.append(("compared by", found.by))
    return _facts([*facts, ("spelling", "ignored")] if found.ignore_spelling else facts)
