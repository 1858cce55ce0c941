"""What the tests of engines share: the examples of the guide, and the files of an export."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "src/guide/clusters.md"


def block(engine: str) -> str:
    """The Python example that follows the name of an engine in bold."""
    return _after(rf"\*\*{engine}\.\*\*")


def following(heading: str) -> str:
    """The Python example that follows a heading."""
    return _after(rf"## {heading}$")


def _after(begin: str) -> str:
    found = re.search(rf"^{begin}.*?^```python\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, begin
    return found[1]


def changed(text: str, old: str, new: str) -> str:
    """Replaces a text that must be there once."""
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)


def files(folder: Path) -> list[tuple[str, bytes]]:
    """The names and the bytes of all files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]
