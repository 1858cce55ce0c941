"""Ctrl-C while another library waits for a stream.

A library such as DuckDB asks a stream for batches on its own threads, while the main thread waits inside that
library. Python runs the handler of a signal only on the main thread, between two of its instructions. So nothing would
stop the stream. But Python writes a byte to a file descriptor when a signal arrives. A thread of the
extension module reads these bytes and stops the streams. Then the library returns an error, and Python raises
``KeyboardInterrupt``.
"""

from __future__ import annotations

import os
import signal
import stat
import threading

from . import _native

#: The descriptor that Python writes to.
_ours: int = -1
#: The descriptor of another owner. It gets each byte, too.
_other: int = -1
_knows_forks = False


def watch() -> None:
    """Starts to watch for Ctrl-C. Does nothing on other threads than the main thread: only that one can."""
    global _ours, _other, _knows_forks
    if threading.current_thread() is not threading.main_thread():
        return
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _native.set_default_handler(is_default)
    if _ours == -1:
        _ours = _native.watch_signals(_forward)
        if not _knows_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget)
            _knows_forks = True
    if _ours == -1:
        return
    before = signal.set_wakeup_fd(_ours, warn_on_full_buffer=False)
    # Another owner may have replaced ours since the last call: then it comes first again.
    if before != _ours:
        _other = before


def _forget() -> None:
    """Leaves the descriptor to the parent process: a signal for this process must not stop its streams."""
    global _ours, _other
    try:
        before = signal.set_wakeup_fd(-1)
        if before not in (_ours, -1):
            signal.set_wakeup_fd(before)
    except ValueError:
        pass
    _ours = _other = -1


def _forward(received: bytes) -> None:
    """Passes the bytes on to the other owner, if its descriptor is still what it should be."""
    other = _other
    if other == -1:
        return
    try:
        mode = os.fstat(other).st_mode
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            os.write(other, received)
    except OSError:
        pass
