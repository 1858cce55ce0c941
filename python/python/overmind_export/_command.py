"""The command ``overmind-export``: the same program as the binary of Rust, started by a script of Python."""

from __future__ import annotations

import os
import signal
import sys

from . import _native

# Only these are imported: the command must start fast.


def main() -> None:
    """Runs the command with the arguments of this process, and ends the process with its exit code."""
    _open_standard_streams()
    # Python's own handlers and choices would come before those of the command.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    code = _native.command(["overmind-export", *sys.argv[1:]])
    # Nothing of Python is open, and threads of the command may still run.
    os._exit(code)


def _open_standard_streams() -> None:
    """Opens the null device in place of closed streams. Otherwise a file or a socket would get their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Of the standard output only for reading: so the command knows that it was closed.
            null = os.open(os.devnull, os.O_RDONLY if descriptor == 1 else os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)


if __name__ == "__main__":
    main()
