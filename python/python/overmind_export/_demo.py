"""The embedded API, for trying out and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING

from . import _native
from ._errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._options import Path


class Demo:
    """An API on a loopback port, with generated rows. Made by :func:`demo`."""

    def __init__(self, server: _native.Server) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """The base URL."""
        return self._server.url

    @property
    def datasets(self) -> list[str]:
        """The ids of all datasets: of the given files, then of the generated rows."""
        return self._server.datasets

    @property
    def dataset(self) -> str:
        """The id of the dataset with generated rows."""
        return self.datasets[-1]

    @property
    def requests(self) -> int:
        """The number of requests so far."""
        return self._server.requests

    def close(self) -> None:
        """Stops the server."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Demo: {self.url}, dataset {self.dataset}>"

    def __reduce__(self) -> str:
        raise TypeError("a demo cannot be pickled: pass its url")


def demo(
    *,
    rows: int = 1000,
    files: Path | Sequence[Path] = (),
    latency: float = 0.0,
    api_key: str | None = None,
    rate_limit: int | None = None,
) -> Demo:
    """Starts an API with generated rows on a loopback port. It needs no account and no network.

    Parameters
    ----------
    rows : int, default 1000
        Number of generated rows. The same number gives the same rows.
    files : path or sequence of paths
        JSON Lines files with datapoints to serve, too.
    latency : float, default 0
        Seconds before each answer.
    api_key : str, optional
        The only accepted key. By default every key is accepted.
    rate_limit : int, optional
        Answer 429 to more requests a second.

    Examples
    --------
    >>> import overmind_export as oe
    >>> with oe.demo(rows=10) as demo:
    ...     oe.read(demo.dataset, base_url=demo.url, api_key="demo").num_rows
    10
    """
    key = None if api_key is None else _native.Secret(api_key)
    del api_key
    if isinstance(files, (str, PathLike)):
        files = [files]
    if rows < 0 or latency < 0:
        raise UsageError(f"`rows` and `latency` must not be negative: {rows}, {latency}")
    return Demo(_native.Server(rows, [fspath(path) for path in files], latency, key, rate_limit))
