"""The log events of the extension module, as records of ``logging``.

The logger is ``overmind_export``. A record of a part of the library has a child of it, such as
``overmind_export.client``.
"""

from __future__ import annotations

import sys

_NAME = "overmind_export"
#: The children that an application may set a level for.
_CHILDREN = ("client", "destination", "export", "location", "paginator", "snapshots", "transform")
_WARNING = 30
_OFF = 255


def level() -> int:
    """Returns the lowest level that some logger wants. Does not import ``logging``: then nobody has set a level."""
    logging = sys.modules.get("logging")
    if logging is None:
        return _WARNING
    names = (_NAME, *(f"{_NAME}.{child}" for child in _CHILDREN))
    wanted: int = min(logging.getLogger(name).getEffectiveLevel() for name in names)
    disabled: int = logging.root.manager.disable
    lowest: int = max(0, min(max(wanted, disabled + 1), _OFF))
    return lowest


def emit(number: int, module: str, text: str) -> None:
    """Passes an event on."""
    import logging

    # The text may come from a server or from a file. It must not control a terminal, or look like two records.
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    logging.getLogger(f"{_NAME}.{module}" if module else _NAME).log(number, text)
