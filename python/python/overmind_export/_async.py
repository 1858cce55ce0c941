"""The client for asyncio.

A call waits on a thread of its own. There are as many as calls: the threads of the event loop's own executor are few,
and other code waits for them, too. A call that is cancelled stops its requests, and ends after its cleanup.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native
from ._client import Client, Dataset
from ._errors import UsageError
from ._explanations import Explanation, explanations
from ._options import (
    ClientOptions,
    ExplainOptions,
    FileOptions,
    FilterOptions,
    Path,
    RowOptions,
    checked,
    dataset_id,
    with_options,
)
from ._progress import CallableDisplay, Progress
from ._summary import Summary
from ._tables import Batch, Rows
from ._text import harmless

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Self, Unpack

T = TypeVar("T")


async def _in_thread(work: Callable[[], T], cancellation: _native.Cancellation) -> T:
    """Runs `work` on a thread of its own.

    If the task is cancelled, the work is cancelled, too. The task then ends when the work has ended.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def finish(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((result, error))

    def run() -> None:
        result, failed = None, None
        try:
            result = context.run(work)
        except BaseException as error:
            failed = error
        try:
            loop.call_soon_threadsafe(finish, result, failed)
        except RuntimeError:  # The loop was closed: nobody waits.
            pass

    threading.Thread(target=run, name="overmind-export", daemon=True).start()
    try:
        await asyncio.wait([done])
    except asyncio.CancelledError:
        cancellation.cancel()
        await asyncio.wait([done])
        raise
    result, error = done.result()
    if error is not None:
        try:
            raise error
        finally:
            # An exception that names itself is a circle for the garbage collector.
            del error, done
    return result  # type: ignore[return-value]


class _LoopDisplay:
    """Calls a callable of the user on the thread of the event loop, and waits for its end."""

    any_thread = True

    def __init__(self, call: Callable[[Progress], object], loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop

    def update(self, *values: Any) -> None:
        called: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._run, Progress(*values), called)
        called.result()

    def _run(self, progress: Progress, called: Future[None]) -> None:
        try:
            self._call(progress)
        except BaseException as error:
            called.set_exception(error)
        else:
            called.set_result(None)

    def close(self, done: bool) -> None:
        """Does nothing: the last update was the end."""


def _on_loop(options: dict[str, Any], cancellation: _native.Cancellation) -> dict[str, Any]:
    """Completes the options of a call that begins in the running event loop."""
    shown = options["progress"]
    if isinstance(shown, CallableDisplay):
        shown = _LoopDisplay(shown.call, asyncio.get_running_loop())
    return options | {"progress": shown, "cancellation": cancellation}


class AsyncClient:
    """A :class:`Client` for asyncio: the same settings, and methods to await.

    The event loop runs while a call waits, and any number of calls can wait at the same time. Cancelling a task, also
    by ``asyncio.timeout``, stops the requests of its call. The task ends within about a second, after the cleanup of
    the call: a cancelled export is complete or not there. A callable for the progress is called on the thread of the
    event loop.

    Parameters
    ----------
    **options
        See :class:`ClientOptions`: ``api_key``, ``base_url``, ``concurrency``, ``rate_limit``, ``timeout``,
        ``progress``, …

    Examples
    --------
    >>> import asyncio
    >>> import overmind_export as oe
    >>> async def main(url, dataset):
    ...     async with oe.AsyncClient(base_url=url, api_key="demo") as client:
    ...         first, last = await asyncio.gather(
    ...             client.read(dataset, pages="1"), client.read(dataset, pages="10")
    ...         )
    ...         return first.num_rows + last.num_rows
    >>> with oe.demo(rows=1000) as demo:
    ...     asyncio.run(main(demo.url, demo.dataset))
    200
    """

    @with_options(ClientOptions)
    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._client = Client(**options)

    @with_options(FilterOptions)
    async def datasets(self, **filters: Unpack[FilterOptions]) -> list[Dataset]:
        """Lists the datasets that the key can see. See :func:`overmind_export.datasets`."""
        options = checked("datasets", filters, FilterOptions)
        cancellation = _native.Cancellation()
        options["cancellation"] = cancellation
        return await _in_thread(lambda: self._client._datasets(options), cancellation)

    @with_options(RowOptions)
    async def read(self, dataset: str | UUID | Dataset, **options: Unpack[RowOptions]) -> Rows:
        """Reads a dataset into memory. See :func:`overmind_export.read`."""
        given = self._client._shown(checked("read", options, RowOptions))
        cancellation = _native.Cancellation()
        given = _on_loop(given, cancellation) | {"counts_pages": True}
        read = lambda: _native.stream_dataset(dataset_id(dataset), given).read_all()  # noqa: E731
        return Rows(await _in_thread(read, cancellation))

    @with_options(RowOptions)
    def stream(self, dataset: str | UUID | Dataset, **options: Unpack[RowOptions]) -> AsyncStream:
        """Returns a stream of the rows of a dataset. It begins when it is entered, or with its first batch.

        See :func:`overmind_export.stream`.
        """
        given = self._client._shown(checked("stream", options, RowOptions))
        return AsyncStream(dataset_id(dataset), given)

    @with_options(ExplainOptions)
    async def explain(self, dataset: str | UUID | Dataset, **options: Unpack[ExplainOptions]) -> list[Explanation]:
        """Says for the first rows whether they are kept, and why not. See :func:`overmind_export.explain`."""
        cancellation = _native.Cancellation()
        given = self._client._settings | checked("explain", options, ExplainOptions)
        given |= {"progress": None, "cancellation": cancellation}
        explain = lambda: _native.explain_dataset(dataset_id(dataset), given)  # noqa: E731
        return explanations(await _in_thread(explain, cancellation))

    @with_options(FileOptions)
    async def export(
        self, dataset: str | UUID | Dataset, output: Path, **options: Unpack[FileOptions]
    ) -> Summary:
        """Exports a dataset to files. See :func:`overmind_export.export`."""
        given = self._client._shown(checked("export", options, FileOptions))
        cancellation = _native.Cancellation()
        given = _on_loop(given, cancellation)
        export = lambda: _native.export(dataset_id(dataset), output, given)  # noqa: E731
        return Summary(**await _in_thread(export, cancellation))

    async def aclose(self) -> None:
        """Does nothing: every call closes its own connections."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Async{self._client!r}"


class AsyncStream:
    """A one-shot stream of rows for ``async for``, in bounded memory. Made by :meth:`AsyncClient.stream`.

    Only its end proves that every row came. Leave an ``async with`` block to stop it early. Cancelling a task that
    waits for a batch stops the stream.

    Examples
    --------
    >>> import asyncio
    >>> import overmind_export as oe
    >>> async def main(url, dataset):
    ...     client = oe.AsyncClient(base_url=url, api_key="demo")
    ...     async with client.stream(dataset, columns=["id"]) as stream:
    ...         async for batch in stream:
    ...             print(batch)
    ...     return stream.summary.completeness
    >>> with oe.demo(rows=5000) as demo:
    ...     asyncio.run(main(demo.url, demo.dataset))
    <Batch: 4,000 rows; id>
    <Batch: 1,000 rows; id>
    'proven'
    """

    def __init__(self, dataset: str, options: dict[str, Any]) -> None:
        self._dataset = dataset
        self._options = options
        self._cancellation = _native.Cancellation()
        self._inner: _native.Stream | None = None
        self._turn = asyncio.Lock()
        self._ended = False

    @property
    def summary(self) -> Summary:
        """What is known so far. Before the end of the stream, ``completeness`` is ``"partial"``."""
        if self._inner is None:
            return Summary(rows=0, count=None, completeness="partial", digest=None, seconds=0.0)
        return Summary(**self._inner.summary)

    def __aiter__(self) -> Self:
        if self._ended:
            raise UsageError("this stream has been read to its end: begin another one")
        return self

    def __repr__(self) -> str:
        return f"<AsyncStream: dataset {harmless(self._dataset)}>"

    async def __anext__(self) -> Batch:
        async with self._turn:
            stream = await self._begun()
            try:
                batch = await _in_thread(stream.next_batch, self._cancellation)
            except asyncio.CancelledError:
                # A batch may have come that nobody takes. Without it, the rest would look complete.
                stream.close()
                raise
        # The loop may fail: a traceback must not begin in the middle of a bar.
        stream.hide_progress()
        if batch is None:
            self._ended = True
            raise StopAsyncIteration
        return Batch(batch)

    async def _begun(self) -> _native.Stream:
        if self._inner is None:
            options = _on_loop(self._options, self._cancellation)
            begin = lambda: _native.stream_dataset(self._dataset, options)  # noqa: E731
            self._inner = await _in_thread(begin, self._cancellation)
        return self._inner

    async def aclose(self) -> None:
        """Stops the stream and its requests. Later reads raise :class:`UsageError`."""
        # Another task that waits for a batch ends now, with the same error.
        self._cancellation.cancel()
        async with self._turn:
            if self._inner is not None:
                await _in_thread(self._inner.close, self._cancellation)

    async def __aenter__(self) -> Self:
        async with self._turn:
            await self._begun()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> Any:
        raise TypeError("a stream cannot be pickled: begin it in the process that reads it")
