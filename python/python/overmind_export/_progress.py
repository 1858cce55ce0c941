"""The progress of a call: where it is shown, and what a callable gets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    from typing_extensions import TypeAlias

    #: What the option ``progress`` takes.
    ProgressOption: TypeAlias = Union[Literal["auto"], bool, Callable[["Progress"], object], None]


class Progress(NamedTuple):
    """How far a call is. A callable given as ``progress`` gets it.

    Attributes
    ----------
    rows : int
        Rows that were written, or that the caller has taken.
    total : int or None
        Rows that it will be. None until the API has said it, and for files that do not say it.
    received_bytes, requests, retries : int
        Bytes of pages after decompression, requests sent (retries included), and retries. Zero if an export is
        read back.
    seconds : float
        Time since the begin of the call.

    Examples
    --------
    >>> import overmind_export as oe
    >>> seen = []
    >>> with oe.demo(rows=1000) as demo:
    ...     rows = oe.read(demo.dataset, progress=seen.append, base_url=demo.url, api_key="demo")
    >>> seen[-1].rows, seen[-1].total
    (1000, 1000)
    """

    rows: int
    total: int | None
    received_bytes: int
    requests: int
    retries: int
    seconds: float


def display(progress: ProgressOption) -> Any:
    """Returns what the extension module takes: None, ``"terminal"``, or an object with ``update`` and ``close``."""
    check(progress)
    if progress is False:
        return None
    if callable(progress):
        return CallableDisplay(progress)
    if _has_notebook():
        return _NotebookBar()
    return "terminal" if progress is True or _has_terminal() else None


def check(progress: object) -> None:
    """Raises TypeError for a value that ``progress`` does not take."""
    if progress is None or isinstance(progress, bool) or progress == "auto" or callable(progress):
        return
    given = repr(progress) if isinstance(progress, str) else type(progress).__name__
    raise TypeError(f"`progress` must be 'auto', True, False or a callable, not {given}")


def _has_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # There is none, or it is closed.
        return False


def _has_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class CallableDisplay:
    """Calls a callable of the user, only on the thread of the call."""

    any_thread = False

    def __init__(self, call: Callable[[Progress], object]) -> None:
        self.call = call

    def update(self, *values: Any) -> None:
        self.call(Progress(*values))

    def close(self, done: bool) -> None:
        """Does nothing: the last update was the end."""


#: A call that ends before this many seconds shows no bar.
_SHORT = 0.1


class _NotebookBar:
    """A bar of tqdm with its widgets, or a plain one. It appears with the first update."""

    any_thread = True

    def __init__(self) -> None:
        self._bar: _TqdmBar | _PlainBar | None = None

    def update(self, *values: Any) -> None:
        progress = Progress(*values)
        if self._bar is None:
            if progress.seconds < _SHORT:
                return
            try:
                import ipywidgets  # noqa: F401
                from tqdm.auto import tqdm
            except ImportError:
                self._bar = _PlainBar()
            else:
                self._bar = _TqdmBar(tqdm)
        self._bar.update(progress)

    def close(self, done: bool) -> None:
        if self._bar is not None:
            self._bar.close(done)


class _TqdmBar:
    def __init__(self, tqdm: Any) -> None:
        self._bar = tqdm(unit=" rows", unit_scale=True)

    def update(self, progress: Progress) -> None:
        if self._bar.total != progress.total:
            self._bar.reset(progress.total)
        if progress.retries:
            self._bar.set_postfix(retries=progress.retries, refresh=False)
        self._bar.n = progress.rows
        self._bar.refresh()

    def close(self, done: bool) -> None:
        self._bar.close()


class _PlainBar:
    """A bar of HTML, which needs no other package."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last: Progress | None = None

    def update(self, progress: Progress) -> None:
        self._last = progress
        self._show(progress, "")

    def close(self, done: bool) -> None:
        # The page keeps the last state. It must not look as if the call went on.
        if self._last is not None:
            total = self._last.rows if done else self._last.total
            self._show(self._last._replace(total=total), "" if done else " · stopped")

    def _show(self, progress: Progress, end: str) -> None:
        import importlib

        ipython: Any = importlib.import_module("IPython.display")
        shown = ipython.HTML(_html(progress, end))
        if self._handle is None:
            self._handle = ipython.display(shown, display_id=True)
        else:
            self._handle.update(shown)


def _html(progress: Progress, end: str) -> str:
    import html

    rows, total = progress.rows, progress.total
    place = "" if total is None else f' value="{rows if total else 1}" max="{total or 1}"'
    of = "" if total is None else f" of {total:,}"
    rate = rows / max(progress.seconds, 0.001)
    texts = [f"{rows:,}{of} rows", f"{rate:,.0f} rows/s"]
    if progress.retries:
        texts.append(f"{progress.retries:,} retries")
    return f"<progress{place}></progress> {html.escape(' · '.join(texts) + end)}"
